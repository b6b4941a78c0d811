//! Zeros to every byte of a disk, and every byte read back.

use crate::sys::disk::{AlignedBuffer, BlockDevice, DiskError, first_non_zero};

/// Bytes of one write and one read.
const PIECE_BYTES: usize = 1 << 20;

/// The smallest thing that a disk reads or does not.
const SECTOR: usize = 512;

/// Bytes deallocated at once.
const DISCARD_BYTES: u64 = 1 << 30;

/// Why a disk is not erased.
#[derive(Debug, thiserror::Error)]
pub enum OverwriteError {
    /// The disk refused.
    #[error("overwriting {device}")]
    Disk {
        /// Device node.
        device: String,
        /// Why.
        source: DiskError,
    },
    /// There is nothing to erase.
    #[error("{device} has no bytes: an empty reader or a dead disk; nothing was erased")]
    Empty {
        /// Device node.
        device: String,
    },
    /// The promise of zeros after a discard is not the driver's.
    #[error("the driver of {device} has no discard that promises zeros; nothing was erased")]
    NoDiscard {
        /// Device node.
        device: String,
    },
    /// The disk returns other bytes than zeros.
    #[error(
        "{device} returns {found:#04x} at offset {offset} (LBA {lba}) after it was zeroed; the disk does not keep what is written, replace it"
    )]
    NotZero {
        /// Device node.
        device: String,
        /// First byte that differs.
        offset: u64,
        /// Its logical block.
        lba: u64,
        /// What was read.
        found: u8,
    },
    /// Somebody asked to stop.
    #[error(
        "stopped on request; {device} is overwritten up to byte {offset} and must be erased again"
    )]
    Stopped {
        /// Device node.
        device: String,
        /// Bytes done.
        offset: u64,
    },
}

