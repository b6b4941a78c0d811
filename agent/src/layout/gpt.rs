//! GUID partition tables: parse the image's, build the disk's (UEFI specification 2.10, section 5.3).

mod read;

use uuid::Uuid;

use super::bytes::{array, put, u64_at, zero};
use super::error::LayoutError;
use super::mbr::{self, Mbr};
use super::{CONFIG_NAME, Layout, MIB, Partition, Range, Request, config_bytes, place_at_end};

/// First eight bytes of a header.
const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Length of the header's defined fields, bytes; also its smallest legal size.
const HEADER_BYTES: usize = 92;
/// Smallest legal entry, bytes.
const ENTRY_BYTES: usize = 128;
/// Entries of a table of our own: what the specification reserves at least, 16 KiB of the usual length.
const ENTRIES: u32 = 128;
/// Largest entry we accept, bytes (the specification allows any 128 * 2^n).
const MAX_ENTRY_BYTES: usize = 4096;
/// Offset and length in bytes of a name (UTF-16LE) in an entry.
const NAME: std::ops::Range<usize> = 56..128;
/// EFI system partition, C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
pub(super) const TYPE_ESP: Uuid = Uuid::from_u128(0xC12A_7328_F81F_11D2_BA4B_00A0_C93E_C93B);
/// Type GUID of a BIOS boot partition (GRUB's).
pub(super) const TYPE_BIOS: Uuid = Uuid::from_u128(0x2168_6148_6449_6E6F_744E_6565_6445_4649);
/// Linux file system, 0FC63DAF-8483-4772-8E79-3D69D8477DE4: what sgdisk gives a partition without a type.
pub(super) const TYPE_LINUX: Uuid = Uuid::from_u128(0x0FC6_3DAF_8483_4772_8E79_3D69_D847_7DE4);

/// Whether the image has a GPT for this sector size.
///
/// A protective entry (0xEE) makes it one, as the kernel and firmware read it; without any MBR partition the header alone
/// is enough. An MBR with partitions of its own wins over a stale header.
pub(super) fn present(
    head: &[u8],
    sector_bytes: u32,
    mbr: Option<&Mbr>,
) -> Result<bool, LayoutError> {
    let signed = |offset: u32| {
        usize::try_from(offset).is_ok_and(|offset| array(head, offset) == Some(*SIGNATURE))
    };
    if mbr.is_some_and(|mbr| !mbr.protective && !mbr.is_empty()) {
        return Ok(false);
    }
    if signed(sector_bytes) {
        return Ok(true);
    }
    let other = if sector_bytes == 512 { 4096 } else { 512 };
    if signed(other) {
        return Err(LayoutError::SectorMismatch {
            image_sector_bytes: other,
            disk_sector_bytes: sector_bytes,
        });
    }
    if mbr.is_some_and(|mbr| mbr.protective) {
        return Err(malformed("signature of the header", u64_at(head, sector_bytes as usize)));
    }
    Ok(false)
}

/// A parsed primary header with what is derived from it; everything in it is checked.
#[derive(Debug)]
pub(super) struct Gpt {
    /// Sector size, bytes.
    sector: u64,
    /// Length of the header's checksummed part, bytes.
    header_bytes: usize,
    /// Where the header says its backup is.
    backup_lba: u64,
    /// First byte partitions may use.
    floor: u64,
    /// Offset of the entries in the head, bytes.
    entries_at: usize,
    /// Number of entries.
    count: usize,
    /// Length of one, bytes.
    entry_bytes: usize,
    /// Partitions in use.
    pub(super) partitions: Vec<Partition>,
}

