//! NVMe: Identify, and the sanitize status log (NVM Express Base Specification 2.0; NVM Command Set Specification 1.0).

use std::time::Duration;

use super::ASK;
use super::field::{byte, le16, le32};
use crate::sys::command::{CommandError, Data, DeviceCommands, NvmeCommand};

/// Opcode of Get Log Page (figure 138) and of Identify.
const GET_LOG_PAGE: u8 = 0x02;
const IDENTIFY: u8 = 0x06;
/// Sanitize Status, log page identifier (figure 202), and what of it is read, bytes: all that 1.3 defines.
const SANITIZE_LOG: u32 = 0x81;
pub(in crate::erase) const SANITIZE_LOG_BYTES: usize = 32;
/// All namespaces.
pub(in crate::erase) const ALL: u32 = 0xffff_ffff;
/// Data of every Identify, bytes.
const PAGE: usize = 4096;

/// What a controller and the namespace on it can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controller {
    /// The namespace that the disk is.
    pub nsid: u32,
    /// Other namespaces that an erase of the whole device would reach.
    pub others: Vec<u32>,
    /// Namespaces that hold data and that no controller shows.
    pub detached: Vec<u32>,
    /// OACS (bytes 257:256): optional admin commands. Bit 1 Format NVM, bit 3 Namespace Management.
    pub oacs: u16,
    /// ONCS (521:520): optional I/O commands. Bit 3 Write Zeroes.
    pub oncs: u16,
    /// FNA (524): Format NVM attributes. Bit 0 formats, bit 1 secure erases reach all namespaces; bit 2 cryptographic erase.
    pub fna: u8,
    /// SANICAP (331:328): bit 0 crypto, bit 1 block, bit 2 overwrite; bit 29 No-Deallocate inhibited; 31:30 what sanitize does to
    /// media additionally.
    pub sanicap: u32,
    /// The namespace's present format.
    pub namespace: Namespace,
    /// The sanitize status log, where sanitize is offered.
    pub sanitize: Option<SanitizeStatus>,
}

/// What Identify Namespace says (NVM Command Set Specification, figure 97).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespace {
    /// FLBAS (26): index of the LBA format in 3:0 and 6:5, metadata in bit 4.
    pub flbas: u8,
    /// DPS (29): protection information in 2:0, its place in bit 3.
    pub dps: u8,
    /// DLFEAT (33): 2:0 what deallocated blocks read as (1: zeros), bit 3 Write Zeroes may deallocate.
    pub dlfeat: u8,
}

impl Namespace {
    /// Reads an Identify Namespace page.
    #[must_use]
    pub fn parse(page: &[u8]) -> Self {
        Self { flbas: byte(page, 26), dps: byte(page, 29), dlfeat: byte(page, 33) }
    }

    /// Whether deallocated blocks are promised to read as zeros.
    #[must_use]
    pub fn deallocated_is_zero(&self) -> bool {
        self.dlfeat & 0x07 == 1
    }
}

impl Controller {
    /// Reads an Identify Controller page. Shared controllers (CMIC, byte 76, bit 1) may show a namespace to another host.
    #[must_use]
    pub fn parse(page: &[u8], nsid: u32) -> Self {
        Self {
            nsid,
            oacs: le16(page, 256),
            oncs: le16(page, 520),
            fna: byte(page, 524),
            sanicap: le32(page, 328),
            ..Self::default()
        }
    }
}

/// A sanitize operation as the sanitize status log shows it (figure 266).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SanitizeStatus {
    /// SPROG, 65536ths.
    pub progress: u16,
    /// SSTAT 2:0.
    pub state: SanitizeState,
    /// SCDW10 2:0, the action of the last operation: 2 block, 3 overwrite, 4 crypto.
    pub action: u8,
    /// Estimates: overwrite, block, crypto.
    pub estimates: [Option<Duration>; 3],
}

/// The state of the last sanitize operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SanitizeState {
    /// None since the device was made, or an unknown state.
    Never,
    /// Done (1, or 4: done and deallocated though that was not asked for).
    Completed,
    /// Running, whatever else was reset or lost its power meanwhile.
    Running,
    /// Failed: the device refuses to read and write until it is sanitized, or leaves the failure mode.
    Failed,
}

impl SanitizeStatus {
    /// Reads the log page.
    #[must_use]
    pub fn parse(page: &[u8]) -> Self {
        let state = match byte(page, 2) & 0x07 {
            1 | 4 => SanitizeState::Completed,
            2 => SanitizeState::Running,
            3 => SanitizeState::Failed,
            _ => SanitizeState::Never,
        };
        // All ones: no estimate.
        let estimate = |at| match le32(page, at) {
            0 | u32::MAX => None,
            seconds => Some(Duration::from_secs(u64::from(seconds))),
        };
        let action = byte(page, 4) & 0x07;
        let estimates = [estimate(8), estimate(12), estimate(16)];
        Self { progress: le16(page, 0), state, action, estimates }
    }
}

