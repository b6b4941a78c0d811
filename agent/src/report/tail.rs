//! The last lines of the log, kept in memory so that a heartbeat can carry them.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines kept: what fits on one screen.
const LINES: usize = 20;
/// Characters of a line; the rest is on the console.
const LINE_CHARS: usize = 300;

/// Bytes kept for [`LogTail::all`].
const ALL_BYTES: usize = 512 << 10;

/// A ring of the last log lines; a `tracing` layer that fills it. Clones share the ring.
#[derive(Debug, Clone, Default)]
pub struct LogTail(Arc<Mutex<Rings>>);

#[derive(Debug, Default)]
struct Rings {
    last: VecDeque<String>,
    /// Older lines too, with their times.
    all: VecDeque<String>,
    all_bytes: usize,
}

impl LogTail {
    /// The lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.rings().last.iter().cloned().collect()
    }

    /// What is kept of this process's log, oldest first, each line with its time: half a MiB.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.rings().all.iter().cloned().collect()
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &str) {
        let line: String = line.chars().take(LINE_CHARS).collect();
        let mut rings = self.rings();
        let timed = format!("{} {line}", jiff::Timestamp::now());
        rings.all_bytes += timed.len();
        rings.all.push_back(timed);
        while rings.all_bytes > ALL_BYTES {
            let Some(oldest) = rings.all.pop_front() else { break };
            rings.all_bytes -= oldest.len();
        }
        if rings.last.len() == LINES {
            rings.last.pop_front();
        }
        rings.last.push_back(line);
    }
}

impl<S: Subscriber> Layer<S> for LogTail {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        // Lines below INFO, and other crates' chatter, would push the useful ones out.
        if *event.metadata().level() > Level::INFO
            || !event.metadata().target().starts_with("ironwright")
        {
            return;
        }
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        self.push(line.0.trim_end());
    }
}

/// One line: the message, then the fields as `name=value`.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        if field.name() == "message" {
            write!(self.0, "{value:?} ").ok();
        } else {
            write!(self.0, "{}={value:?} ", field.name()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_with_their_fields_and_nothing_below_info() {
        let tail = LogTail::default();
        let subscriber = tracing_subscriber::registry().with(tail.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(bytes = 7, "first");
            tracing::debug!("chatter");
            tracing::warn!(target: "hyper", "not ours");
            assert_eq!(tail.lines(), ["INFO first bytes=7"]);
            for number in 0..50 {
                tracing::warn!("line {number}");
            }
        });
        let lines = tail.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.last().map(String::as_str), Some("WARN line 49"));
    }

    #[test]
    fn a_hostile_long_line_is_cut() {
        let tail = LogTail::default();
        tail.push(&"ä".repeat(100_000));
        assert_eq!(tail.lines()[0].chars().count(), LINE_CHARS);
        for _ in 0..3000 {
            tail.push(&"ä".repeat(300));
        }
        let bytes: usize = tail.all().iter().map(String::len).sum();
        assert!((ALL_BYTES / 2..=ALL_BYTES).contains(&bytes), "{bytes}");
    }
}
