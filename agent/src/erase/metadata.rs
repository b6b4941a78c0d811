//! Zeroes partition tables and signatures of one disk, and reads back that they are gone.
//!
//! The first and the last MiB of the disk and of every partition. That covers MBR and both GPTs (34 and 33 sectors, 4 KiB
//! sectors too), LVM (first sectors), ext, XFS, btrfs (64 KiB), swap, LUKS headers, ZFS labels (512 KiB at both ends), and
//! RAID superblocks at a device's end (md 0.90: within the last 128 KiB; md 1.0, DDF and IMSM: the last sectors).

use ironwright_api::Erased;

use crate::layout::{MIB, Range};
use crate::sys::disk::{BlockDevice, DiskError, first_non_zero};
use crate::sys::partitions;

/// Why a disk's metadata could not be erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The disk refused.
    #[error("erasing the metadata of {device}")]
    Disk {
        /// Device node.
        device: String,
        /// Why.
        source: DiskError,
    },
    /// There is nothing to erase: a reader without a card, or a dead disk.
    #[error("{device} has no bytes: an empty reader or a dead disk; nothing was erased")]
    Empty {
        /// Device node.
        device: String,
    },
    /// The disk returns other bytes than zeros.
    #[error(
        "{device} returns {found:#04x} at offset {offset} after it was zeroed; the disk does not keep what is written, replace it"
    )]
    NotZero {
        /// Device node.
        device: String,
        /// First byte that differs.
        offset: u64,
        /// What was read.
        found: u8,
    },
}

/// Erases the metadata of `disk`. `known` are the partitions the kernel knows; those of the disk's own tables are added.
///
/// # Errors
/// [`EraseError`]
pub fn erase(disk: &dyn BlockDevice, serial: &str, known: &[Range]) -> Result<Erased, EraseError> {
    let device = disk.path().display().to_string();
    let refused = |source| EraseError::Disk { device: device.clone(), source };
    if disk.bytes() == 0 {
        return Err(EraseError::Empty { device });
    }
    let mut partitions = known.to_vec();
    partitions.extend(own_partitions(disk).map_err(refused)?);
    let areas = areas(disk.bytes(), &partitions);
    for area in &areas {
        disk.zero(area.offset, area.bytes).map_err(refused)?;
    }
    disk.flush().map_err(refused)?;
    let mut verified_bytes = 0;
    for area in &areas {
        if let Some((offset, found)) = first_on_disk(disk, *area).map_err(refused)? {
            return Err(EraseError::NotZero { device: device.clone(), offset, found });
        }
        verified_bytes += area.bytes;
    }
    Ok(Erased {
        serial: serial.to_owned(),
        disk_bytes: disk.bytes(),
        method: "metadata".to_owned(),
        bytes: areas.iter().map(|area| area.bytes).sum(),
        verified_bytes,
        certificate: None,
        device,
    })
}

/// The partitions in the disk's own table. A table that cannot be read names none: it goes anyway.
fn own_partitions(disk: &dyn BlockDevice) -> Result<Vec<Range>, DiskError> {
    Ok(match partitions::table(disk)? {
        Ok(table) => table.entries.iter().map(|entry| entry.range).collect(),
        Err(error) => {
            tracing::info!("{}: no partition table to read: {error}", disk.path().display());
            Vec::new()
        }
    })
}

