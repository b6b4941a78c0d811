//! File systems that other machines may be using right now: what Ironic guards, and their relatives. Read-only; every byte is
//! the disk's.

use uuid::Uuid;

use crate::layout::Range;
use crate::sys::disk::BlockDevice;

/// Types of GPT partitions (Ironic's list: GPFS, VMFS).
const GPT_TYPES: [(u128, &str); 2] = [
    (0x37af_fc90_ef7d_4e96_91c3_2d7a_e055_b174, "IBM Spectrum Scale (GPFS)"),
    (0xaa31_e02a_400f_11db_9590_000c_2911_d1b8, "VMware VMFS"),
];
/// Type of an MBR partition.
const MBR_VMFS: u8 = 0xfb;

/// File systems by their magic numbers: name, offset in bytes, bytes. GFS2: `GFS2_SB_ADDR` and `GFS2_MAGIC` (linux/gfs2_ondisk.h) with
/// the type of a super block; OCFS2: super block number 2 in blocks of 512 to 4096 bytes (fs/ocfs2/ocfs2_fs.h); VMFS: volume
/// member at 1 MiB, file system at 2 MiB (as libblkid knows them).
const MAGIC: [(&str, u64, &[u8]); 7] = [
    ("GFS2", 64 << 10, &[0x01, 0x16, 0x19, 0x70, 0, 0, 0, 1]),
    ("OCFS2", 2 * 512, b"OCFSV2"),
    ("OCFS2", 2 * 1024, b"OCFSV2"),
    ("OCFS2", 2 * 2048, b"OCFSV2"),
    ("OCFS2", 2 * 4096, b"OCFSV2"),
    ("VMware VMFS", 1 << 20, &[0x0d, 0xd0, 0x01, 0xc0]),
    ("VMware VMFS", 2 << 20, &[0x5e, 0xf1, 0xab, 0x2f]),
];
/// Most entries of a partition table that are looked at: every tool makes 128.
const ENTRIES_MAX: u32 = 1024;

/// The shared file system on `disk`, with what to do; `known` are the partitions that the kernel knows. What cannot be read is no
/// sign of one.
#[must_use]
pub fn cluster(disk: &dyn BlockDevice, known: &[Range]) -> Option<String> {
    let (types, mut starts) = table(disk);
    starts.extend(known.iter().map(|range| range.offset));
    starts.push(0);
    let by_type = types.into_iter().next();
    let name = by_type.or_else(|| starts.iter().find_map(|start| by_magic(disk, *start)))?;
    Some(format!(
        "it holds {name}, a file system that other machines may be using now; leave the disk out with \
         skip_block_devices, or make it unreachable from this machine, or remove that file system with its own tools"
    ))
}

fn by_magic(disk: &dyn BlockDevice, start: u64) -> Option<&'static str> {
    MAGIC.iter().find_map(|(name, offset, magic)| {
        let found = read(disk, start.checked_add(*offset)?, magic.len())?;
        (found == *magic).then_some(*name)
    })
}

/// Guarded types in the disk's own tables, and where its partitions start.
fn table(disk: &dyn BlockDevice) -> (Vec<&'static str>, Vec<u64>) {
    let sector = u64::from(disk.sector_bytes().max(512));
    let (mut types, mut starts) = (Vec::new(), Vec::new());
    let boot = read(disk, 0, 512).unwrap_or_default();
    if boot.get(510..512) == Some(&[0x55, 0xaa]) {
        // Four entries of 16 bytes from 446: type at 4, first sector at 8.
        for entry in boot.get(446..510).unwrap_or_default().chunks_exact(16) {
            if entry.get(4) == Some(&MBR_VMFS) {
                types.push("VMware VMFS");
            }
            starts.push(u64::from(le32(entry, 8)).saturating_mul(sector));
        }
    }
    // UEFI 2.10, 5.3.2: first block of the entries at 72, their number at 80, their size at 84.
    let header = read(disk, sector, 92).filter(|header| header.starts_with(b"EFI PART"));
    let Some(header) = header else { return (types, starts) };
    let first = le64(&header, 72).saturating_mul(sector);
    let (count, size) = (le32(&header, 80).min(ENTRIES_MAX), le32(&header, 84));
    if !(128..=4096).contains(&size) {
        return (types, starts);
    }
    for number in 0..count {
        let at = first.saturating_add(u64::from(number) * u64::from(size));
        let Some(entry) = read(disk, at, 48) else { break };
        let kind = entry.get(..16).and_then(|kind| kind.try_into().ok());
        let kind = kind.map(|kind| Uuid::from_bytes_le(kind).as_u128()).unwrap_or_default();
        if kind != 0 {
            starts.push(le64(&entry, 32).saturating_mul(sector));
        }
        types.extend(GPT_TYPES.iter().filter(|(known, _)| *known == kind).map(|(_, name)| *name));
    }
    (types, starts)
}

fn read(disk: &dyn BlockDevice, offset: u64, length: usize) -> Option<Vec<u8>> {
    let end = offset.checked_add(length as u64)?;
    if end > disk.bytes() {
        return None;
    }
    let mut bytes = vec![0; length];
    disk.read_at(offset, &mut bytes).ok()?;
    Some(bytes)
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.copied().map(u32::from_le_bytes).unwrap_or_default()
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.copied().map(u64::from_le_bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::MIB;
    use crate::layout::testing::{FakeDisk, LINUX, TestImage};

    fn with(kind: u128) -> FakeDisk {
        let image = TestImage::gpt(512, 16 * MIB, &[(kind, 4096, 8191, "data")]);
        let disk = FakeDisk::new(16 * MIB, 512);
        disk.write_at(0, &image.bytes).unwrap();
        disk
    }

    #[test]
    fn partition_types_of_shared_file_systems_are_known() {
        assert_eq!(cluster(&with(LINUX), &[]), None);
        assert!(cluster(&with(GPT_TYPES[0].0), &[]).unwrap().contains("GPFS"));
        assert!(cluster(&with(GPT_TYPES[1].0), &[]).unwrap().contains("VMFS"));
        let mbr = FakeDisk::new(MIB, 512);
        mbr.write_at(446 + 16 + 4, &[MBR_VMFS]).unwrap();
        assert_eq!(cluster(&mbr, &[]), None, "no boot signature, no table");
        mbr.write_at(510, &[0x55, 0xaa]).unwrap();
        assert!(cluster(&mbr, &[]).unwrap().contains("VMFS"));
    }

    #[test]
    fn file_systems_are_known_on_the_disk_in_its_partitions_and_in_the_kernels() {
        for (name, offset, magic) in MAGIC {
            let known = [Range { offset: 3 * MIB, bytes: 8 * MIB }];
            for start in [0, 2 * MIB, 3 * MIB] {
                let disk = with(LINUX);
                disk.write_at(start + offset, magic).unwrap();
                let found = cluster(&disk, &known).unwrap();
                assert!(found.contains(name) && found.contains("skip_block_devices"), "{found}");
            }
        }
    }

    #[test]
    fn hostile_tables_end_and_stay_on_the_disk() {
        let disk = with(LINUX);
        disk.write_at(512 + 72, &[0xff; 20]).unwrap();
        assert_eq!(cluster(&disk, &[Range { offset: u64::MAX, bytes: 1 }]), None);
        assert_eq!(cluster(&FakeDisk::new(0, 512), &[]), None);
    }
}
