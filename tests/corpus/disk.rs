//! A disk in memory that starts full of old bytes.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use ironwright_agent::sys::disk::{BlockDevice, DiskError, DiskOp};

/// What the disk held before: never zero, so that a zero not written shows.
pub(crate) const OLD: u8 = 0xa5;
/// Length of the area at the start that may hold a partition table, bytes.
const HEAD: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct OldDisk {
    content: Mutex<Vec<u8>>,
}

impl OldDisk {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { content: Mutex::new(vec![OLD; bytes]) }
    }

    pub(crate) fn content(&self) -> MutexGuard<'_, Vec<u8>> {
        self.content.lock().unwrap()
    }

    /// Whether nothing was written, or what was written has no partition table: the first and last MiB are zero.
    pub(crate) fn is_untouched_or_blank(&self) -> bool {
        let content = self.content();
        let edge = content.len().min(HEAD);
        let blank = vec![0; edge];
        *content == vec![OLD; content.len()]
            || (content.starts_with(&blank) && content.ends_with(&blank))
    }

    fn with<T>(
        &self,
        op: DiskOp,
        offset: u64,
        bytes: u64,
        act: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T, DiskError> {
        let mut content = self.content();
        let range = usize::try_from(offset).ok().zip(usize::try_from(bytes).ok());
        let part = range
            .and_then(|(start, len)| Some(start..start.checked_add(len)?))
            .and_then(|range| content.get_mut(range));
        part.map(act).ok_or_else(|| DiskError {
            device: self.path().into(),
            op,
            offset,
            bytes,
            source: io::Error::from_raw_os_error(libc::ENOSPC),
        })
    }
}

impl BlockDevice for OldDisk {
    fn path(&self) -> &Path {
        Path::new("/dev/old")
    }

    fn bytes(&self) -> u64 {
        self.content().len() as u64
    }

    fn sector_bytes(&self) -> u32 {
        512
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let bytes = buffer.len() as u64;
        self.with(DiskOp::Read, offset, bytes, |part| buffer.copy_from_slice(part))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.with(DiskOp::Write, offset, bytes.len() as u64, |part| part.copy_from_slice(bytes))
    }

    fn zero(&self, offset: u64, bytes: u64) -> Result<(), DiskError> {
        self.with(DiskOp::Zero, offset, bytes, |part| part.fill(0))
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
}
