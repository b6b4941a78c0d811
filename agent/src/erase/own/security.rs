//! The ATA security feature set's erase (ACS-5, 4.18 and 7.40 to 7.45): a password must be set first, and locks the disk at the next
//! power cycle unless the erase ends well.
//!
//! Nobody may be locked out by us, also not by a power cut. The password is therefore no secret: it is written here, in the
//! README and in every error after it was set; the next boot tries it on a disk that it finds locked, once.

use std::time::Duration;

use super::{DeviceLog, Own, OwnError};
use crate::erase::device::ata::{self, AtaCommand, BLOCK, Security};
use crate::report::chain;
use crate::sys::command::{CommandError, Data, DeviceCommands};

/// The user password, padded with zeros to 32 bytes.
pub(in crate::erase) const PASSWORD: &str = "ironwright-erase";
/// Commands (ACS-5, table A.1).
const SET_PASSWORD: u8 = 0xf1;
const UNLOCK: u8 = 0xf2;
const ERASE_PREPARE: u8 = 0xf3;
const ERASE_UNIT: u8 = 0xf4;
const DISABLE_PASSWORD: u8 = 0xf6;
/// Word 0 of ERASE UNIT's data, bit 1: enhanced.
const ENHANCED: u16 = 1 << 1;
/// A command that answers at once, s.
const SOON: Duration = Duration::from_secs(60);
/// Longest erase without an estimate; one with an estimate may take three times as long.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Erases with the security feature set.
///
/// # Errors
/// [`OwnError`]; [`OwnError::Password`] once a password was set, with what became of it.
pub(in crate::erase) fn erase(
    own: &Own<'_>,
    enhanced: bool,
    estimate: Option<Duration>,
    log: &mut DeviceLog,
) -> Result<(), OwnError> {
    note(log, "ata_security_before", &state(own.commands));
    let set = send(own.commands, "SECURITY SET PASSWORD", SET_PASSWORD, &block(0));
    let state_then = state(own.commands);
    note(log, "ata_security_password_set", &state_then);
    let erased = match (set, state_then) {
        (Ok(()), Ok(security)) if security.enabled => erase_unit(own, enhanced, estimate),
        // Some adapters answer well to commands that they drop: IDENTIFY decides.
        (Ok(()), Ok(_)) => Err(CommandError::Answer {
            command: "SECURITY SET PASSWORD",
            why: "it was answered well, but no password is set afterwards",
        }),
        (Ok(()), Err(error)) | (Err(error), _) => Err(error),
    };
    let after = state(own.commands);
    note(log, "ata_security_after", &after);
    // An erase that ended well has taken the password away; everything else is put right here, also what looks well.
    match (erased, after) {
        (Ok(()), Ok(Security { enabled: false, .. })) => Ok(()),
        (erased, after) => {
            let what = match (&erased, &after) {
                (Err(error), _) | (Ok(()), Err(error)) => chain(error),
                (Ok(()), Ok(_)) => {
                    "the disk says that it was erased, but keeps its password".to_owned()
                }
            };
            let source = erased.err().map_or(OwnError::NotBegun, OwnError::Command);
            let password = take_away(own.commands);
            Err(OwnError::Password { what, password, source: Box::new(source) })
        }
    }
}

fn erase_unit(
    own: &Own<'_>,
    enhanced: bool,
    estimate: Option<Duration>,
) -> Result<(), CommandError> {
    let prepare = AtaCommand { command: ERASE_PREPARE, timeout: SOON, ..AtaCommand::default() };
    let timeout = estimate.map_or(LONGEST, |time| time.saturating_mul(3).max(SOON * 60));
    let unit = AtaCommand { command: ERASE_UNIT, timeout, ..AtaCommand::default() };
    let data = block(if enhanced { ENHANCED } else { 0 });
    let commands = own.commands;
    own.follow_estimate(estimate, || {
        // The standard wants nothing between these two.
        ata::command(commands, "SECURITY ERASE PREPARE", &prepare, Data::None)?;
        ata::command(commands, "SECURITY ERASE UNIT", &unit, Data::Out(&data))?;
        Ok(())
    })
}

/// Takes our password away from a disk that an earlier process, or boot, left with it. False: the disk has no password.
///
/// # Errors
/// [`CommandError`]: the password is not ours, or the disk takes none until its next power cycle. One attempt is made: after five
/// wrong ones the disk answers no more.
pub(in crate::erase) fn release(
    commands: &dyn DeviceCommands,
    security: &Security,
) -> Result<bool, CommandError> {
    if !security.enabled {
        return Ok(false);
    }
    if security.locked {
        send(commands, "SECURITY UNLOCK", UNLOCK, &block(0))?;
    }
    send(commands, "SECURITY DISABLE PASSWORD", DISABLE_PASSWORD, &block(0))?;
    Ok(true)
}

/// What became of the password, in words that hold its value whatever happened.
fn take_away(commands: &dyn DeviceCommands) -> String {
    let value = format!("user password, as text, padded with zeros to 32 bytes: {PASSWORD}");
    let released = state(commands).and_then(|security| release(commands, &security));
    match (released, state(commands)) {
        (_, Ok(Security { enabled: false, .. })) => {
            format!("the password that was set is disabled again ({value})")
        }
        (Ok(_), Ok(_)) => {
            format!(
                "the disk still has the password that was set: unlock and disable it with it ({value})"
            )
        }
        (Err(error), _) | (_, Err(error)) => format!(
            "the password that was set may still lock the disk ({}): power it off and on, unlock and disable it with it ({value})",
            chain(&error)
        ),
    }
}

fn state(commands: &dyn DeviceCommands) -> Result<Security, CommandError> {
    ata::identify(commands).map(|identity| identity.security)
}

fn send(
    commands: &dyn DeviceCommands,
    name: &'static str,
    command: u8,
    data: &[u8],
) -> Result<(), CommandError> {
    let ata = AtaCommand { command, timeout: SOON, ..AtaCommand::default() };
    ata::command(commands, name, &ata, Data::Out(data))?;
    Ok(())
}

/// The data of every security command: word 0 (bit 0 clear: the user password; bit 8 clear: capability high, so that a master
/// password could still unlock), words 1 to 16 the password.
fn block(word0: u16) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let text = word0.to_le_bytes().into_iter().chain(PASSWORD.bytes());
    for (place, byte) in block.iter_mut().zip(text) {
        *place = byte;
    }
    block
}

fn note(log: &mut DeviceLog, name: &str, state: &Result<Security, CommandError>) {
    let text = match state {
        Ok(Security { enabled, locked, frozen, expired, .. }) => {
            format!("enabled {enabled}, locked {locked}, frozen {frozen}, expired {expired}")
        }
        Err(error) => error.to_string(),
    };
    log.insert(name.to_owned(), text);
}
