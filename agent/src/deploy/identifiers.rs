//! Names that systems find their disks by, and which of them two disks of one machine share.
//!
//! A system that mounts its root by UUID, label or partition GUID takes whichever disk has it. An image that was written to
//! two disks of a machine, or to another one before, boots from either.

use std::fmt::Write as _;

use crate::layout::{Layout, Partition};
use crate::sys::disk::{BlockDevice, DiskError};

/// A name of a disk or of something on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identifier {
    /// What kind, as people call it.
    kind: &'static str,
    /// As `blkid` prints it.
    value: String,
}

/// The kind that file systems are mounted by.
const UUID: &str = "file system UUID";

/// Bytes at the start of a partition that hold every superblock looked at: btrfs keeps its own at 64 KiB.
const SUPERBLOCK_BYTES: usize = (64 << 10) + 4096;

/// The identifiers of the disk that has, or is about to have, `layout`.
///
/// # Errors
/// [`DiskError`] when a partition cannot be read.
pub(super) fn of(disk: &dyn BlockDevice, layout: &Layout) -> Result<Vec<Identifier>, DiskError> {
    let mut found = Vec::new();
    let mut add = |kind, value: Option<String>| {
        if let Some(value) = value {
            found.push(Identifier { kind, value });
        }
    };
    // UEFI 2.10, 5.2.1: the 32-bit disk signature at offset 440; 5.3.2: DiskGUID at offset 56 of the header in LBA 1.
    let signature = bytes::<4>(&layout.head, 440).map(u32::from_le_bytes);
    add(
        "MBR disk signature",
        signature.filter(|value| *value != 0).map(|value| format!("{value:#010x}")),
    );
    if layout.table == "gpt" {
        let at = disk.sector_bytes() as usize + 56;
        let guid = bytes::<16>(&layout.head, at).map(uuid::Uuid::from_bytes_le);
        add("GPT disk GUID", guid.map(|guid| guid.to_string()));
    }
    for partition in &layout.entries {
        add("partition GUID", partition.guid.map(|guid| guid.to_string()));
        for (kind, value) in file_system(&start(disk, partition)?) {
            add(kind, Some(value));
        }
    }
    Ok(found)
}

/// The UUID of the file system in `partition`, or where it has none the partition's own; empty where there is neither.
///
/// # Errors
/// [`DiskError`] when the partition cannot be read.
pub(crate) fn of_partition(
    disk: &dyn BlockDevice,
    partition: &Partition,
) -> Result<String, DiskError> {
    let start = start(disk, partition)?;
    let known = file_system(&start).into_iter().find(|(kind, _)| *kind == UUID);
    let own = || partition.guid.map(|guid| guid.to_string());
    Ok(known.map(|(_, value)| value).or_else(own).unwrap_or_default())
}

/// The first bytes of a partition, as many as superblocks need.
fn start(disk: &dyn BlockDevice, partition: &Partition) -> Result<Vec<u8>, DiskError> {
    let wanted = u64::try_from(SUPERBLOCK_BYTES).unwrap_or(u64::MAX).min(partition.range.bytes);
    let mut start = vec![0; usize::try_from(wanted).unwrap_or(0)];
    disk.read_at(partition.range.offset, &mut start)?;
    Ok(start)
}

/// UUID and label of the file system that begins with `start`.
fn file_system(start: &[u8]) -> Vec<(&'static str, String)> {
    let at = |offset: usize, magic: &[u8]| {
        start.get(offset..).is_some_and(|rest| rest.starts_with(magic))
    };
    let mut names = Vec::new();
    // Linux Documentation/filesystems/ext4/super.rst: superblock at 1024, magic at 0x38, UUID at 0x68, label at 0x78.
    if at(1024 + 0x38, &[0x53, 0xef]) {
        names.push((UUID, uuid_at(start, 1024 + 0x68)));
        names.push(("file system label", label_at(start, 1024 + 0x78, 16)));
    // XFS Algorithms & Data Structures, superblock: magic at 0, UUID at 32, label at 108.
    } else if at(0, b"XFSB") {
        names.push((UUID, uuid_at(start, 32)));
        names.push(("file system label", label_at(start, 108, 12)));
    // btrfs on-disk format: superblock at 64 KiB, fsid at 0x20, magic at 0x40, label at 0x12b.
    } else if at((64 << 10) + 0x40, b"_BHRfS_M") {
        names.push((UUID, uuid_at(start, (64 << 10) + 0x20)));
        names.push(("file system label", label_at(start, (64 << 10) + 0x12b, 256)));
    // Microsoft FAT specification: FAT32 has its type text at 82 and its serial at 67, FAT12/16 at 54 and 39.
    } else if at(82, b"FAT32") {
        names.push((UUID, serial_at(start, 67)));
    } else if at(54, b"FAT1") {
        names.push((UUID, serial_at(start, 39)));
    }
    names.into_iter().filter_map(|(kind, value)| Some((kind, value?))).collect()
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn uuid_at(start: &[u8], at: usize) -> Option<String> {
    let uuid = uuid::Uuid::from_bytes(bytes::<16>(start, at)?);
    (!uuid.is_nil()).then(|| uuid.to_string())
}

fn serial_at(start: &[u8], at: usize) -> Option<String> {
    let serial = u32::from_le_bytes(bytes::<4>(start, at)?);
    (serial != 0).then(|| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff))
}

