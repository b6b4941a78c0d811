//! The last bytes of the body whose role was not known when they passed.

use std::collections::VecDeque;

/// Bookkeeping counted for each run of bytes.
const RUN_COST: usize = 64;
/// Runs are not grown past this length, so that forgetting goes in small steps.
const RUN_BYTES: usize = 64 << 10;

/// Runs of bytes in file order; the oldest are forgotten first.
#[derive(Debug)]
pub(super) struct Ring {
    runs: VecDeque<(u64, Vec<u8>)>,
    used: usize,
    limit: usize,
}

impl Ring {
    pub(super) fn new(limit: usize) -> Self {
        Self { runs: VecDeque::new(), used: 0, limit }
    }

    /// Keeps `bytes`, which were at `offset`; offsets only grow.
    pub(super) fn push(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        for piece in bytes.chunks(RUN_BYTES) {
            match self.runs.back_mut() {
                Some((start, run))
                    if *start + run.len() as u64 == at && run.len() + piece.len() <= RUN_BYTES =>
                {
                    let before = run.capacity();
                    run.extend_from_slice(piece);
                    self.used += run.capacity() - before;
                }
                _ => {
                    self.runs.push_back((at, piece.to_vec()));
                    self.used += RUN_COST + piece.len();
                }
            }
            at += piece.len() as u64;
        }
        while self.used > self.limit
            && let Some((_, run)) = self.runs.pop_front()
        {
            self.used -= run.capacity() + RUN_COST;
        }
    }

    /// The bytes from `offset` on that are at hand in one piece; empty when they are gone.
    pub(super) fn at(&self, offset: u64) -> &[u8] {
        let index = self.runs.partition_point(|(start, _)| *start <= offset);
        let Some((start, run)) = index.checked_sub(1).and_then(|index| self.runs.get(index)) else {
            return &[];
        };
        usize::try_from(offset - start).ok().and_then(|skip| run.get(skip..)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_bytes_within_its_limit() {
        let mut ring = Ring::new(4096);
        for index in 0..16_u8 {
            ring.push(u64::from(index) * 1000, &[index; 500]);
        }
        assert!(ring.used <= 4096);
        assert!(ring.at(0).is_empty(), "forgotten");
        assert_eq!(ring.at(15_100), [15; 400]);
        assert!(ring.at(15_500).is_empty(), "never there");
        ring.push(15_500, &[16; 10]);
        assert_eq!(ring.at(15_499), [15, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16]);
    }
}
