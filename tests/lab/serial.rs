//! The eyes of the lab: what a machine wrote to its serial console, or a program to its log.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Lines shown when something awaited did not come.
const TAIL_LINES: usize = 25;

/// A growing text file that is watched for words.
#[derive(Debug, Clone)]
pub struct Console {
    path: PathBuf,
    from: usize,
}

/// The words awaited did not come.
#[derive(Debug, thiserror::Error)]
#[error("{path} did not say {awaited:?} within {seconds} s; its last lines:\n{tail}", path = path.display())]
pub struct Silent {
    /// The log.
    pub path: PathBuf,
    /// What was awaited.
    pub awaited: String,
    /// How long.
    pub seconds: u64,
    /// The last lines it has.
    pub tail: String,
}

impl Console {
    /// Watches `path` from its beginning; the file need not exist yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), from: 0 }
    }

    /// The file watched.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets what was said so far: only what comes from now on is seen.
    pub fn skip_to_end(&mut self) {
        self.from = std::fs::metadata(&self.path)
            .map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(usize::MAX));
    }

    /// What was said, without terminal control sequences.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        plain(&String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()))
    }

    /// The first line with `words`, if it was said.
    #[must_use]
    pub fn find(&self, words: &str) -> Option<String> {
        self.text().lines().find(|line| line.contains(words)).map(|line| line.trim().to_owned())
    }

    /// The last lines.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Waits for a line with `words` and returns it.
    ///
    /// # Errors
    ///
    /// [`Silent`] after `limit`, with the last lines.
    pub async fn wait_for(&self, words: &str, limit: Duration) -> Result<String, Silent> {
        let end = Instant::now() + limit;
        loop {
            if let Some(line) = self.find(words) {
                return Ok(line);
            }
            if Instant::now() >= end {
                return Err(Silent {
                    path: self.path.clone(),
                    awaited: words.to_owned(),
                    seconds: limit.as_secs(),
                    tail: self.tail(),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Removes terminal control sequences (`ESC [ … letter`, `ESC` + one character) and carriage returns.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => {
                if chars.next() == Some('[') {
                    chars.by_ref().find(|end| end.is_ascii_alphabetic());
                }
            }
            '\r' => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &str) -> (tempfile::TempDir, Console) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        std::fs::write(&path, text).unwrap();
        let console = Console::new(&path);
        (dir, console)
    }

    #[tokio::test]
    async fn words_are_found_through_control_sequences() {
        let (_dir, console) = console("\u{1b}[2J\u{1b}[1;31mGR\u{1b}[0mUB loading\r\nlogin:");
        let line = console.wait_for("GRUB", Duration::ZERO).await.unwrap();
        assert_eq!(line, "GRUB loading");
    }

    #[tokio::test]
    async fn silence_is_reported_with_the_last_words() {
        let (_dir, console) = console("one\ntwo\n");
        let error = console.wait_for("three", Duration::ZERO).await.unwrap_err().to_string();
        assert!(error.contains("\"three\"") && error.ends_with("one\ntwo"), "{error}");
    }

    #[test]
    fn what_was_skipped_is_not_seen_again() {
        let (_dir, mut console) = console("MARK 1\n");
        console.skip_to_end();
        assert_eq!(console.find("MARK"), None);
        std::fs::write(console.path(), "MARK 1\nMARK 2\n").unwrap();
        assert_eq!(console.find("MARK").as_deref(), Some("MARK 2"));
    }
}