/// Both ends of the disk and of every partition, clipped to the disk, sorted, without overlap.
fn areas(disk_bytes: u64, partitions: &[Range]) -> Vec<Range> {
    let whole = Range { offset: 0, bytes: disk_bytes };
    let mut ends: Vec<(u64, u64)> = std::iter::once(&whole)
        .chain(partitions)
        .flat_map(|range| {
            let edge = MIB.min(range.bytes);
            let end = range.end();
            [(range.offset, range.offset.saturating_add(edge)), (end - edge, end)]
        })
        .map(|(start, end)| (start.min(disk_bytes), end.min(disk_bytes)))
        .filter(|(start, end)| start < end)
        .collect();
    ends.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ends {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged.into_iter().map(|(start, end)| Range { offset: start, bytes: end - start }).collect()
}

fn first_on_disk(disk: &dyn BlockDevice, area: Range) -> Result<Option<(u64, u8)>, DiskError> {
    let mut buffer = vec![0; usize::try_from(MIB.min(area.bytes)).unwrap_or(0)];
    let mut at = area.offset;
    while at < area.end() {
        let length = usize::try_from(area.end() - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = &mut buffer[..length];
        disk.read_at(at, piece)?;
        if let Some((place, byte)) = first_non_zero(piece) {
            return Ok(Some((at + place as u64, byte)));
        }
        at += length as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::testing::{FakeDisk, LINUX, TestImage};
    use crate::sys::disk::DiskOp;

    const DISK: u64 = 32 * MIB;

    /// A disk full of 0xEE, with a GPT of two partitions on top.
    fn used() -> FakeDisk {
        let sectors = |mib: u64| mib * 2048;
        let parts = [
            (LINUX, sectors(4), sectors(8) - 1, "root"),
            (LINUX, sectors(12), sectors(20) - 1, "data"),
        ];
        let image = TestImage::gpt(512, DISK, &parts);
        let disk = FakeDisk::new(DISK, 512);
        disk.write_at(0, &image.bytes).unwrap();
        for gap in [1, 2, 8, 9, 10, 11, 20, 25, 30] {
            disk.write_at(gap * MIB, &vec![0xEE; 1 << 20]).unwrap();
        }
        disk
    }

    #[test]
    fn both_ends_of_the_disk_and_of_its_partitions_are_zero_and_nothing_else_changed() {
        let disk = used();
        let before = disk.contents();
        let erased = erase(&disk, "S1", &[]).unwrap();
        let after = disk.contents();
        let mib = |n: usize| n << 20..(n + 1) << 20;
        for zeroed in [0, 31, 4, 7, 12, 19] {
            assert!(after[mib(zeroed)].iter().all(|byte| *byte == 0), "MiB {zeroed}");
        }
        for kept in [1, 5, 6, 8, 13, 18, 20, 30] {
            assert_eq!(after[mib(kept)], before[mib(kept)], "MiB {kept}");
        }
        assert_eq!((erased.bytes, erased.verified_bytes), (6 * MIB, 6 * MIB));
        assert_eq!((erased.serial.as_str(), erased.disk_bytes), ("S1", DISK));
    }

    #[test]
    fn a_disk_without_bytes_is_not_reported_as_erased() {
        let error = erase(&FakeDisk::new(0, 512), "", &[]).unwrap_err();
        assert!(error.to_string().contains("has no bytes"), "{error}");
    }

    #[test]
    fn nothing_is_believed_before_the_flush_and_the_reading_back() {
        let disk = used();
        disk.ops.lock().unwrap().clear();
        erase(&disk, "", &[]).unwrap();
        let ops: Vec<DiskOp> = disk.ops.lock().unwrap().iter().map(|(op, ..)| *op).collect();
        let flush = ops.iter().position(|op| *op == DiskOp::Flush).unwrap();
        assert!(ops[flush..].iter().skip(1).all(|op| *op == DiskOp::Read));
        assert_eq!(ops[flush..].len(), 1 + 6);

        let mut forgetful = used();
        forgetful.flip_at = Some(DISK - 1);
        let error = erase(&forgetful, "", &[]).unwrap_err();
        assert!(
            matches!(error, EraseError::NotZero { offset, .. } if offset == DISK - 1),
            "{error}"
        );
    }

    #[test]
    fn areas_are_clipped_merged_and_never_beyond_the_disk() {
        let range = |offset, bytes| Range { offset, bytes };
        for (disk, partitions, expected) in [
            (10 * MIB, vec![], vec![(0, MIB), (9 * MIB, 10 * MIB)]),
            (1000, vec![], vec![(0, 1000)]),
            (0, vec![], vec![]),
            // The kernel's idea of a partition may be nonsense.
            (10 * MIB, vec![range(u64::MAX - 5, u64::MAX)], vec![(0, MIB), (9 * MIB, 10 * MIB)]),
            (10 * MIB, vec![range(4 * MIB, 0)], vec![(0, MIB), (9 * MIB, 10 * MIB)]),
            (10 * MIB, vec![range(MIB, 4096)], vec![(0, MIB + 4096), (9 * MIB, 10 * MIB)]),
            (
                10 * MIB,
                vec![range(2 * MIB, 3 * MIB)],
                vec![(0, MIB), (2 * MIB, 3 * MIB), (4 * MIB, 5 * MIB), (9 * MIB, 10 * MIB)],
            ),
        ] {
            let found: Vec<(u64, u64)> =
                areas(disk, &partitions).iter().map(|area| (area.offset, area.end())).collect();
            assert_eq!(found, expected, "{disk} {partitions:?}");
        }
    }

    #[test]
    fn partitions_only_the_kernel_knows_are_erased_too() {
        let disk = used();
        erase(&disk, "", &[Range { offset: 8 * MIB, bytes: 4 * MIB }]).unwrap();
        assert_eq!(disk.contents()[8 << 20], 0);
        assert_eq!(disk.contents()[(12 << 20) - 1], 0);
        assert_eq!(disk.contents()[9 << 20], 0xEE);
    }
}
