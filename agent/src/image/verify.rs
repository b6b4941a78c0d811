//! The proof: what is on the disk is what came out of the decoder.
//!
//! Guest bytes are summed in grains: a fast hash of the grain, mixed with its place, added to its chunk's sum. Sums do
//! not depend on the order in which pieces come. After the flush the disk is read past the cache and summed again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use ironwright_api::{Readback, ReadbackMode};
use xxhash_rust::xxh3::xxh3_64;

use super::Watch;
use super::error::ImageError;
use super::thread::{Fate, Worker};
use super::write::Target;
use crate::sys::disk::AlignedBuffer;

/// Longest grain, bytes; shorter where an image maps less at a time.
const MAX_GRAIN_BYTES: u64 = 64 << 10;
/// Shortest chunk, bytes.
const MIN_CHUNK_BYTES: u64 = 1 << 20;
/// Most chunks: the table stays within 2 MiB.
const MAX_CHUNKS: u64 = 256 << 10;
/// Of how many chunks one is read back in a sample.
const SAMPLE_ONE_OF: u64 = 16;
/// Length of one read, bytes.
const READ_BYTES: usize = 1 << 20;
/// Threads reading back.
const READERS: usize = 2;

/// The sums of all chunks of an image.
#[derive(Debug)]
pub(super) struct Sums {
    /// At most, until [`Sums::end_at`] says it.
    virtual_bytes: AtomicU64,
    grain_bytes: u64,
    chunk_bytes: u64,
    zero_grain: u64,
    sums: Vec<AtomicU64>,
}

impl Sums {
    /// Nothing yet of an image that maps `unit_bytes` at a time. What will not be read back is not summed.
    pub(super) fn new(virtual_bytes: u64, unit_bytes: u64, mode: ReadbackMode) -> Self {
        let grain_bytes = unit_bytes.clamp(512, MAX_GRAIN_BYTES);
        let chunk_bytes =
            virtual_bytes.div_ceil(MAX_CHUNKS).next_power_of_two().max(MIN_CHUNK_BYTES);
        let chunks = match mode {
            ReadbackMode::Full | ReadbackMode::Sampled => {
                index(virtual_bytes.div_ceil(chunk_bytes))
            }
            ReadbackMode::None => 0,
        };
        let zero_grain = xxh3_64(&vec![0; index(grain_bytes)]);
        let sums = (0..chunks).map(|_| AtomicU64::new(0)).collect();
        let virtual_bytes = AtomicU64::new(virtual_bytes);
        Self { virtual_bytes, grain_bytes, chunk_bytes, zero_grain, sums }
    }

    /// Adds guest bytes; pieces begin and end at grains (or at the end of the image).
    pub(super) fn add(&self, offset: u64, bytes: &[u8]) {
        if self.sums.is_empty() {
            return;
        }
        self.each_grain(offset, bytes, |chunk, sum| {
            if let Some(total) = self.sums.get(chunk) {
                total.fetch_add(sum, Ordering::Relaxed);
            }
        });
    }

    /// Adds guest bytes that are all zero.
    pub(super) fn add_zeros(&self, offset: u64, bytes: u64) {
        if self.sums.is_empty() {
            return;
        }
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            let len = self.grain_bytes.min(end - at);
            let hash = if len == self.grain_bytes {
                self.zero_grain
            } else {
                xxh3_64(&vec![0; index(len)])
            };
            if let Some(total) = self.sums.get(index(at / self.chunk_bytes)) {
                total.fetch_add(place(hash, at), Ordering::Relaxed);
            }
            at += len;
        }
    }

    fn each_grain(&self, offset: u64, bytes: &[u8], mut act: impl FnMut(usize, u64)) {
        let mut at = offset;
        for grain in bytes.chunks(index(self.grain_bytes)) {
            act(index(at / self.chunk_bytes), place(xxh3_64(grain), at));
            at += grain.len() as u64;
        }
    }

    /// First byte and length of a chunk.
    fn chunk(&self, chunk: usize) -> (u64, u64) {
        let offset = chunk as u64 * self.chunk_bytes;
        (offset, self.chunk_bytes.min(self.virtual_bytes() - offset))
    }

    /// Size of the disk the image describes, bytes.
    pub(super) fn virtual_bytes(&self) -> u64 {
        self.virtual_bytes.load(Ordering::Relaxed)
    }

    /// Chunks up to the end.
    fn chunks(&self) -> usize {
        index(self.virtual_bytes().div_ceil(self.chunk_bytes)).min(self.sums.len())
    }

    /// Sets the end of an image whose length became known when it ended.
    pub(super) fn end_at(&self, virtual_bytes: u64) {
        self.virtual_bytes.store(virtual_bytes, Ordering::Relaxed);
    }

    /// Whether a grain may begin or end at a guest offset.
    pub(super) fn is_grain(&self, offset: u64) -> bool {
        offset.is_multiple_of(self.grain_bytes) || offset == self.virtual_bytes()
    }

    /// Longest grain, bytes.
    pub(super) fn grain_bytes(&self) -> u64 {
        self.grain_bytes
    }
}

