//! The one door to the developer's machine: the only file of the lab that starts programs.

mod service;

use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

pub use service::Service;

/// Why a program of the host did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It could not be started.
    #[error(
        "{program} could not be started (is it installed? `cargo lab test` and `cargo lab demo` install what is missing)"
    )]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended badly.
    #[error("{program} failed ({status}): {message}")]
    Failed {
        /// The program and its arguments.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines it wrote.
        message: String,
    },
    /// Its input, output or log could not be used.
    #[error("input or output of {program}")]
    Pipe {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A program with its arguments, not started yet.
#[derive(Debug)]
pub struct Program {
    command: Command,
    name: String,
    input: Option<String>,
}

impl Program {
    /// Names a program; it is looked up in `PATH` and in the system directories that a user's `PATH` may lack.
    #[expect(clippy::disallowed_methods, reason = "the one place where the lab starts a program")]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program.as_ref());
        let mut path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
        path.push(":/usr/local/sbin:/usr/sbin:/sbin");
        command.env("PATH", path);
        Self { command, name: program.as_ref().to_string_lossy().into_owned(), input: None }
    }

    /// Cargo in the directory `workspace`, as from a shell: without what an outer `cargo run` told this process about itself.
    /// Build scripts (ring's) look at those variables, and would rebuild half of the tree each time.
    #[must_use]
    pub fn cargo(workspace: &Path) -> Self {
        let mut this = Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in std::env::vars_os() {
            if is_about_the_caller(&name.to_string_lossy()) {
                this.command.env_remove(name);
            }
        }
        this.dir(workspace)
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives it this text as standard input.
    #[must_use]
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Runs it to its end and returns what it wrote to standard output.
    ///
    /// # Errors
    ///
    /// [`HostError`]; a bad end carries the last lines of standard error.
    pub fn text(self) -> Result<String, HostError> {
        let described = self.describe();
        let output = self.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        let message = last_lines(&String::from_utf8_lossy(text), 8);
        Err(HostError::Failed { program: described, status: output.status, message })
    }

    /// Runs it to its end and returns everything it said, however it ended.
    ///
    /// # Errors
    ///
    /// [`HostError::Start`], [`HostError::Pipe`].
    pub fn output(mut self) -> Result<Output, HostError> {
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn()?;
        if let (Some(text), Some(mut stdin)) = (self.input.take(), child.stdin.take()) {
            stdin.write_all(text.as_bytes()).map_err(|source| self.pipe(source))?;
        }
        child.wait_with_output().map_err(|source| self.pipe(source))
    }

    /// Runs it to its end on this terminal.
    ///
    /// # Errors
    ///
    /// [`HostError::Start`], [`HostError::Pipe`].
    pub fn status(mut self) -> Result<ExitStatus, HostError> {
        let mut child = self.spawn()?;
        child.wait().map_err(|source| self.pipe(source))
    }

    /// Starts it without standard input and forgets it; both outputs are appended to `log`.
    ///
    /// # Errors
    ///
    /// [`HostError::Start`]; [`HostError::Pipe`] when the log cannot be opened.
    pub fn daemon(mut self, log: &Path) -> Result<Pid, HostError> {
        let (out, err) = self.log(log)?;
        self.command.stdout(out).stderr(err);
        self.background()
    }

    /// Runs it to its end and hands each line of its standard output to `each` as it comes.
    ///
    /// # Errors
    ///
    /// [`HostError::Start`], [`HostError::Pipe`].
    pub fn lines(mut self, mut each: impl FnMut(&str)) -> Result<ExitStatus, HostError> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = self.spawn()?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = line.map_err(|source| self.pipe(source))?;
                each(&String::from_utf8_lossy(&line));
            }
        }
        child.wait().map_err(|source| self.pipe(source))
    }

    /// Starts it on this terminal without standard input and forgets it; whoever calls this reaps every process.
    ///
    /// # Errors
    ///
    /// [`HostError::Start`].
    pub fn background(mut self) -> Result<Pid, HostError> {
        self.command.stdin(Stdio::null());
        let child = self.spawn()?;
        Ok(Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)))
    }

    /// Runs a program that makes a daemon of itself and waits until it has; both outputs are appended to `log`.
    ///
    /// # Errors
    ///
    /// [`HostError`]; a bad end carries the last lines of the log.
    pub fn detached(mut self, log: &Path) -> Result<(), HostError> {
        let (out, err) = self.log(log)?;
        self.command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let status = self.spawn()?.wait().map_err(|source| self.pipe(source))?;
        if status.success() {
            return Ok(());
        }
        Err(HostError::Failed { program: self.name, status, message: tail(log, 8) })
    }

    /// Starts it in the background on this terminal, with a pipe as its standard input.
    ///
    /// # Errors
    ///
    /// [`HostError::Start`].
    pub fn attached(mut self) -> Result<Service, HostError> {
        self.command.stdin(Stdio::piped());
        let child = self.spawn()?;
        Ok(Service::new(self.name, child, None))
    }

    /// Starts it in the background; both outputs are appended to `log`, standard input is a pipe that closes with the service.
    ///
    /// # Errors
    ///
    /// [`HostError::Start`]; [`HostError::Pipe`] when the log cannot be opened.
    pub fn service(mut self, log: &Path) -> Result<Service, HostError> {
        let (out, err) = self.log(log)?;
        self.command.stdin(Stdio::piped()).stdout(out).stderr(err);
        let child = self.spawn()?;
        Ok(Service::new(self.name, child, Some(log.to_owned())))
    }

    fn spawn(&mut self) -> Result<Child, HostError> {
        let program = self.name.clone();
        self.command.spawn().map_err(|source| HostError::Start { program, source })
    }

    fn log(&self, log: &Path) -> Result<(File, File), HostError> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        open().and_then(|file| Ok((file.try_clone()?, file))).map_err(|source| self.pipe(source))
    }

    fn pipe(&self, source: std::io::Error) -> HostError {
        HostError::Pipe { program: self.name.clone(), source }
    }

    fn describe(&self) -> String {
        let args = self.command.get_args().map(OsStr::to_string_lossy);
        std::iter::once(self.name.as_str().into()).chain(args).collect::<Vec<_>>().join(" ")
    }
}

