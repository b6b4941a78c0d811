//! Partition images: a file system for a partition of its own, with a table, an EFI system partition and swap made around it.
//!
//! Order and proof are those of a whole-disk image: the disk's ends are cleared, the image goes to its partition and is read
//! back, its loader is copied to the EFI system partition and read back, and the table is left to the commit.

use std::sync::Arc;

use ironwright_api::{Blame, Failure, PartitionImage};

use super::loader::{self, LoaderError};
use super::perform::{UNBOOTABLE, disk_failure};
use crate::boot;
use crate::configdrive::{self, ConfigDrive};
use crate::layout::{self, CONFIG_BYTES, Layout, LayoutError, MIB, Purpose, Range, Wanted};
use crate::report::chain;
use crate::sys::disk::{BlockDevice, Slice, first_non_zero};
use crate::vfat::Format;

/// Length of the EFI system partition, MiB (Ironic's `efi_system_partition_size`).
const ESP_MIB: u64 = 550;
/// Cluster of its FAT16, bytes: 35,200 of them.
const ESP_CLUSTER: usize = 16 << 10;
/// A swap area's header is its first page; the signature ends it (Linux `include/linux/swap.h`, `union swap_header`).
const PAGE: usize = 4096;

/// The table that a partition image gets, and where its parts are.
#[derive(Debug)]
pub(super) struct Scheme {
    pub(super) layout: Layout,
    esp: Range,
    swap: Option<Range>,
    pub(super) root: Range,
}

/// Lays the disk out as Ironic does: EFI system partition, swap, config drive, root last.
///
/// # Errors
/// [`LayoutError`]: it does not fit.
pub(super) fn scheme(
    image: &PartitionImage,
    disk_bytes: u64,
    sector_bytes: u32,
    drive_bytes: Option<u64>,
) -> Result<Scheme, LayoutError> {
    let some = |mib: u64| (mib > 0).then_some(mib);
    let config = drive_bytes.map(|bytes| bytes.max(CONFIG_BYTES).div_ceil(MIB));
    let parts = [
        (Purpose::Esp, Some(Some(ESP_MIB))),
        (Purpose::Swap, some(image.swap_mib).map(Some)),
        (Purpose::Config, config.map(Some)),
        (Purpose::Root, Some(some(image.root_mib))),
    ];
    let wanted: Vec<Wanted> = parts
        .into_iter()
        .filter_map(|(purpose, mib)| mib.map(|mib| Wanted { purpose, mib }))
        .collect();
    let (layout, ranges) = layout::fresh(&wanted, disk_bytes, sector_bytes)?;
    let place = |purpose| {
        wanted.iter().zip(&ranges).find(|(part, _)| part.purpose == purpose).map(|(_, at)| *at)
    };
    let none = LayoutError::NoPartitions { table: "gpt" };
    let (Some(esp), Some(root)) = (place(Purpose::Esp), place(Purpose::Root)) else {
        return Err(none);
    };
    Ok(Scheme { esp, swap: place(Purpose::Swap), root, layout })
}

/// Takes away what made the disk bootable, its first and its last MiB, and looks whether it is gone.
///
/// # Errors
/// The [`Failure`] to report, which does not promise what the disk holds now.
pub(super) fn clear(disk: &dyn BlockDevice) -> Result<(), Failure> {
    let ends = [0, disk.bytes().saturating_sub(MIB)];
    let zero = |at| disk.zero(at, MIB);
    let cleared = ends.into_iter().try_for_each(zero).and_then(|()| disk.flush());
    cleared.map_err(|error| kept(&chain(&error)))?;
    for at in ends {
        let mut found = vec![0xFF; usize::try_from(MIB).unwrap_or(0)];
        disk.read_at(at, &mut found).map_err(|error| kept(&chain(&error)))?;
        if let Some((place, _)) = first_non_zero(&found) {
            return Err(kept(&format!(
                "byte {} is not zero after it was zeroed",
                at + place as u64
            )));
        }
    }
    Ok(())
}

