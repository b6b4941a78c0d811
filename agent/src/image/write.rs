//! Decoded bytes to the disk: a fixed pool of aligned buffers, a bounded queue, a few threads.
//!
//! Every guest byte passes [`Target::put`] or [`Target::put_zeros`] exactly once: there it is summed for the read-back,
//! the boot area is taken out, and the rest goes to the disk.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use ironwright_qcow2::Compression;

use super::boot_area::BootArea;
use super::error::ImageError;
use super::inflate::{Batch, Inflater};
use super::thread::{Fate, Worker};
use super::verify::Sums;
use crate::sys::disk::{AlignedBuffer, BlockDevice, DiskError, first_non_zero};

/// Jobs waiting for a thread.
const QUEUE: usize = 8;
/// Threads above one for each processor: so many wait for the disk while the others compute (two processors, a loop device on a
/// disk: with four threads a compressed image takes 0.85 to 0.9 of the time that it takes with two).
const WAITING: usize = 2;
/// Runs of zeros waiting for their thread, 16 bytes each: all of a usual image, so that its data need not wait for them.
const ZERO_QUEUE: usize = 16 << 10;
/// Data is looked at in blocks of this length: those that are all zeros are zeroed, not written. Raw images and images made
/// without looking for zeros are full of them, and a disk zeroes faster than it writes and reads holes back at once.
const ZERO_BLOCK_BYTES: usize = 64 << 10;
/// Zeroing is cut into pieces of this length: neither a stop nor data on its way to the same disk should wait long. Tuned on a loop
/// device over ext4, which takes no data while a part of its file is deallocated (beside writers 2 to 4 ms for 16 MiB, 0.4 s in all for
/// 3 GiB): with 16 MiB a whole write took 1.05 to 1.1 times as long as with 8, with 64 MiB and more 1.2 times, with 2 MiB 1.2 times.
const ZERO_STEP_BYTES: u64 = 8 << 20;

/// Splits bytes at multiples of [`ZERO_BLOCK_BYTES`] into the longest runs of blocks that are, and that are not, all zeros.
fn runs(bytes: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let mut blocks = rest.chunks(ZERO_BLOCK_BYTES).map(|block| (block.len(), is_zero(block)));
        let (first, zero) = blocks.next()?;
        let more = blocks.take_while(|(_, other)| *other == zero).map(|(len, _)| len);
        let (run, later) = rest.split_at(first + more.sum::<usize>());
        rest = later;
        Some((run, zero))
    })
}

fn is_zero(block: &[u8]) -> bool {
    first_non_zero(block).is_none()
}

/// Where guest bytes go.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) disk: Arc<dyn BlockDevice>,
    pub(super) sums: Sums,
    pub(super) boot_area: BootArea,
}

impl Target {
    /// Guest bytes.
    fn put(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.sums.add(offset, bytes);
        self.boot_area.keep(offset, bytes);
        let (start, len) = self.boot_area.written_part(offset, bytes.len() as u64);
        let part = usize::try_from(start.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut at = start;
        for (run, zero) in runs(bytes.get(part..part.saturating_add(len)).unwrap_or_default()) {
            if zero && run.len() >= ZERO_BLOCK_BYTES {
                self.disk.zero(at, run.len() as u64)?;
            } else {
                self.disk.write_at(at, run)?;
            }
            at += run.len() as u64;
        }
        Ok(())
    }

    /// Guest bytes that are zero; what is held is zero already.
    fn put_zeros(&self, offset: u64, bytes: u64, fate: &Fate) -> Result<(), DiskError> {
        self.sums.add_zeros(offset, bytes);
        let (mut at, len) = self.boot_area.written_part(offset, bytes);
        let end = at + len;
        while at < end && !fate.stopped() {
            let step = ZERO_STEP_BYTES.min(end - at);
            self.disk.zero(at, step)?;
            at += step;
        }
        Ok(())
    }
}

/// One piece of work for a writer thread.
#[derive(Debug)]
pub(super) enum Job {
    /// The first `len` bytes of a buffer.
    Write {
        /// Where they go.
        guest_offset: u64,
        /// The buffer.
        buffer: Pooled,
        /// Bytes filled.
        len: usize,
    },
    /// Compressed clusters that are neighbours on the disk.
    Inflate(Batch),
}

/// A run of zeros, for the thread that does nothing else: a disk zeroes gigabytes while data arrives.
#[derive(Debug)]
pub(super) struct Zeros {
    /// Where.
    pub(super) guest_offset: u64,
    /// How long.
    pub(super) bytes: u64,
}

/// Where decoders send what belongs on the disk.
#[derive(Debug)]
pub(super) struct Lanes {
    /// Bytes.
    pub(super) jobs: SyncSender<Job>,
    /// Long runs of zeros.
    pub(super) zeros: SyncSender<Zeros>,
}

/// A fixed number of buffers; taking one waits until one is free.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    inner: Arc<(Mutex<Vec<AlignedBuffer>>, Condvar)>,
    buffer_bytes: usize,
}

