//! The time, so that tests can let it pass without waiting.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The wall clock, or one that follows tokio's (pausable) time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    virtual_from: Option<(Timestamp, Instant)>,
}

impl Clock {
    /// The wall clock.
    #[must_use]
    pub fn system() -> Self {
        Self { virtual_from: None }
    }

    /// Starts at `start` and goes as fast as tokio's clock: in tests with paused time, as fast as they like.
    #[must_use]
    pub fn following_tokio(start: Timestamp) -> Self {
        Self { virtual_from: Some((start, Instant::now())) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self.virtual_from {
            None => Timestamp::now(),
            Some((start, instant)) => after(start, instant.elapsed().as_secs_f64()),
        }
    }
}

fn after(start: Timestamp, seconds: f64) -> Timestamp {
    start.saturating_add(SignedDuration::from_secs_f64(seconds)).unwrap_or(Timestamp::MAX)
}