/// The final table of the disk.
pub(super) fn plan(
    request: &Request<'_>,
    mut head: Vec<u8>,
    tail_offset: u64,
    mut tail: Vec<u8>,
) -> Result<Layout, LayoutError> {
    let mut gpt = Gpt::parse(&head, request)?;
    let disk_lbas = request.disk_bytes / gpt.sector;
    let backup = gpt.backup(disk_lbas);
    for partition in &gpt.partitions {
        if partition.range.end() > backup.offset {
            return Err(LayoutError::NoRoomForBackup {
                number: partition.number,
                end: partition.range.end(),
                limit: backup.offset,
            });
        }
    }
    let config = match request.config_drive_bytes {
        Some(bytes) => Some(gpt.config(&mut head, bytes, backup.offset, request.guid)?),
        None => None,
    };
    let disk_tail = gpt.seal(&mut head, disk_lbas, backup);
    mbr::protect(&mut head, disk_lbas);
    gpt.forget_stale_backup(request.image_bytes, &mut tail, tail_offset);
    Ok(Layout {
        config,
        head,
        tail,
        tail_offset,
        disk_tail,
        disk_tail_offset: backup.offset,
        table: "gpt",
        partitions: u32::try_from(gpt.partitions.len()).unwrap_or(u32::MAX),
        entries: gpt.partitions,
    })
}

impl Gpt {
    /// A table without partitions, and the first MiB that holds it.
    pub(super) fn empty(sector: u64, disk_guid: Uuid) -> (Self, Vec<u8>) {
        let mut head = vec![0; usize::try_from(MIB).unwrap_or(0)];
        let at = usize::try_from(sector).unwrap_or(0);
        let header_length = u32::try_from(HEADER_BYTES).unwrap_or(0).to_le_bytes();
        let entry_length = u32::try_from(ENTRY_BYTES).unwrap_or(0).to_le_bytes();
        let fields: [(usize, &[u8]); 9] = [
            (0, SIGNATURE),
            // Revision 1.0.
            (8, &[0, 0, 1, 0]),
            (12, &header_length),
            // This header's place, and the first block that partitions may use.
            (24, &1u64.to_le_bytes()),
            (40, &(MIB / sector).to_le_bytes()),
            (56, &disk_guid.to_bytes_le()),
            // The entries' place, their number, and the length of one.
            (72, &2u64.to_le_bytes()),
            (80, &ENTRIES.to_le_bytes()),
            (84, &entry_length),
        ];
        for (field_at, field) in fields {
            put(&mut head, at + field_at, field);
        }
        let gpt = Self {
            sector,
            header_bytes: HEADER_BYTES,
            backup_lba: 0,
            floor: MIB,
            entries_at: 2 * at,
            count: usize::try_from(ENTRIES).unwrap_or(0),
            entry_bytes: ENTRY_BYTES,
            partitions: Vec::new(),
        };
        (gpt, head)
    }

    /// Sectors of the entry array.
    fn entry_sectors(&self) -> u64 {
        ((self.count * self.entry_bytes) as u64).div_ceil(self.sector)
    }

    /// Where the backup goes on the disk: entries, then the header in the last sector. A range of nothing at 0 when the
    /// disk is too small, which every partition then runs into.
    pub(super) fn backup(&self, disk_lbas: u64) -> Range {
        let sectors = self.entry_sectors() + 1;
        match disk_lbas.checked_sub(sectors) {
            Some(lba) => Range { offset: lba * self.sector, bytes: sectors * self.sector },
            None => Range { offset: 0, bytes: 0 },
        }
    }

    /// The config-2 partition: the image's own, or a new one at the end of the disk.
    fn config(
        &mut self,
        head: &mut [u8],
        drive_bytes: u64,
        limit: u64,
        guid: Uuid,
    ) -> Result<Range, LayoutError> {
        let mut named =
            self.partitions.iter().filter(|part| part.name.eq_ignore_ascii_case(CONFIG_NAME));
        if let Some(own) = named.next() {
            if let Some(second) = named.next() {
                return Err(LayoutError::ConfigTwice { first: own.number, second: second.number });
            }
            let Partition { number, range: Range { offset, bytes }, .. } = *own;
            if bytes < drive_bytes || offset < MIB {
                let needed_bytes = drive_bytes;
                return Err(LayoutError::ConfigUnusable { number, offset, bytes, needed_bytes });
            }
            return Ok(own.range);
        }
        let floor = self.partitions.iter().map(|part| part.range.end()).max().unwrap_or(0);
        let range = place_at_end(config_bytes(drive_bytes), floor.max(self.floor), limit)?;
        self.add(head, range, (CONFIG_NAME, TYPE_LINUX, guid))?;
        Ok(range)
    }

