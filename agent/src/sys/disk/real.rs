//! The real thing behind [`BlockDevice`]: a whole disk or a regular file, opened for one user, past the page cache.
//!
//! Direct transfers need aligned memory, offsets and lengths. Whole aligned blocks go straight to the device; the
//! ragged edges are read, changed and written under a lock, because two writers may touch one block from both sides.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};

use super::aligned::{ALIGN, AlignedBuffer, is_aligned};
use super::mounted::mount_point;
use super::{BlockDevice, DiskError, DiskOp};
use crate::sys::command::RealCommands;
use crate::sys::ioctl;

/// Longest transfer through a bounce buffer, bytes.
const BOUNCE_BYTES: usize = 1 << 20;

/// What a disk is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only; others may use the disk.
    Read,
    /// Reading and writing; refused while anyone else holds the disk.
    Write,
    /// Reading and writing beside whoever holds a partition of it: for what is outside of that partition.
    WriteBeside,
}

/// How ranges are made zero, best first; what the device lacks is not tried again.
const PUNCH: u8 = 0;
const ZERO_OUT: u8 = 1;

/// A disk or a file standing for one.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    file: File,
    bytes: u64,
    sector_bytes: u32,
    /// Unit of direct transfers, bytes; 1 when the page cache is used.
    block: u64,
    is_device: bool,
    /// The first method of zeroing still worth trying; above [`ZERO_OUT`]: writing zeros.
    zero_method: AtomicU8,
    /// Held while a block is read, changed and written.
    edges: Mutex<()>,
}

impl RealDisk {
    /// Opens a block device (exclusively for writing, past the page cache) or a regular file (past the page cache where its
    /// file system can).
    ///
    /// # Errors
    /// [`DiskError`] with [`DiskOp::Open`]: missing, mounted, in use, neither a block device nor a file.
    pub fn open(path: impl Into<PathBuf>, access: Access) -> Result<Self, DiskError> {
        let path = path.into();
        Self::open_io(&path, access).map_err(|source| DiskError {
            device: path,
            op: DiskOp::Open,
            offset: 0,
            bytes: 0,
            source,
        })
    }