/// Whether cargo sets this variable to describe the program it runs.
fn is_about_the_caller(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || name == "OUT_DIR"
}

/// Runs `program` to its end; see [`Program::text`].
///
/// # Errors
///
/// [`HostError`].
pub fn run(program: &str, args: &[&str]) -> Result<String, HostError> {
    Program::new(program).args(args).text()
}

/// The last `lines` lines of a file; empty when it cannot be read.
#[must_use]
pub fn tail(file: &Path, lines: usize) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&bytes), lines)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_its_status_and_its_last_words() {
        let error = run("sh", &["-c", "echo too bad >&2; exit 7"]).unwrap_err().to_string();
        assert!(error.contains("exit status: 7") && error.ends_with("too bad"), "{error}");
    }

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let error = run("no-such-program", &[]).unwrap_err().to_string();
        assert!(error.starts_with("no-such-program") && error.contains("cargo lab"), "{error}");
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(Program::new("cat").input("hello").text().unwrap(), "hello");
    }

    #[test]
    fn cargo_is_not_told_who_called_it_but_keeps_its_settings() {
        assert!(is_about_the_caller("CARGO_PKG_NAME") && is_about_the_caller("CARGO_MANIFEST_DIR"));
        assert!(!is_about_the_caller("CARGO_HOME") && !is_about_the_caller("CARGO_TARGET_DIR"));
    }

    #[test]
    fn a_tail_has_the_last_lines_only() {
        assert_eq!(last_lines("a\n\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }
}
