//! What the tests of this module and its neighbours share: a disk in memory and images made field by field.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use uuid::Uuid;

use super::bytes::put;
use super::{Layout, MIB, Request};
use crate::sys::disk::{BlockDevice, DiskError, DiskOp};

/// Type GUID of a Linux file system.
pub(crate) const LINUX: u128 = 0x0FC6_3DAF_8483_4772_8E79_3D69_D847_7DE4;
/// Type GUID of an EFI system partition.
pub(crate) const ESP: u128 = 0xC12A_7328_F81F_11D2_BA4B_00A0_C93E_C93B;

/// Type GUID of a BIOS boot partition.
pub(crate) const BIOS: u128 = 0x2168_6148_6449_6E6F_744E_6565_6445_4649;

/// A disk in memory. Records what reached it; can fail or forget.
#[derive(Debug)]
pub(crate) struct FakeDisk {
    sector_bytes: u32,
    bytes: Mutex<Vec<u8>>,
    /// (what, offset, length) in order.
    pub(crate) ops: Mutex<Vec<(DiskOp, u64, u64)>>,
    /// Writes that contain this offset fail.
    pub(crate) fail_write_at: Option<u64>,
    /// Zeroing fails.
    pub(crate) fail_zero: bool,
    /// The byte at this offset reads with its bits flipped.
    pub(crate) flip_at: Option<u64>,
}

impl FakeDisk {
    pub(crate) fn new(bytes: u64, sector_bytes: u32) -> Self {
        Self {
            sector_bytes,
            bytes: Mutex::new(vec![0; usize::try_from(bytes).unwrap()]),
            ops: Mutex::default(),
            fail_write_at: None,
            fail_zero: false,
            flip_at: None,
        }
    }

    /// With these contents and sectors of 512 bytes.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes: Mutex::new(bytes), ..Self::new(0, 512) }
    }

    /// Its whole contents.
    pub(crate) fn contents(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn record(&self, op: DiskOp, offset: u64, bytes: u64) -> Result<(), DiskError> {
        self.ops.lock().unwrap().push((op, offset, bytes));
        let failed = op == DiskOp::Write
            && self.fail_write_at.is_some_and(|at| (offset..offset + bytes).contains(&at))
            || op == DiskOp::Zero && self.fail_zero;
        if failed || offset + bytes > self.bytes() {
            let source = io::Error::from_raw_os_error(5);
            return Err(DiskError { device: self.path().into(), op, offset, bytes, source });
        }
        Ok(())
    }
}

impl BlockDevice for FakeDisk {
    fn path(&self) -> &Path {
        Path::new("/dev/fake")
    }

    fn bytes(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.record(DiskOp::Read, offset, buffer.len() as u64)?;
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.bytes.lock().unwrap()[at..at + buffer.len()]);
        if let Some(index) = self.flip_at.and_then(|flip| flip.checked_sub(offset))
            && let Some(byte) = buffer.get_mut(usize::try_from(index).unwrap())
        {
            *byte = !*byte;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.record(DiskOp::Write, offset, bytes.len() as u64)?;
        put(&mut self.bytes.lock().unwrap(), usize::try_from(offset).unwrap(), bytes);
        Ok(())
    }

    fn zero(&self, offset: u64, bytes: u64) -> Result<(), DiskError> {
        self.record(DiskOp::Zero, offset, bytes)?;
        let at = usize::try_from(offset).unwrap();
        self.bytes.lock().unwrap()[at..at + usize::try_from(bytes).unwrap()].fill(0);
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.record(DiskOp::Flush, 0, 0)
    }
}

/// An image and the geometry it was made with.
#[derive(Debug, Clone)]
pub(crate) struct TestImage {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sector_bytes: u32,
}

impl TestImage {
    /// A GPT image with the partitions (type, first LBA, last LBA, name); every sector of partition n is filled with n.
    pub(crate) fn gpt(sector_bytes: u32, len: u64, parts: &[(u128, u64, u64, &str)]) -> Self {
        let sector = sector_bytes as usize;
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        let last_lba = len / sector as u64 - 1;
        let entry_sectors = (128 * 128 / sector) as u64;
        let mut entries = vec![0u8; 128 * 128];
        for (index, (kind, first, last, name)) in parts.iter().enumerate() {
            let at = index * 128;
            put(&mut entries, at, &Uuid::from_u128(*kind).to_bytes_le());
            put(&mut entries, at + 16, &Uuid::from_u128(0xA000 + index as u128).to_bytes_le());
            put(&mut entries, at + 32, &first.to_le_bytes());
            put(&mut entries, at + 40, &last.to_le_bytes());
            let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            put(&mut entries, at + 56, &name);
            let (start, end) = (first * sector as u64, (last + 1) * sector as u64);
            let (start, end) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
            if let Some(part) = bytes.get_mut(start..end) {
                part.fill(u8::try_from(index + 1).unwrap());
            }
        }
        let usable = (2 + entry_sectors, last_lba - entry_sectors - 1);
        let primary = header(usable, 1, last_lba, 2, &entries);
        let backup = header(usable, last_lba, 1, last_lba - entry_sectors, &entries);
        let at = |lba: u64| usize::try_from(lba).unwrap() * sector;
        bytes[446..462].copy_from_slice(&[0, 0, 2, 0, 0xEE, 255, 255, 255, 1, 0, 0, 0, 9, 9, 0, 0]);
        bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
        bytes[..4].copy_from_slice(b"boot");
        put(&mut bytes, at(1), &primary);
        put(&mut bytes, at(2), &entries);
        put(&mut bytes, at(last_lba - entry_sectors), &entries);
        put(&mut bytes, at(last_lba), &backup);
        Self { bytes, sector_bytes }
    }

