//! Decoded pieces to jobs: neighbours on the disk are joined until a buffer is full.

use std::sync::Arc;

use ironwright_qcow2::{FormatError, Item, Region};

use super::Stop;
use crate::image::inflate::Batch;
use crate::image::write::{Job, Lanes, Pool, Pooled, Target, Zeros};

/// Shorter runs of zeros are written like bytes, so that they join their neighbours.
const SHORT_ZEROS_BYTES: u64 = 64 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Collects pieces and sends jobs.
#[derive(Debug)]
pub(in crate::image) struct Output {
    target: Arc<Target>,
    lanes: Lanes,
    pool: Pool,
    cluster_bytes: usize,
    filling: Option<Filling>,
    batch: Batch,
}

/// A buffer being filled.
#[derive(Debug)]
struct Filling {
    guest_offset: u64,
    buffer: Pooled,
    len: usize,
}

impl Output {
    pub(in crate::image) fn new(
        target: Arc<Target>,
        lanes: Lanes,
        pool: Pool,
        cluster_bytes: usize,
    ) -> Self {
        Self { target, lanes, pool, cluster_bytes, filling: None, batch: Batch::default() }
    }

    /// Length of the pieces in which late bytes may be picked up, bytes.
    pub(super) fn grain_bytes(&self) -> u64 {
        self.target.sums.grain_bytes()
    }

    /// Bytes as they are.
    pub(in crate::image) fn plain(&mut self, guest_offset: u64, bytes: &[u8]) -> Result<(), Stop> {
        let (mut at, mut left) = (guest_offset, bytes);
        while !left.is_empty() {
            let follows = self
                .filling
                .as_ref()
                .is_some_and(|filling| filling.guest_offset + filling.len as u64 == at);
            if !follows {
                self.send_filling()?;
            }
            let filling = self.filling.get_or_insert_with(|| Filling {
                guest_offset: at,
                buffer: self.pool.take(),
                len: 0,
            });
            let room = filling.buffer.bytes_mut().get_mut(filling.len..).unwrap_or_default();
            let step = room.len().min(left.len());
            let (now, later) = left.split_at(step);
            room[..step].copy_from_slice(now);
            filling.len += step;
            (at, left) = (at + step as u64, later);
            if filling.len == self.pool.buffer_bytes() {
                self.send_filling()?;
            }
        }
        Ok(())
    }

    /// A compressed cluster.
    pub(super) fn compressed(&mut self, item: Item, bytes: &[u8]) -> Result<(), Stop> {
        if !self.batch.fits(&item, self.cluster_bytes) {
            self.send_batch()?;
        }
        self.batch.push(item, bytes);
        Ok(())
    }

    /// Zeros.
    pub(in crate::image) fn zeros(&mut self, guest_offset: u64, bytes: u64) -> Result<(), Stop> {
        if bytes == 0 {
            return Ok(());
        }
        if bytes <= SHORT_ZEROS_BYTES {
            let len = usize::try_from(bytes).unwrap_or(0);
            return self.plain(guest_offset, ZEROS.get(..len).unwrap_or_default());
        }
        let run = Zeros { guest_offset, bytes };
        self.lanes.zeros.send(run).map_err(|_gone| Stop::Elsewhere)
    }

    /// Sends what is incomplete.
    pub(in crate::image) fn flush(&mut self) -> Result<(), Stop> {
        self.send_filling()?;
        self.send_batch()
    }

    fn send_filling(&mut self) -> Result<(), Stop> {
        let Some(Filling { guest_offset, buffer, len }) = self.filling.take() else {
            return Ok(());
        };
        // A piece that breaks off inside a grain was interrupted by another one at the same place of the file.
        if !self.target.sums.is_grain(guest_offset + len as u64) {
            return Err(Stop::Error(
                FormatError::Overlap {
                    first: Region::Data,
                    first_offset: guest_offset,
                    second: Region::Data,
                    second_offset: guest_offset + len as u64,
                }
                .into(),
            ));
        }
        self.send(Job::Write { guest_offset, buffer, len })
    }

    fn send_batch(&mut self) -> Result<(), Stop> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.send(Job::Inflate(batch))
    }

    fn send(&self, job: Job) -> Result<(), Stop> {
        self.lanes.jobs.send(job).map_err(|_gone| Stop::Elsewhere)
    }
}
