//! `get_partition_uuids`: the names by which a conductor's boot loader step finds what was written.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::deploy::{RootDisk, identifiers};
use crate::layout::{Layout, Partition, Purpose};
use crate::report::chain;
use crate::sys::disk::{Access, BlockDevice, RealDisk};
use crate::sys::{System, partitions};

/// Where a master boot record has the disk's identifier, bytes (UEFI specification 2.10, table 5-1).
const MBR_ID: usize = 440;

/// Our partitions by Ironic's words for them.
const PARTS: [(Purpose, &str); 4] = [
    (Purpose::Esp, "efi system partition"),
    (Purpose::Swap, "swap"),
    (Purpose::Config, "configdrive"),
    (Purpose::Root, "root"),
];

/// What Ironic's agent answers: of a whole-disk image the identifier in the first sector, of a partition image the partitions'
/// devices, the UUID of the root file system and the volume identifier of the EFI system partition. To be called where blocking is
/// allowed; the disk is only read.
///
/// # Errors
/// What cannot be read, or is not there.
pub(super) fn of(
    system: &System,
    root: &RootDisk,
    is_partition_image: bool,
) -> Result<Value, String> {
    let disk = open(system, root)?;
    if is_partition_image { partitioned(&disk, &root.path) } else { whole(&disk) }
}

/// Whether `given` is the EFI system partition of the disk, as [`of`] or Ironic's agent names it.
///
/// # Errors
/// Why not.
pub(super) fn is_esp(system: &System, root: &RootDisk, given: &str) -> Result<(), String> {
    let disk = open(system, root)?;
    let layout = table(&disk)?;
    let esp = layout.entries.iter().find(|partition| partition.esp);
    let device = root.path.display();
    let esp = esp.ok_or_else(|| format!("{device} has no EFI system partition"))?;
    let own = name(&disk, esp)?;
    let guid = esp.guid.map(|guid| guid.to_string()).unwrap_or_default();
    if given.eq_ignore_ascii_case(&own) || given.eq_ignore_ascii_case(&guid) {
        return Ok(());
    }
    Err(format!(
        "efi_system_part_uuid is {given}, the EFI system partition of {device} is {own}: deploy anew"
    ))
}

fn open(system: &System, root: &RootDisk) -> Result<RealDisk, String> {
    let path = system.admit(&root.path).map_err(|error| chain(&error))?;
    RealDisk::open(path, Access::Read).map_err(|error| chain(&error))
}

fn whole(disk: &dyn BlockDevice) -> Result<Value, String> {
    let mut block = vec![0; disk.sector_bytes().max(512) as usize];
    disk.read_at(0, &mut block).map_err(|error| chain(&error))?;
    let id = block.get(MBR_ID..MBR_ID + 4).and_then(|id| id.try_into().ok());
    Ok(json!({"root uuid": format!("{:#010x}", u32::from_le_bytes(id.unwrap_or_default()))}))
}

fn partitioned(disk: &dyn BlockDevice, path: &Path) -> Result<Value, String> {
    let layout = table(disk)?;
    let mut devices = Map::new();
    let mut names = Map::new();
    for (purpose, word) in PARTS {
        let Some(partition) = layout.entries.iter().find(|one| one.name == purpose.name()) else {
            continue;
        };
        devices.insert(word.to_owned(), json!(device(path, partition.number)));
        if matches!(purpose, Purpose::Esp | Purpose::Root) {
            names.insert(format!("{word} uuid"), json!(name(disk, partition)?));
        }
    }
    if !names.contains_key("root uuid") {
        return Err("the disk has no partition named root, which a partition image gets".to_owned());
    }
    names.insert("partitions".to_owned(), Value::Object(devices));
    Ok(Value::Object(names))
}

fn table(disk: &dyn BlockDevice) -> Result<Layout, String> {
    match partitions::table(disk) {
        Ok(Ok(layout)) => Ok(layout),
        Ok(Err(error)) => Err(chain(&error)),
        Err(error) => Err(chain(&error)),
    }
}