    /// An MBR image with the partitions (type, first LBA, sectors).
    pub(crate) fn mbr(len: u64, parts: &[(u8, u32, u32)]) -> Self {
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        for (index, (kind, lba, count)) in parts.iter().enumerate() {
            let at = 446 + 16 * index;
            bytes[at + 4] = *kind;
            put(&mut bytes, at + 8, &lba.to_le_bytes());
            put(&mut bytes, at + 12, &count.to_le_bytes());
        }
        bytes[440..444].copy_from_slice(b"disk");
        bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
        Self { bytes, sector_bytes: 512 }
    }

    /// A usual cloud image: ESP and a Linux root that ends at the image's last usable MiB. `mib` is its length.
    pub(crate) fn cloud(sector_bytes: u32, mib: u64) -> Self {
        let per_mib = MIB / u64::from(sector_bytes);
        let parts = [
            (ESP, per_mib, 2 * per_mib - 1, "esp"),
            (LINUX, 2 * per_mib, (mib - 1) * per_mib - 1, "root"),
        ];
        Self::gpt(sector_bytes, mib * MIB, &parts)
    }

    /// The request the image writer would make for a disk of `disk_bytes`.
    pub(crate) fn request(&self, disk_bytes: u64, config: Option<u64>) -> Request<'_> {
        let len = self.bytes.len();
        let mib = usize::try_from(MIB).unwrap();
        let tail_offset = len.saturating_sub(mib);
        Request {
            held_head: &self.bytes[..len.min(mib)],
            tail_offset: tail_offset as u64,
            held_tail: &self.bytes[tail_offset..],
            image_bytes: len as u64,
            disk_bytes,
            sector_bytes: self.sector_bytes,
            config_drive_bytes: config,
            guid: Uuid::from_u128(7),
        }
    }

    /// A disk as the image writer leaves it: the image without its head and tail.
    pub(crate) fn written(&self, disk_bytes: u64) -> FakeDisk {
        let disk = FakeDisk::new(disk_bytes, self.sector_bytes);
        let mib = usize::try_from(MIB).unwrap();
        let end = self.bytes.len().saturating_sub(mib);
        if let Some(middle) = self.bytes.get(mib..end) {
            put(&mut disk.bytes.lock().unwrap(), mib, middle);
        }
        disk
    }
}

/// A GPT header with right checksums.
fn header(
    usable: (u64, u64),
    my_lba: u64,
    other_lba: u64,
    entries_lba: u64,
    entries: &[u8],
) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(b"EFI PART\x00\x00\x01\x00");
    header.extend(92u32.to_le_bytes());
    header.extend([0; 8]);
    for lba in [my_lba, other_lba, usable.0, usable.1] {
        header.extend(lba.to_le_bytes());
    }
    header.extend(Uuid::from_u128(0xD15C).to_bytes_le());
    header.extend(entries_lba.to_le_bytes());
    header.extend(128u32.to_le_bytes());
    header.extend(128u32.to_le_bytes());
    header.extend(crc32fast::hash(entries).to_le_bytes());
    let crc = crc32fast::hash(&header);
    put(&mut header, 16, &crc.to_le_bytes());
    header
}

/// Makes both checksums of a primary table right again after a test changed fields.
pub(crate) fn reseal(image: &mut TestImage) {
    let at = image.sector_bytes as usize;
    let entries = crc32fast::hash(&image.bytes[2 * at..2 * at + 128 * 128]);
    put(&mut image.bytes, at + 88, &entries.to_le_bytes());
    put(&mut image.bytes, at + 16, &[0; 4]);
    let crc = crc32fast::hash(&image.bytes[at..at + 92]);
    put(&mut image.bytes, at + 16, &crc.to_le_bytes());
}

/// Asserts that nothing in `layout` collides and everything is on the disk.
pub(crate) fn assert_sound(layout: &Layout, request: &Request<'_>) {
    assert_eq!(layout.head.len() as u64, MIB);
    assert!(layout.tail_offset >= MIB);
    let ends = layout.disk_tail_offset + layout.disk_tail.len() as u64;
    assert!(ends <= request.disk_bytes);
    let mut ranges: Vec<_> = layout.entries.iter().map(|entry| entry.range).collect();
    ranges.sort_by_key(|range| range.offset);
    assert!(ranges.windows(2).all(|pair| pair[0].end() <= pair[1].offset), "{ranges:?}");
    assert!(ranges.iter().all(|range| range.end() <= layout.disk_tail_offset), "{ranges:?}");
    assert_eq!(ranges.len(), layout.partitions as usize);
    if let Some(config) = layout.config {
        assert!(ranges.contains(&config));
        assert!(config.offset >= MIB && config.bytes >= request.config_drive_bytes.unwrap());
    }
}
