//! Commands that go to a storage device itself, past the block layer: NVMe admin commands, and SCSI commands (ATA devices
//! get theirs wrapped, SAT-5 12.2.2.3).
//!
//! A device's word is its status and its sense data: nothing here knows an exit code. A transport that has no such door is
//! [`CommandError::NotOffered`], which is no failure of the device.

mod real;
mod sense;

use std::time::Duration;

pub use ironwright_passthrough::Data;
pub use real::RealCommands;
pub use sense::{AtaRegisters, Sense, SenseKey};

/// Longest data of one command, bytes: none that is used here has more than 4 KiB.
pub const DATA_MAX: usize = 64 << 10;

/// An NVMe admin command (NVM Express Base Specification 2.0, 3.3.3.1: the common command format).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NvmeCommand {
    /// Opcode.
    pub opcode: u8,
    /// Namespace; 0 none, `0xffff_ffff` all.
    pub nsid: u32,
    /// Command specific, dwords 10 to 15.
    pub cdw: [u32; 6],
    /// How long it may take.
    pub timeout: Duration,
}

/// A SCSI command.
#[derive(Debug, Clone, Copy)]
pub struct ScsiCommand<'a> {
    /// The command descriptor block, 6 to 16 bytes.
    pub cdb: &'a [u8],
    /// How long it may take.
    pub timeout: Duration,
}

/// A device's answer to a SCSI command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScsiAnswer {
    /// Status (SAM-6, 5.3.1): 0 good, 2 check condition, 8 busy, 0x18 reservation conflict.
    pub status: u8,
    /// Bytes of data that came or went.
    pub transferred: usize,
    /// Sense data, empty when there is none.
    pub sense: Vec<u8>,
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such door: not this kind of device, or a driver without it.
    #[error("the device's driver takes no such commands")]
    NotOffered,
    /// The kernel or the transport failed: the device may not have seen the command.
    #[error("the {command} command was not carried to the device")]
    Transport {
        /// Which one.
        command: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// An NVMe status other than success.
    #[error("the device answered {command} with {}", nvme_words(*status))]
    Nvme {
        /// Which one.
        command: &'static str,
        /// Status code type in bits 10:8, status code in 7:0 (NVM Express Base Specification 2.0, 3.3.3.2.1).
        status: u16,
    },
    /// A SCSI status other than good.
    #[error("the device answered {command} with SCSI status {status:#04x}, {sense}")]
    Scsi {
        /// Which one.
        command: &'static str,
        /// Status.
        status: u8,
        /// Sense data.
        sense: Sense,
    },
    /// An ATA command ended with the error bit.
    #[error(
        "the device answered {command} with ATA status {:#04x}, error {:#04x}, LBA {:#x}", registers.status, registers.error, registers.lba
    )]
    Ata {
        /// Which one.
        command: &'static str,
        /// Its registers.
        registers: AtaRegisters,
    },
    /// An answer that makes no sense: too short, or without what was asked for.
    #[error("the device's answer to {command} is of no use: {why}")]
    Answer {
        /// Which one.
        command: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}

/// Generic and command-specific status values that are met when devices are erased (NVM Express Base Specification 2.0,
/// figures 94 to 96).
fn nvme_words(status: u16) -> String {
    let words = match status & 0x7ff {
        0x001 => "invalid command opcode",
        0x002 => "invalid field in command",
        0x006 => "internal error",
        0x00b => "invalid namespace or format",
        0x00c => "command sequence error",
        0x01c => "sanitize failed",
        0x01d => "sanitize in progress",
        0x020 => "namespace is write protected",
        0x084 => "format in progress",
        0x10a => "invalid format",
        0x10b => "firmware activation requires a reset",
        0x109 => "invalid log page",
        _ => "an error",
    };
    format!("NVMe status {:#05x} ({words})", status & 0x7ff)
}

/// The door to one storage device. Implementations bound what they are given; tests put simulated devices behind it.
pub trait DeviceCommands: Send + Sync + std::fmt::Debug {
    /// The NVMe namespace that the disk is.
    ///
    /// # Errors
    /// [`CommandError`]; [`CommandError::NotOffered`] for everything but NVMe.
    fn nvme_namespace(&self) -> Result<u32, CommandError> {
        Err(CommandError::NotOffered)
    }

    /// Performs an NVMe admin command; its name is for messages. Returns dword 0 of the completion.
    ///
    /// # Errors
    /// [`CommandError`]; every status but success is one.
    fn nvme_admin(
        &self,
        _name: &'static str,
        _command: &NvmeCommand,
        _data: Data<'_>,
    ) -> Result<u32, CommandError> {
        Err(CommandError::NotOffered)
    }

