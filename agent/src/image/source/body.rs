//! One answer's body, small chunks joined; and how slowness is noticed.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt as _;

use crate::image::tuning::Tuning;

/// Chunks are joined up to about this length.
const JOINED_BYTES: usize = 32 << 10;

/// A body being read.
#[derive(Debug)]
pub(super) struct Body {
    response: reqwest::Response,
    /// Bytes to throw away: the server started over.
    skip: u64,
    /// Where the server said that its part ends: a server may serve less than was asked for.
    pub(super) until: Option<u64>,
    /// Taken from the connection after a small chunk, and not yet looked at.
    stash: Option<reqwest::Result<Option<Bytes>>>,
}

impl Body {
    /// The body of an answer, less its first `skip` bytes.
    pub(super) fn new(response: reqwest::Response, skip: u64, until: Option<u64>) -> Self {
        Self { response, skip, until, stash: None }
    }

    /// Throws away what is to be skipped.
    pub(super) fn skip_in(&mut self, chunk: &mut Bytes) {
        let skipped = self.skip.min(chunk.len() as u64);
        self.skip -= skipped;
        chunk.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
    }

    /// The next chunk, small ones joined as far as they are at hand: what is done for every chunk must not be done for every
    /// few bytes.
    pub(super) async fn chunk(&mut self) -> reqwest::Result<Option<Bytes>> {
        let first = match self.stash.take() {
            Some(stashed) => stashed,
            None => self.response.chunk().await,
        };
        let Ok(Some(first)) = first else { return first };
        if first.len() >= JOINED_BYTES {
            return Ok(Some(first));
        }
        let mut joined = BytesMut::from(first);
        while joined.len() < JOINED_BYTES {
            match self.response.chunk().now_or_never() {
                Some(Ok(Some(more))) => joined.extend_from_slice(&more),
                Some(other) => {
                    self.stash = Some(other);
                    break;
                }
                None => break,
            }
        }
        Ok(Some(joined.freeze()))
    }
}

/// How much came in how much waiting. Time that the reader takes for itself does not count.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Time waited for an answer to begin.
    pub(super) fn wait(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// Whether a server that answers, but hardly, has had its time: less than `bytes` came in `period` of waiting.
    pub(super) fn is_too_slow(&mut self, waited: Duration, came: usize, tuning: &Tuning) -> bool {
        self.waited += waited;
        self.bytes += came as u64;
        if self.waited < tuning.stall {
            return false;
        }
        let slow = self.bytes < tuning.stall_bytes;
        *self = Self::default();
        slow
    }
}
