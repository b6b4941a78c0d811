//! Property tests: whatever an image says, a plan is an error or sound, never a panic.

use proptest::prelude::*;

use super::testing::{LINUX, TestImage, assert_sound, reseal};
use super::{MIB, plan_with};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_changes_of_a_gpt_never_panic_and_never_give_an_unsound_plan(
        changes in prop::collection::vec((0usize..3 * 512, any::<u8>()), 1..12),
        seal in any::<bool>(),
        big in any::<bool>(),
        config in prop::option::of(0..100 * MIB),
        disk_mib in 4u64..200,
    ) {
        let mut image = TestImage::cloud(if big { 4096 } else { 512 }, 4);
        let sector = image.sector_bytes as usize;
        for (at, value) in changes {
            // Aims at LBA 0, the header and the first entries, whatever the sector size.
            let at = at / 512 * sector + at % 512;
            image.bytes[at] = value;
        }
        if seal {
            reseal(&mut image);
        }
        let request = image.request(disk_mib * MIB, config);
        if let Ok(layout) = plan_with(&request) {
            assert_sound(&layout, &request);
        }
    }

    #[test]
    fn extreme_fields_in_header_and_entries_never_panic(
        field in prop::sample::select(vec![512, 520, 524, 536, 544, 552, 560, 584, 592, 596, 1056, 1064, 1184, 1192]),
        value in prop::sample::select(vec![0, 1, 2, 33, 34, u64::MAX, u64::MAX / 2, u64::MAX / 512, 1 << 55, 1 << 32]),
    ) {
        let mut image = TestImage::cloud(512, 4);
        image.bytes[field..field + 8].copy_from_slice(&value.to_le_bytes());
        reseal(&mut image);
        let request = image.request(100 * MIB, Some(MIB));
        if let Ok(layout) = plan_with(&request) {
            assert_sound(&layout, &request);
        }
    }

    #[test]
    fn random_mbrs_never_panic_and_never_give_an_unsound_plan(
        entries in prop::collection::vec((any::<u8>(), any::<u32>(), any::<u32>()), 0..4),
        small in any::<bool>(),
        config in prop::option::of(0..100 * MIB),
    ) {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(kind, lba, count)| if small { (kind, lba % 9000, count % 3000) } else { (kind, lba, count) })
            .collect();
        let image = TestImage::mbr(4 * MIB, &entries);
        let request = image.request(200 * MIB, config);
        if let Ok(layout) = plan_with(&request) {
            assert_sound(&layout, &request);
        }
    }

    #[test]
    fn any_set_of_disjoint_partitions_survives_with_its_addresses(
        lengths in prop::collection::vec(1u64..600, 1..8),
        gaps in prop::collection::vec(0u64..50, 8),
        disk_mib in 80u64..300,
    ) {
        let mut lba = 34;
        let mut parts = Vec::new();
        for (length, gap) in lengths.iter().zip(&gaps) {
            lba += gap;
            parts.push((LINUX, lba, lba + length - 1, "part"));
            lba += length;
        }
        let image = TestImage::gpt(512, 8 * MIB, &parts);
        let request = image.request(disk_mib * MIB, Some(MIB));
        let layout = plan_with(&request).unwrap();
        assert_sound(&layout, &request);
        for (entry, (_, first, last, _)) in layout.entries.iter().zip(&parts) {
            assert_eq!((entry.range.offset, entry.range.end()), (first * 512, (last + 1) * 512));
        }
    }
}