    /// Performs a SCSI command; `name` is for messages. A status other than good is an answer, not an error, because ATA
    /// registers and progress come as sense data.
    ///
    /// # Errors
    /// [`CommandError::NotOffered`], [`CommandError::Transport`].
    fn scsi(
        &self,
        name: &'static str,
        command: &ScsiCommand<'_>,
        data: Data<'_>,
    ) -> Result<ScsiAnswer, CommandError>;

    /// Lets time pass between two looks at a running operation. A simulated device has a clock of its own.
    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Performs a SCSI command whose status must be good.
///
/// # Errors
/// [`CommandError`].
pub fn scsi_good(
    device: &dyn DeviceCommands,
    name: &'static str,
    command: &ScsiCommand<'_>,
    data: Data<'_>,
) -> Result<usize, CommandError> {
    let (answer, sense) = patient(device, name, command, data)?;
    // Recovered errors (key 1) are done; a check condition without any sense data is not.
    let recovered = sense.as_ref().is_some_and(|sense| sense.key == SenseKey::RECOVERED);
    if answer.status == 0 || answer.status == 2 && recovered {
        return Ok(answer.transferred);
    }
    let sense = sense.unwrap_or_default();
    Err(CommandError::Scsi { command: name, status: answer.status, sense })
}

/// Times a device may say that it is busy, or that something happened to it (a reset), before that is its answer.
const PATIENCE: u32 = 5;

/// Performs a SCSI command again while the device only says "not now" (SAM-6, 5.3: BUSY 08h, TASK SET FULL 28h; UNIT ATTENTION tells of a
/// reset and is not about the command).
fn patient(
    device: &dyn DeviceCommands,
    name: &'static str,
    command: &ScsiCommand<'_>,
    mut data: Data<'_>,
) -> Result<(ScsiAnswer, Option<Sense>), CommandError> {
    for _ in 1..PATIENCE {
        let again = match &mut data {
            Data::None => Data::None,
            Data::In(buffer) => Data::In(buffer),
            Data::Out(bytes) => Data::Out(bytes),
        };
        let answer = device.scsi(name, command, again)?;
        let sense = Sense::parse(&answer.sense);
        let attention = sense.as_ref().is_some_and(|sense| sense.key == SenseKey::ATTENTION);
        let not_now = matches!(answer.status, 0x08 | 0x28) || answer.status == 2 && attention;
        if !not_now {
            return Ok((answer, sense));
        }
        device.wait(Duration::from_millis(500));
    }
    let answer = device.scsi(name, command, data)?;
    let sense = Sense::parse(&answer.sense);
    Ok((answer, sense))
}

impl CommandError {
    /// Whether the device itself said that it does not know what was asked; anything else it says is no answer to that.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            // Invalid opcode, invalid field, invalid log page.
            Self::Nvme { status, .. } => matches!(status & 0x7ff, 0x001 | 0x002 | 0x109),
            Self::Scsi { sense, .. } => sense.key == SenseKey::ILLEGAL,
            Self::Ata { .. } => true,
            Self::NotOffered | Self::Transport { .. } | Self::Answer { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct FakeAnswer(ScsiAnswer);

    impl DeviceCommands for FakeAnswer {
        fn scsi(
            &self,
            _: &'static str,
            _: &ScsiCommand<'_>,
            _: Data<'_>,
        ) -> Result<ScsiAnswer, CommandError> {
            Ok(self.0.clone())
        }
    }

    #[test]
    fn a_fake_devices_check_condition_counts_as_done_only_with_recovered_sense() {
        let fixed = |key: u8| {
            let mut sense = vec![0x70, 0, key, 0, 0, 0, 0, 10];
            sense.resize(18, 0);
            sense
        };
        for (status, sense, good) in [
            (0, vec![], true),
            (2, fixed(1), true),
            (2, fixed(5), false),
            (2, vec![], false),
            (8, vec![], false),
            (0x18, vec![], false),
        ] {
            let fake = FakeAnswer(ScsiAnswer { status, transferred: 0, sense });
            let command = ScsiCommand { cdb: &[0; 6], timeout: Duration::ZERO };
            let answer = scsi_good(&fake, "TEST UNIT READY", &command, Data::None);
            assert_eq!(answer.is_ok(), good, "{fake:?}");
        }
    }

    #[test]
    fn statuses_are_said_in_words() {
        let error = CommandError::Nvme { command: "Sanitize", status: 0x401d };
        assert_eq!(
            error.to_string(),
            "the device answered Sanitize with NVMe status 0x01d (sanitize in progress)"
        );
    }
}
