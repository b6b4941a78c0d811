use super::testing::{ESP, FakeDisk, LINUX, TestImage, assert_sound, reseal};
use super::*;

const GIB: u64 = 1 << 30;

#[test]
fn the_config_drive_ends_the_disk_and_the_backup_gpt_follows_it() {
    for (sector, entry_sectors) in [(512, 32), (4096, 4)] {
        let image = TestImage::cloud(sector, 8);
        let request = image.request(GIB, Some(1 << 20));
        let layout = plan_with(&request).unwrap();
        assert_sound(&layout, &request);
        let config = layout.config.unwrap();
        assert_eq!(config.bytes, CONFIG_BYTES);
        assert_eq!(config.offset % MIB, 0);
        assert!(layout.disk_tail_offset - config.end() < MIB, "nothing lies between: {config:?}");
        assert_eq!(layout.disk_tail_offset, GIB - u64::from(sector) * (entry_sectors + 1));
        assert_eq!(layout.disk_tail_offset + layout.disk_tail.len() as u64, GIB);
        assert_eq!((layout.table, layout.partitions), ("gpt", 3));
        assert_eq!(layout.entries[2].name, "config-2");
        assert_eq!(layout.entries[2].guid, Some(Uuid::from_u128(7)));
        assert!(layout.entries[0].esp && !layout.entries[1].esp);
    }
}

#[test]
fn a_larger_config_drive_gets_a_larger_partition_in_whole_mib() {
    let image = TestImage::cloud(512, 8);
    for (drive, partition) in
        [(1, 64 * MIB), (64 * MIB, 64 * MIB), (64 * MIB + 1, 65 * MIB), (100 * MIB, 100 * MIB)]
    {
        let layout = plan_with(&image.request(GIB, Some(drive))).unwrap();
        assert_eq!(layout.config.unwrap().bytes, partition, "drive of {drive} bytes");
    }
}

#[test]
fn boot_code_and_disk_guid_survive_and_the_protective_entry_covers_the_disk() {
    let image = TestImage::cloud(512, 8);
    let layout = plan_with(&image.request(GIB, None)).unwrap();
    assert_eq!(layout.head[..4], *b"boot");
    assert_eq!(layout.head[512 + 56..512 + 72], image.bytes[512 + 56..512 + 72]);
    assert_eq!(bytes::u32_at(&layout.head, 446 + 8), 1);
    assert_eq!(u64::from(bytes::u32_at(&layout.head, 446 + 12)), GIB / 512 - 1);
}

#[test]
fn without_a_config_drive_only_the_addresses_change() {
    let image = TestImage::cloud(512, 8);
    let layout = plan_with(&image.request(GIB, None)).unwrap();
    assert_eq!(layout.config, None);
    assert_eq!(layout.head[1024..], image.bytes[1024..1 << 20]);
}

#[test]
fn the_stale_backup_is_removed_but_no_byte_of_a_partition() {
    // The last partition ends directly in front of the backup's entries.
    let image = TestImage::gpt(512, 8 * MIB, &[(LINUX, 2048, 8 * 2048 - 34, "root")]);
    let layout = plan_with(&image.request(GIB, None)).unwrap();
    assert_eq!(layout.tail_offset, 7 * MIB);
    let (root, backup) = layout.tail.split_at((1 << 20) - 33 * 512);
    assert!(root.iter().all(|byte| *byte == 1), "partition bytes were touched");
    assert!(backup.iter().all(|byte| *byte == 0), "the stale backup is still there");
}

#[test]
fn what_looks_like_a_backup_inside_a_partition_is_left_alone() {
    let mut image = TestImage::gpt(512, 8 * MIB, &[(LINUX, 2048, 8 * 2048 - 34, "root")]);
    let last_lba = (8 * 2048 - 1u64).to_le_bytes();
    image.bytes[512 + 48..512 + 56].copy_from_slice(&last_lba);
    image.bytes[1024 + 40..1024 + 48].copy_from_slice(&last_lba);
    reseal(&mut image);
    let layout = plan_with(&image.request(GIB, None)).unwrap();
    assert_eq!(layout.tail, image.bytes[7 << 20..]);
}

#[test]
fn an_image_as_large_as_the_disk_keeps_its_backup_where_it_was() {
    let image = TestImage::cloud(512, 8);
    let layout = plan_with(&image.request(8 * MIB, None)).unwrap();
    let at = usize::try_from(layout.disk_tail_offset).unwrap();
    assert_eq!(layout.disk_tail, image.bytes[at..]);
    assert_eq!(layout.head[512..], image.bytes[512..1 << 20]);
}

