//! What of the members of an array starts a system: the old one's goes before an image is written, the new one's where its deploy
//! failed. Firmware reads the members, so clearing the array alone would leave them starting.

use super::{BOOT_CODE, table};
use crate::image::Starter;
use crate::layout::{Layout, MIB, Range};
use crate::raid::Member;
use crate::report::chain;
use crate::sys::disk::{Access, RealDisk};

/// Zeroed at the start of a boot partition, bytes: FAT without its boot sectors is no file system, and GRUB begins in the first
/// sector.
const START: u64 = MIB;

/// The EFI system partitions that `esp` mirrors, and boot code and BIOS boot partition of the disks that `root` is on. Each member
/// is cleared by itself, as firmware reads it: the arrays need not run, nor be whole.
pub(in crate::deploy) fn starters(root: &[Member], esp: &[Member]) -> Vec<Starter> {
    let start = Range { offset: 0, bytes: START };
    let esp = esp.iter().map(|member| Starter {
        device: member.node.clone(),
        ranges: vec![start],
        doubt: None,
    });
    // A member that is a whole disk shows the array's own start, which is cleared with the array.
    let root = root.iter().filter(|member| member.node != member.disk).map(boot_loader);
    esp.chain(root).collect()
}

/// The boot code goes in any case; where the rest of the loader is, the member's own table says.
fn boot_loader(member: &Member) -> Starter {
    let opened = RealDisk::open(&member.disk, Access::Read).map_err(|error| chain(&error));
    let table = opened.and_then(|disk| table(&disk).map_err(|error| chain(&error)));
    let code = Range { offset: 0, bytes: BOOT_CODE as u64 };
    let device = member.disk.clone();
    match table {
        Ok(table) => {
            let ranges = [code].into_iter().chain(bios_start(&table)).collect();
            Starter { device, ranges, doubt: None }
        }
        Err(why) => {
            let why = format!("where its BIOS boot partition is cannot be told: {why}");
            Starter { device, ranges: vec![code], doubt: Some(why) }
        }
    }
}

/// A member without a BIOS boot partition has no loader beyond its boot code.
fn bios_start(table: &Layout) -> Option<Range> {
    let bios = table.entries.iter().find(|entry| entry.bios)?.range;
    Some(Range { bytes: START.min(bios.bytes), ..bios })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::tests::member;
    use super::*;
    use crate::image::clear_starters;

    fn on(disk: &Path) -> Vec<Starter> {
        starters(&[Member { node: disk.with_extension("part2"), disk: disk.to_path_buf() }], &[])
    }

    #[test]
    fn a_member_is_left_as_its_arrays_were_built_with_its_own_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let built = member(7).contents();
        let mut started = built.clone();
        started[..BOOT_CODE].fill(0xb0);
        fs::write(&path, &started).unwrap();
        assert_eq!(clear_starters(&on(&path)).unwrap(), std::slice::from_ref(&path));
        let after = fs::read(&path).unwrap();
        assert!(after[..BOOT_CODE].iter().all(|byte| *byte == 0));
        assert!(after[1 << 20..2 << 20].iter().all(|byte| *byte == 0));
        assert_eq!(after[BOOT_CODE..1 << 20], built[BOOT_CODE..1 << 20]);
        assert_eq!(after[2 << 20..], built[2 << 20..]);
    }

    #[test]
    fn a_member_whose_table_cannot_be_read_loses_its_boot_code_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut damaged = member(7).contents();
        damaged[..BOOT_CODE].fill(0xb0);
        damaged[600] ^= 0xff;
        fs::write(&path, &damaged).unwrap();
        let words = clear_starters(&on(&path)).unwrap_err().to_string();
        for part in ["/disk (where its BIOS boot partition is", "no good partition table"] {
            assert!(words.contains(part), "{part}: {words}");
        }
        let after = fs::read(&path).unwrap();
        assert!(after[..BOOT_CODE].iter().all(|byte| *byte == 0));
        assert_eq!(after[BOOT_CODE..], damaged[BOOT_CODE..]);
    }

    #[test]
    fn a_whole_disk_and_an_efi_system_partition_have_no_loader_of_their_own() {
        let whole = Member { node: "/dev/sda".into(), disk: "/dev/sda".into() };
        let esp = Member { node: "/dev/sdb1".into(), disk: "/dev/sdb".into() };
        let found = starters(&[whole], &[esp]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].device, Path::new("/dev/sdb1"));
        assert_eq!(found[0].ranges, [Range { offset: 0, bytes: MIB }]);
    }
}
