//! How fast work goes: a rate over the last seconds and the time left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate is taken over this long: long enough to be calm, short enough to show a stall.
const WINDOW: Duration = Duration::from_secs(5);
/// Samples closer together than this are merged, so that a fast writer costs nothing.
const GAP: Duration = Duration::from_millis(100);

/// Bytes over time. Feed it as often as you like.
#[derive(Debug, Default)]
pub struct Meter {
    samples: VecDeque<(Instant, u64)>,
    bytes: u64,
    total: Option<u64>,
}

impl Meter {
    /// Notes that `bytes` of `total` were done at `now`. Going backwards (a restarted step) starts the window anew.
    pub fn note(&mut self, now: Instant, bytes: u64, total: Option<u64>) {
        if bytes < self.bytes {
            self.samples.clear();
        }
        self.bytes = bytes;
        self.total = total;
        if self.samples.back().is_none_or(|(last, _)| now.duration_since(*last) >= GAP) {
            self.samples.push_back((now, bytes));
        }
        while self.samples.len() > 2
            && self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes done.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes in all, when known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Bytes a second over the last seconds before `now`; 0 while unknown, falling towards 0 in a stall.
    #[must_use]
    pub fn rate(&self, now: Instant) -> u64 {
        let Some((first_at, first_bytes)) = self.samples.front() else { return 0 };
        let millis = now.duration_since(*first_at).as_millis();
        let bytes = u128::from(self.bytes.saturating_sub(*first_bytes));
        (bytes * 1000).checked_div(millis).and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0)
    }

    /// Seconds left at the present rate, when total and rate are known.
    #[must_use]
    pub fn eta_s(&self, now: Instant) -> Option<u64> {
        let left = self.total?.saturating_sub(self.bytes);
        (left + self.rate(now).saturating_sub(1)).checked_div(self.rate(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_seconds_and_a_stall_lowers_it() {
        let start = Instant::now();
        let mut meter = Meter::default();
        for second in 0..20u32 {
            let speed = if second < 10 { 100 } else { 1000 };
            let bytes = meter.bytes() + speed;
            meter.note(start + Duration::from_secs(second.into()), bytes, Some(20_000));
        }
        let now = start + Duration::from_secs(19);
        assert_eq!(meter.rate(now), 1000);
        assert_eq!(meter.eta_s(now), Some(9));
        assert!(meter.rate(now + Duration::from_secs(60)) < 100, "a stall must show");
    }

    #[test]
    fn nothing_known_is_no_rate_and_no_time_left() {
        let now = Instant::now();
        let mut meter = Meter::default();
        assert_eq!((meter.rate(now), meter.eta_s(now)), (0, None));
        meter.note(now, 10, None);
        assert_eq!((meter.rate(now), meter.eta_s(now)), (0, None));
    }

    #[test]
    fn a_restarted_step_never_counts_backwards() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.note(start, 5000, Some(10_000));
        meter.note(start + Duration::from_secs(1), 100, Some(10_000));
        meter.note(start + Duration::from_secs(2), 300, Some(10_000));
        assert_eq!(meter.rate(start + Duration::from_secs(2)), 200);
    }
}
