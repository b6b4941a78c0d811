//! The format: what is read, what is refused and how, and that nothing panics.

#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows should fail")]

use proptest::prelude::*;

use crate::fuzzing::{self, mutate, seeds};
use crate::{
    Compression, FormatError, Header, Item, Kind, MAGIC, Map, Mapped, Piece, Region, Table,
};

const CLUSTER: u64 = 65_536;

/// A version 3 header as `qemu-img create -f qcow2 x 1G` makes it.
fn header_bytes() -> Vec<u8> {
    let mut bytes = vec![0; 512];
    put(&mut bytes, 0, &MAGIC);
    for (offset, value) in [(4, 3_u32), (20, 16), (36, 2), (56, 1), (96, 4), (100, 112)] {
        put(&mut bytes, offset, &value.to_be_bytes());
    }
    for (offset, value) in [(24, 1_u64 << 30), (40, 3 * CLUSTER), (48, CLUSTER)] {
        put(&mut bytes, offset, &value.to_be_bytes());
    }
    bytes
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

/// Bytes of a header and where they go.
type Changes<'a> = &'a [(usize, &'a [u8])];

/// The header after some fields were changed.
fn parse_with(changes: Changes<'_>) -> Result<Header, FormatError> {
    let mut bytes = header_bytes();
    for (offset, value) in changes {
        put(&mut bytes, *offset, value);
    }
    Header::parse(&bytes)
}

#[test]
fn a_header_of_qemu_is_read() {
    let header = parse_with(&[]).unwrap();
    assert_eq!((header.version, header.cluster_bytes, header.virtual_bytes), (3, CLUSTER, 1 << 30));
    assert_eq!((header.l1_offset, header.l1_entries), (3 * CLUSTER, 2));
    assert_eq!((header.compression, header.extended_l2), (Compression::Zlib, false));
    assert_eq!(header.l2_coverage_bytes(), 512 << 20);
    let zstd = parse_with(&[(79, &[8]), (104, &[1])]).unwrap();
    assert_eq!(zstd.compression, Compression::Zstd);
    let extended = parse_with(&[(79, &[16]), (39, &[4])]).unwrap();
    assert_eq!((extended.l2_coverage_bytes(), extended.unit_bytes()), (256 << 20, 2048));
    assert_eq!(parse_with(&[(79, &[1])]).unwrap(), header, "dirty refcounts are not used");
}

#[test]
fn every_refusal_names_what_is_wrong() {
    let huge = u32::MAX.to_be_bytes();
    let table: [(Changes<'_>, &str); 24] = [
        (&[(0, b"QFI\0")], "magic is 0x51464900, qcow2 has 0x514649fb"),
        (&[(7, &[4])], "qcow2 version is 4, versions 2 and 3 are read"),
        (&[(23, &[8])], "cluster_bits is 8, must be 9 to 21"),
        (&[(23, &[22])], "cluster_bits is 22, must be 9 to 21"),
        (&[(23, &[200])], "cluster_bits is 200, must be 9 to 21"),
        (&[(14, &[1]), (19, &[4]), (256, b"base")], "image needs a backing file (base)"),
        (&[(35, &[2])], "image is encrypted (method 2)"),
        (&[(79, &[2])], "image is marked corrupt"),
        (&[(79, &[4])], "image keeps its data in an external file"),
        (&[(79, &[32])], "image uses unknown incompatible features: bit 5"),
        (&[(72, &[128])], "image uses unknown incompatible features: bit 63"),
        (
            &[(79, &[8])],
            "compression type is 0 with feature bit true, known are 0 (zlib) without and 1 (zstd) with it",
        ),
        (
            &[(104, &[1])],
            "compression type is 1 with feature bit false, known are 0 (zlib) without and 1 (zstd) with it",
        ),
        (&[(23, &[13]), (79, &[16])], "extended L2 entries with cluster_bits 13, need at least 14"),
        (&[(99, &[7])], "refcount_order is 7, must be at most 6"),
        (
            &[(103, &[96])],
            "header says it is 96 bytes long, must be a multiple of 8 from 104 up to the cluster size",
        ),
        (
            &[(100, &huge)],
            "header says it is 4294967295 bytes long, must be a multiple of 8 from 104 up to the cluster size",
        ),
        (&[(36, &huge)], "L1 table has 4294967295 entries, at most 4194304 are possible"),
        (&[(39, &[1])], "L1 table has 1 entries, a disk of 1073741824 bytes needs 2"),
        (&[(47, &[1])], "L1 table at offset 196609 is not aligned to 65536 bytes"),
        (&[(59, &[0])], "refcount table has 0 entries, at most 128 are possible"),
        (&[(56, &huge)], "refcount table has 4294967295 entries, at most 128 are possible"),
        (&[(60, &huge)], "snapshot table has 4294967295 entries, at most 65536 are possible"),
        (&[(45, &[1])], "L1 table at offset 65536 overlaps refcount table at offset 65536"),
    ];
    for (changes, expected) in table {
        let error = parse_with(changes).unwrap_err();
        assert_eq!(error.to_string(), expected, "{changes:?}");
        assert!(!error.remedy().is_empty());
    }
}

#[test]
fn unknown_features_are_named_by_the_image_itself_without_control_characters() {
    let mut bytes = header_bytes();
    put(&mut bytes, 79, &[32 + 64]);
    put(&mut bytes, 112, &0x6803_f857_u32.to_be_bytes());
    put(&mut bytes, 116, &48_u32.to_be_bytes());
    put(&mut bytes, 120, b"\0\x05time \x1btravel");
    let error = Header::parse(&bytes).unwrap_err();
    let expected = "image uses unknown incompatible features: time ?travel (bit 5), bit 6";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn header_extensions_that_qemu_refuses_are_refused() {
    for (kind, bytes, expected) in [
        (0x1234_5678_u32, 65_417_u32, Some("it ends after the first cluster")),
        (0x1234_5678, 65_416, None),
        (0x1234_5678, u32::MAX, Some("it ends after the first cluster")),
        (0xe279_2aca, 16, Some("the name is too long")),
        (0xe279_2aca, 15, None),
        (0x0537_be77, 16, Some("the image is not encrypted with LUKS")),
        (0x2385_2875, 16, Some("must be 24 bytes long")),
        (0x2385_2875, 24, None),
        (0, u32::MAX - 8, Some("it ends after the first cluster")),
    ] {
        let changes = [(112, &kind.to_be_bytes()[..]), (116, &bytes.to_be_bytes())];
        let reason = match parse_with(&changes) {
            Err(FormatError::HeaderExtension { offset: 112, reason, .. }) => Some(reason),
            other => other.map(|_| None).unwrap(),
        };
        assert_eq!(reason, expected, "{kind:#x} of {bytes} bytes");
    }
    let second = [(115, &[1_u8][..]), (119, &[3]), (128, &[0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 99])];
    let error = parse_with(&second).unwrap_err();
    assert!(error.to_string().contains("0xe2792aca at offset 128 of 99 bytes"), "{error}");
}

#[test]
fn raw_data_without_a_data_file_and_a_snapshot_table_inside_a_cluster_are_refused() {
    assert_eq!(parse_with(&[(95, &[2])]), Err(FormatError::RawExternalData));
    assert!(parse_with(&[(95, &[1 | 4]), (88, &[0x80])]).is_ok(), "other bits change nothing");
    let error = parse_with(&[(71, &[8])]).unwrap_err();
    assert_eq!(error.to_string(), "snapshot table at offset 8 is not aligned to 65536 bytes");
}

#[test]
fn tables_must_lie_inside_the_file() {
    let header = parse_with(&[]).unwrap();
    assert_eq!(header.check_file(3 * CLUSTER + 16), Ok(()));
    assert_eq!(
        header.check_file(3 * CLUSTER + 15).unwrap_err().to_string(),
        "L1 table at offset 196608 of 16 bytes is outside the file of 196623 bytes"
    );
}

/// The pieces of an L2 table with these words.
fn pieces(
    header: &Header,
    words: &[u64],
    file_bytes: Option<u64>,
) -> Result<Vec<Piece>, FormatError> {
    let mut table = vec![0; usize::try_from(header.cluster_bytes).unwrap()];
    for (index, word) in words.iter().enumerate() {
        put(&mut table, index * 8, &word.to_be_bytes());
    }
    let mut found = Vec::new();
    header.decode_l2(0, &table, file_bytes, |piece| {
        found.push(piece);
        Ok::<_, FormatError>(())
    })?;
    Ok(found)
}

#[test]
fn neighbours_are_merged_and_zeros_are_pieces_too() {
    let header = parse_with(&[]).unwrap();
    let copied = 1 << 63;
    let words = [copied | (5 * CLUSTER), 6 * CLUSTER, 0, (9 * CLUSTER) | 1, 8 * CLUSTER];
    let covered = header.l2_coverage_bytes();
    assert_eq!(
        pieces(&header, &words, None).unwrap(),
        [
            Piece::Stored(Item::plain(5 * CLUSTER, 0, 2 * CLUSTER)),
            Piece::Zero { guest_offset: 2 * CLUSTER, bytes: 2 * CLUSTER },
            Piece::Stored(Item::plain(8 * CLUSTER, 4 * CLUSTER, CLUSTER)),
            Piece::Zero { guest_offset: 5 * CLUSTER, bytes: covered - 5 * CLUSTER },
        ]
    );
}

#[test]
fn a_compressed_entry_gives_its_host_bytes_to_the_end_of_the_last_sector() {
    let header = parse_with(&[]).unwrap();
    // cluster_bits 16: 54 bits of offset, then the number of further sectors.
    let word = (1 << 62) | (3 << 54) | (5 * CLUSTER + 100);
    let found = pieces(&header, &[word], None).unwrap();
    let Piece::Stored(item) = found[0] else { panic!("{found:?}") };
    assert_eq!(item.kind(), Kind::Compressed);
    assert_eq!((item.host_offset(), item.host_bytes()), (5 * CLUSTER + 100, 4 * 512 - 100));
    let found = pieces(&header, &[word], Some(5 * CLUSTER + 700)).unwrap();
    let Piece::Stored(item) = found[0] else { panic!("{found:?}") };
    assert_eq!(item.host_bytes(), 600, "a file may end inside the last sector");
}

#[test]
fn subclusters_are_stored_zero_or_absent() {
    let header = parse_with(&[(79, &[16]), (39, &[4])]).unwrap();
    let unit = header.unit_bytes();
    let found = pieces(&header, &[5 * CLUSTER, (1 << 33) | 0b1101], None).unwrap();
    assert_eq!(
        found[..3],
        [
            Piece::Stored(Item::plain(5 * CLUSTER, 0, unit)),
            Piece::Zero { guest_offset: unit, bytes: unit },
            Piece::Stored(Item::plain(5 * CLUSTER + 2 * unit, 2 * unit, 2 * unit)),
        ]
    );
    for (words, reason) in [
        ([5 * CLUSTER, (1 << 32) | 1], "a subcluster is both stored and zero"),
        ([0, 1], "subclusters are stored nowhere"),
    ] {
        let error = pieces(&header, &words, None).unwrap_err();
        assert!(error.to_string().ends_with(reason), "{error}");
    }
}

#[test]
fn entries_that_cannot_be_are_refused() {
    let header = parse_with(&[]).unwrap();
    for (word, expected) in [
        (5 * CLUSTER + 512, "data cluster at offset 328192 is not aligned to 65536 bytes"),
        (
            90 * CLUSTER,
            "data cluster at offset 5898240 of 65536 bytes is outside the file of 1000000 bytes",
        ),
        (
            (1 << 62) | 2_000_000,
            "compressed cluster at offset 2000000 of 384 bytes is outside the file of 1000000 bytes",
        ),
        (
            (1 << 62) | 100,
            "L2 entry 0x4000000000000064 for guest offset 0 is invalid: the compressed cluster lies in the header",
        ),
    ] {
        let error = pieces(&header, &[word], Some(1_000_000)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let old = parse_with(&[(7, &[2])]).unwrap();
    let error = pieces(&old, &[1], None).unwrap_err();
    assert!(error.to_string().ends_with("a zero cluster in a version 2 image"), "{error}");
}

fn mapped(stored: &[Item], tables: &[u64]) -> Result<Mapped, FormatError> {
    let mut map = Map::new(100);
    for item in stored {
        map.push(Piece::Stored(*item))?;
    }
    let tables: Vec<Table> =
        tables.iter().map(|offset| Table { host_offset: *offset, guest_offset: 0 }).collect();
    map.finish(&parse_with(&[]).unwrap(), &tables)
}

#[test]
fn no_byte_of_the_file_has_two_roles() {
    let compressed = |offset, bytes, guest| Item::compressed(offset, bytes, guest, CLUSTER);
    let at = |cluster: u64| cluster * CLUSTER;
    let packed = [compressed(at(8), 700, 0), compressed(at(8) + 600, 424, CLUSTER)];
    assert_eq!(mapped(&packed, &[at(7)]).unwrap().items.len(), 2, "sectors may be shared");
    for (stored, tables, expected) in [
        (
            vec![Item::plain(at(8), 0, at(2)), Item::plain(at(9), at(4), at(1))],
            vec![],
            "data cluster at offset 524288 overlaps data cluster at offset 589824",
        ),
        (
            vec![Item::plain(at(7), 0, at(2))],
            vec![at(8)],
            "data cluster at offset 458752 overlaps L2 table at offset 524288",
        ),
        (
            vec![Item::plain(at(3), 0, at(1))],
            vec![],
            "L1 table at offset 196608 overlaps data cluster at offset 196608",
        ),
        (
            vec![compressed(at(8), 2000, 0), compressed(at(8) + 600, 424, CLUSTER)],
            vec![],
            "compressed cluster at offset 524288 overlaps compressed cluster at offset 524888",
        ),
        (vec![], vec![at(8), at(8)], "two L1 entries name the L2 table at offset 524288"),
    ] {
        assert_eq!(mapped(&stored, &tables).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_map_keeps_its_limit() {
    let mut map = Map::new(2);
    for guest in [0, 2] {
        map.push(Piece::Stored(Item::plain(9 * CLUSTER, guest * CLUSTER, CLUSTER))).unwrap();
    }
    let third = map.push(Piece::Zero { guest_offset: CLUSTER, bytes: CLUSTER });
    assert_eq!(third, Err(FormatError::TooManyPieces { limit: 2 }));
}

#[test]
fn a_table_cut_short_is_an_error() {
    let header = parse_with(&[]).unwrap();
    let error = header.decode_l2(0, &[0; 100], None, |_| Ok::<_, FormatError>(())).unwrap_err();
    assert_eq!(
        error,
        FormatError::Truncated { region: Region::L2Table, need_bytes: 65_536, have_bytes: 100 }
    );
}

#[test]
fn the_seeds_of_the_fuzzer_are_good_images_and_changed_ones_break_no_promise() {
    for image in seeds::images() {
        assert!(fuzzing::whole_image(&image).is_some(), "{:?}", Header::parse(&image));
    }
    mutate::run(&seeds::headers(), 20_000, fuzzing::header);
    mutate::run(&seeds::tables(), 2_000, fuzzing::tables);
    mutate::run(&seeds::images(), 2_000, |data| drop(fuzzing::whole_image(data)));
}

#[test]
fn a_subcluster_behind_the_end_of_the_file_reads_as_zeros_when_its_cluster_begins_before() {
    const SIZE: usize = 16 << 10;
    let mut image = seeds::images().pop().unwrap();
    image[3 * SIZE..4 * SIZE].fill(0);
    put(&mut image, 3 * SIZE, &(4_u64 << 14).to_be_bytes());
    put(&mut image, 3 * SIZE + 8, &0x8000_0001_u64.to_be_bytes());
    image.truncate(4 * SIZE + 100);
    let disk = fuzzing::whole_image(&image).unwrap();
    assert!(disk[..100] == [4; 100] && disk[100..].iter().all(|byte| *byte == 0));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        Header::parse(&bytes).ok();
    }

    #[test]
    fn a_mutated_header_and_random_tables_never_panic(
        changes in proptest::collection::vec((4_usize..128, any::<u8>()), 0..6),
        words in proptest::collection::vec(any::<u64>(), 1..64),
        file_bytes in proptest::option::of(any::<u64>()),
    ) {
        let mut bytes = header_bytes();
        for (offset, value) in changes {
            bytes[offset] = value;
        }
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert!(header.virtual_bytes <= header.l1_entries.saturating_mul(header.l2_coverage_bytes()));
            header.check_file(file_bytes.unwrap_or(0)).ok();
            let l1: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            header.decode_l1(&l1, file_bytes, |_| Ok::<_, FormatError>(())).ok();
            let mut guest = 0;
            let table = {
                let mut table = vec![0; usize::try_from(header.cluster_bytes).unwrap()];
                for (slot, word) in table.chunks_exact_mut(8).zip(words.iter().cycle()) {
                    slot.copy_from_slice(&word.to_be_bytes());
                }
                table
            };
            // Every guest byte comes exactly once and in order, as long as entries are good.
            header.decode_l2(0, &table, file_bytes, |piece| {
                let (start, len) = match piece {
                    Piece::Stored(item) => (item.guest_offset(), item.guest_bytes()),
                    Piece::Zero { guest_offset, bytes } => (guest_offset, bytes),
                };
                assert_eq!(start, guest);
                guest = start + len;
                Ok::<_, FormatError>(())
            }).ok();
        }
    }
}
