//! Zeros to every byte of a disk, and every byte read back.

use crate::sys::disk::{AlignedBuffer, BlockDevice, DiskError};

/// Bytes of one write and one read.
const PIECE_BYTES: usize = 1 << 20;

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
    /// The disk returns other bytes than zeros.
    #[error(
        "{device} returns {found:#04x} at offset {offset} (LBA {lba}) after it was overwritten with zeros; the disk does not keep what is written, replace it"
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
    /// `bytes` of the disk are done in a phase: `erase` or `verify`. False: stop.
    fn go_on(&self, phase: &'static str, bytes: u64) -> bool;
}

/// Writes zeros to all of `disk`, flushes, and reads all of it back past the cache. Returns the bytes read back.
///
/// # Errors
/// [`OverwriteError`]; anything but [`OverwriteError::Empty`] leaves a disk that is not proven erased.
pub fn overwrite(disk: &dyn BlockDevice, follow: &dyn Follow) -> Result<u64, OverwriteError> {
    let device = disk.path().display().to_string();
    let refused = |source| OverwriteError::Disk { device: device.clone(), source };
    let end = disk.bytes();
    if end == 0 {
        return Err(OverwriteError::Empty { device });
    }
    let mut buffer = AlignedBuffer::new(PIECE_BYTES);
    let pass = |phase, act: &mut dyn FnMut(u64, usize) -> Result<(), OverwriteError>| {
        let mut at = 0;
        while at < end {
            if !follow.go_on(phase, at) {
                return Err(OverwriteError::Stopped { device: device.clone(), offset: at });
            }
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
            act(at, len)?;
            at += len as u64;
        }
        follow.go_on(phase, end);
        Ok(())
    };
    pass("erase", &mut |at, len| {
        let zeros = buffer.get(..len).unwrap_or_default();
        disk.write_at(at, zeros).map_err(refused)
    })?;
    disk.flush().map_err(refused)?;
    pass("verify", &mut |at, len| {
        let piece = buffer.get_mut(..len).unwrap_or_default();
        // A read that changes nothing must not look like zeros.
        piece.fill(0xff);
        disk.read_at(at, piece).map_err(refused)?;
        match piece.iter().position(|byte| *byte != 0) {
            None => Ok(()),
            Some(place) => {
                let offset = at + place as u64;
                let lba = offset / u64::from(disk.sector_bytes().max(1));
                let found = piece.get(place).copied().unwrap_or_default();
                Err(OverwriteError::NotZero { device: device.clone(), offset, lba, found })
            }
        }
    })?;
    Ok(end)
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
