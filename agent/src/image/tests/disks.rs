//! A disk in memory that starts full of old bytes, keeps a record, and can fail or lie.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use crate::sys::disk::{BlockDevice, DiskError, DiskOp};

/// What the disk held before: never zero, so that a skipped zero shows.
pub(super) const OLD: u8 = 0xa5;

#[derive(Debug)]
pub(super) struct MemoryDisk {
    content: Mutex<Vec<u8>>,
    ops: Mutex<Vec<(DiskOp, u64, u64)>>,
    /// The operation that covers this byte fails.
    fail: Option<(DiskOp, u64)>,
    /// This byte is written wrong and nobody told.
    lie: Option<usize>,
    /// What is written or zeroed over this byte is lost and nobody told.
    lose: Option<u64>,
    /// The disk ends here, whatever it says: what lies behind is accepted and reads as zeros.
    ends: Option<u64>,
    /// The number of the error when [`MemoryDisk::fail`] hits.
    errno: i32,
}

impl MemoryDisk {
    pub(super) fn new(bytes: usize) -> Self {
        let (content, ops) = (Mutex::new(vec![OLD; bytes]), Mutex::new(Vec::new()));
        Self { content, ops, fail: None, lie: None, lose: None, ends: None, errno: 5 }
    }

    pub(super) fn failing(bytes: usize, op: DiskOp, offset: u64) -> Self {
        Self { fail: Some((op, offset)), ..Self::new(bytes) }
    }

    /// As [`MemoryDisk::failing`], with another number than EIO.
    pub(super) fn failing_with(bytes: usize, op: DiskOp, offset: u64, errno: i32) -> Self {
        Self { errno, ..Self::failing(bytes, op, offset) }
    }

    pub(super) fn losing(bytes: usize, offset: u64) -> Self {
        Self { lose: Some(offset), ..Self::new(bytes) }
    }

    pub(super) fn shorter(bytes: usize, ends: u64) -> Self {
        let disk = Self { ends: Some(ends), ..Self::new(bytes) };
        disk.content.lock().unwrap()[usize::try_from(ends).unwrap()..].fill(0);
        disk
    }

    pub(super) fn lying(bytes: usize, offset: usize) -> Self {
        Self { lie: Some(offset), ..Self::new(bytes) }
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.content.lock().unwrap().clone()
    }

    pub(super) fn ops(&self) -> Vec<(DiskOp, u64, u64)> {
        self.ops.lock().unwrap().clone()
    }

    /// Whether the first and the last MiB are zero.
    pub(super) fn has_no_table(&self) -> bool {
        let content = self.content.lock().unwrap();
        let edge = content.len().min(1 << 20);
        let zeros = vec![0; edge];
        content.starts_with(&zeros) && content.ends_with(&zeros)
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.ops.lock().unwrap().is_empty()
    }

    fn record(&self, op: DiskOp, offset: u64, bytes: u64) -> Result<(), DiskError> {
        if op != DiskOp::Read {
            self.ops.lock().unwrap().push((op, offset, bytes));
        }
        let hit = self.fail.is_some_and(|(failing, at)| {
            failing == op && (bytes == 0 || (offset..offset + bytes).contains(&at))
        });
        let end = self.content.lock().unwrap().len() as u64;
        if hit || offset + bytes > end {
            let source = io::Error::from_raw_os_error(if hit { self.errno } else { 28 });
            return Err(DiskError { device: self.path().into(), op, offset, bytes, source });
        }
        Ok(())
    }

    fn change(&self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        if self.lose.is_some_and(|lost| (offset..end).contains(&lost)) {
            return;
        }
        let mut content = self.content.lock().unwrap();
        let real_end = self.ends.unwrap_or(content.len() as u64);
        let kept = end.min(real_end).saturating_sub(offset);
        let (offset, kept) = (usize::try_from(offset).unwrap(), usize::try_from(kept).unwrap());
        if kept > 0 {
            content[offset..offset + kept].copy_from_slice(&bytes[..kept]);
        }
    }
}

impl BlockDevice for MemoryDisk {
    fn path(&self) -> &Path {
        Path::new("/dev/memory")
    }

    fn bytes(&self) -> u64 {
        self.content.lock().unwrap().len() as u64
    }

    fn sector_bytes(&self) -> u32 {
        512
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.record(DiskOp::Read, offset, buffer.len() as u64)?;
        let offset = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.content.lock().unwrap()[offset..offset + buffer.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.record(DiskOp::Write, offset, bytes.len() as u64)?;
        self.change(offset, bytes);
        if let Some(lie) = self.lie {
            let end = offset + bytes.len() as u64;
            if (offset..end).contains(&(lie as u64)) {
                self.content.lock().unwrap()[lie] ^= 1;
            }
        }
        Ok(())
    }

    fn zero(&self, offset: u64, bytes: u64) -> Result<(), DiskError> {
        self.record(DiskOp::Zero, offset, bytes)?;
        self.change(offset, &vec![0; usize::try_from(bytes).unwrap()]);
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.record(DiskOp::Flush, 0, 0)
    }
}