fn kept(why: &str) -> Failure {
    Failure {
        step: String::new(),
        message: format!("{why}; the disk's old partition table may still be there"),
        remedy: "check the disk, its cable and controller, and replace what is broken".to_owned(),
        blame: Blame::Hardware,
    }
}

/// A failure before anything was changed.
pub(super) fn untouched(error: &LayoutError) -> Failure {
    Failure {
        step: String::new(),
        message: format!("nothing was changed: {error}"),
        remedy: "choose a smaller root_gb or swap_mb, or a larger disk".to_owned(),
        blame: Blame::Order,
    }
}

/// A failure of the image after [`clear`]: its own words speak of its partition only.
pub(super) fn cleared(failure: Failure) -> Failure {
    Failure { message: format!("{}; {UNBOOTABLE}", failure.message), ..failure }
}

/// Makes the partitions around the written image, each flushed and read back.
///
/// # Errors
/// The [`Failure`] to report; the disk has no partition table.
pub(super) fn fill(disk: &Arc<dyn BlockDevice>, scheme: &Scheme) -> Result<(), Failure> {
    let root: Arc<dyn BlockDevice> = Arc::new(Slice::new(disk.clone(), scheme.root));
    let entries = loader::read(root).map_err(|error| no_loader(&error))?;
    let format = Format {
        label: "ESP",
        volume_id: volume_id(&scheme.layout),
        sector: disk.sector_bytes() as usize,
        cluster: ESP_CLUSTER,
        total: usize::try_from(scheme.esp.bytes).unwrap_or(0),
    };
    let Some(bytes) = format.make(&entries) else {
        return Err(no_loader(&LoaderError::TooMuch));
    };
    put(disk.as_ref(), scheme.esp, bytes, "vfat")?;
    let esp = scheme.layout.entries.iter().find(|entry| entry.esp);
    let found = esp.map_or(Ok(()), |esp| boot::has_loader(disk.as_ref(), esp));
    found.map_err(|why| no_loader(&LoaderError::Unusable { why }))?;
    if let Some(swap) = scheme.swap {
        put(disk.as_ref(), swap, swap_header(swap.bytes, uuid::Uuid::new_v4()), "swap")?;
    }
    Ok(())
}

/// Writes the start of a partition, zeros the rest of it, and reads it back: as with a config drive.
fn put(
    disk: &dyn BlockDevice,
    range: Range,
    bytes: Vec<u8>,
    filesystem: &'static str,
) -> Result<(), Failure> {
    configdrive::write(disk, range, &ConfigDrive { bytes, filesystem })
        .map(drop)
        .map_err(|error| disk_failure(&error))
}

/// From the partition's GUID: no two disks have the same.
fn volume_id(layout: &Layout) -> u32 {
    layout.entries.first().and_then(|entry| entry.guid).map_or(0, |guid| guid.as_fields().0)
}

/// Version 1, no bad pages.
fn swap_header(bytes: u64, uuid: uuid::Uuid) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    let last_page = u32::try_from(bytes / PAGE as u64 - 1).unwrap_or(u32::MAX);
    let fields: [(usize, &[u8]); 4] = [
        (1024, &1u32.to_le_bytes()),
        (1028, &last_page.to_le_bytes()),
        (1036, uuid.as_bytes()),
        (PAGE - 10, b"SWAPSPACE2"),
    ];
    for (at, field) in fields {
        layout::bytes::put(&mut page, at, field);
    }
    page
}

fn no_loader(error: &LoaderError) -> Failure {
    Failure {
        step: String::new(),
        message: format!("{}; {UNBOOTABLE}", chain(error)),
        remedy: "build the partition image as ext4 with its EFI loader below /boot/efi (EFI/BOOT/BOOTX64.EFI and what it reads), \
                 or deploy a whole-disk image"
            .to_owned(),
        blame: Blame::Order,
    }
}

#[cfg(test)]
mod tests;
