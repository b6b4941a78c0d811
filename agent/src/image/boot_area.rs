//! The part of the disk that makes it bootable: cleared first, written last.
//!
//! Until [`BootArea::commit`] the image's first MiB and last MiB stay in memory and the disk's own first and last MiB
//! are zero, so that whatever happens meanwhile leaves a disk without a partition table.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Held, ImageError};
use crate::sys::disk::BlockDevice;

/// Length of each held area, bytes: more than any partition table (a GPT of 128 entries needs 17 KiB, of 1024 132 KiB).
pub(super) const HELD_BYTES: u64 = 1 << 20;

/// The held parts of an image.
#[derive(Debug)]
pub(super) struct BootArea {
    head_bytes: u64,
    tail_offset: u64,
    virtual_bytes: u64,
    held: Mutex<Held>,
}

impl BootArea {
    /// Nothing yet of an image that describes `virtual_bytes`.
    pub(super) fn new(virtual_bytes: u64) -> Self {
        let head_bytes = virtual_bytes.min(HELD_BYTES);
        let tail_offset = virtual_bytes.saturating_sub(HELD_BYTES).max(head_bytes);
        let zeros = |bytes: u64| vec![0; usize::try_from(bytes).unwrap_or(0)];
        let held =
            Held { head: zeros(head_bytes), tail_offset, tail: zeros(virtual_bytes - tail_offset) };
        Self { head_bytes, tail_offset, virtual_bytes, held: Mutex::new(held) }
    }

    /// The part of `[offset, offset + bytes)` that is not held; it may be empty.
    pub(super) fn written_part(&self, offset: u64, bytes: u64) -> (u64, u64) {
        let start = offset.max(self.head_bytes);
        let end = (offset + bytes).min(self.tail_offset);
        (start, end.saturating_sub(start))
    }

    /// Keeps what of `bytes` belongs to a held area.
    pub(super) fn keep(&self, offset: u64, bytes: &[u8]) {
        self.overlap(offset, bytes.len(), |held, range| {
            held.copy_from_slice(bytes.get(range).unwrap_or_default());
        });
    }

    /// Puts held bytes over `bytes`, which were read from the disk at `offset`.
    pub(super) fn overlay(&self, offset: u64, bytes: &mut [u8]) {
        self.overlap(offset, bytes.len(), |held, range| {
            if let Some(part) = bytes.get_mut(range) {
                part.copy_from_slice(held);
            }
        });
    }

    /// Calls `act` with each held slice inside `[offset, offset + len)` and its place in that range.
    fn overlap(
        &self,
        offset: u64,
        len: usize,
        mut act: impl FnMut(&mut [u8], std::ops::Range<usize>),
    ) {
        let end = offset + len as u64;
        if offset >= self.head_bytes && end <= self.tail_offset {
            return;
        }
        let mut held = self.lock();
        let held = &mut *held;
        for (area_offset, area) in [(0, &mut held.head), (self.tail_offset, &mut held.tail)] {
            let start = offset.max(area_offset);
            let stop = end.min(area_offset + area.len() as u64);
            if start < stop {
                let within = |base: u64| index(start - base)..index(stop - base);
                if let Some(area) = area.get_mut(within(area_offset)) {
                    act(area, within(offset));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The held bytes.
    pub(super) fn take(&self) -> Held {
        std::mem::take(&mut *self.lock())
    }

    /// Zeroes the disk's first and last MiB and everything of the image that is held, flushes, and reads it back: from now
    /// on every failure says that there is no partition table.
    pub(super) fn clear(&self, disk: &dyn BlockDevice) -> Result<(), ImageError> {
        let first = self.head_bytes.max(HELD_BYTES).min(disk.bytes());
        let last = disk.bytes().saturating_sub(HELD_BYTES).max(first);
        // Of an image that ends before the disk does, the tail lies elsewhere.
        let tail = (self.tail_offset.max(first), self.virtual_bytes.min(last));
        let areas = [(0, first), (last, disk.bytes()), tail];
        let areas = areas.into_iter().filter(|(start, end)| start < end);
        for (start, end) in areas.clone() {
            disk.zero(start, end - start)?;
        }
        disk.flush()?;
        for (start, end) in areas {
            let mut found = vec![0xff; index(end - start)];
            disk.read_at(start, &mut found)?;
            if found.iter().any(|byte| *byte != 0) {
                let device = disk.path().display().to_string();
                return Err(ImageError::ReadBack { device, offset: start, bytes: end - start });
            }
        }
        Ok(())
    }

    /// Writes what was held, the first sector last, flushing between, and reads it back.
    pub(super) fn commit(&self, disk: &dyn BlockDevice, read_back: bool) -> Result<(), ImageError> {
        let held = self.lock();
        let sector = (disk.sector_bytes() as usize).min(held.head.len());
        let (first_sector, head) = held.head.split_at(sector);
        let parts =
            [(self.tail_offset, held.tail.as_slice()), (sector as u64, head), (0, first_sector)];
        for (offset, bytes) in parts {
            if !bytes.is_empty() {
                disk.write_at(offset, bytes)?;
                disk.flush()?;
            }
        }
        if read_back {
            for (offset, bytes) in parts {
                let mut found = vec![0; bytes.len()];
                disk.read_at(offset, &mut found)?;
                if found != bytes {
                    let device = disk.path().display().to_string();
                    let bytes = bytes.len() as u64;
                    return Err(ImageError::ReadBack { device, offset, bytes });
                }
            }
        }
        Ok(())
    }
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
