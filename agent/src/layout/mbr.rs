//! MBR partition tables: the classic one of four entries, and the protective one in front of a GPT.

use super::bytes::{put, u32_at};
use super::error::LayoutError;
use super::{Layout, Partition, Range, Request, check_overlap, config_bytes, place_at_end};

/// Offset of the first entry, bytes.
const ENTRIES_AT: usize = 446;
/// Length of an entry, bytes.
const ENTRY_BYTES: usize = 16;
/// Entries in the table.
const ENTRIES: u32 = 4;
/// Partition type: protective, covers a GPT disk.
const TYPE_PROTECTIVE: u8 = 0xEE;
/// Partition type: EFI system partition.
const TYPE_ESP: u8 = 0xEF;
/// Partition type: FAT32 with LBA, what `parted mkpart primary fat32` sets.
const TYPE_FAT32_LBA: u8 = 0x0C;
/// Cylinder/head/sector address that means "see the LBA".
const CHS_BEYOND: [u8; 3] = [0xFE, 0xFF, 0xFF];
/// Addresses are 32 bits: an MBR reaches this many sectors (2 TiB of 512 bytes).
const MAX_LBAS: u64 = 1 << 32;

/// The table in LBA 0.
#[derive(Debug)]
pub(super) struct Mbr {
    /// Whether an entry is the protective one of a GPT.
    pub(super) protective: bool,
    /// Entries in use, as (number, type, first LBA, sectors).
    used: Vec<(u32, u8, u64, u64)>,
}

impl Mbr {
    /// Reads LBA 0. `None` when it is not an MBR: no 0x55AA, or status bytes that no MBR has (a boot sector of a file
    /// system has the same signature).
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        if head.get(510..512)? != [0x55, 0xAA] {
            return None;
        }
        let mut mbr = Self { protective: false, used: Vec::new() };
        for (number, entry) in (1..=ENTRIES).zip(head.get(ENTRIES_AT..510)?.as_chunks::<16>().0) {
            if !matches!(entry[0], 0x00 | 0x80) {
                return None;
            }
            let (kind, sectors) = (entry[4], u32_at(entry, 12));
            if kind != 0 && sectors != 0 {
                mbr.protective |= kind == TYPE_PROTECTIVE;
                mbr.used.push((number, kind, u32_at(entry, 8).into(), sectors.into()));
            }
        }
        Some(mbr)
    }

    /// Whether no entry is in use.
    pub(super) fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// The final table of the disk.
    pub(super) fn plan(
        &self,
        request: &Request<'_>,
        mut head: Vec<u8>,
        tail_offset: u64,
        tail: Vec<u8>,
    ) -> Result<Layout, LayoutError> {
        let mut entries = self.partitions(request)?;
        let config = match request.config_drive_bytes {
            Some(bytes) => Some(add_config(&mut head, &mut entries, bytes, request)?),
            None => None,
        };
        Ok(Layout {
            config,
            head,
            tail,
            tail_offset,
            disk_tail: Vec::new(),
            disk_tail_offset: request.disk_bytes,
            table: "mbr",
            partitions: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            entries,
        })
    }

    /// The entries in use, each inside the image and clear of the others.
    fn partitions(&self, request: &Request<'_>) -> Result<Vec<Partition>, LayoutError> {
        let sector = u64::from(request.sector_bytes);
        if self.used.is_empty() {
            return Err(LayoutError::NoTable);
        }
        let fits = |sector: u64| {
            self.used
                .iter()
                .all(|&(_, _, lba, count)| (lba + count) * sector <= request.image_bytes)
        };
        // An MBR does not say what its sectors are; one that only makes sense with 512 bytes was made for 512.
        if sector != 512 && !fits(sector) && fits(512) {
            return Err(LayoutError::SectorMismatch {
                image_sector_bytes: 512,
                disk_sector_bytes: request.sector_bytes,
            });
        }
        let mut partitions = Vec::new();
        for &(number, kind, lba, count) in &self.used {
            let (start, end, limit) = (lba * sector, (lba + count) * sector, request.image_bytes);
            if lba == 0 || end > limit {
                return Err(LayoutError::OutOfRange { number, start, end, floor: sector, limit });
            }
            partitions.push(partition(number, kind, Range { offset: start, bytes: end - start }));
        }
        check_overlap(&partitions)?;
        Ok(partitions)
    }
}

/// A partition of an MBR.
fn partition(number: u32, kind: u8, range: Range) -> Partition {
    Partition { number, range, name: String::new(), esp: kind == TYPE_ESP, bios: false, guid: None }
}

/// Adds a primary partition at the end of what an MBR can address.
fn add_config(
    head: &mut [u8],
    entries: &mut Vec<Partition>,
    drive_bytes: u64,
    request: &Request<'_>,
) -> Result<Range, LayoutError> {
    let sector = u64::from(request.sector_bytes);
    let number = (1..=ENTRIES).find(|number| entries.iter().all(|entry| entry.number != *number));
    let number = number.ok_or(LayoutError::TableFull {
        table: "mbr",
        entries: ENTRIES,
        hint: ", or a GPT image",
    })?;
    let floor = entries.iter().map(|entry| entry.range.end()).max().unwrap_or(0);
    let limit = (request.disk_bytes / sector).min(MAX_LBAS - 1) * sector;
    let range = place_at_end(config_bytes(drive_bytes), floor, limit)?;
    put(head, ENTRIES_AT + (number as usize - 1) * ENTRY_BYTES, &[0]);
    put_entry(
        head,
        number,
        TYPE_FAT32_LBA,
        CHS_BEYOND,
        range.offset / sector,
        range.bytes / sector,
    );
    entries.push(partition(number, TYPE_FAT32_LBA, range));
    entries.sort_by_key(|entry| entry.number);
    Ok(range)
}

/// Makes the protective entry cover the whole disk; boot code, status and disk identifier stay.
///
/// A hybrid MBR (a protective entry beside real ones) is left as it is: its entries are part of the image.
pub(super) fn protect(head: &mut [u8], disk_lbas: u64) {
    let number = match Mbr::parse(head) {
        Some(mbr) => match mbr.used.as_slice() {
            [] => 1,
            [(number, TYPE_PROTECTIVE, ..)] => *number,
            [..] => return,
        },
        None => {
            put(head, ENTRIES_AT, &[0; 4 * ENTRY_BYTES]);
            put(head, 510, &[0x55, 0xAA]);
            1
        }
    };
    put_entry(head, number, TYPE_PROTECTIVE, [0x00, 0x02, 0x00], 1, disk_lbas.saturating_sub(1));
}

/// Writes entry `number`, keeping its status byte. Addresses that do not fit are clipped to the largest.
fn put_entry(head: &mut [u8], number: u32, kind: u8, chs: [u8; 3], lba: u64, sectors: u64) {
    let at = ENTRIES_AT + (number as usize - 1) * ENTRY_BYTES;
    let clip = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    put(head, at + 1, &chs);
    put(head, at + 4, &[kind]);
    put(head, at + 5, if kind == TYPE_PROTECTIVE { &[0xFF; 3] } else { &CHS_BEYOND });
    put(head, at + 8, &clip(lba));
    put(head, at + 12, &clip(sectors));
}