    fn open_io(path: &Path, access: Access) -> io::Result<Self> {
        let file_type = std::fs::metadata(path)?.file_type();
        let (is_device, write) = (file_type.is_block_device(), access != Access::Read);
        if !is_device && !file_type.is_file() {
            return Err(io::Error::other("neither a block device nor a regular file"));
        }
        if write && let Some(mount) = mount_point(path)? {
            return Err(io::Error::other(format!("in use: mounted on {}", mount.display())));
        }
        // O_EXCL without O_CREAT on a block device: the kernel refuses (EBUSY) while it or a partition of it is held.
        let alone = access == Access::Write;
        let exclusive = if is_device && alone { nix::libc::O_EXCL } else { 0 };
        let open = |flags: i32| {
            OpenOptions::new()
                .read(true)
                .write(write)
                .custom_flags(flags | exclusive | nix::libc::O_CLOEXEC)
                .open(path)
        };
        let length = if is_device { 0 } else { std::fs::metadata(path)?.len() };
        // A direct write of the last block would lengthen a file that ends inside it.
        let direct_possible = is_device || length.is_multiple_of(ALIGN as u64);
        let direct = if direct_possible { open(nix::libc::O_DIRECT) } else { open(0) };
        let (file, direct) = match direct {
            Err(error) if !is_device && error.raw_os_error() == Some(nix::libc::EINVAL) => {
                (open(0)?, false)
            }
            other => (other?, direct_possible),
        };
        if write && !is_device {
            // What O_EXCL is for devices; gone with the descriptor.
            file.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => {
                    io::Error::other("in use: another process writes to this file")
                }
                TryLockError::Error(error) => error,
            })?;
        }
        if write && is_device && ioctl::block::is_read_only(&file)? {
            return Err(io::Error::new(
                io::ErrorKind::ReadOnlyFilesystem,
                "the disk is read-only: its write protection is on",
            ));
        }
        let (bytes, sector_bytes) = if is_device {
            (ioctl::block::bytes(&file)?, ioctl::block::sector_bytes(&file)?)
        } else {
            (length, 512)
        };
        let block = match (direct, is_device) {
            (false, _) => 1,
            (true, true) => u64::from(sector_bytes.max(512)),
            (true, false) => ALIGN as u64,
        };
        Ok(Self {
            path: path.to_path_buf(),
            file,
            bytes,
            sector_bytes,
            block,
            is_device,
            zero_method: AtomicU8::new(PUNCH),
            edges: Mutex::new(()),
        })
    }

    /// The door to the device itself, through the same descriptor.
    ///
    /// # Errors
    /// [`DiskError`] with [`DiskOp::Open`] when the process has no descriptor left.
    pub fn commands(&self) -> Result<RealCommands, DiskError> {
        let file = self.file.try_clone().map_err(self.error(DiskOp::Open, 0, 0))?;
        let whole = self.is_device && is_whole(&file);
        Ok(RealCommands::new(file, whole))
    }

    /// `[start, end)` of the whole blocks inside `[offset, offset + bytes)`; empty ranges have `start == end`.
    fn whole_blocks(&self, offset: u64, bytes: u64) -> (u64, u64) {
        let end = offset + bytes;
        let start = offset.next_multiple_of(self.block).min(end);
        (start, (end - end % self.block).max(start))
    }

    fn check(&self, offset: u64, bytes: u64) -> io::Result<()> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(io::Error::other(format!("beyond the end of the disk at {}", self.bytes))),
        }
    }

    fn lock_edges(&self) -> MutexGuard<'_, ()> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_io(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check(offset, buffer.len() as u64)?;
        let len = buffer.len() as u64;
        if offset.is_multiple_of(self.block)
            && len.is_multiple_of(self.block)
            && (self.block == 1 || is_aligned(buffer))
        {
            return self.file.read_exact_at(buffer, offset);
        }
        let mut bounce = AlignedBuffer::new(BOUNCE_BYTES.min(buffer.len() + 2 * ALIGN));
        let mut done = 0_usize;
        while done < buffer.len() {
            let at = offset + done as u64;
            let start = at - at % self.block;
            let skip = as_usize(at - start);
            let want = (bounce.len() - skip).min(buffer.len() - done);
            let span = as_usize(((skip + want) as u64).next_multiple_of(self.block));
            let span = span.min(bounce.len());
            let want = want.min(span - skip);
            self.file.read_exact_at(&mut bounce[..span], start)?;
            buffer[done..done + want].copy_from_slice(&bounce[skip..skip + want]);
            done += want;
        }
        Ok(())
    }

    fn write_io(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len() as u64)?;
        let (start, end) = self.whole_blocks(offset, bytes.len() as u64);
        let (head, rest) = bytes.split_at(as_usize(start - offset));
        let (middle, tail) = rest.split_at(as_usize(end - start));
        self.patch(offset, head)?;
        if self.block == 1 || is_aligned(middle) {
            self.file.write_all_at(middle, start)?;
        } else {
            let mut bounce = AlignedBuffer::new(BOUNCE_BYTES.min(middle.len()));
            let mut at = start;
            for piece in middle.chunks(BOUNCE_BYTES) {
                bounce[..piece.len()].copy_from_slice(piece);
                self.file.write_all_at(&bounce[..piece.len()], at)?;
                at += piece.len() as u64;
            }
        }
        self.patch(end, tail)
    }

    /// Changes some bytes inside at most one block (two when the range straddles a boundary).
    fn patch(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = offset - offset % self.block;
        let end = (offset + bytes.len() as u64).next_multiple_of(self.block);
        let mut buffer = AlignedBuffer::new(as_usize(end - start));
        let skip = as_usize(offset - start);
        let _edge = self.lock_edges();
        self.file.read_exact_at(&mut buffer, start)?;
        buffer[skip..skip + bytes.len()].copy_from_slice(bytes);
        self.file.write_all_at(&buffer, start)
    }

    fn zero_io(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.check(offset, bytes)?;
        let (start, end) = self.whole_blocks(offset, bytes);
        self.write_zeros(offset, start - offset)?;
        self.zero_blocks(start, end - start)?;
        self.write_zeros(end, offset + bytes - end)
    }

    /// Zeroes whole blocks by the best method the device has.
    fn zero_blocks(&self, offset: u64, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let first = self.zero_method.load(Ordering::Relaxed);
        for method in [PUNCH, ZERO_OUT].into_iter().filter(|method| *method >= first) {
            let done = if method == PUNCH {
                self.punch(offset, bytes)
            } else {
                self.zero_out(offset, bytes)
            };
            match done {
                Err(error) if is_unsupported(&error) => {
                    self.zero_method.fetch_max(method + 1, Ordering::Relaxed);
                }
                done => return done,
            }
        }
        self.write_zeros(offset, bytes)
    }

    /// Deallocates: the kernel guarantees zeros, or refuses.
    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let to_i64 = |value| i64::try_from(value).map_err(io::Error::other);
        fallocate(&self.file, flags, to_i64(offset)?, to_i64(bytes)?)?;
        Ok(())
    }

    fn zero_out(&self, offset: u64, bytes: u64) -> io::Result<()> {
        if self.is_device {
            return ioctl::block::zero_out(&self.file, offset, bytes);
        }
        Err(io::Error::from_raw_os_error(nix::libc::EOPNOTSUPP))
    }

    fn write_zeros(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let zeros = AlignedBuffer::new(as_usize(bytes.min(BOUNCE_BYTES as u64)));
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            // The first piece ends at a bounce boundary, so that the following ones are whole blocks.
            let boundary = (at + 1).next_multiple_of(BOUNCE_BYTES as u64).min(end);
            let len = as_usize(boundary - at).min(zeros.len());
            if at.is_multiple_of(self.block) && (len as u64).is_multiple_of(self.block) {
                self.file.write_all_at(&zeros[..len], at)?;
            } else {
                self.write_io(at, &zeros[..len])?;
            }
            at += len as u64;
        }
        Ok(())
    }

    fn flush_io(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.block == 1 || self.is_device {
            // Read-back must come from the disk, also when somebody else reads it: drop what the page cache still holds.
            posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
        Ok(())
    }

    fn error(&self, op: DiskOp, offset: u64, bytes: u64) -> impl FnOnce(io::Error) -> DiskError {
        move |source| DiskError { device: self.path.clone(), op, offset, bytes, source }
    }
}