/// A hash bound to its place (the finaliser of SplitMix64).
fn place(hash: u64, offset: u64) -> u64 {
    let mut mixed = hash ^ offset.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What is to be read back.
#[derive(Debug)]
struct Selection {
    chunks: Vec<u32>,
    bytes: u64,
}

fn select(sums: &Sums, mode: ReadbackMode, seed: u64) -> Selection {
    let last = sums.chunks().saturating_sub(1);
    let wanted = |chunk: &usize| match mode {
        ReadbackMode::Full => true,
        ReadbackMode::None => false,
        ReadbackMode::Sampled => {
            *chunk == 0
                || *chunk == last
                || place(seed, *chunk as u64).is_multiple_of(SAMPLE_ONE_OF)
        }
    };
    let chunks: Vec<usize> = (0..sums.chunks()).filter(wanted).collect();
    let bytes = chunks.iter().map(|chunk| sums.chunk(*chunk).1).sum();
    Selection {
        chunks: chunks.iter().filter_map(|chunk| u32::try_from(*chunk).ok()).collect(),
        bytes,
    }
}

/// Reads the disk and compares; held areas are compared from memory, the commit reads them itself.
pub(super) async fn read_back(
    target: &Arc<Target>,
    mode: ReadbackMode,
    seed: Option<u64>,
    watch: &Arc<dyn Watch>,
) -> Result<Readback, ImageError> {
    let started = Instant::now();
    let seed = seed.unwrap_or_else(rand::random);
    let selection = Arc::new(select(&target.sums, mode, seed));
    let fate = Arc::new(Fate::default());
    let (next, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let (target, selection) = (Arc::clone(target), Arc::clone(&selection));
        let (watch, shared, next, done) =
            (Arc::clone(watch), Arc::clone(&fate), Arc::clone(&next), Arc::clone(&done));
        readers.push(Worker::start("image-verify", &fate, move || {
            let mut buffer = AlignedBuffer::new(READ_BYTES);
            while !shared.stopped() {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let Some(chunk) = selection.chunks.get(turn) else { return };
                match compare(&target, *chunk as usize, &mut buffer, &shared) {
                    Ok(bytes) => {
                        let bytes = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                        watch.progress("verify", bytes, Some(selection.bytes));
                    }
                    Err(error) => shared.fail(error),
                }
            }
        })?);
    }
    for reader in readers {
        reader.join().await?;
    }
    if let Some(fault) = fate.take_fault() {
        return Err(fault);
    }
    Ok(Readback {
        mode,
        chunks: selection.chunks.len() as u64,
        bytes: done.load(Ordering::Relaxed),
        seed: (mode == ReadbackMode::Sampled).then_some(seed),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Reads one chunk and compares its sum.
fn compare(
    target: &Target,
    chunk: usize,
    buffer: &mut AlignedBuffer,
    fate: &Fate,
) -> Result<u64, ImageError> {
    let (offset, bytes) = target.sums.chunk(chunk);
    let mut found = 0_u64;
    let mut at = 0;
    while at < bytes && !fate.stopped() {
        let len = index((bytes - at).min(READ_BYTES as u64));
        let part = buffer.get_mut(..len).unwrap_or_default();
        target.disk.read_at(offset + at, part)?;
        target.boot_area.overlay(offset + at, part);
        target.sums.each_grain(offset + at, part, |_, sum| found = found.wrapping_add(sum));
        at += len as u64;
    }
    let expected = target.sums.sums.get(chunk).map(|sum| sum.load(Ordering::Relaxed));
    if expected == Some(found) || fate.stopped() {
        return Ok(bytes);
    }
    let device = target.disk.path().display().to_string();
    Err(ImageError::ReadBack { device, offset, bytes })
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums_of(pieces: &[(u64, &[u8])], virtual_bytes: u64) -> Vec<u64> {
        let sums = Sums::new(virtual_bytes, 512, ReadbackMode::Full);
        for (offset, bytes) in pieces {
            if bytes.iter().all(|byte| *byte == 0) {
                sums.add_zeros(*offset, bytes.len() as u64);
            } else {
                sums.add(*offset, bytes);
            }
        }
        sums.sums.iter().map(|sum| sum.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn sums_ignore_the_order_of_pieces_but_not_their_place_or_content() {
        let (a, b, zero) = ([1; 1024], [2; 512], [0; 700]);
        let whole = sums_of(&[(0, &a), (1024, &b), (1536, &zero)], 2236);
        assert_eq!(sums_of(&[(1536, &zero), (1024, &b), (0, &a)], 2236), whole);
        assert_eq!(
            sums_of(&[(512, &a[512..]), (1024, &b), (1536, &zero), (0, &a[..512])], 2236),
            whole
        );
        assert_ne!(sums_of(&[(0, &b), (512, &a), (1536, &zero)], 2236), whole, "moved");
        assert_ne!(sums_of(&[(0, &a), (1024, &b)], 2236), whole, "zeros missing");
    }

    #[test]
    fn zeros_counted_by_length_equal_zeros_read() {
        let sums = [0, 1].map(|_| Sums::new(5 << 20, 65536, ReadbackMode::Full));
        sums[0].add_zeros(0, (5 << 20) - 700);
        sums[1].add(0, &vec![0; (5 << 20) - 700]);
        for (one, two) in sums[0].sums.iter().zip(&sums[1].sums) {
            assert_eq!(one.load(Ordering::Relaxed), two.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn the_table_of_a_very_large_image_stays_small() {
        let sums = Sums::new(16 << 40, 65536, ReadbackMode::Full);
        assert!(sums.sums.len() <= 262_144);
        assert!(sums.chunk_bytes.is_multiple_of(sums.grain_bytes));
    }

    #[test]
    fn a_sample_is_seeded_and_holds_both_ends() {
        let sums = Sums::new(1 << 30, 65536, ReadbackMode::Sampled);
        let sample = select(&sums, ReadbackMode::Sampled, 7);
        assert_eq!(sample.chunks, select(&sums, ReadbackMode::Sampled, 7).chunks);
        assert_ne!(sample.chunks, select(&sums, ReadbackMode::Sampled, 8).chunks);
        assert!(sample.chunks.first() == Some(&0) && sample.chunks.last() == Some(&1023));
        assert!((40..120).contains(&sample.chunks.len()), "{}", sample.chunks.len());
    }
}
