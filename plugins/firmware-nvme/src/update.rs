//! Bringing a firmware to one drive: what is checked before, download, commit, and what must be true afterwards.

use std::io;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::controller::{Command, Controller, Opcode};
use crate::identify::{Identify, Slots, choose_slot};

/// Longest firmware taken, bytes: the largest published are some 10 MiB.
pub(crate) const FIRMWARE_MAX: u64 = 64 << 20;
/// Longest piece of a download, bytes: within what every controller takes in one command.
const PIECE_MAX: usize = 64 << 10;
/// Commit actions (NVM Express base specification 2.0, figure 181): put in a slot and start at the next reset; put in a slot and start
/// at once.
const AT_RESET: u32 = 1;
const AT_ONCE: u32 = 3;
/// Statuses of a commit that was done and whose firmware starts only after a reset of some kind (figure 183). All of them are met by a
/// power cycle.
const NEEDS_RESET: [u16; 3] = [0x10b, 0x110, 0x111];

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) model: String,
    pub(crate) version: String,
    pub(crate) slot: Option<u64>,
    pub(crate) firmware: Vec<u8>,
}

/// How it stands with a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Another model.
    Other,
    /// It runs the wanted revision.
    Done,
    /// It would get it into this slot.
    Due { slot: u8, at_once: bool },
}

/// How a drive was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Left {
    /// It runs the wanted revision.
    Running,
    /// It starts it after a power cycle.
    AfterReset,
}