/// Asks controller and namespace.
///
/// # Errors
/// [`CommandError`]; what is optional and refused is "not offered", not an error.
pub fn identify(commands: &dyn DeviceCommands, nsid: u32) -> Result<Controller, CommandError> {
    let page = identify_page(commands, 0, 0x01)?;
    let mut controller = Controller::parse(&page, nsid);
    controller.namespace = Namespace::parse(&identify_page(commands, nsid, 0x00)?);
    let mut others = list(&identify_page(commands, 0, 0x02)?);
    // Namespaces that exist but are not attached here (allocated list) may belong to another controller's host.
    let (managed, shared) = (controller.oacs & 0x08 != 0, byte(&page, 76) & 0x02 != 0);
    if managed {
        match identify_page(commands, 0, 0x10) {
            Ok(page) if shared => others.extend(list(&page)),
            // Nobody else can have attached them.
            Ok(page) => {
                let allocated = list(&page).into_iter();
                controller.detached =
                    allocated.filter(|one| *one != nsid && !others.contains(one)).collect();
            }
            // A controller of before 1.2 has no such list.
            Err(error) if error.is_refusal() => {}
            Err(error) => return Err(error),
        }
    }
    others.retain(|other| *other != nsid);
    others.sort_unstable();
    others.dedup();
    controller.others = others;
    if controller.sanicap & 0x07 != 0 {
        controller.sanitize = Some(SanitizeStatus::parse(&sanitize_log(commands)?));
    }
    Ok(controller)
}

/// A namespace list: up to 1024 identifiers, ended by 0 (figure 37).
fn list(page: &[u8]) -> Vec<u32> {
    (0..page.len() / 4).map(|place| le32(page, place * 4)).take_while(|nsid| *nsid != 0).collect()
}

/// One Identify page; `cns` chooses it (figure 273).
fn identify_page(
    commands: &dyn DeviceCommands,
    nsid: u32,
    cns: u32,
) -> Result<Vec<u8>, CommandError> {
    let mut page = vec![0; PAGE];
    let command = NvmeCommand { opcode: IDENTIFY, nsid, cdw: [cns, 0, 0, 0, 0, 0], timeout: ASK };
    commands.nvme_admin("Identify", &command, Data::In(&mut page))?;
    Ok(page)
}

/// The sanitize status log page. It answers during a sanitize too.
///
/// # Errors
/// [`CommandError`].
pub fn sanitize_log(commands: &dyn DeviceCommands) -> Result<Vec<u8>, CommandError> {
    let mut page = vec![0; SANITIZE_LOG_BYTES];
    // NUMDL, bits 31:16: dwords less one.
    let dwords = u32::try_from(SANITIZE_LOG_BYTES / 4).unwrap_or(1).saturating_sub(1);
    let cdw = [SANITIZE_LOG | dwords << 16, 0, 0, 0, 0, 0];
    let command = NvmeCommand { opcode: GET_LOG_PAGE, nsid: ALL, cdw, timeout: ASK };
    commands.nvme_admin("Get Log Page (sanitize status)", &command, Data::In(&mut page))?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identify_fields_are_read_where_the_specification_has_them() {
        let mut page = vec![0; PAGE];
        page[256..258].copy_from_slice(&0x012a_u16.to_le_bytes());
        page[520] = 0x08;
        page[524] = 0x04;
        page[328..332].copy_from_slice(&0x2000_0003_u32.to_le_bytes());
        let controller = Controller::parse(&page, 1);
        assert_eq!((controller.oacs, controller.oncs, controller.fna), (0x12a, 8, 4));
        assert_eq!((controller.sanicap, controller.nsid), (0x2000_0003, 1));
        assert_eq!(Controller::parse(&[], 1).sanicap, 0, "a short page offers nothing");
    }

    #[test]
    fn the_sanitize_log_shows_progress_state_action_and_estimates() {
        let mut page = vec![0xff; SANITIZE_LOG_BYTES];
        page[..8].copy_from_slice(&[0x00, 0x40, 2, 1, 4, 0, 0, 0]);
        page[16..20].copy_from_slice(&90_u32.to_le_bytes());
        let status = SanitizeStatus::parse(&page);
        assert_eq!((status.progress, status.state), (0x4000, SanitizeState::Running));
        assert_eq!(status.action, 4);
        assert_eq!(status.estimates, [None, None, Some(Duration::from_secs(90))]);
        for (byte, state) in [
            (0, SanitizeState::Never),
            (1, SanitizeState::Completed),
            (3, SanitizeState::Failed),
            (4, SanitizeState::Completed),
            (7, SanitizeState::Never),
        ] {
            page[2] = byte;
            assert_eq!(SanitizeStatus::parse(&page).state, state);
        }
    }

    #[test]
    fn a_namespace_list_ends_at_zero_and_at_the_page() {
        let mut page = vec![0; PAGE];
        page[0] = 1;
        page[4] = 7;
        assert_eq!(list(&page), [1, 7]);
        assert_eq!(list(&vec![1; PAGE]).len(), 1024);
        let namespace = Namespace::parse(&{
            let mut page = vec![0; PAGE];
            page[33] = 9;
            page
        });
        assert!(namespace.deallocated_is_zero());
    }
}
