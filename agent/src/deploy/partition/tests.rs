//! Disks made around real ext4 file systems.

use std::io::{Cursor, Read as _};

use super::*;
use crate::sys::disk::{Access, RealDisk};
use crate::sys::partitions;

/// An ext4 file system with `files` (path, content), or nothing where this machine has no e2fsprogs.
fn ext4(files: &[(&str, &[u8])]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let (tree, image) = (folder.path().join("tree"), folder.path().join("image"));
    std::fs::create_dir(&tree).unwrap();
    for (path, content) in files {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    crate::configdrive::tests::oracle(
        "mke2fs",
        &["-q", "-t", "ext4", "-d", tree.to_str()?, image.to_str()?, "16M"],
    )?;
    Some(std::fs::read(image).unwrap())
}

fn disk(bytes: u64) -> (tempfile::NamedTempFile, Arc<dyn BlockDevice>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(bytes).unwrap();
    let disk = Arc::new(RealDisk::open(file.path(), Access::Write).unwrap());
    (file, disk)
}

const IMAGE: PartitionImage = PartitionImage { root_mib: 20, swap_mib: 8 };

#[test]
fn the_layout_is_ironics_with_the_root_last() {
    let scheme = scheme(&IMAGE, 1 << 30, 512, Some(5)).unwrap();
    let mib = |offset, bytes| Range { offset: offset * MIB, bytes: bytes * MIB };
    assert_eq!((scheme.esp, scheme.swap), (mib(1, 550), Some(mib(551, 8))));
    assert_eq!((scheme.layout.config, scheme.root), (Some(mib(559, 64)), mib(623, 20)));
    let rest = PartitionImage { root_mib: 0, swap_mib: 0 };
    let scheme = super::scheme(&rest, 1 << 30, 512, None).unwrap();
    assert_eq!((scheme.swap, scheme.root.end()), (None, 1023 * MIB));
    let error = super::scheme(&IMAGE, 570 * MIB, 512, None).map(drop).unwrap_err();
    assert!(matches!(error, LayoutError::NoRoom { .. }), "{error}");
}

#[test]
fn the_images_own_loader_is_on_the_esp_and_the_table_is_left_to_the_commit() {
    let loader = vec![0x5A; 300_000];
    let Some(image) = ext4(&[
        ("boot/efi/EFI/BOOT/BOOTX64.EFI", &loader),
        ("boot/efi/EFI/debian/grub.cfg", b"search"),
        ("etc/fstab", b"nothing of this"),
    ]) else {
        return;
    };
    let (file, disk) = disk(1 << 30);
    disk.write_at(0, &[0xFF; 4096]).unwrap();
    clear(disk.as_ref()).unwrap();
    let scheme = scheme(&IMAGE, disk.bytes(), 512, None).unwrap();
    Slice::new(disk.clone(), scheme.root).write_at(0, &image).unwrap();
    fill(&disk, &scheme).unwrap();
    assert!(partitions::table(disk.as_ref()).unwrap().is_err(), "no table before the commit");
    layout::commit(disk.as_ref(), &scheme.layout).unwrap();
    let table = partitions::table(disk.as_ref()).unwrap().unwrap();
    assert_eq!(table.entries.len(), 3);

    let whole = std::fs::read(file.path()).unwrap();
    let part = |range: Range| {
        let at = usize::try_from(range.offset).unwrap();
        &whole[at..at + usize::try_from(range.bytes).unwrap()]
    };
    let esp = Cursor::new(part(scheme.esp).to_vec());
    let esp = fatfs::FileSystem::new(esp, fatfs::FsOptions::new()).unwrap();
    let mut found = Vec::new();
    esp.root_dir().open_file("EFI/BOOT/BOOTX64.EFI").unwrap().read_to_end(&mut found).unwrap();
    assert!(found == loader);
    let swap = part(scheme.swap.unwrap());
    assert_eq!(&swap[4086..4096], b"SWAPSPACE2");
    assert_eq!(swap[1028..1032], 2047u32.to_le_bytes());
}

#[test]
fn an_image_without_a_loader_or_of_another_file_system_is_refused_with_what_to_do() {
    let Some(bare) = ext4(&[("etc/fstab", b"x"), ("boot/efi/readme.txt", b"x")]) else { return };
    let Some(vendors) = ext4(&[("boot/efi/EFI/debian/grubx64.efi", b"x")]) else { return };
    for (image, words) in [
        (bare, "no EFI loader"),
        (vendors, "no firmware would start"),
        (vec![0x11; 1 << 20], "no ext4"),
    ] {
        let (_file, disk) = disk(1 << 30);
        let scheme = scheme(&IMAGE, disk.bytes(), 512, None).unwrap();
        Slice::new(disk.clone(), scheme.root).write_at(0, &image).unwrap();
        let failure = fill(&disk, &scheme).unwrap_err();
        assert!(
            failure.message.contains(words) && failure.message.contains(UNBOOTABLE),
            "{failure:?}"
        );
        assert!(failure.remedy.contains("BOOTX64.EFI"));
        assert_eq!(failure.blame, Blame::Order);
    }
}