#[test]
fn the_images_own_config_partition_is_reused_when_large_enough() {
    let parts = [(LINUX, 2048, 4095, "root"), (LINUX, 4096, 8191, "Config-2")];
    let image = TestImage::gpt(512, 8 * MIB, &parts);
    let layout = plan_with(&image.request(GIB, Some(2 * MIB))).unwrap();
    assert_eq!(layout.config, Some(Range { offset: 2 * MIB, bytes: 2 * MIB }));
    assert_eq!(layout.partitions, 2);
    assert_eq!(
        plan_with(&image.request(GIB, Some(2 * MIB + 1))),
        Err(LayoutError::ConfigUnusable {
            number: 2,
            offset: 2 * MIB,
            bytes: 2 * MIB,
            needed_bytes: 2 * MIB + 1
        })
    );
    let twice = [(LINUX, 2048, 4095, "config-2"), (LINUX, 4096, 8191, "config-2")];
    let image = TestImage::gpt(512, 8 * MIB, &twice);
    assert_eq!(
        plan_with(&image.request(GIB, Some(1))),
        Err(LayoutError::ConfigTwice { first: 1, second: 2 })
    );
}

#[test]
fn the_config_drive_needs_room_behind_the_last_partition() {
    let image = TestImage::cloud(512, 8);
    for (disk_mib, fits) in [(8, false), (71, false), (72, true), (80, true)] {
        let result = plan_with(&image.request(disk_mib * MIB, Some(MIB)));
        assert_eq!(result.is_ok(), fits, "{disk_mib} MiB: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("larger disk"), "{error}");
        }
    }
}

#[test]
fn a_table_for_other_sectors_is_named_as_such() {
    for (image, disk) in [(512u32, 4096u32), (4096, 512)] {
        let image_bytes = TestImage::cloud(image, 8);
        let request = Request { sector_bytes: disk, ..image_bytes.request(GIB, None) };
        assert_eq!(
            plan_with(&request),
            Err(LayoutError::SectorMismatch { image_sector_bytes: image, disk_sector_bytes: disk })
        );
    }
    let image = TestImage::mbr(8 * MIB, &[(0x83, 2048, 4096)]);
    let request = Request { sector_bytes: 4096, ..image.request(GIB, None) };
    assert!(matches!(plan_with(&request), Err(LayoutError::SectorMismatch { .. })));
}