fn name(disk: &dyn BlockDevice, partition: &Partition) -> Result<String, String> {
    identifiers::of_partition(disk, partition).map_err(|error| chain(&error))
}

/// As the kernel names it: `p` stands between a digit and the number.
fn device(disk: &Path, number: u32) -> String {
    let disk = disk.display().to_string();
    let between = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{between}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{self, Range, Wanted};
    use crate::vfat::Format;

    const UUID: [u8; 16] = *b"\x0b\xad\xf0\x0d\x11\x22\x43\x44\x85\x66\x77\x88\x99\xaa\xbb\xcc";

    /// A disk with what a partition image leaves: an EFI system partition, the root with an ext4 superblock.
    fn disk(folder: &Path) -> (System, RootDisk) {
        let path = folder.join("nvme0n1");
        let bytes: u64 = 64 << 20;
        std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        let wanted = [(Purpose::Esp, Some(16)), (Purpose::Root, None)]
            .map(|(purpose, mib)| Wanted { purpose, mib });
        let (layout, ranges) = layout::fresh(&wanted, bytes, 512).unwrap();
        let disk = RealDisk::open(path.clone(), Access::Write).unwrap();
        let format = Format {
            label: "ESP",
            volume_id: 0x1234_abcd,
            sector: 512,
            cluster: 2048,
            total: 16 << 20,
        };
        disk.write_at(ranges[0].offset, &format.make(&[]).unwrap()).unwrap();
        let Range { offset, .. } = ranges[1];
        disk.write_at(offset + 1024 + 0x38, &[0x53, 0xef]).unwrap();
        disk.write_at(offset + 1024 + 0x68, &UUID).unwrap();
        layout::commit(&disk, &layout).unwrap();
        let system = System::sandbox(Path::new("/"), std::slice::from_ref(&path)).unwrap();
        let (serial, warning) = (String::new(), None);
        (system, RootDisk { path, serial, bytes, sector_bytes: 512, warning })
    }

    #[test]
    fn a_partition_image_is_known_by_its_file_systems_and_a_whole_disk_by_its_first_sector() {
        let folder = tempfile::tempdir().unwrap();
        let (system, root) = disk(folder.path());
        let found = of(&system, &root, true).unwrap();
        let part = |number: u32| json!(format!("{}p{number}", root.path.display()));
        let expected = json!({
            "efi system partition uuid": "1234-ABCD",
            "root uuid": "0badf00d-1122-4344-8566-778899aabbcc",
            "partitions": {"efi system partition": part(1), "root": part(2)},
        });
        assert_eq!(found, expected);
        is_esp(&system, &root, "1234-abcd").unwrap();
        let error = is_esp(&system, &root, "1234-ABCE").unwrap_err();
        assert!(error.contains("is 1234-ABCD: deploy anew"), "{error}");
        assert_eq!(of(&system, &root, false).unwrap(), json!({"root uuid": "0x00000000"}));
        disk_id(&root.path);
        assert_eq!(of(&system, &root, false).unwrap(), json!({"root uuid": "0x1234abcd"}));
    }

    fn disk_id(path: &Path) {
        let disk = RealDisk::open(path, Access::Write).unwrap();
        disk.write_at(440, &0x1234_abcd_u32.to_le_bytes()).unwrap();
    }

    #[test]
    fn a_disk_without_our_partitions_is_no_partition_image() {
        let folder = tempfile::tempdir().unwrap();
        let (system, root) = disk(folder.path());
        RealDisk::open(&root.path, Access::Write).unwrap().zero(0, 1 << 20).unwrap();
        assert!(of(&system, &root, true).is_err());
    }

    #[test]
    fn partitions_are_named_as_the_kernel_does() {
        for (disk, expected) in [
            ("/dev/sda", "/dev/sda2"),
            ("/dev/nvme0n1", "/dev/nvme0n1p2"),
            ("/dev/md0", "/dev/md0p2"),
        ] {
            assert_eq!(device(Path::new(disk), 2), expected);
        }
    }
}
