//! What the supervisor says on the machine's console.

use std::io::{self, Write as _};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since the machine started, as in `/proc/uptime`; needs no `/proc`.
pub(super) fn uptime() -> Duration {
    // CLOCK_BOOTTIME exists since Linux 2.6.39 and cannot fail.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// [`uptime`] in milliseconds.
pub(super) fn uptime_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}

/// Prints one line, with who speaks and the uptime in seconds. A console that does not listen is no error.
pub(super) fn say(text: &str) {
    let line = format!("ironwright: {:.2} {text}\n", uptime().as_secs_f64());
    // One write, so that lines of several processes do not mix.
    io::stderr().lock().write_all(line.as_bytes()).ok();
}

/// Prints what an attempt ran into, and goes on: PID 1 has nobody to return an error to.
pub(super) fn complain<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            say(&format!("{what}: {error}"));
            None
        }
    }
}
