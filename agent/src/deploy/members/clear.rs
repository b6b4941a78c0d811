//! Takes away what starts a system from the members of an array: the old one's before an image is written, and the new one's where
//! its deploy failed. Firmware reads the members, so clearing the array alone would leave them starting.

use std::io;

use super::BOOT_CODE;
use crate::layout::{MIB, Range};
use crate::raid::Arrays;
use crate::sys::disk::{Access, BlockDevice, DiskError, DiskOp, RealDisk, first_non_zero};
use crate::sys::partitions;

/// Zeroed at the start of a boot partition, bytes: FAT without its boot sectors is no file system, and GRUB begins in the first
/// sector.
const START: u64 = MIB;

/// Clears the EFI system partition, or the boot code and the BIOS boot partition, of every member, and looks that it is gone.
pub(in crate::deploy) fn clear(arrays: &Arrays) -> Result<(), DiskError> {
    if let Some(esp) = &arrays.esp {
        let mirror = RealDisk::open(&esp.device, Access::Write)?;
        let start = Range { offset: 0, bytes: START.min(mirror.bytes()) };
        mirror.zero(start.offset, start.bytes)?;
        mirror.flush()?;
        for member in &esp.members {
            is_zero(&RealDisk::open(&member.node, Access::Read)?, start)?;
        }
    }
    // A member that is a whole disk shows the array's own start, which is cleared with the array.
    for member in arrays.root.members.iter().filter(|member| member.node != member.disk) {
        boot_loader(&RealDisk::open(&member.disk, Access::WriteBeside)?)?;
    }
    Ok(())
}

/// Leaves a member as it was when its arrays were built; one without a BIOS boot partition has no loader.
fn boot_loader(disk: &dyn BlockDevice) -> Result<(), DiskError> {
    let Ok(table) = partitions::table(disk)? else { return Ok(()) };
    let Some(bios) = table.entries.iter().find(|entry| entry.bios) else { return Ok(()) };
    let code = Range { offset: 0, bytes: BOOT_CODE as u64 };
    let start = Range { bytes: START.min(bios.range.bytes), ..bios.range };
    for range in [code, start] {
        disk.zero(range.offset, range.bytes)?;
    }
    disk.flush()?;
    [code, start].into_iter().try_for_each(|range| is_zero(disk, range))
}

fn is_zero(disk: &dyn BlockDevice, range: Range) -> Result<(), DiskError> {
    let mut found = vec![0xff; usize::try_from(range.bytes).unwrap_or(0)];
    disk.read_at(range.offset, &mut found)?;
    let Some((place, byte)) = first_non_zero(&found) else { return Ok(()) };
    let offset = range.offset + place as u64;
    Err(DiskError {
        device: disk.path().to_path_buf(),
        op: DiskOp::Zero,
        offset,
        bytes: 1,
        source: io::Error::other(format!("it reads back as {byte:#04x}")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::member;
    use super::*;
    use crate::report::chain;

    #[test]
    fn a_member_is_left_as_its_arrays_were_built_with_its_own_table() {
        let disk = member(7);
        let built = disk.contents();
        disk.write_at(0, &[0xb0; BOOT_CODE]).unwrap();
        boot_loader(&disk).unwrap();
        let after = disk.contents();
        assert!(after[..BOOT_CODE].iter().all(|byte| *byte == 0));
        assert!(after[1 << 20..2 << 20].iter().all(|byte| *byte == 0));
        assert_eq!(after[BOOT_CODE..1 << 20], built[BOOT_CODE..1 << 20]);
        assert_eq!(after[2 << 20..], built[2 << 20..]);
    }

    #[test]
    fn a_member_that_keeps_its_loader_is_named() {
        let mut disk = member(7);
        disk.flip_at = Some(MIB + 5);
        let error = boot_loader(&disk).unwrap_err();
        assert_eq!((error.offset, error.op), (MIB + 5, DiskOp::Zero));
        assert!(chain(&error).contains("reads back as 0xff"), "{}", chain(&error));
    }
}
