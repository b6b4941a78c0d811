//! A program that runs beside us for a while.

use std::path::PathBuf;
use std::process::{Child, ChildStdin, ExitStatus};
use std::time::{Duration, Instant};

use super::{HostError, tail};

/// A program in the background. Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    name: String,
    child: Child,
    log: Option<PathBuf>,
    lifeline: Option<ChildStdin>,
}

impl Service {
    pub(super) fn new(name: String, mut child: Child, log: Option<PathBuf>) -> Self {
        let lifeline = child.stdin.take();
        Self { name, child, log, lifeline }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs; how it ended when not.
    ///
    /// # Errors
    ///
    /// [`HostError::Pipe`].
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, HostError> {
        self.child
            .try_wait()
            .map_err(|source| HostError::Pipe { program: self.name.clone(), source })
    }

    /// Waits at most `limit` for its end; `None` when it still runs.
    ///
    /// # Errors
    ///
    /// [`HostError::Pipe`].
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>, HostError> {
        let end = Instant::now() + limit;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() >= end {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end, however long it takes.
    ///
    /// # Errors
    ///
    /// [`HostError::Pipe`].
    pub fn join(&mut self) -> Result<ExitStatus, HostError> {
        // `Child::wait` would close the pipe that keeps a run alive; it was taken out of the child.
        self.child.wait().map_err(|source| HostError::Pipe { program: self.name.clone(), source })
    }

    /// Kills it at once (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        drop(self.lifeline.take());
        // A process of another user (sudo) cannot be signalled: the closed pipe ends it.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The last `lines` lines of its log.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        self.log.as_deref().map_or_else(String::new, |log| tail(log, lines))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Program;
    use super::*;

    #[test]
    fn a_dropped_service_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        let service = Program::new("sleep").arg("60").service(&dir.path().join("log")).unwrap();
        let proc = PathBuf::from(format!("/proc/{}", service.pid()));
        assert!(proc.exists());
        drop(service);
        assert!(!proc.exists());
    }

    #[test]
    fn waiting_ends_at_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut endless = Program::new("sleep").arg("60").service(&log).unwrap();
        assert_eq!(endless.wait(Duration::ZERO).unwrap(), None);
        let mut short = Program::new("sh").args(["-c", "echo bye; exit 3"]).service(&log).unwrap();
        let status = short.wait(Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!((status.code(), short.tail(1).as_str()), (Some(3), "bye"));
    }
}