fn label_at(start: &[u8], at: usize, len: usize) -> Option<String> {
    let field = start.get(at..at.checked_add(len)?)?;
    let text = field.split(|byte| *byte == 0).next()?;
    let text = String::from_utf8_lossy(text).trim().to_owned();
    (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
}

/// One sentence for a disk that shares names with the one written; none when it shares nothing.
pub(super) fn shared(
    written: &str,
    own: &[Identifier],
    other: &str,
    others: &[Identifier],
) -> Option<String> {
    let mut both: Vec<&Identifier> = own.iter().filter(|one| others.contains(one)).collect();
    both.dedup();
    let mut list = String::new();
    for Identifier { kind, value } in &both {
        let comma = if list.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        write!(list, "{comma}{kind} {value}").ok();
    }
    (!both.is_empty()).then(|| {
        format!(
            "{other} has the same {list} as {written}: the system may start from, or mount, the wrong disk; erase {other} or change its identifiers"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::testing::TestImage;
    use crate::sys::partitions;

    /// A disk with the cloud image and an ext4 superblock in its root partition.
    fn disk(uuid: u8, label: &str) -> (crate::layout::testing::FakeDisk, Layout) {
        let image = TestImage::cloud(512, 8);
        let disk = image.written(8 << 20);
        disk.write_at(0, &image.bytes).unwrap();
        let mut superblock = vec![0; 0x100];
        superblock[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        superblock[0x68..0x78].fill(uuid);
        superblock[0x78..0x78 + label.len()].copy_from_slice(label.as_bytes());
        disk.write_at((2 << 20) + 1024, &superblock).unwrap();
        let layout = partitions::table(&disk).unwrap().unwrap();
        (disk, layout)
    }

    #[test]
    fn disks_with_the_same_names_are_told_with_every_name_they_share() {
        let (first, layout) = disk(7, "cloud-root");
        let own = of(&first, &layout).unwrap();
        let (twin, layout) = disk(7, "cloud-root");
        let sentence = shared("/dev/sda", &own, "/dev/sdb", &of(&twin, &layout).unwrap()).unwrap();
        for part in [
            "/dev/sdb has the same",
            "GPT disk GUID",
            "partition GUID",
            "file system UUID 07070707-0707-0707-0707-070707070707",
            "file system label cloud-root",
            "erase /dev/sdb",
        ] {
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
    }

    #[test]
    fn only_what_is_shared_is_told_and_nothing_for_strangers() {
        let named = |value: &str| Identifier { kind: "file system label", value: value.to_owned() };
        let sentence = shared("a", &[named("root"), named("data")], "b", &[named("root")]).unwrap();
        assert!(sentence.contains("label root") && !sentence.contains("data"));
        assert_eq!(shared("a", &[named("root")], "b", &[named("other")]), None);
    }

    #[test]
    fn every_kind_of_file_system_is_known_by_its_own_names() {
        let mut start = vec![0; SUPERBLOCK_BYTES];
        assert!(file_system(&start).is_empty());
        start[82..87].copy_from_slice(b"FAT32");
        start[67..71].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        assert_eq!(file_system(&start), [("file system UUID", "DEAD-BEEF".to_owned())]);
        let mut start = vec![0; SUPERBLOCK_BYTES];
        start[..4].copy_from_slice(b"XFSB");
        start[32..48].fill(1);
        assert_eq!(file_system(&start).len(), 1);
        let mut start = vec![0; SUPERBLOCK_BYTES];
        start[(64 << 10) + 0x40..][..8].copy_from_slice(b"_BHRfS_M");
        start[(64 << 10) + 0x20..][..16].fill(2);
        assert_eq!(file_system(&start)[0].1, "02020202-0202-0202-0202-020202020202");
        assert!(file_system(&start[..600]).is_empty());
    }
}