impl Pool {
    /// At least two buffers, `total_bytes` in all.
    pub(super) fn new(total_bytes: usize, buffer_bytes: usize) -> Self {
        let count = (total_bytes / buffer_bytes.max(1)).max(2);
        let buffers = (0..count).map(|_| AlignedBuffer::new(buffer_bytes)).collect();
        Self { inner: Arc::new((Mutex::new(buffers), Condvar::new())), buffer_bytes }
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    pub(super) fn take(&self) -> Pooled {
        let (free, returned) = &*self.inner;
        let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(buffer) = free.pop() {
                return Pooled { buffer: Some(buffer), pool: self.clone() };
            }
            free = returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A buffer on loan.
#[derive(Debug)]
pub(super) struct Pooled {
    buffer: Option<AlignedBuffer>,
    pool: Pool,
}

impl Pooled {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.as_deref().unwrap_or_default()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let (free, returned) = &*self.pool.inner;
            free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
            returned.notify_one();
        }
    }
}

/// How clusters are to be inflated, for the threads' own buffers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codec {
    pub(super) compression: Compression,
    pub(super) cluster_bytes: usize,
}

/// Starts the threads that write; they end when every sender is gone. After a failure they go on taking jobs, undone, so that
/// nobody waits for them.
pub(super) fn start_writers(
    target: &Arc<Target>,
    codec: Option<Codec>,
    fate: &Arc<Fate>,
) -> Result<(Lanes, Vec<Worker<()>>), ImageError> {
    let (jobs, queue) = sync_channel(QUEUE);
    let queue = Arc::new(Mutex::new(queue));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let count = (cores + WAITING).clamp(4, 8);
    let mut workers = Vec::new();
    for _ in 0..count {
        let (target, queue, shared) = (Arc::clone(target), Arc::clone(&queue), Arc::clone(fate));
        workers.push(Worker::start("image-write", fate, move || {
            let mut inflater = None;
            while let Some(job) = next_job(&queue) {
                unless_stopped(&shared, || perform(&target, job, codec, &mut inflater));
            }
        })?);
    }
    let (zeros, runs) = sync_channel::<Zeros>(ZERO_QUEUE);
    let (target, shared) = (Arc::clone(target), Arc::clone(fate));
    workers.push(Worker::start("image-zero", fate, move || {
        for Zeros { guest_offset, bytes } in runs {
            unless_stopped(&shared, || Ok(target.put_zeros(guest_offset, bytes, &shared)?));
        }
    })?);
    Ok((Lanes { jobs, zeros }, workers))
}

fn unless_stopped(fate: &Fate, work: impl FnOnce() -> Result<(), ImageError>) {
    if !fate.stopped()
        && let Err(error) = work()
    {
        fate.fail(error);
    }
}

fn next_job(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn perform(
    target: &Target,
    job: Job,
    codec: Option<Codec>,
    inflater: &mut Option<Inflater>,
) -> Result<(), ImageError> {
    match job {
        Job::Write { guest_offset, buffer, len } => {
            target.put(guest_offset, buffer.bytes().get(..len).unwrap_or_default())?;
        }
        Job::Inflate(batch) => {
            let Some(codec) = codec else { return Ok(()) };
            let inflater = inflater.get_or_insert_with(|| Inflater::new(codec));
            let guest_offset = batch.guest_offset();
            target.put(guest_offset, inflater.inflate(&batch)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_split_into_the_longest_runs_of_zeros_and_of_others() {
        const BLOCK: usize = ZERO_BLOCK_BYTES;
        let mut bytes = vec![0; 5 * BLOCK + 100];
        bytes[3 * BLOCK - 1] = 1;
        bytes[3 * BLOCK] = 1;
        let lengths = |bytes| runs(bytes).map(|(run, zero)| (run.len(), zero)).collect::<Vec<_>>();
        assert_eq!(lengths(&bytes), [(2 * BLOCK, true), (2 * BLOCK, false), (BLOCK + 100, true)]);
        assert_eq!(lengths(&bytes[..100]), [(100, true)]);
        assert_eq!(lengths(&[]), []);
    }
}
