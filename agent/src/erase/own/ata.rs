//! The ATA sanitize feature set (ACS-5, 7.36).

use std::time::Duration;

use super::{DeviceLog, Own, OwnError, Sanitize, Stand};
use crate::erase::device::ata::{self, AtaCommand};
use crate::sys::command::{AtaRegisters, CommandError, Data};

/// SANITIZE DEVICE, and its features with their keys (tables 109 to 113).
const SANITIZE_DEVICE: u8 = 0xb4;
const CRYPTO_SCRAMBLE: (u16, u64) = (0x0011, 0x4372_7970);
const BLOCK_ERASE: (u16, u64) = (0x0012, 0x426b_4572);
/// The pattern is in the low 32 bits: zeros.
const OVERWRITE: (u16, u64) = (0x0014, 0x4f57_0000_0000);
/// FAILURE MODE, bit 4 of count: after a failure SANITIZE STATUS EXT may clear it.
const UNRESTRICTED: u16 = 1 << 4;
/// Starting it, s.
const START: Duration = Duration::from_secs(120);

/// What an earlier process or boot left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::erase) enum Pending {
    /// A sanitize runs; which one the disk does not say.
    Running,
    /// A sanitize failed: the disk refuses reads and writes.
    Failed,
}

/// What the disk says of an operation that is not this process's. A disk that never sanitized has neither bit set and no error;
/// one that does not answer has nothing pending that could be known.
#[must_use]
pub(in crate::erase) fn pending(own: &Own<'_>) -> Option<Pending> {
    match look(own, 0).ok()? {
        Stand::Running(_) => Some(Pending::Running),
        Stand::Failed(_) => Some(Pending::Failed),
        Stand::Done | Stand::NotBegun => None,
    }
}

/// Starts a sanitize and follows it to its end.
///
/// # Errors
/// [`OwnError`]. After a failure the disk has left that state where it could.
pub(in crate::erase) fn sanitize(
    own: &Own<'_>,
    how: Sanitize,
    log: &mut DeviceLog,
) -> Result<(), OwnError> {
    let ((feature, lba), count) = match how {
        Sanitize::Crypto => (CRYPTO_SCRAMBLE, 0),
        Sanitize::Block => (BLOCK_ERASE, 0),
        // One pass; 0 would be sixteen.
        Sanitize::Overwrite => (OVERWRITE, 1),
    };
    note(log, "ata_sanitize_status_before", &ata::sanitize_status(own.commands, false));
    let command = AtaCommand {
        command: SANITIZE_DEVICE,
        feature,
        count: count | UNRESTRICTED,
        lba,
        extended: true,
        timeout: START,
    };
    ata::command(own.commands, "SANITIZE DEVICE", &command, Data::None)?;
    let followed = follow(own);
    note(log, "ata_sanitize_status_after", &ata::sanitize_status(own.commands, false));
    if matches!(followed, Err(OwnError::Failed { .. }))
        && let Err(error) = ata::sanitize_status(own.commands, true)
    {
        log.insert("ata_sanitize_clear".to_owned(), error.to_string());
    }
    followed
}

/// Follows the sanitize that runs, whoever started it.
///
/// # Errors
/// [`OwnError`].
pub(in crate::erase) fn follow(own: &Own<'_>) -> Result<(), OwnError> {
    let mut seen = 0;
    own.follow_to_end(|| {
        let stand = look(own, seen)?;
        if let Stand::Running(progress) = stand {
            seen = progress.max(1);
        }
        Ok(stand)
    })
}

fn look(own: &Own<'_>, seen: u16) -> Result<Stand, CommandError> {
    match ata::sanitize_status(own.commands, false) {
        Ok(registers) => Ok(stand(&registers, seen)),
        // Error with reason 1 in LBA 7:0: the last sanitize failed (7.36.6.4).
        Err(CommandError::Ata { registers, .. }) if registers.lba & 0xff == 1 => {
            Ok(Stand::Failed("its sanitize status says so".to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Count bit 15: ended without an error; bit 14: running, with the progress in LBA 15:0. Neither, after it was seen running: failed.
fn stand(registers: &AtaRegisters, seen: u16) -> Stand {
    let AtaRegisters { count, lba, .. } = *registers;
    if count & 1 << 14 != 0 {
        return Stand::Running(u16::try_from(lba & 0xffff).unwrap_or(u16::MAX));
    }
    match (count & 1 << 15 != 0, seen) {
        (true, _) => Stand::Done,
        (false, 0) => Stand::NotBegun,
        (false, _) => Stand::Failed("it ended without being completed".to_owned()),
    }
}

fn note(log: &mut DeviceLog, name: &str, status: &Result<AtaRegisters, CommandError>) {
    let text = match status {
        Ok(registers) => format!("count {:04x}, lba {:012x}", registers.count, registers.lba),
        Err(error) => error.to_string(),
    };
    log.insert(name.to_owned(), text);
}