    /// Writes a new entry for `range` into the first free slot.
    pub(super) fn add(
        &mut self,
        head: &mut [u8],
        range: Range,
        (name, kind, guid): (&str, Uuid, Uuid),
    ) -> Result<(), LayoutError> {
        let used: Vec<u32> = self.partitions.iter().map(|partition| partition.number).collect();
        let entries = u32::try_from(self.count).unwrap_or(u32::MAX);
        let number = (1..=entries).find(|number| !used.contains(number));
        let number = number.ok_or(LayoutError::TableFull { table: "gpt", entries, hint: "" })?;
        let at = self.entries_at + (number as usize - 1) * self.entry_bytes;
        put(head, at, &vec![0; self.entry_bytes]);
        put(head, at, &kind.to_bytes_le());
        put(head, at + 16, &guid.to_bytes_le());
        put(head, at + 32, &(range.offset / self.sector).to_le_bytes());
        put(head, at + 40, &(range.end() / self.sector - 1).to_le_bytes());
        for (index, unit) in name.encode_utf16().enumerate() {
            put(head, at + NAME.start + 2 * index, &unit.to_le_bytes());
        }
        self.partitions.push(Partition {
            number,
            range,
            name: name.to_owned(),
            esp: kind == TYPE_ESP,
            bios: kind == TYPE_BIOS,
            guid: Some(guid),
        });
        self.partitions.sort_by_key(|partition| partition.number);
        Ok(())
    }

    /// Sets addresses and checksums of the primary header and returns the backup for `backup`.
    pub(super) fn seal(&self, head: &mut [u8], disk_lbas: u64, backup: Range) -> Vec<u8> {
        let last_lba = disk_lbas.saturating_sub(1);
        let at = usize::try_from(self.sector).unwrap_or(0);
        let entries_len = self.count * self.entry_bytes;
        let entries = head.get(self.entries_at..self.entries_at + entries_len).unwrap_or_default();
        let entries = entries.to_vec();
        put(head, at + 32, &last_lba.to_le_bytes());
        put(head, at + 48, &(backup.offset / self.sector).saturating_sub(1).to_le_bytes());
        put(head, at + 88, &crc32fast::hash(&entries).to_le_bytes());
        let primary = head.get_mut(at..at + self.header_bytes).unwrap_or_default();
        put_crc(primary);

        let mut header = primary.to_vec();
        put(&mut header, 24, &last_lba.to_le_bytes());
        put(&mut header, 32, &1u64.to_le_bytes());
        put(&mut header, 72, &(backup.offset / self.sector).to_le_bytes());
        put_crc(&mut header);
        let mut bytes = entries;
        bytes.resize(usize::try_from(backup.bytes).unwrap_or(0), 0);
        let header_at = bytes.len().saturating_sub(at);
        put(&mut bytes, header_at, &header);
        bytes
    }

    /// Zeros the image's own backup in `tail`, where no partition owns the bytes.
    ///
    /// Where the disk ends with the image, the new backup is written over the same sectors afterwards.
    fn forget_stale_backup(&self, image_bytes: u64, tail: &mut [u8], tail_offset: u64) {
        let image_last_lba = (image_bytes / self.sector).saturating_sub(1);
        for lba in [self.backup_lba, image_last_lba] {
            let Some(at) = lba.checked_mul(self.sector) else { continue };
            let Some(index) = at.checked_sub(tail_offset).and_then(|at| usize::try_from(at).ok())
            else {
                continue;
            };
            if array(tail, index) != Some(*SIGNATURE) {
                continue;
            }
            let entries = at.saturating_sub(self.entry_sectors() * self.sector);
            let end = at.saturating_add(self.sector);
            let floor = self.partitions.iter().map(|partition| partition.range);
            let owned = floor.filter(|range| range.offset < end).map(Range::end).max();
            zero(tail, tail_offset, entries.max(owned.unwrap_or(0)), end);
        }
    }
}

/// Computes and stores a header's own checksum.
fn put_crc(header: &mut [u8]) {
    put(header, 16, &[0; 4]);
    let crc = crc32fast::hash(header);
    put(header, 16, &crc.to_le_bytes());
}

/// A field that makes no sense.
fn malformed(field: &'static str, value: u64) -> LayoutError {
    LayoutError::Malformed { table: "GPT", field, value }
}