/// Whether the device is a disk, and no part of one and not made of others: through the descriptor of a partition, or of a device
/// mapped onto a disk, root's commands reach the whole disk. What the kernel does not say is not assumed.
fn is_whole(file: &File) -> bool {
    let Ok(meta) = file.metadata() else { return false };
    let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
    let folder = Path::new("/sys/dev/block").join(format!("{major}:{minor}"));
    let lower =
        std::fs::read_dir(folder.join("slaves")).is_ok_and(|mut below| below.next().is_some());
    folder.is_dir() && !folder.join("partition").exists() && !lower
}

impl BlockDevice for RealDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let bytes = buffer.len() as u64;
        self.read_io(offset, buffer).map_err(self.error(DiskOp::Read, offset, bytes))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write_io(offset, bytes).map_err(self.error(DiskOp::Write, offset, bytes.len() as u64))
    }

    fn zero(&self, offset: u64, bytes: u64) -> Result<(), DiskError> {
        self.zero_io(offset, bytes).map_err(self.error(DiskOp::Zero, offset, bytes))
    }

    fn discard(&self, offset: u64, bytes: u64) -> Result<bool, DiskError> {
        let done = self.check(offset, bytes).and_then(|()| self.punch(offset, bytes));
        match done {
            Ok(()) => Ok(true),
            Err(error) if is_unsupported(&error) => Ok(false),
            Err(error) => Err(self.error(DiskOp::Zero, offset, bytes)(error)),
        }
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.flush_io().map_err(self.error(DiskOp::Flush, 0, 0))
    }
}

/// Whether a method of zeroing is missing, as opposed to the device failing.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            nix::libc::EOPNOTSUPP
                | nix::libc::ENOSYS
                | nix::libc::ENOTTY
                | nix::libc::EINVAL
                | nix::libc::ENODEV
        )
    )
}

/// Lengths of buffers in memory; on every target of ours `usize` is 64 bits.
fn as_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
