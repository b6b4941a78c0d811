use std::fs;
use std::io::{Cursor, Write};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::layout::testing::{ESP, FakeDisk, LINUX, TestImage};
use crate::layout::{MIB, plan as plan_layout};

const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// A FAT file system with these files; the folders on the way are made.
fn filesystem(mib: u64, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut volume = Cursor::new(vec![0; usize::try_from(mib * MIB).unwrap()]);
    let options = fatfs::FormatVolumeOptions::new();
    fatfs::format_volume(&mut volume, options).unwrap();
    let filesystem = fatfs::FileSystem::new(&mut volume, fatfs::FsOptions::new()).unwrap();
    for (path, content) in files {
        let mut folder = filesystem.root_dir();
        let (folders, name) = path.rsplit_once('/').unwrap();
        for part in folders.split('/') {
            folder = folder.create_dir(part).unwrap();
        }
        folder.create_file(name).unwrap().write_all(content).unwrap();
    }
    filesystem.unmount().unwrap();
    volume.into_inner()
}

/// A disk whose ESP, the second partition, has these files.
fn deployed(files: &[(&str, &[u8])], esp_mib: u64) -> (FakeDisk, Layout) {
    let last = (3 + esp_mib) * 2048;
    let image = TestImage::gpt(
        512,
        (6 + esp_mib) * MIB,
        &[(LINUX, 2048, 4095, "root"), (ESP, 3 * 2048, last - 1, "esp")],
    );
    let request = image.request((8 + esp_mib) * MIB, None);
    let (head, tail) = (request.held_head, request.held_tail);
    let (at, len, disk) = (request.tail_offset, request.image_bytes, request.disk_bytes);
    let layout = plan_layout(head, at, tail, len, disk, 512, None).unwrap();
    let disk = image.written(disk);
    disk.write_at(3 * MIB, &filesystem(esp_mib, files)).unwrap();
    (disk, layout)
}

/// A root with these variables (value without attributes).
fn firmware(variables: &[(&str, Vec<u8>)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sys/firmware/efi/efivars");
    fs::create_dir_all(&folder).unwrap();
    for (name, value) in variables {
        fs::write(folder.join(format!("{name}-{GLOBAL}")), [&[7, 0, 0, 0], &value[..]].concat())
            .unwrap();
    }
    root
}

fn variable(root: &TempDir, name: &str) -> Option<Vec<u8>> {
    let path = root.path().join(format!("sys/firmware/efi/efivars/{name}-{GLOBAL}"));
    fs::read(path).ok().map(|bytes| bytes[4..].to_vec())
}

fn named(description: &str) -> Vec<u8> {
    option::build(description, &[0x7F, 0xFF, 4, 0])
}

fn csv(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

const REMOVABLE: (&str, &[u8]) = ("EFI/BOOT/BOOTX64.EFI", b"MZ");

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "loaders have other names there")]
fn the_removable_path_becomes_the_first_entry_on_every_width_of_fat() {
    for esp_mib in [1, 16, 40] {
        let (disk, layout) = deployed(&[REMOVABLE], esp_mib);
        let old = vec![
            ("BootOrder", vec![3, 0, 0, 0]),
            ("Boot0000", named("Disk")),
            ("Boot0003", named("PXE")),
        ];
        let root = firmware(&old);
        let plan = plan(root.path(), &disk, &layout);
        assert_eq!(variable(&root, "Boot0001"), None, "planning changes nothing");
        assert_eq!(
            perform(root.path(), &plan),
            Outcome::Written("Boot0001 Ironwright \\EFI\\BOOT\\BOOTX64.EFI".to_owned())
        );
        assert_eq!(variable(&root, "BootOrder").unwrap(), [1, 0, 3, 0, 0, 0]);
        let option = variable(&root, "Boot0001").unwrap();
        let guid = layout.entries[1].guid.unwrap().to_bytes_le();
        assert!(option.windows(16).any(|window| window == guid), "names the partition");
        assert_eq!(variable(&root, "Boot0003").unwrap(), named("PXE"), "other entries stay");
    }
}

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "loaders have other names there")]
fn what_the_distributions_csv_names_wins_and_replaces_entries_of_that_label() {
    // Longer than a cluster, so that the chain is followed.
    let line = "\u{FEFF}shimx64.efi,debian,,This is the boot entry for debian\n";
    let text = csv(&format!("{line}{}", "more.efi,more\n".repeat(500)));
    let files = [REMOVABLE, ("EFI/debian/BOOTX64.CSV", &text), ("EFI/debian/shimx64.efi", b"MZ")];
    let (disk, layout) = deployed(&files, 16);
    let root = firmware(&[
        ("BootOrder", vec![9, 0, 2, 0, 5, 0]),
        ("Boot0002", named("debian")),
        ("Boot0005", named("debian")),
        ("Boot0009", named("PXE")),
        ("BootNext", vec![9, 0]),
    ]);
    let plan = plan(root.path(), &disk, &layout);
    assert_eq!(
        perform(root.path(), &plan),
        Outcome::Written("Boot0002 debian \\EFI\\debian\\shimx64.efi".to_owned())
    );
    assert_eq!(variable(&root, "BootOrder").unwrap(), [2, 0, 9, 0]);
    assert_eq!(variable(&root, "Boot0005"), None);
    assert!(matches!(
        perform(root.path(), &super::plan(root.path(), &disk, &layout)),
        Outcome::Written(_)
    ));
}

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "loaders have other names there")]
fn a_csv_that_leads_nowhere_is_passed_over() {
    for text in
        ["missing.efi,debian", "..\\x.efi,debian", "shimx64.efi", "shimx64.efi,", "", "\u{7},x"]
    {
        let text = csv(text);
        let files =
            [REMOVABLE, ("EFI/debian/BOOTX64.CSV", &text[..]), ("EFI/debian/shimx64.efi", b"MZ")];
        let (disk, layout) = deployed(&files, 16);
        let Plan::Entry(entry) = plan(firmware(&[("BootOrder", vec![])]).path(), &disk, &layout)
        else {
            panic!("no entry")
        };
        assert_eq!(entry.loader, "\\EFI\\BOOT\\BOOTX64.EFI", "{text:?}");
    }
}

