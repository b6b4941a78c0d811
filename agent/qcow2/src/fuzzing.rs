//! What a fuzzer runs: each function takes any bytes and panics when a promise of this crate is broken.
//!
//! The coverage-guided fuzzer (`agent/qcow2/fuzz`, nightly) and the plain mutator of the tests share these functions.

#![allow(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]

pub mod mutate;
pub mod seeds;

use crate::{FormatError, Header, Item, Kind, L1Entry, Map, Piece, Table};

/// Length of the file that [`header`] and [`tables`] pretend, bytes.
const FILE_BYTES: u64 = 1 << 40;
/// Pieces a map may have: 24 bytes each.
const PIECES: usize = 1 << 16;
/// L2 tables that are read.
const TABLES: usize = 256;
/// Largest disk that is filled byte by byte, bytes.
const DISK_BYTES: u64 = 4 << 20;

/// Parses `data` as the start of an image and checks what a header promises.
///
/// # Panics
/// When a promise is broken.
pub fn header(data: &[u8]) {
    let header = match Header::parse(data) {
        Ok(header) => header,
        Err(error) => return check_words(&error),
    };
    assert!((2..=3).contains(&header.version) && (9..=21).contains(&header.cluster_bits));
    assert_eq!(header.cluster_bytes, 1_u64.checked_shl(header.cluster_bits).unwrap_or(0));
    assert!(header.l1_bytes() <= 32 << 20, "an L1 table of {} bytes", header.l1_bytes());
    assert!(header.refcount_table_bytes <= 8 << 20);
    let covered = header.l1_entries.saturating_mul(header.l2_coverage_bytes());
    assert!(header.virtual_bytes <= covered, "guest bytes without an L1 entry");
    assert!(header.unit_bytes() >= 512 && header.unit_bytes() <= header.cluster_bytes);
    if header.check_file(FILE_BYTES).is_ok() {
        assert!(
            header.l1_offset.checked_add(header.l1_bytes()).is_some_and(|end| end <= FILE_BYTES)
        );
    }
}

/// Reads a header from the first 112 bytes (the rest of its cluster is zero) and the rest as an L1 and an L2 table.
///
/// # Panics
/// When a promise is broken.
pub fn tables(data: &[u8]) {
    let Some((head, words)) = data.split_at_checked(112) else { return };
    let Ok(mut header) = Header::parse(head) else { return };
    // As much of the disk as the words describe.
    let entries = u64::try_from(words.len() / 8).unwrap_or(0);
    header.l1_entries = header.l1_entries.min(entries);
    header.virtual_bytes =
        header.virtual_bytes.min(header.l1_entries.saturating_mul(header.l2_coverage_bytes()));
    for file_bytes in [None, Some(FILE_BYTES), Some(header.cluster_bytes.saturating_mul(9))] {
        let mut walk = Walk::new(&header, 0, header.virtual_bytes, file_bytes);
        let done = header.decode_l1(words, file_bytes, |entry| {
            walk.l1(entry);
            Ok::<_, FormatError>(())
        });
        walk.end(&done);
        let mut table = words.to_vec();
        table.resize(usize::try_from(header.cluster_bytes).unwrap_or(0), 0);
        let end = header.virtual_bytes.min(header.l2_coverage_bytes());
        let mut walk = Walk::new(&header, 0, end, file_bytes);
        let done = header.decode_l2(0, &table, file_bytes, |piece| {
            walk.l2(piece);
            Ok::<_, FormatError>(())
        });
        walk.end(&done);
    }
}

/// Reads `data` as an image file: header, tables, and every piece onto a disk in memory. Returns the disk unless the image
/// is refused or larger than [`DISK_BYTES`]; compressed clusters are marked, not inflated.
///
/// # Panics
/// When a promise is broken: a piece outside the file or the disk, a guest byte that comes twice or never, a byte of the
/// file with two roles, more pieces than allowed.
pub fn whole_image(data: &[u8]) -> Option<Vec<u8>> {
    let file_bytes = u64::try_from(data.len()).unwrap_or(0);
    let mut header = Header::parse(data).ok()?;
    header.check_file(file_bytes).ok()?;
    if header.virtual_bytes > DISK_BYTES {
        // The tables are read all the same, of as much of the disk as can be checked byte by byte.
        header.virtual_bytes = DISK_BYTES;
        header.l1_entries = DISK_BYTES.div_ceil(header.l2_coverage_bytes().max(1));
    }
    let (tables, map) = read_tables(&header, data, file_bytes).ok()?;
    let mapped = match map.finish(&header, &tables) {
        Ok(mapped) => mapped,
        Err(error) => {
            check_words(&error);
            return None;
        }
    };
    assert!(mapped.items.len().saturating_add(mapped.zeros.len()) <= PIECES);
    let len = usize::try_from(header.virtual_bytes).ok()?;
    let mut disk = Disk { content: vec![0; len], seen: vec![false; len] };
    let mut last = None;
    for item in &mapped.items {
        assert!(last.is_none_or(|last| last <= *item), "items are sorted");
        last = Some(*item);
        disk.store(item, data, &header);
    }
    for (offset, bytes) in mapped.zeros {
        disk.fill(offset, bytes, 0);
    }
    assert!(disk.seen.iter().all(|seen| *seen), "a guest byte has no piece");
    Some(disk.content)
}

