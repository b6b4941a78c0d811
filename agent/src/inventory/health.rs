//! How NVMe disks judge themselves: their SMART log. Asked through the disk's own door; reading changes
//! nothing. A disk that does not answer is not in the list.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::Disk;
use crate::sys::command::{CommandError, Data, DeviceCommands, NvmeCommand};
use crate::sys::disk::{Access, RealDisk};

/// Get Log Page, and the SMART / Health Information page of the whole controller (NVM Express Base Specification 2.0, 5.16.1.3).
const GET_LOG_PAGE: u8 = 0x02;
const SMART_LOG: u32 = 0x02;
const SMART_LOG_BYTES: usize = 512;
const ALL_NAMESPACES: u32 = 0xffff_ffff;
/// How long a disk may think about it.
const ASK: Duration = Duration::from_secs(5);
/// Kelvin to degrees Celsius, as drives count.
const FREEZING_K: i32 = 273;

/// One disk's own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    /// Device node.
    name: String,
    serial: Option<String>,
    /// Whether the disk says that it is well.
    passed: bool,
    /// What it warns of.
    warnings: Vec<&'static str>,
    temperature_celsius: Option<i32>,
    /// Wear, percent of what the maker promised; may be above 100.
    percentage_used: u8,
    /// Spare blocks left, percent.
    available_spare: u8,
    power_on_hours: u64,
    power_cycles: u64,
    unsafe_shutdowns: u64,
    media_errors: u64,
    /// Bytes written by the host, in units of 512,000.
    data_units_written: u64,
}

/// Asks the NVMe disks among `disks`; each is opened for reading only.
pub(super) fn collect(disks: &[Disk]) -> Vec<Health> {
    let nvme = disks.iter().filter(|disk| disk.tran.as_deref() == Some("nvme"));
    nvme.filter_map(|disk| {
        let opened = RealDisk::open(Path::new(&disk.name), Access::Read).ok()?;
        let commands = opened.commands().ok()?;
        let log = smart_log(&commands).map_err(|error| {
            tracing::debug!("{}: no SMART log: {error}", disk.name);
        });
        Some(health(disk, &log.ok()?))
    })
    .collect()
}

fn smart_log(device: &dyn DeviceCommands) -> Result<Vec<u8>, CommandError> {
    let mut page = vec![0; SMART_LOG_BYTES];
    let dwords = u32::try_from(SMART_LOG_BYTES / 4 - 1).unwrap_or_default();
    let command = NvmeCommand {
        opcode: GET_LOG_PAGE,
        nsid: ALL_NAMESPACES,
        cdw: [dwords << 16 | SMART_LOG, 0, 0, 0, 0, 0],
        timeout: ASK,
    };
    device.nvme_admin("Get Log Page (SMART)", &command, Data::In(&mut page))?;
    Ok(page)
}

/// Critical warnings by their bits.
const WARNINGS: [&str; 6] = [
    "spare blocks are below the threshold",
    "temperature is out of bounds",
    "reliability is degraded",
    "media are read-only",
    "the backup of volatile memory failed",
    "the persistent memory region is read-only",
];

fn health(disk: &Disk, page: &[u8]) -> Health {
    let byte = |at: usize| page.get(at).copied().unwrap_or_default();
    // Counters have 16 bytes; what does not fit into 8 is no counter.
    let counter = |at: usize| {
        let bytes = page.get(at..).and_then(<[u8]>::first_chunk::<16>);
        let value = bytes.map(|bytes| u128::from_le_bytes(*bytes)).unwrap_or_default();
        u64::try_from(value).unwrap_or(u64::MAX)
    };
    let kelvin = i32::from(u16::from_le_bytes([byte(1), byte(2)]));
    let warnings = WARNINGS.iter().enumerate().filter(|(bit, _)| byte(0) >> bit & 1 == 1);
    Health {
        name: disk.name.clone(),
        serial: disk.serial.clone(),
        passed: byte(0) == 0,
        warnings: warnings.map(|(_, words)| *words).collect(),
        temperature_celsius: (kelvin > 0).then_some(kelvin - FREEZING_K),
        percentage_used: byte(5),
        available_spare: byte(3),
        power_on_hours: counter(128),
        power_cycles: counter(112),
        unsafe_shutdowns: counter(144),
        media_errors: counter(160),
        data_units_written: counter(48),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smart_log_is_read_field_by_field() {
        let mut page = vec![0; SMART_LOG_BYTES];
        page[0] = 0b100;
        page[1..3].copy_from_slice(&300_u16.to_le_bytes());
        (page[3], page[5]) = (97, 101);
        page[128..130].copy_from_slice(&1000_u16.to_le_bytes());
        page[160] = 3;
        page[48..64].fill(0xff);
        let disk = Disk { name: "/dev/nvme0n1".to_owned(), ..Disk::default() };
        let found = health(&disk, &page);
        assert!(!found.passed);
        assert_eq!(found.warnings, ["reliability is degraded"]);
        assert_eq!((found.temperature_celsius, found.available_spare), (Some(27), 97));
        assert_eq!(
            (found.percentage_used, found.power_on_hours, found.media_errors),
            (101, 1000, 3)
        );
        assert_eq!(found.data_units_written, u64::MAX);
    }
}
