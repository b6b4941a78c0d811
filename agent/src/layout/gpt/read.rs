//! Reading the image's GPT: every field is checked before it is used.

use uuid::Uuid;

use super::{
    ENTRY_BYTES, Gpt, HEADER_BYTES, MAX_ENTRY_BYTES, NAME, TYPE_BIOS, TYPE_ESP, malformed,
};
use crate::layout::bytes::{array, put, u32_at, u64_at};
use crate::layout::{LayoutError, Partition, Range, Request, check_overlap};

impl Gpt {
    /// Parses and checks the primary table in `head`.
    pub(super) fn parse(head: &[u8], request: &Request<'_>) -> Result<Self, LayoutError> {
        let sector = u64::from(request.sector_bytes);
        let header = header(head, request.sector_bytes)?;
        let entry_bytes = u32_at(header, 84) as usize;
        let count = u32_at(header, 80) as usize;
        let entries_lba = u64_at(header, 72);
        if !entry_bytes.is_power_of_two() || !(ENTRY_BYTES..=MAX_ENTRY_BYTES).contains(&entry_bytes)
        {
            return Err(malformed("size of a partition entry", entry_bytes as u64));
        }
        let entries_at = entries_lba
            .checked_mul(sector)
            .filter(|_| entries_lba >= 2)
            .and_then(|offset| usize::try_from(offset).ok())
            .ok_or_else(|| malformed("first LBA of the partition entries", entries_lba))?;
        let entries = count
            .checked_mul(entry_bytes)
            .filter(|bytes| *bytes > 0)
            .and_then(|bytes| head.get(entries_at..entries_at.checked_add(bytes)?))
            .ok_or_else(|| malformed("number of partition entries", count as u64))?;
        check_crc("partition entries", u32_at(header, 88), entries)?;
        let floor = u64_at(header, 40).saturating_mul(sector);
        if floor < (entries_at + entries.len()) as u64 {
            return Err(malformed("first usable LBA", u64_at(header, 40)));
        }
        let limit = u64_at(header, 48).saturating_add(1).saturating_mul(sector);
        let limit = limit.min(request.image_bytes);
        let partitions = partitions(entries, entry_bytes, sector, floor, limit)?;
        Ok(Self {
            sector,
            header_bytes: header.len(),
            backup_lba: u64_at(header, 32),
            floor,
            entries_at,
            count,
            entry_bytes,
            partitions,
        })
    }
}

/// The checksummed part of the primary header.
fn header(head: &[u8], sector_bytes: u32) -> Result<&[u8], LayoutError> {
    let at = sector_bytes as usize;
    let size = head.get(at..).map_or(0, |header| u32_at(header, 12)) as usize;
    if size < HEADER_BYTES || size > at {
        return Err(malformed("size of the header", size as u64));
    }
    let header = head.get(at..at + size).unwrap_or_default();
    let mut blank = header.to_vec();
    put(&mut blank, 16, &[0; 4]);
    check_crc("header", u32_at(header, 16), &blank)?;
    if u64_at(header, 24) != 1 {
        return Err(malformed("LBA of the primary header", u64_at(header, 24)));
    }
    Ok(header)
}

/// The entries in use, each checked against `[floor, limit)` and the others.
fn partitions(
    entries: &[u8],
    entry_bytes: usize,
    sector: u64,
    floor: u64,
    limit: u64,
) -> Result<Vec<Partition>, LayoutError> {
    let mut partitions = Vec::new();
    for (number, entry) in (1u32..).zip(entries.chunks_exact(entry_bytes)) {
        let kind = Uuid::from_bytes_le(array(entry, 0).unwrap_or_default());
        if kind.is_nil() {
            continue;
        }
        let start = u64_at(entry, 32).saturating_mul(sector);
        let end = u64_at(entry, 40).saturating_add(1).saturating_mul(sector);
        if start < floor || end > limit || start >= end {
            return Err(LayoutError::OutOfRange { number, start, end, floor, limit });
        }
        partitions.push(Partition {
            number,
            range: Range { offset: start, bytes: end - start },
            name: name(entry),
            esp: kind == TYPE_ESP,
            bios: kind == TYPE_BIOS,
            guid: Some(Uuid::from_bytes_le(array(entry, 16).unwrap_or_default())),
        });
    }
    if partitions.is_empty() {
        return Err(LayoutError::NoPartitions { table: "gpt" });
    }
    check_overlap(&partitions)?;
    Ok(partitions)
}

/// The name in an entry, up to its first NUL.
fn name(entry: &[u8]) -> String {
    let units = entry.get(NAME).unwrap_or_default().as_chunks::<2>().0;
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// Compares a stored checksum.
fn check_crc(part: &'static str, expected: u32, bytes: &[u8]) -> Result<(), LayoutError> {
    let actual = crc32fast::hash(bytes);
    if actual == expected { Ok(()) } else { Err(LayoutError::Crc { part, expected, actual }) }
}
