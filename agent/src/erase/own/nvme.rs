//! NVMe Sanitize and Format NVM (NVM Express Base Specification 2.0, 5.24 and 5.14).

use std::time::Duration;

use ironwright_api::EraseMethod;

use super::{DeviceLog, Own, OwnError, Sanitize, Stand};
use crate::erase::device::hex;
use crate::erase::device::nvme::{Controller, SanitizeState, SanitizeStatus, sanitize_log};
use crate::sys::command::{CommandError, Data, NvmeCommand};

/// Opcodes (figure 138).
const FORMAT_NVM: u8 = 0x80;
const SANITIZE: u8 = 0x84;
/// SANACT (figure 337).
const EXIT_FAILURE_MODE: u32 = 1;
/// AUSE, bit 3: after a failure the device may be told to leave the failure mode.
const UNRESTRICTED: u32 = 1 << 3;
/// OWPASS, bits 7:4: one pass. 0 would be sixteen.
const ONE_PASS: u32 = 1 << 4;
/// Starting a sanitize, s: the command itself only starts it, but some controllers answer late.
const START: Duration = Duration::from_secs(120);
/// Format NVM answers at its end: an erasing format of a large disk without encryption takes hours.
const FORMAT: Duration = Duration::from_secs(8 * 60 * 60);

/// A sanitize that is not this process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::erase) enum Pending {
    /// Running since before this boot, or before this process; the method, where the log says one.
    Running(Option<EraseMethod>),
    /// Failed; the device refuses reads and writes.
    Failed,
}

/// What an earlier process or boot left behind.
#[must_use]
pub(in crate::erase) fn pending(controller: &Controller) -> Option<Pending> {
    let status = controller.sanitize?;
    match status.state {
        SanitizeState::Running => Some(Pending::Running(match status.action {
            2 => Some(EraseMethod::NvmeSanitizeBlock),
            3 => Some(EraseMethod::NvmeSanitizeOverwrite),
            4 => Some(EraseMethod::NvmeSanitizeCrypto),
            _ => None,
        })),
        SanitizeState::Failed => Some(Pending::Failed),
        SanitizeState::Never | SanitizeState::Completed => None,
    }
}

/// Starts a sanitize of the whole device and follows it to its end.
///
/// # Errors
/// [`OwnError`]. After a failure the device has left its failure mode where it could.
pub(in crate::erase) fn sanitize(
    own: &Own<'_>,
    how: Sanitize,
    log: &mut DeviceLog,
) -> Result<(), OwnError> {
    let action = match how {
        Sanitize::Block => 2,
        Sanitize::Overwrite => 3 | ONE_PASS,
        Sanitize::Crypto => 4,
    };
    note(log, "nvme_sanitize_log_before", sanitize_log(own.commands));
    start(own, action | UNRESTRICTED)?;
    let followed = follow(own);
    note(log, "nvme_sanitize_log_after", sanitize_log(own.commands));
    if matches!(followed, Err(OwnError::Failed { .. }))
        && let Err(error) = exit_failure_mode(own)
    {
        log.insert("nvme_exit_failure_mode".to_owned(), error.to_string());
    }
    followed
}

fn start(own: &Own<'_>, cdw10: u32) -> Result<(), OwnError> {
    // Dword 11 is the pattern of an overwrite: zeros.
    let command =
        NvmeCommand { opcode: SANITIZE, nsid: 0, cdw: [cdw10, 0, 0, 0, 0, 0], timeout: START };
    own.commands.nvme_admin("Sanitize", &command, Data::None)?;
    Ok(())
}

/// Follows the sanitize that runs, whoever started it.
///
/// # Errors
/// [`OwnError`].
pub(in crate::erase) fn follow(own: &Own<'_>) -> Result<(), OwnError> {
    own.follow_to_end(|| {
        let status = SanitizeStatus::parse(&sanitize_log(own.commands)?);
        Ok(match status.state {
            SanitizeState::Completed => Stand::Done,
            SanitizeState::Running => Stand::Running(status.progress),
            SanitizeState::Failed => Stand::Failed("its sanitize status log says so".to_owned()),
            SanitizeState::Never => Stand::NotBegun,
        })
    })
}

/// Leaves the failure mode of a failed sanitize, so that the disk can be read and written again. What it holds then is unknown.
///
/// # Errors
/// [`OwnError::Command`]: it was started in the restricted form, by somebody else; then only a sanitize that ends well helps.
pub(in crate::erase) fn exit_failure_mode(own: &Own<'_>) -> Result<(), OwnError> {
    start(own, EXIT_FAILURE_MODE)
}

/// SES of [`format`]: user data, or the key of everything.
pub(in crate::erase) const USER_DATA: u32 = 1;
pub(in crate::erase) const CRYPTO: u32 = 2;

/// Formats the namespace with an erase (`ses`), keeping its LBA format, metadata and protection.
///
/// # Errors
/// [`OwnError`].
pub(in crate::erase) fn format(
    own: &Own<'_>,
    controller: &Controller,
    ses: u32,
) -> Result<(), OwnError> {
    let command = NvmeCommand {
        opcode: FORMAT_NVM,
        nsid: controller.nsid,
        cdw: [format_dword(controller, ses), 0, 0, 0, 0, 0],
        timeout: FORMAT,
    };
    let commands = own.commands;
    own.follow_estimate(None, || commands.nvme_admin("Format NVM", &command, Data::None))?;
    Ok(())
}

/// Dword 10 of Format NVM (figure 189) from FLBAS and DPS: LBAFL 3:0, MSET 4, PI 7:5, PIL 8, SES 11:9, LBAFU 13:12.
fn format_dword(controller: &Controller, ses: u32) -> u32 {
    let (flbas, dps) = (u32::from(controller.namespace.flbas), u32::from(controller.namespace.dps));
    flbas & 0x1f | (dps & 0x7) << 5 | (dps >> 3 & 1) << 8 | ses << 9 | (flbas >> 5 & 0x3) << 12
}

fn note(log: &mut DeviceLog, name: &str, page: Result<Vec<u8>, CommandError>) {
    let text = match page {
        Ok(page) => hex(&page),
        Err(error) => error.to_string(),
    };
    log.insert(name.to_owned(), text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erase::device::nvme::Namespace;

    #[test]
    fn a_format_keeps_the_lba_format_and_the_protection() {
        let namespace = Namespace { flbas: 0b0101_0011, dps: 0b1001, dlfeat: 0 };
        let controller = Controller { namespace, ..Controller::default() };
        let expected = 0b10_0000_0000_0000 | 1 << 9 | 1 << 8 | 0b001 << 5 | 0b1_0011;
        assert_eq!(format_dword(&controller, 1), expected);
        assert_eq!(format_dword(&Controller::default(), 2), 2 << 9);
    }
}
