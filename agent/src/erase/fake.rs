//! Simulated devices for tests: real storage, a clock of their own, and the faults that real ones have. They are written from the
//! standards, not from the code that they test.

mod ata;
mod nvme;
mod scsi;
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::sys::disk::{BlockDevice, DiskError, DiskOp};

/// Sector of every fake, bytes.
pub(super) const SECTOR: usize = 512;

/// The medium: what survives a power cut.
#[derive(Debug)]
pub(super) struct Medium {
    pub(super) bytes: Vec<u8>,
    /// Reads and writes fail: a sanitize runs or failed, or the disk is locked.
    pub(super) closed: bool,
    /// Writes are answered well and dropped.
    pub(super) drops_writes: bool,
    /// Deallocates on request, with zeros.
    pub(super) discards: bool,
    /// An erase leaves this sector as it was.
    pub(super) keeps: Option<usize>,
    /// An erase leaves everything as it was.
    pub(super) lies: bool,
    /// Erases so far: each cryptographic one leaves other noise.
    pub(super) erases: usize,
}

const TENANT: &[u8] = b"tenant!";

/// Blocks that all differ.
fn tenants_data(bytes: usize) -> Vec<u8> {
    (0..bytes / 16).flat_map(|number| format!("tenant! {number:08x}").into_bytes()).collect()
}

/// A disk whose blocks and whose own door share one medium.
#[derive(Debug, Clone)]
pub(super) struct FakeBlocks(pub(super) Arc<Mutex<Medium>>);

impl FakeBlocks {
    /// A disk full of a tenant's data.
    pub(super) fn full(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Medium {
            bytes: tenants_data(bytes),
            erases: 0,
            closed: false,
            drops_writes: false,
            discards: false,
            keeps: None,
            lies: false,
        })))
    }

    pub(super) fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().unwrap()
    }

    /// The device's own erase: every byte becomes `filler(place)`.
    pub(super) fn erase(&self, filler: impl Fn(usize) -> u8) {
        let mut medium = self.medium();
        medium.erases += 1;
        if medium.lies {
            return;
        }
        let keeps = medium.keeps.map(|sector| sector * SECTOR..(sector + 1) * SECTOR);
        for (place, byte) in medium.bytes.iter_mut().enumerate() {
            if !keeps.as_ref().is_some_and(|range| range.contains(&place)) {
                *byte = filler(place);
            }
        }
    }

    /// As by another key.
    pub(super) fn erase_to_noise(&self) {
        let key = self.medium().erases * 0x3f1d + 1;
        self.erase(|place| (place + key).wrapping_mul(0x9e37_79b9).to_le_bytes()[2]);
    }

    pub(super) fn fill_again(&self) {
        let mut medium = self.medium();
        let bytes = medium.bytes.len();
        medium.bytes = tenants_data(bytes);
    }

    pub(super) fn is_untouched(&self) -> bool {
        let medium = self.medium();
        medium.bytes == tenants_data(medium.bytes.len())
    }

    pub(super) fn holds_tenants_data(&self) -> bool {
        self.medium().bytes.windows(TENANT.len()).any(|bytes| bytes == TENANT)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.medium().bytes.iter().all(|byte| *byte == 0)
    }

    fn access<T>(
        &self,
        op: DiskOp,
        offset: u64,
        bytes: usize,
        act: impl FnOnce(&mut Medium, std::ops::Range<usize>) -> T,
    ) -> Result<T, DiskError> {
        let mut medium = self.medium();
        let at = usize::try_from(offset).unwrap();
        if medium.closed || at + bytes > medium.bytes.len() {
            let source = std::io::Error::from_raw_os_error(5);
            let (device, bytes) = (self.path().into(), bytes as u64);
            return Err(DiskError { device, op, offset, bytes, source });
        }
        Ok(act(&mut medium, at..at + bytes))
    }
}

impl BlockDevice for FakeBlocks {
    fn path(&self) -> &Path {
        Path::new("/dev/fake")
    }
    fn bytes(&self) -> u64 {
        self.medium().bytes.len() as u64
    }
    fn sector_bytes(&self) -> u32 {
        u32::try_from(SECTOR).unwrap()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.access(DiskOp::Read, offset, buffer.len(), |medium, range| {
            buffer.copy_from_slice(&medium.bytes[range]);
        })
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.access(DiskOp::Write, offset, bytes.len(), |medium, range| {
            if !medium.drops_writes {
                medium.bytes[range].copy_from_slice(bytes);
            }
        })
    }
    fn zero(&self, offset: u64, bytes: u64) -> Result<(), DiskError> {
        self.write_at(offset, &vec![0; usize::try_from(bytes).unwrap()])
    }
    fn discard(&self, offset: u64, bytes: u64) -> Result<bool, DiskError> {
        let bytes = usize::try_from(bytes).unwrap();
        self.access(DiskOp::Zero, offset, bytes, |medium, range| {
            if medium.discards && !medium.lies {
                medium.bytes[range].fill(0);
            }
            medium.discards
        })
    }
    fn flush(&self) -> Result<(), DiskError> {
        self.access(DiskOp::Flush, 0, 0, |_, _| ())
    }
}
