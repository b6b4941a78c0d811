//! What an earlier process or boot left on a device, brought to an end before anything new begins.

use ironwright_api::EraseMethod;

use super::{DeviceLog, Own, OwnError, ata, nvme, scsi, security};
use crate::erase::device::{Device, ata as ata_device, scsi as scsi_device};
use crate::report::chain;

/// What was found and done about it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::erase) enum Found {
    /// Nothing.
    Nothing,
    /// An erase that the device had begun before; it ended well now. The method, where the device says one: only then can it be
    /// certified by looking at the whole disk.
    Finished(Option<EraseMethod>),
    /// A state that was left; the disk must be erased.
    Left(&'static str),
}

/// Brings to an end what is pending: waits for a sanitize that runs, leaves the failure mode of one that failed, takes our own
/// password away.
///
/// # Errors
/// [`OwnError`]: the device refuses reads and writes, and why.
pub(in crate::erase) fn recover(
    own: &Own<'_>,
    device: &Device,
    log: &mut DeviceLog,
) -> Result<Found, OwnError> {
    let found = match device {
        Device::Nvme(controller) => match nvme::pending(controller) {
            Some(nvme::Pending::Running(method)) => {
                nvme::follow(own)?;
                Found::Finished(method)
            }
            Some(nvme::Pending::Failed) => {
                nvme::exit_failure_mode(own).map_err(|error| failed_mode(&error))?;
                Found::Left("a failed NVMe sanitize")
            }
            None => Found::Nothing,
        },
        Device::Ata(identity) => ata_state(own, identity)?,
        // Also where the disk seems to offer none: while one runs, most questions are refused.
        Device::Scsi(_) => scsi_state(own)?,
        Device::Silent { .. } => Found::Nothing,
    };
    if found != Found::Nothing {
        log.insert("left_by_an_earlier_attempt".to_owned(), format!("{found:?}"));
    }
    Ok(found)
}

fn ata_state(own: &Own<'_>, identity: &ata_device::Identity) -> Result<Found, OwnError> {
    let offers = identity.sanitize;
    if offers.crypto || offers.block || offers.overwrite {
        match ata::pending(own) {
            Some(ata::Pending::Running) => {
                ata::follow(own)?;
                return Ok(Found::Finished(None));
            }
            Some(ata::Pending::Failed) => {
                ata_device::sanitize_status(own.commands, true)
                    .map_err(|error| failed_mode(&OwnError::Command(error)))?;
                return Ok(Found::Left("a failed ATA sanitize"));
            }
            None => {}
        }
    }
    // A password that is not ours stays; the ladder says so.
    match security::release(own.commands, &identity.security) {
        Ok(true) => Ok(Found::Left("the password of an interrupted ATA security erase")),
        Ok(false) => Ok(Found::Nothing),
        Err(error) => {
            tracing::warn!("the disk's password is not this agent's: {}", chain(&error));
            Ok(Found::Nothing)
        }
    }
}

fn scsi_state(own: &Own<'_>) -> Result<Found, OwnError> {
    let Ok(sense) = scsi_device::sanitize_sense(own.commands) else { return Ok(Found::Nothing) };
    if scsi_device::is_sanitizing(&sense) {
        scsi::follow(own)?;
        return Ok(Found::Finished(None));
    }
    if scsi_device::has_failed(&sense) {
        scsi::exit_failure_mode(own).map_err(|error| failed_mode(&error))?;
        return Ok(Found::Left("a failed SCSI sanitize"));
    }
    Ok(Found::Nothing)
}

fn failed_mode(error: &OwnError) -> OwnError {
    OwnError::Failed {
        at: String::new(),
        why: format!(
            "an earlier sanitize failed and the device cannot leave that state ({}); only a sanitize that ends well, by the \
             maker's tool, makes it usable: replace it otherwise",
            chain(error)
        ),
    }
}