/// The digest of a firmware, as it is compared.
pub(crate) fn sha256(firmware: &[u8]) -> String {
    Sha256::digest(firmware).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a drive is and what would be done to it.
///
/// # Errors
/// Why nothing can be done to it though it is meant.
pub(crate) fn look(
    drive: &mut dyn Controller,
    wanted: &Wanted,
) -> Result<(Identify, Standing), String> {
    let identify = Identify::parse(&drive.identify().map_err(|error| error.to_string())?);
    if identify.model != wanted.model {
        return Ok((identify, Standing::Other));
    }
    if identify.revision == wanted.version {
        return Ok((identify, Standing::Done));
    }
    if !identify.updatable {
        return Err("it does not take firmware (OACS bit 2 is 0)".to_owned());
    }
    let slots = Slots::parse(&drive.slots().map_err(|error| error.to_string())?);
    let slot = choose_slot(&identify, &slots, wanted.slot)?;
    let at_once = identify.without_reset;
    Ok((identify, Standing::Due { slot, at_once }))
}

/// Downloads and commits. The running firmware stays the running one until the commit; a drive that refuses keeps it.
///
/// # Errors
/// What was refused, with the status's meaning.
pub(crate) fn update(
    drive: &mut dyn Controller,
    wanted: &Wanted,
    identify: &Identify,
    (slot, at_once): (u8, bool),
    progress: &mut dyn FnMut(u64),
) -> Result<Left, String> {
    download(drive, wanted, identify.granularity, progress)?;
    let action = if at_once { AT_ONCE } else { AT_RESET };
    let commit =
        Command { opcode: Opcode::Commit, cdw10: u32::from(slot) | (action << 3), cdw11: 0 };
    let status = drive.admin(commit, &mut []).map_err(|error| io_words("commit", &error))?;
    match status {
        0 if at_once => {}
        0 => return Ok(Left::AfterReset),
        status if NEEDS_RESET.contains(&status) => return Ok(Left::AfterReset),
        status => return Err(format!("commit to slot {slot}: {}", meaning(status))),
    }
    match revision(drive)? {
        now if now == wanted.version => Ok(Left::Running),
        now => Err(format!("it runs {now} after the commit, and not {}", wanted.version)),
    }
}

fn download(
    drive: &mut dyn Controller,
    wanted: &Wanted,
    granularity: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<(), String> {
    let piece = (PIECE_MAX / granularity).max(1) * granularity;
    let mut sent = 0_usize;
    for part in wanted.firmware.chunks(piece) {
        let mut data = part.to_vec();
        let dwords = u32::try_from(data.len() / 4).map_err(|error| error.to_string())?;
        let offset = u32::try_from(sent / 4).map_err(|error| error.to_string())?;
        // Dwords less one, and the offset in dwords.
        let command =
            Command { opcode: Opcode::Download, cdw10: dwords.saturating_sub(1), cdw11: offset };
        let status =
            drive.admin(command, &mut data).map_err(|error| io_words("download", &error))?;
        if status != 0 {
            return Err(format!("download at byte {sent}: {}", meaning(status)));
        }
        sent += data.len();
        progress(sent as u64);
    }
    Ok(())
}

fn io_words(what: &str, error: &io::Error) -> String {
    format!("{what}: {error}")
}

/// The running revision.
pub(crate) fn revision(drive: &mut dyn Controller) -> Result<String, String> {
    let data = drive.identify().map_err(|error| error.to_string())?;
    Ok(Identify::parse(&data).revision)
}

/// The statuses that firmware commands end with, in words (figures 183 and 186).
fn meaning(status: u16) -> String {
    let words = match status {
        0x106 => "the firmware slot is invalid or read-only",
        0x107 => "the drive says that this is no firmware for it; it keeps the one it has",
        0x112 => "activating would take longer than the drive may be silent",
        0x113 => "the drive forbids this firmware (perhaps it is older than the one it has)",
        0x114 => "the pieces of the image overlap",
        _ => "the drive refused",
    };
    format!("{words} (status {status:#05x})")
}

/// A firmware file that cannot be one, whatever drive it is for.
pub(crate) fn file_problem(firmware: &[u8], expected: &str) -> Option<String> {
    let found = sha256(firmware);
    if firmware.is_empty() || !firmware.len().is_multiple_of(4) {
        return Some(format!("it has {} bytes: not a multiple of 4", firmware.len()));
    }
    (!found.eq_ignore_ascii_case(expected))
        .then(|| format!("its sha256 is {found}, the order says {expected}"))
}

/// What a drive says, as evidence.
pub(crate) fn shown(device: &str, identify: &Identify, slots: &Slots) -> Value {
    json!({
        "device": device, "model": identify.model, "serial": identify.serial, "version": identify.revision,
        "slots": identify.slots, "active_slot": slots.active, "next_slot": slots.next, "slot_versions": slots.revisions,
        "updatable": identify.updatable, "activates_without_reset": identify.without_reset,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::identify::tests::data;
    use crate::identify::{IDENTIFY_BYTES, SLOTS_BYTES};

    /// A fake drive: takes an image that begins with its new revision, as eight characters.
    #[derive(Debug, Clone)]
    pub(crate) struct FakeDrive {
        pub(crate) identify: [u8; IDENTIFY_BYTES],
        pub(crate) active: u8,
        pub(crate) received: Vec<u8>,
        pub(crate) committed: Option<(u8, u32)>,
        /// What commit answers.
        pub(crate) status: u16,
        /// The offset at which a download fails.
        pub(crate) fails_at: Option<usize>,
    }

    impl FakeDrive {
        pub(crate) fn new(frmw: u8, fwug: u8) -> Self {
            Self {
                identify: data("ACME 9000", "S1", "1.0", frmw, fwug),
                active: 1,
                received: Vec::new(),
                committed: None,
                status: 0,
                fails_at: None,
            }
        }

        pub(crate) fn power_cycle(&mut self) {
            self.identify[64..72].copy_from_slice(&self.received[..8]);
        }
    }

    impl Controller for FakeDrive {
        fn admin(&mut self, command: Command, data: &mut [u8]) -> io::Result<u16> {
            match command.opcode {
                Opcode::Identify => data.copy_from_slice(&self.identify),
                Opcode::GetLogPage => {
                    assert_eq!(data.len(), SLOTS_BYTES);
                    data[0] = self.active;
                }
                Opcode::Download => {
                    let (dwords, offset) = (command.cdw10 as usize + 1, command.cdw11 as usize);
                    assert_eq!((dwords * 4, offset * 4), (data.len(), self.received.len()));
                    if self.fails_at.is_some_and(|at| at < self.received.len() + data.len()) {
                        return Ok(0x114);
                    }
                    self.received.extend_from_slice(data);
                }
                Opcode::Commit => {
                    let slot = u8::try_from(command.cdw10 & 7).unwrap();
                    self.committed = Some((slot, command.cdw10 >> 3));
                    if self.status == 0 && command.cdw10 >> 3 == AT_ONCE {
                        self.power_cycle();
                    }
                    return Ok(self.status);
                }
            }
            Ok(0)
        }
    }

    pub(crate) fn wanted() -> Wanted {
        let mut firmware = b"2.0     ".to_vec();
        firmware.resize(200_000, 0x5a);
        Wanted { model: "ACME 9000".into(), version: "2.0".into(), slot: None, firmware }
    }

    fn run(drive: &mut FakeDrive, wanted: &Wanted) -> Result<Left, String> {
        let (identify, standing) = look(drive, wanted)?;
        let Standing::Due { slot, at_once } = standing else { panic!("{standing:?}") };
        update(drive, wanted, &identify, (slot, at_once), &mut |_| {})
    }

    #[test]
    fn a_fake_that_activates_without_reset_runs_the_new_revision_at_once() {
        let mut drive = FakeDrive::new(0b1_0110, 0);
        assert_eq!(run(&mut drive, &wanted()), Ok(Left::Running));
        assert_eq!(drive.committed, Some((2, AT_ONCE)));
        assert_eq!(drive.received, wanted().firmware);
        assert_eq!(look(&mut drive, &wanted()).unwrap().1, Standing::Done);
    }

    #[test]
    fn a_fake_that_needs_a_reset_is_left_for_it_and_must_run_the_revision_afterwards() {
        for (frmw, status) in [(0b0110, 0), (0b1_0110, 0x10b), (0b1_0110, 0x110), (0b1_0110, 0x111)]
        {
            let mut drive = FakeDrive::new(frmw, 0);
            drive.status = status;
            assert_eq!(run(&mut drive, &wanted()), Ok(Left::AfterReset), "{status:#x}");
            assert_eq!(revision(&mut drive).unwrap(), "1.0");
            drive.power_cycle();
            assert_eq!(revision(&mut drive).unwrap(), "2.0");
        }
    }

    #[test]
    fn pieces_keep_to_the_fakes_granularity() {
        // 20 units of 4 KiB: larger than a usual piece.
        for (fwug, largest) in [(0, 65_536), (3, 61_440), (20, 81_920)] {
            let mut drive = FakeDrive::new(0b0110, fwug);
            let mut sizes = Vec::new();
            let (identify, _) = look(&mut drive, &wanted()).unwrap();
            let mut last = 0;
            let mut note = |sent| sizes.push(sent - std::mem::replace(&mut last, sent));
            update(&mut drive, &wanted(), &identify, (2, false), &mut note).unwrap();
            assert_eq!(sizes[0], largest, "{fwug}");
            assert_eq!(sizes.iter().sum::<u64>(), 200_000);
        }
    }

    #[test]
    fn what_a_fake_refuses_is_said_in_words_and_it_keeps_its_firmware() {
        let mut drive = FakeDrive::new(0b0110, 0);
        drive.status = 0x107;
        let words = run(&mut drive, &wanted()).unwrap_err();
        assert!(
            words.contains("no firmware for it; it keeps the one it has (status 0x107)"),
            "{words}"
        );
        assert_eq!(revision(&mut drive).unwrap(), "1.0");
        let mut drive = FakeDrive::new(0b0110, 0);
        drive.fails_at = Some(70_000);
        let words = run(&mut drive, &wanted()).unwrap_err();
        assert!(words.contains("download at byte 65536"), "{words}");
        assert_eq!(drive.committed, None, "a half image is never committed");
        let mut drive = FakeDrive::new(0b0110, 0);
        drive.identify[256] = 0;
        assert!(look(&mut drive, &wanted()).unwrap_err().contains("does not take firmware"));
        let mut drive = FakeDrive::new(0b1_0110, 0);
        let mut other = wanted();
        other.version = "3.0".into();
        let words = run(&mut drive, &other).unwrap_err();
        assert_eq!(words, "it runs 2.0 after the commit, and not 3.0");
    }

    #[test]
    fn a_file_that_is_not_the_one_ordered_is_refused() {
        let firmware = wanted().firmware;
        assert_eq!(file_problem(&firmware, &sha256(&firmware).to_uppercase()), None);
        assert!(file_problem(&firmware, "00").unwrap().contains("the order says 00"));
        assert!(file_problem(&firmware[1..], "00").unwrap().contains("not a multiple of 4"));
        assert!(file_problem(&[], "00").unwrap().contains("has 0 bytes"));
    }
}
