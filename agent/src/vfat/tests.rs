//! File systems read back by another implementation.

use std::io::{Cursor, Read as _};

use super::*;

fn file(name: &str, content: &[u8]) -> Entry {
    Entry { name: name.to_owned(), content: Content::File(content.to_vec()) }
}

fn folder(name: &str, inside: Vec<Entry>) -> Entry {
    Entry { name: name.to_owned(), content: Content::Folder(inside) }
}

/// As an EFI system partition is made.
const ESP: Format<'_> =
    Format { label: "ESP", volume_id: 7, sector: 512, cluster: 16 << 10, total: 550 << 20 };

#[test]
fn a_tree_is_read_back_and_only_what_is_used_is_in_memory() {
    let loader: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let many: Vec<Entry> =
        (0..600).map(|n| file(&format!("module number {n}.mod"), &[1; 3])).collect();
    let tree = [
        folder(
            "EFI",
            vec![
                folder("BOOT", vec![file("BOOTX64.EFI", &loader)]),
                folder("debian", vec![file("grub.cfg", b"search"), file("empty", b"")]),
            ],
        ),
        folder("many", many),
    ];
    let mut bytes = ESP.make(&tree).unwrap();
    assert!(bytes.len() < 16 << 20, "{}", bytes.len());
    bytes.resize(ESP.total, 0);
    let disk = fatfs::FileSystem::new(Cursor::new(bytes), fatfs::FsOptions::new()).unwrap();
    assert_eq!((disk.fat_type(), disk.volume_label().as_str()), (fatfs::FatType::Fat16, "ESP"));
    let root = disk.root_dir();
    let mut found = Vec::new();
    root.open_file("EFI/BOOT/BOOTX64.EFI").unwrap().read_to_end(&mut found).unwrap();
    assert!(found == loader);
    let mut text = String::new();
    root.open_file("efi/Debian/grub.cfg").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "search");
    assert_eq!(root.open_dir("many").unwrap().iter().count(), 602, "with . and ..");
    let last = root.open_dir("many").unwrap().iter().last().unwrap().unwrap();
    assert_eq!(
        (last.file_name().as_str(), last.short_file_name().as_str()),
        ("module number 599.mod", "MODU~600.MOD")
    );
}

#[test]
fn what_fat_cannot_hold_is_refused() {
    let small = Format { total: 8 << 20, cluster: 1024, ..ESP };
    assert!(small.make(&[file("a", &vec![1; 9 << 20])]).is_none());
    for name in ["", "a/b", "a\\b", "nul\0", &"x".repeat(256)] {
        assert!(ESP.make(&[file(name, b"")]).is_none(), "{name:?}");
    }
    assert!(ESP.make(&[file("efi", b""), file("EFI", b"")]).is_none(), "one name in two cases");
    assert!(ESP.make(&[file("efi.", b"")]).is_none() && ESP.make(&[file("efi ", b"")]).is_none());
    let root: Vec<Entry> = (0..300).map(|n| file(&format!("file {n}"), b"")).collect();
    assert!(ESP.make(&root).is_none(), "the root directory has 512 slots");
    assert!(ESP.make(&[folder("root", root)]).is_some());
}