fn read_tables(
    header: &Header,
    data: &[u8],
    file_bytes: u64,
) -> Result<(Vec<Table>, Map), FormatError> {
    let (mut tables, mut map) = (Vec::new(), Map::new(PIECES));
    header.decode_l1(
        part(data, header.l1_offset, header.l1_bytes()),
        Some(file_bytes),
        |entry| {
            match entry {
                L1Entry::Table(_) if tables.len() >= TABLES => {
                    return Err(FormatError::TooManyPieces { limit: TABLES });
                }
                L1Entry::Table(table) => tables.push(table),
                L1Entry::Zero { guest_offset, bytes } => {
                    map.push(Piece::Zero { guest_offset, bytes })?;
                }
            }
            Ok(())
        },
    )?;
    for table in &tables {
        let bytes = part(data, table.host_offset, header.cluster_bytes);
        header.decode_l2(table.guest_offset, bytes, Some(file_bytes), |piece| map.push(piece))?;
    }
    Ok((tables, map))
}

/// `[offset, offset + bytes)` of the file, as much as is there.
fn part(data: &[u8], offset: u64, bytes: u64) -> &[u8] {
    let index = |value| usize::try_from(value).unwrap_or(usize::MAX).min(data.len());
    data.get(index(offset)..index(offset.saturating_add(bytes))).unwrap_or_default()
}

/// A refusal says something, and nothing that a terminal would obey.
fn check_words(error: &FormatError) {
    let words = error.to_string();
    assert!(!words.is_empty() && !words.chars().any(char::is_control), "{words:?}");
    assert!(words.len() < 64 << 10 && !error.remedy().is_empty());
}

/// Checks that pieces come in guest order, without gap and overlap.
struct Walk<'a> {
    header: &'a Header,
    next: u64,
    end: u64,
    file_bytes: Option<u64>,
}

impl<'a> Walk<'a> {
    fn new(header: &'a Header, next: u64, end: u64, file_bytes: Option<u64>) -> Self {
        Self { header, next, end, file_bytes }
    }

    fn l1(&mut self, entry: L1Entry) {
        let (guest, bytes) = match entry {
            L1Entry::Table(table) => {
                self.cluster(table.host_offset);
                let left = self.end.saturating_sub(table.guest_offset);
                (table.guest_offset, left.min(self.header.l2_coverage_bytes()))
            }
            L1Entry::Zero { guest_offset, bytes } => (guest_offset, bytes),
        };
        self.step(guest, bytes);
    }

    fn l2(&mut self, piece: Piece) {
        match piece {
            Piece::Zero { guest_offset, bytes } => self.step(guest_offset, bytes),
            Piece::Stored(item) => {
                assert!(item.host_offset() >= self.header.cluster_bytes, "{item:?} in the header");
                let inside = self.file_bytes.is_none_or(|end| item.host_offset() < end);
                assert!(inside, "{item:?} outside the file");
                self.step(item.guest_offset(), item.guest_bytes());
            }
        }
    }

    fn cluster(&self, offset: u64) {
        assert_eq!(offset.checked_rem(self.header.cluster_bytes), Some(0));
    }

    fn step(&mut self, guest: u64, bytes: u64) {
        assert_eq!(guest, self.next, "a gap or an overlap");
        self.next = self.next.saturating_add(bytes);
        assert!(self.next <= self.end, "beyond the disk");
    }

    /// A table without an error describes everything.
    fn end(&self, done: &Result<(), FormatError>) {
        match done {
            Ok(()) => assert_eq!(self.next, self.end, "not everything is described"),
            Err(error) => check_words(error),
        }
    }
}

/// A disk in memory that knows what was written.
struct Disk {
    content: Vec<u8>,
    seen: Vec<bool>,
}

impl Disk {
    fn store(&mut self, item: &Item, data: &[u8], header: &Header) {
        let bytes = part(data, item.host_offset(), item.host_bytes());
        // Only its cluster must begin inside the file: a later subcluster may lie behind the end and reads as zeros.
        let inside = item.host_offset() & !header.cluster_bytes.wrapping_sub(1);
        assert!(inside < u64::try_from(data.len()).unwrap_or(0), "{item:?} outside the file");
        match item.kind() {
            Kind::Compressed => {
                assert!(item.guest_bytes() <= header.cluster_bytes);
                assert!(item.host_bytes() <= header.cluster_bytes.saturating_mul(2));
                assert!(item.host_end() <= u64::try_from(data.len()).unwrap_or(0));
                self.fill(item.guest_offset(), item.guest_bytes(), 0xc0);
            }
            Kind::Plain => {
                assert_eq!(item.host_bytes(), item.guest_bytes());
                self.fill(item.guest_offset(), item.guest_bytes(), 0);
                let start = usize::try_from(item.guest_offset()).unwrap_or(usize::MAX);
                let end = start.saturating_add(bytes.len());
                if let Some(room) = self.content.get_mut(start..end) {
                    room.copy_from_slice(bytes);
                }
            }
        }
    }

    fn fill(&mut self, offset: u64, bytes: u64, value: u8) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
        let (content, seen) = (self.content.get_mut(start..end), self.seen.get_mut(start..end));
        let (Some(content), Some(seen)) = (content, seen) else {
            panic!("{bytes} bytes at guest offset {offset} are outside the disk");
        };
        assert!(!seen.contains(&true), "guest bytes at {offset} come twice");
        content.fill(value);
        seen.fill(true);
    }
}
