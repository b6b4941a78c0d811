//! What a plugin prints, with caps: a plugin that floods must not fill the memory, the log, or the agent's time.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;

/// Longest line on standard output, bytes.
pub(super) const MAX_LINE: u64 = 64 << 10;
/// Most lines and most bytes on standard output of one call.
pub(super) const MAX_LINES: u64 = 10_000;
/// See [`MAX_LINES`].
pub(super) const MAX_BYTES: u64 = 4 << 20;
/// Bytes of standard error that go into the log; the rest is read and dropped.
const MAX_LOG: u64 = 256 << 10;
/// Longest line of the log, bytes.
const MAX_LOG_LINE: u64 = 1024;
/// Lines of standard error that are kept for the report of a failure.
const LAST_WORDS: usize = 5;

/// What came from standard output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// One line.
    Line(String),
    /// A line longer than [`MAX_LINE`].
    LongLine,
    /// More than [`MAX_LINES`] or [`MAX_BYTES`].
    TooMuch,
    /// Nothing more will come.
    End,
}

/// Passes lines on until the end or a cap. Blocks where nobody takes them: the plugin then waits too.
pub(super) fn lines(from: impl Read, to: &SyncSender<Said>) {
    let mut from = BufReader::new(from);
    let mut bytes = 0;
    for number in 0..=MAX_LINES {
        let mut line = Vec::new();
        match (&mut from).take(MAX_LINE + 1).read_until(b'\n', &mut line) {
            Ok(read) if read > 0 => bytes += read as u64,
            Ok(_) | Err(_) => {
                to.send(Said::End).ok();
                return;
            }
        }
        let ended = line.pop_if(|byte| *byte == b'\n').is_some();
        let said = if !ended && line.len() as u64 > MAX_LINE {
            Said::LongLine
        } else if bytes > MAX_BYTES || number == MAX_LINES {
            Said::TooMuch
        } else {
            Said::Line(String::from_utf8_lossy(&line).into_owned())
        };
        let last = !matches!(said, Said::Line(_));
        if to.send(said).is_err() || last {
            return;
        }
    }
}

/// Level and text of a line that comes from a log of our kind: the launcher's own, or that of a plugin in Rust.
fn levelled(line: &str) -> Option<(Level, &str)> {
    let (time, rest) = line.split_once(' ')?;
    let (level, text) = rest.trim_start().split_once(' ')?;
    let part = |byte: u8| byte.is_ascii_digit() || b"-:.T".contains(&byte);
    let is_time = time.strip_suffix('Z')?.bytes().all(part) && time.contains('T');
    let level = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE]
        .into_iter()
        .find(|known| known.as_str() == level)?;
    is_time.then_some((level, text))
}

/// The last lines of standard error.
#[derive(Debug, Clone, Default)]
pub(super) struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    /// Logs what a plugin writes to standard error, up to the cap, and keeps the end of it.
    pub(super) fn follow(&self, plugin: &str, from: impl Read) {
        let mut from = BufReader::new(from);
        let mut logged = 0;
        loop {
            let mut line = Vec::new();
            match (&mut from).take(MAX_LOG_LINE).read_until(b'\n', &mut line) {
                Ok(read) if read > 0 => {}
                Ok(_) | Err(_) => return,
            }
            let text: String = String::from_utf8_lossy(&line)
                .trim_end()
                .chars()
                .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
                .collect();
            let (level, text) = levelled(&text)
                .map_or((Level::INFO, text.clone()), |(level, text)| (level, text.to_owned()));
            if logged < MAX_LOG {
                logged += line.len() as u64;
                match level {
                    Level::ERROR => tracing::error!("plugin {plugin}: {text}"),
                    Level::WARN => tracing::warn!("plugin {plugin}: {text}"),
                    _ => tracing::info!("plugin {plugin}: {text}"),
                }
                if logged >= MAX_LOG {
                    tracing::warn!(
                        "plugin {plugin} has written {MAX_LOG} bytes of log; the rest is dropped"
                    );
                }
            }
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() == LAST_WORDS {
                last.pop_front();
            }
            last.push_back(text);
        }
    }

    /// As one line.
    pub(super) fn text(&self) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(input: &[u8]) -> Vec<Said> {
        let (to, from) = std::sync::mpsc::sync_channel(20_000);
        lines(input, &to);
        drop(to);
        from.iter().collect()
    }

    #[test]
    fn lines_come_one_by_one_and_the_last_may_lack_its_end() {
        let line = |text: &str| Said::Line(text.to_owned());
        assert_eq!(said(b"a\n\nb"), [line("a"), line(""), line("b"), Said::End]);
    }

    #[test]
    fn floods_end_at_the_caps() {
        let long = vec![b'x'; usize::try_from(MAX_LINE).unwrap() + 1];
        assert_eq!(said(&long), [Said::LongLine]);
        let many = said(&b"x\n".repeat(20_000));
        assert_eq!((many.len() as u64, many.last()), (MAX_LINES + 1, Some(&Said::TooMuch)));
        let most = said(&b"x\n".repeat(usize::try_from(MAX_LINES).unwrap()));
        assert_eq!(most.last(), Some(&Said::End), "as many as may be");
        let mut line = vec![b'x'; 60_000];
        line.push(b'\n');
        let much = said(&line.repeat(200));
        assert_eq!(
            (much.len() as u64, much.last()),
            (MAX_BYTES / 60_001 + 1, Some(&Said::TooMuch))
        );
    }

    #[test]
    fn the_launchers_own_lines_keep_their_level() {
        let line = "2026-11-29T00:48:11.123456Z  WARN memory was not limited";
        assert_eq!(levelled(line), Some((Level::WARN, "memory was not limited")));
        for line in
            ["", "a b c", "WARN no time", "12Z WARN no date", "2026-11-29T00:48:11Z done with it"]
        {
            assert_eq!(levelled(line), None, "{line}");
        }
        let words = LastWords::default();
        words.follow("x", b"2026-11-29T00:48:11.1Z ERROR not started\n".as_slice());
        assert_eq!(words.text(), "not started");
    }

    #[test]
    fn the_log_keeps_the_end_without_control_characters() {
        let words = LastWords::default();
        words.follow("x", b"1\n2\n3\n4\n5\n\x1b[31m6\n".as_slice());
        assert_eq!(words.text(), "2 | 3 | 4 | 5 | \u{fffd}[31m6");
    }
}