#[test]
fn without_firmware_esp_or_loader_there_is_a_reason_and_no_error() {
    let efi = firmware(&[("BootOrder", vec![])]);
    let (disk, layout) = deployed(&[REMOVABLE], 16);
    let (empty_disk, empty_layout) = deployed(&[("EFI/BOOT/readme", b"")], 16);
    let blank = FakeDisk::new(disk.bytes(), 512);
    let mut no_esp = layout.clone();
    no_esp.entries.remove(1);
    let bios = tempfile::tempdir().unwrap();
    let unmounted = firmware(&[]);
    for (root, disk, layout, part) in [
        (&bios, &disk, &layout, "BIOS"),
        (&unmounted, &disk, &layout, "efivarfs is not mounted"),
        (&efi, &disk, &no_esp, "no EFI system partition"),
        (&efi, &blank, &layout, "no FAT file system"),
        (&efi, &empty_disk, &empty_layout, "neither"),
    ] {
        let plan = plan(root.path(), disk, layout);
        let Outcome::None(reason) = perform(root.path(), &plan) else { panic!("{part}: {plan:?}") };
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "loaders have other names there")]
fn firmware_that_takes_no_variable_is_a_reason_and_no_error() {
    let (disk, layout) = deployed(&[REMOVABLE], 16);
    let root = firmware(&[("BootOrder", vec![])]);
    let plan = plan(root.path(), &disk, &layout);
    // A folder in the file's place refuses the write, for root too.
    let path = root.path().join(format!("sys/firmware/efi/efivars/Boot0000-{GLOBAL}"));
    fs::create_dir(path).unwrap();
    assert!(matches!(perform(root.path(), &plan), Outcome::None(_)));
    let order = variable(&root, "BootOrder").unwrap();
    assert!(order.is_empty(), "the order names a missing entry");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_hostile_file_system_never_panics_or_hangs(
        changes in prop::collection::vec((0usize..96 * 1024, any::<u8>()), 1..200),
        head in prop::collection::vec((11usize..48, any::<u8>()), 0..6),
    ) {
        let (disk, layout) = deployed(&[REMOVABLE], 1);
        for (at, value) in changes.into_iter().chain(head) {
            disk.write_at(3 * MIB + at as u64, &[value]).unwrap();
        }
        let root = firmware(&[("BootOrder", vec![1]), ("Boot0000", vec![1, 2]), ("Boot00", vec![])]);
        let plan = plan(root.path(), &disk, &layout);
        if let Plan::Entry(entry) = plan {
            prop_assert!(entry.loader.starts_with("\\EFI\\"));
        }
    }
}
