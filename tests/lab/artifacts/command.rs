//! The one place where package and image building starts programs.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// Longest a build step may take, seconds. The slowest one (a whole Debian on a loaded machine) was measured at 200 s.
const LIMIT_S: &str = "1800";

/// Bytes of a failed program's output that its error repeats.
const TAIL_BYTES: usize = 2000;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// Program name.
        program: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{program} ended with {status}: {tail}")]
    Failed {
        /// Program and arguments.
        program: String,
        /// Exit status.
        status: std::process::ExitStatus,
        /// The end of what it printed.
        tail: String,
    },
}

/// One program to run to its end, with its output captured.
#[derive(Debug)]
pub(crate) struct Program {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    visible: bool,
}

impl Program {
    pub(crate) fn new(name: impl AsRef<OsStr>) -> Self {
        let args = vec![name.as_ref().to_owned()];
        Self { args, env: Vec::new(), folder: None, visible: false }
    }

    /// The same with the rights of root: through sudo, without asking, where this process is not root.
    pub(crate) fn as_root(name: impl AsRef<OsStr>) -> Self {
        if nix::unistd::geteuid().is_root() {
            return Self::new(name);
        }
        Self::new("sudo").args(["--non-interactive", "--preserve-env=DEBIAN_FRONTEND"]).arg(name)
    }

    /// What it writes to standard error goes to the terminal as it comes.
    pub(crate) fn visible(mut self) -> Self {
        self.visible = true;
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Runs it and returns what it wrote to standard output.
    ///
    /// # Errors
    /// [`CommandError`], with the end of its output.
    pub(crate) fn run(&self) -> Result<String, CommandError> {
        let output = self.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(CommandError::Failed {
            program: self.line(),
            status: output.status,
            tail: tail(&output),
        })
    }

    /// Runs it and returns whatever happened; only a program that cannot be started is an error.
    ///
    /// # Errors
    /// [`CommandError::Start`].
    #[expect(clippy::disallowed_methods, reason = "the one place building starts a program")]
    pub(crate) fn output(&self) -> Result<Output, CommandError> {
        // `timeout` ends the whole group; without --foreground the program cannot wait for a terminal.
        let mut command = std::process::Command::new("timeout");
        command.arg("--kill-after=10").arg(LIMIT_S).args(&self.args).stdin(Stdio::null());
        command.env("LC_ALL", "C.UTF-8");
        // sbin: depmod, sgdisk and mke2fs are not on an ordinary user's path.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
        for name in std::env::vars_os().map(|(name, _)| name).filter(|name| is_about_us(name)) {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if self.visible {
            command.stderr(Stdio::inherit());
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.output().map_err(|source| CommandError::Start { program: self.line(), source })
    }

    fn line(&self) -> String {
        let words: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy()).collect();
        words.join(" ")
    }
}

/// What cargo tells the program it runs about that program. Another cargo below us would take it for its own and build
/// everything again.
fn is_about_us(name: &OsStr) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()))
}

fn tail(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let start = both.len().saturating_sub(TAIL_BYTES);
    String::from_utf8_lossy(both.get(start..).unwrap_or_default()).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_reported_with_its_words_and_its_last_output() {
        let error = Program::new("sh").args(["-c", "echo why >&2; exit 7"]).run().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains("exit status: 7"), "{text}");
        assert!(text.ends_with("why"), "{text}");
    }

    #[test]
    fn another_cargo_is_not_told_about_this_one() {
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "cargo ran this test");
        let seen = Program::new("env").run().unwrap();
        assert!(!seen.contains("CARGO_MANIFEST_DIR="), "{seen}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error() {
        assert!(Program::new("ironwright-no-such-program").run().is_err());
    }
}
