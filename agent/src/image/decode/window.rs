//! The newest bytes of the body, kept as they came until everything that begins in them is complete.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// A sliding range of the file.
#[derive(Debug, Default)]
pub(super) struct Window {
    chunks: VecDeque<Bytes>,
    start: u64,
    end: u64,
}

impl Window {
    /// First byte at hand.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// First byte that has not arrived.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        self.end += chunk.len() as u64;
        self.chunks.push_back(chunk);
    }

    /// Forgets everything before `offset`.
    pub(super) fn drop_before(&mut self, offset: u64) {
        let target = offset.min(self.end);
        while self.start < target
            && let Some(chunk) = self.chunks.front_mut()
        {
            let step = usize::try_from(target - self.start).unwrap_or(usize::MAX).min(chunk.len());
            chunk.advance(step);
            self.start += step as u64;
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    /// The bytes from `offset` on that lie in one piece; empty outside the window.
    pub(super) fn at(&self, offset: u64) -> &[u8] {
        let Some(mut skip) = offset.checked_sub(self.start) else { return &[] };
        for chunk in &self.chunks {
            if skip < chunk.len() as u64 {
                return usize::try_from(skip)
                    .ok()
                    .and_then(|skip| chunk.get(skip..))
                    .unwrap_or_default();
            }
            skip -= chunk.len() as u64;
        }
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides_over_chunk_boundaries() {
        let mut window = Window::default();
        window.push(Bytes::from_static(b"abcd"));
        window.push(Bytes::from_static(b"efgh"));
        window.drop_before(3);
        assert_eq!((window.start(), window.end()), (3, 8));
        assert_eq!(
            (window.at(2), window.at(3), window.at(5), window.at(8)),
            (&b""[..], &b"d"[..], &b"fgh"[..], &b""[..])
        );
        window.drop_before(100);
        assert_eq!((window.start(), window.end()), (8, 8));
    }
}
