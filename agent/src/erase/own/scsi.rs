//! SCSI SANITIZE (SBC-4, 5.33).

use std::time::Duration;

use super::{DeviceLog, Own, OwnError, Sanitize, Stand};
use crate::erase::device::scsi::{
    self, BLOCK_ERASE, CRYPTO_ERASE, OVERWRITE, SANITIZE, has_failed, is_sanitizing,
};
use crate::sys::command::{CommandError, Data, ScsiCommand, Sense, SenseKey, scsi_good};

/// Byte 1: IMMED (answer at once) and AUSE (a failed sanitize may be left by EXIT FAILURE MODE).
const IMMEDIATE_UNRESTRICTED: u8 = 0x80 | 0x20;
/// EXIT FAILURE MODE, service action.
const EXIT_FAILURE_MODE: u8 = 0x1f;
/// Overwrite parameters (table 118): one pass, a pattern of four bytes, zeros.
const ZEROS: [u8; 8] = [1, 0, 0, 4, 0, 0, 0, 0];
/// Starting it, s.
const START: Duration = Duration::from_secs(120);

/// Starts a sanitize and follows it to its end.
///
/// # Errors
/// [`OwnError`].
pub(in crate::erase) fn sanitize(
    own: &Own<'_>,
    how: Sanitize,
    log: &mut DeviceLog,
) -> Result<(), OwnError> {
    let (action, parameters): (u8, &[u8]) = match how {
        Sanitize::Crypto => (CRYPTO_ERASE, &[]),
        Sanitize::Block => (BLOCK_ERASE, &[]),
        Sanitize::Overwrite => (OVERWRITE, &ZEROS),
    };
    note(log, "scsi_sense_before", &scsi::sanitize_sense(own.commands));
    command(own, action | IMMEDIATE_UNRESTRICTED, parameters)?;
    let followed = follow(own);
    note(log, "scsi_sense_after", &scsi::sanitize_sense(own.commands));
    if matches!(followed, Err(OwnError::Failed { .. }))
        && let Err(error) = exit_failure_mode(own)
    {
        log.insert("scsi_exit_failure_mode".to_owned(), error.to_string());
    }
    followed
}

/// Leaves the failure mode.
///
/// # Errors
/// [`OwnError::Command`].
pub(in crate::erase) fn exit_failure_mode(own: &Own<'_>) -> Result<(), OwnError> {
    command(own, EXIT_FAILURE_MODE, &[])
}

fn command(own: &Own<'_>, byte1: u8, parameters: &[u8]) -> Result<(), OwnError> {
    let length = u8::try_from(parameters.len()).unwrap_or(u8::MAX);
    let cdb = [SANITIZE, byte1, 0, 0, 0, 0, 0, 0, length, 0];
    let data = if parameters.is_empty() { Data::None } else { Data::Out(parameters) };
    scsi_good(own.commands, "SANITIZE", &ScsiCommand { cdb: &cdb, timeout: START }, data)?;
    Ok(())
}

/// Follows the sanitize that runs, whoever started it. A unit attention (the disk was reset) is only news.
///
/// # Errors
/// [`OwnError`].
pub(in crate::erase) fn follow(own: &Own<'_>) -> Result<(), OwnError> {
    let mut seen = 0;
    own.follow_to_end(|| {
        let sense = scsi::sanitize_sense(own.commands)?;
        if is_sanitizing(&sense) {
            seen = sense.progress.unwrap_or(seen);
            return Ok(Stand::Running(seen));
        }
        if has_failed(&sense) {
            return Ok(Stand::Failed(sense.to_string()));
        }
        match sense.key {
            SenseKey::NONE | SenseKey::RECOVERED => Ok(Stand::Done),
            _ => Err(CommandError::Scsi { command: "REQUEST SENSE", status: 0, sense }),
        }
    })
}

fn note(log: &mut DeviceLog, name: &str, sense: &Result<Sense, CommandError>) {
    let text = match sense {
        Ok(sense) => sense.to_string(),
        Err(error) => error.to_string(),
    };
    log.insert(name.to_owned(), text);
}
