//! Disks: the trait every writer and reader goes through, and the real thing behind it.

mod aligned;
mod mounted;
mod real;
mod slice;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use aligned::{ALIGN, AlignedBuffer, first_non_zero, is_aligned};
pub(crate) use mounted::{find_mount, partitions};
pub use real::{Access, RealDisk};
pub use slice::Slice;

/// A disk or a file standing for one. Offsets and lengths are bytes and need no alignment; an implementation bounces what
/// the device cannot take directly.
pub trait BlockDevice: Send + Sync + std::fmt::Debug {
    /// The device node or file.
    fn path(&self) -> &Path;
    /// Capacity in bytes.
    fn bytes(&self) -> u64;
    /// Logical sector size in bytes: 512 or 4096.
    fn sector_bytes(&self) -> u32;
    /// Reads exactly `buffer.len()` bytes.
    ///
    /// # Errors
    /// [`DiskError`].
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;
    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// [`DiskError`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;
    /// Makes `[offset, offset + bytes)` read as zeros.
    ///
    /// # Errors
    /// [`DiskError`].
    fn zero(&self, offset: u64, bytes: u64) -> Result<(), DiskError>;
    /// Deallocates `[offset, offset + bytes)` by an operation after which the device promises zeros; false: it has none,
    /// nothing was done.
    ///
    /// # Errors
    /// [`DiskError`].
    fn discard(&self, offset: u64, bytes: u64) -> Result<bool, DiskError> {
        let (_, _) = (offset, bytes);
        Ok(false)
    }
    /// Everything written before is on stable storage after this.
    ///
    /// # Errors
    /// [`DiskError`].
    fn flush(&self) -> Result<(), DiskError>;
}

/// What was attempted on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOp {
    /// Opening it for exclusive use.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Zeroing.
    Zero,
    /// Flushing.
    Flush,
}

impl std::fmt::Display for DiskOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Zero => "zero",
            Self::Flush => "flush",
        })
    }
}

/// The range of an operation that has one.
fn place(op: DiskOp, offset: u64, bytes: u64) -> String {
    match op {
        DiskOp::Open | DiskOp::Flush => String::new(),
        DiskOp::Read | DiskOp::Write | DiskOp::Zero => {
            format!("{bytes} bytes at offset {offset} on ")
        }
    }
}

/// A disk operation that failed, with enough to find the sector.
#[derive(Debug, thiserror::Error)]
#[error("{op} of {}{}", place(*op, *offset, *bytes), device.display())]
pub struct DiskError {
    /// Device node or file.
    pub device: PathBuf,
    /// What was attempted.
    pub op: DiskOp,
    /// Bytes from the start of the device.
    pub offset: u64,
    /// Length of the operation in bytes.
    pub bytes: u64,
    /// The kernel's answer.
    pub source: io::Error,
}
