//! The time, so that tests can let it pass without waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// The wall clock, or one that stands until it is told to move.
#[derive(Debug, Clone)]
pub struct Clock {
    manual_ms: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The wall clock.
    #[must_use]
    pub fn system() -> Self {
        Self { manual_ms: None }
    }

    /// Stands at `start`; clones move together.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self { manual_ms: Some(Arc::new(AtomicI64::new(start.as_millisecond()))) }
    }

    /// Moves a manual clock on; the wall clock does not care.
    pub fn advance(&self, by: Duration) {
        if let Some(clock) = &self.manual_ms {
            clock.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.manual_ms {
            None => Timestamp::now(),
            Some(clock) => {
                Timestamp::from_millisecond(clock.load(Ordering::Relaxed)).unwrap_or(Timestamp::MAX)
            }
        }
    }
}