/// What follows an overwrite, and may stop it.
pub trait Follow {
    /// `bytes` of the disk are done in a phase: `prepare`, `erase` or `verify`. False: stop.
    fn go_on(&self, phase: &'static str, bytes: u64) -> bool;
}

/// Writes zeros to all of `disk`, flushes, and reads all of it back past the cache. Returns the bytes read back.
///
/// # Errors
/// [`OverwriteError`]; anything but [`OverwriteError::Empty`] leaves a disk that is not proven erased.
pub fn overwrite(disk: &dyn BlockDevice, follow: &dyn Follow) -> Result<u64, OverwriteError> {
    let zeros = AlignedBuffer::new(PIECE_BYTES);
    pass(disk, "erase", PIECE_BYTES as u64, follow, |at, len| {
        let piece = usize::try_from(len).ok().and_then(|len| zeros.get(..len));
        disk.write_at(at, piece.unwrap_or_default())
            .map_err(|source| OverwriteError::Disk { device: name(disk), source })
    })?;
    flush(disk)?;
    verify(disk, follow)
}

/// Deallocates all of `disk` by an operation that promises zeros, flushes, and reads all of it back: the promise is the device's,
/// the proof is ours. Returns the bytes read back.
///
/// # Errors
/// [`OverwriteError`]; [`OverwriteError::NoDiscard`] where there is no such operation.
pub fn discard(disk: &dyn BlockDevice, follow: &dyn Follow) -> Result<u64, OverwriteError> {
    pass(disk, "erase", DISCARD_BYTES, follow, |at, len| match disk.discard(at, len) {
        Ok(true) => Ok(()),
        Ok(false) => Err(OverwriteError::NoDiscard { device: name(disk) }),
        Err(source) => Err(OverwriteError::Disk { device: name(disk), source }),
    })?;
    flush(disk)?;
    verify(disk, follow)
}

/// Reads all of `disk` past the cache: every byte must be zero. Returns the bytes read.
///
/// # Errors
/// [`OverwriteError`].
pub fn verify(disk: &dyn BlockDevice, follow: &dyn Follow) -> Result<u64, OverwriteError> {
    let mut buffer = AlignedBuffer::new(PIECE_BYTES);
    pass(disk, "verify", PIECE_BYTES as u64, follow, |at, len| {
        let piece = usize::try_from(len).ok().and_then(|len| buffer.get_mut(..len));
        let piece = piece.unwrap_or_default();
        // A read that changes nothing must not look like zeros; one byte a sector is enough, and quicker than all of them.
        piece.iter_mut().step_by(SECTOR).for_each(|byte| *byte = 0xff);
        disk.read_at(at, piece)
            .map_err(|source| OverwriteError::Disk { device: name(disk), source })?;
        let Some((place, found)) = first_non_zero(piece) else { return Ok(()) };
        let offset = at + place as u64;
        let lba = offset / u64::from(disk.sector_bytes().max(1));
        Err(OverwriteError::NotZero { device: name(disk), offset, lba, found })
    })
}

/// Does `act` to every piece of a disk, in order. Returns the bytes.
fn pass(
    disk: &dyn BlockDevice,
    phase: &'static str,
    piece: u64,
    follow: &dyn Follow,
    mut act: impl FnMut(u64, u64) -> Result<(), OverwriteError>,
) -> Result<u64, OverwriteError> {
    let (mut at, end) = (0, disk.bytes());
    if end == 0 {
        return Err(OverwriteError::Empty { device: name(disk) });
    }
    while at < end {
        if !follow.go_on(phase, at) {
            return Err(OverwriteError::Stopped { device: name(disk), offset: at });
        }
        let len = piece.min(end - at);
        act(at, len)?;
        at += len;
    }
    follow.go_on(phase, end);
    Ok(end)
}

fn flush(disk: &dyn BlockDevice) -> Result<(), OverwriteError> {
    disk.flush().map_err(|source| OverwriteError::Disk { device: name(disk), source })
}

fn name(disk: &dyn BlockDevice) -> String {
    disk.path().display().to_string()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::layout::testing::FakeDisk;

    struct UpTo(&'static str, u64, Cell<u64>);

    impl Follow for UpTo {
        fn go_on(&self, phase: &'static str, bytes: u64) -> bool {
            self.2.set(self.2.get() + 1);
            phase != self.0 || bytes < self.1
        }
    }

    fn never() -> UpTo {
        UpTo("never", 0, Cell::new(0))
    }

    fn full(bytes: u64) -> FakeDisk {
        let disk = FakeDisk::new(bytes, 512);
        disk.write_at(0, &vec![0xa5; usize::try_from(bytes).unwrap()]).unwrap();
        disk
    }

    #[test]
    fn every_byte_is_zero_and_was_read_back_also_of_an_odd_size() {
        for bytes in [512, 1 << 20, (3 << 20) + 1536] {
            let disk = full(bytes);
            assert_eq!(overwrite(&disk, &never()).unwrap(), bytes);
            assert!(disk.contents().iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_fake_disk_that_keeps_old_data_fails_with_the_lba() {
        let mut disk = full(4 << 20);
        disk.flip_at = Some((2 << 20) + 1027);
        let error = overwrite(&disk, &never()).unwrap_err().to_string();
        assert!(error.contains("offset 2098179 (LBA 4098)"), "{error}");
        let mut disk = full(4 << 20);
        disk.fail_write_at = Some(3 << 20);
        let error = overwrite(&disk, &never()).unwrap_err();
        assert!(crate::report::chain(&error).contains("at offset 3145728"), "{error}");
        let empty = overwrite(&FakeDisk::new(0, 512), &never()).unwrap_err();
        assert!(matches!(empty, OverwriteError::Empty { .. }));
    }

    #[test]
    fn a_stop_in_either_phase_is_no_erase_and_says_how_far_it_came() {
        for phase in ["erase", "verify"] {
            let follow = UpTo(phase, 2 << 20, Cell::new(0));
            let error = overwrite(&full(4 << 20), &follow).unwrap_err().to_string();
            assert!(error.contains("up to byte 2097152 and must be erased again"), "{error}");
        }
    }
}
