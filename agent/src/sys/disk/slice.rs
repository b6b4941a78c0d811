//! A part of a disk as a disk of its own.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{BlockDevice, DiskError, DiskOp};
use crate::layout::Range;

/// `range` of a disk; nothing outside of it can be reached.
#[derive(Debug, Clone)]
pub struct Slice {
    disk: Arc<dyn BlockDevice>,
    range: Range,
}

impl Slice {
    /// `range` of `disk`. A range that goes past the disk's end fails when that is reached.
    #[must_use]
    pub fn new(disk: Arc<dyn BlockDevice>, range: Range) -> Self {
        Self { disk, range }
    }

    /// Where `[offset, offset + bytes)` of the slice is on the disk.
    fn place(&self, op: DiskOp, offset: u64, bytes: u64) -> Result<u64, DiskError> {
        let place = self.range.offset.checked_add(offset);
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.range.bytes);
        place.filter(|_| inside).ok_or_else(|| DiskError {
            device: self.disk.path().to_path_buf(),
            op,
            offset,
            bytes,
            source: io::Error::other(format!(
                "outside of the partition of {} bytes at {}",
                self.range.bytes, self.range.offset
            )),
        })
    }
}

impl BlockDevice for Slice {
    fn path(&self) -> &Path {
        self.disk.path()
    }

    fn bytes(&self) -> u64 {
        self.range.bytes
    }

    fn sector_bytes(&self) -> u32 {
        self.disk.sector_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let place = self.place(DiskOp::Read, offset, buffer.len() as u64)?;
        self.disk.read_at(place, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.write_at(self.place(DiskOp::Write, offset, bytes.len() as u64)?, bytes)
    }

    fn zero(&self, offset: u64, bytes: u64) -> Result<(), DiskError> {
        self.disk.zero(self.place(DiskOp::Zero, offset, bytes)?, bytes)
    }

    fn discard(&self, offset: u64, bytes: u64) -> Result<bool, DiskError> {
        self.disk.discard(self.place(DiskOp::Zero, offset, bytes)?, bytes)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.disk.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::disk::{Access, RealDisk};

    #[test]
    fn a_slice_begins_at_its_offset_and_reaches_nothing_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 64 << 10]).unwrap();
        let disk = Arc::new(RealDisk::open(file.path(), Access::Write).unwrap());
        let slice = Slice::new(disk, Range { offset: 8192, bytes: 4096 });
        slice.write_at(100, &[1; 50]).unwrap();
        slice.zero(4000, 96).unwrap();
        let mut found = [0; 4096];
        slice.read_at(0, &mut found).unwrap();
        assert_eq!((found[99], found[100], found[149], found[4000]), (7, 1, 1, 0));
        for error in [
            slice.write_at(4000, &[0; 97]).unwrap_err(),
            slice.zero(4097, 0).unwrap_err(),
            slice.read_at(u64::MAX, &mut found).unwrap_err(),
        ] {
            assert!(error.source.to_string().contains("4096 bytes at 8192"), "{error:?}");
        }
        let whole = std::fs::read(file.path()).unwrap();
        let others = whole[..8192].iter().chain(&whole[12288..]);
        assert!(others.clone().all(|byte| *byte == 7), "only the slice was written");
    }
}