/// What a test does to a good image, and what the plan must say.
type Damage = (&'static str, fn(&mut TestImage), fn(&LayoutError) -> bool);

#[test]
fn damaged_tables_are_refused_with_their_reason() {
    let cases: [Damage; 9] = [
        (
            "header checksum",
            |i| i.bytes[512 + 56] ^= 1,
            |e| matches!(e, LayoutError::Crc { part: "header", .. }),
        ),
        (
            "entries checksum",
            |i| i.bytes[1024 + 56] ^= 1,
            |e| matches!(e, LayoutError::Crc { part: "partition entries", .. }),
        ),
        (
            "no header behind a protective MBR",
            |i| i.bytes[512] = 0,
            |e| matches!(e, LayoutError::Malformed { .. }),
        ),
        ("no MBR and no GPT", |i| i.bytes[..1024].fill(0), |e| matches!(e, LayoutError::NoTable)),
        (
            "empty table",
            |i| i.bytes[1024..1024 + 256].fill(0),
            |e| matches!(e, LayoutError::NoPartitions { .. }),
        ),
        (
            "overlap",
            |i| i.bytes[1024 + 128 + 32..][..8].copy_from_slice(&3000u64.to_le_bytes()),
            |e| matches!(e, LayoutError::Overlap { first: 1, second: 2 }),
        ),
        (
            "beyond the image",
            |i| i.bytes[1024 + 128 + 40 + 3] = 1,
            |e| matches!(e, LayoutError::OutOfRange { number: 2, .. }),
        ),
        (
            "ends before it begins",
            |i| i.bytes[1024 + 40..][..8].fill(0),
            |e| matches!(e, LayoutError::OutOfRange { number: 1, .. }),
        ),
        (
            "entries outside the first MiB",
            |i| i.bytes[512 + 72 + 4] = 9,
            |e| matches!(e, LayoutError::Malformed { .. }),
        ),
    ];
    for (name, damage, expected) in cases {
        let mut image = TestImage::cloud(512, 8);
        damage(&mut image);
        if !name.contains("checksum") && !name.starts_with("no ") {
            reseal(&mut image);
        }
        let error = plan_with(&image.request(GIB, Some(MIB))).unwrap_err();
        assert!(expected(&error), "{name}: {error}");
    }
}

#[test]
fn an_mbr_gets_a_fourth_primary_and_keeps_its_identifier() {
    let image = TestImage::mbr(8 * MIB, &[(0x83, 2048, 2048), (0x05, 4096, 2048), (0xEF, 8192, 8)]);
    let request = image.request(GIB, Some(MIB));
    let layout = plan_with(&request).unwrap();
    assert_sound(&layout, &request);
    assert_eq!((layout.table, layout.partitions), ("mbr", 4));
    assert_eq!(layout.config, Some(Range { offset: GIB - 64 * MIB, bytes: 64 * MIB }));
    assert_eq!(layout.head[440..444], *b"disk");
    let entry = &layout.head[446 + 48..446 + 64];
    assert_eq!((entry[0], entry[4]), (0, 0x0C));
    assert_eq!(u64::from(bytes::u32_at(entry, 8)) * 512, GIB - 64 * MIB);
    assert!(layout.disk_tail.is_empty());
}

#[test]
fn a_full_mbr_refuses_the_config_drive_with_a_remedy() {
    let parts: Vec<_> = (1..=4).map(|n| (0x83, n * 2048, 2048)).collect();
    let image = TestImage::mbr(16 * MIB, &parts);
    let error = plan_with(&image.request(GIB, Some(1))).unwrap_err().to_string();
    assert!(error.contains("fewer partitions, or a GPT image"), "{error}");
    assert!(plan_with(&image.request(GIB, None)).is_ok());
}

#[test]
fn on_a_huge_mbr_disk_the_config_drive_stays_below_two_tib() {
    let image = TestImage::mbr(8 * MIB, &[(0x83, 2048, 2048)]);
    let layout = plan_with(&image.request(10 << 40, Some(1))).unwrap();
    let config = layout.config.unwrap();
    assert!(config.end() <= 2 << 40 && config.end() > (2 << 40) - 2 * MIB, "{config:?}");
}

#[test]
fn a_boot_sector_of_a_file_system_is_not_a_table() {
    let mut image = TestImage::mbr(8 * MIB, &[]);
    assert_eq!(plan_with(&image.request(GIB, None)), Err(LayoutError::NoTable));
    image.bytes[446..510].fill(b'x');
    assert_eq!(plan_with(&image.request(GIB, None)), Err(LayoutError::NoTable));
}

#[test]
fn an_mbr_with_partitions_wins_over_a_stale_gpt_header() {
    let mut image = TestImage::cloud(512, 8);
    image.bytes[446 + 4] = 0x83;
    assert_eq!(plan_with(&image.request(GIB, None)).unwrap().table, "mbr");
}

#[test]
fn a_hybrid_mbr_is_left_as_it_is() {
    let mut image = TestImage::cloud(512, 8);
    image.bytes[446 + 16..446 + 32]
        .copy_from_slice(&[0x80, 0, 0, 0, 0x0C, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    let layout = plan_with(&image.request(GIB, None)).unwrap();
    assert_eq!(layout.table, "gpt");
    assert_eq!(layout.head[446..512], image.bytes[446..512]);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let image = TestImage::cloud(512, 8);
    let good = image.request(GIB, None);
    for bad in [
        Request { sector_bytes: 520, ..good },
        Request { disk_bytes: 7 * MIB, ..good },
        Request { disk_bytes: 0, ..good },
        Request { held_head: &[], ..good },
        Request { tail_offset: 5, ..good },
        Request { tail_offset: u64::MAX, ..good },
        Request { config_drive_bytes: Some(u64::MAX), ..good },
    ] {
        assert!(plan_with(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_image_below_two_mib_has_its_tail_in_the_head() {
    let image = TestImage::gpt(512, MIB + MIB / 2, &[(ESP, 34, 2500, "esp")]);
    let request = image.request(8 * MIB, None);
    let layout = plan_with(&request).unwrap();
    assert_sound(&layout, &request);
    let disk = FakeDisk::new(8 * MIB, 512);
    commit(&disk, &layout).unwrap();
    assert_eq!(disk.contents()[34 * 512..2501 * 512], image.bytes[34 * 512..2501 * 512]);
}

#[test]
fn the_result_of_a_plan_is_a_table_that_needs_no_further_change() {
    for image in [TestImage::cloud(512, 8), TestImage::cloud(4096, 8)] {
        let disk = image.written(128 * MIB);
        let layout = plan_with(&image.request(128 * MIB, Some(MIB))).unwrap();
        commit(&disk, &layout).unwrap();
        let again = TestImage { bytes: disk.contents(), sector_bytes: image.sector_bytes };
        let second = plan_with(&again.request(128 * MIB, None)).unwrap();
        assert_eq!(second.head, layout.head);
        assert_eq!(second.disk_tail, layout.disk_tail);
        assert_eq!(second.entries, layout.entries);
    }
}

#[test]
fn sgdisk_finds_no_problem() {
    let Some(sgdisk) = ["/usr/sbin/sgdisk", "/sbin/sgdisk", "/usr/bin/sgdisk"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
    else {
        println!("skipped: sgdisk is not installed (package gdisk)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    for (name, image_mib, config) in [("moved", 8, Some(MIB)), ("plain", 8, None)] {
        let image = TestImage::cloud(512, image_mib);
        let disk = image.written(100 * MIB);
        commit(&disk, &plan_with(&image.request(100 * MIB, config)).unwrap()).unwrap();
        let file = dir.path().join(name);
        std::fs::write(&file, disk.contents()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "an oracle of this test only")]
        let output = std::process::Command::new(sgdisk).arg("-v").arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("No problems found"), "{name}: {text}");
    }
}
