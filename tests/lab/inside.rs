//! A run's own world: network, process and mount namespaces, with this binary as their first process.
//!
//! ```text
//! cargo lab demo            outer process, on the developer's machine
//!   └─ unshare …            (through sudo when not root)
//!        └─ lab inside      PID 1 of the run: brings up lo, reaps, forwards signals
//!             └─ COMMAND    the demo, or a test binary; starts QEMU, dnsmasq, BMCs, the coordinator
//! ```
//!
//! The outer process holds the write end of the pipe that is PID 1's standard input. When COMMAND ends, or the outer process
//! dies (Ctrl-C, `kill -9`), PID 1 ends, and the kernel kills every process of the run and removes its network.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, bail};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::host::Program;

/// Set for every process of a run; the value is the path of the `lab` binary.
const LAB_BINARY: &str = "IRONWRIGHT_LAB_BINARY";

/// Environment variables that reach the inside also through sudo.
const PASSED: [&str; 5] = [
    "IRONWRIGHT_LAB_CACHE",
    "IRONWRIGHT_LAB_ACCEL",
    "IRONWRIGHT_LAB_RUN",
    "RUST_LOG",
    "RUST_BACKTRACE",
];

/// A command that runs `command` in namespaces of its own. Start it with [`Program::attached`] or [`Program::service`] and
/// keep the handle: the run ends when it is dropped.
///
/// # Errors
///
/// When the path of this binary is unknown.
pub fn program(
    binary: &OsStr,
    command: &[OsString],
    env: &[(&str, &OsStr)],
) -> anyhow::Result<Program> {
    let root = nix::unistd::geteuid().is_root();
    let mut words: Vec<OsString> = vec!["env".into()];
    for name in PASSED {
        let given = env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        if let Some(value) = given.or_else(|| std::env::var_os(name)) {
            let mut word = OsString::from(format!("{name}="));
            word.push(value);
            words.push(word);
        }
    }
    words.extend(
        ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "--"]
            .map(OsString::from),
    );
    words.push(binary.to_owned());
    words.extend(["inside", "--"].map(OsString::from));
    words.extend_from_slice(command);
    if !root {
        words.insert(0, "sudo".into());
    }
    let first = words.remove(0);
    Ok(Program::new(first).args(words))
}

/// The path of the `lab` binary.
///
/// # Errors
///
/// When the process is neither inside a run nor the `lab` binary itself.
pub fn lab_binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(LAB_BINARY) {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("finding the path of this program")?;
    let name = own.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Linux names a program that was replaced while it ran "lab (deleted)": cargo does that when it builds the lab again.
    if name.trim_end_matches(" (deleted)") != "lab" {
        bail!("{} runs outside the lab; run it with `cargo lab test FILTER`", own.display());
    }
    if let Some(copy) = COPY.get() {
        return Ok(copy.clone());
    }
    let copy = copy_of_this_program().context("keeping a copy of this program for the run")?;
    Ok(COPY.get_or_init(|| copy).clone())
}

/// Where this process keeps its copy of itself.
static COPY: OnceLock<PathBuf> = OnceLock::new();

/// A copy that nobody replaces while the run needs it. Copies of processes that ended are removed.
fn copy_of_this_program() -> std::io::Result<PathBuf> {
    let all = crate::packages::cache_dir().join("bin");
    for old in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(old.file_name()).exists() {
            // Another run may be removing it too.
            std::fs::remove_dir_all(old.path()).ok();
        }
    }
    let folder = all.join(std::process::id().to_string());
    std::fs::create_dir_all(&folder)?;
    let copy = folder.join("lab");
    std::fs::copy("/proc/self/exe", &copy)?;
    Ok(copy)
}

/// Fails unless this process lives in a run's own namespaces.
///
/// # Errors
///
/// Always when outside: the lab never touches the host's network.
pub fn confirm() -> anyhow::Result<()> {
    if std::env::var_os(LAB_BINARY).is_none() {
        bail!("this runs only inside the lab's own network; use `cargo lab test FILTER`");
    }
    Ok(())
}

/// Lives as PID 1 of a run: starts `command`, reaps every process, and returns the exit code of `command`.
///
/// # Errors
///
/// When this is not PID 1, or `command` cannot be started.
pub fn init(command: &[OsString]) -> anyhow::Result<u8> {
    if std::process::id() != 1 {
        bail!("`lab inside` is started by the lab itself; it refuses to touch the host's network");
    }
    let (name, args) = command.split_first().context("`lab inside` needs a command")?;
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().context("blocking signals")?;
    crate::host::run("ip", &["link", "set", "lo", "up"])?;
    watch_lifeline();
    let own = std::env::current_exe().context("finding the path of this program")?;
    let child = Program::new(name).args(args).env(LAB_BINARY, own).background()?;
    forward(signals, child);
    reap_until(child)
}

/// Ends PID 1 when the outer process is gone: its end of the pipe is closed.
fn watch_lifeline() {
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        drop(std::io::stdin().lock().read_to_end(&mut rest));
        #[expect(clippy::exit, reason = "ending PID 1 is how the kernel is told to end the run")]
        std::process::exit(143)
    });
}

fn forward(signals: SigSet, child: Pid) {
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            _ = kill(child, signal);
        }
    });
}

fn reap_until(child: Pid) -> anyhow::Result<u8> {
    loop {
        let status = match waitpid(None, None) {
            Err(nix::Error::EINTR) => continue,
            status => status.context("waiting for the processes of the run")?,
        };
        if status.pid() == Some(child)
            && let Some(code) = exit_code(status)
        {
            return Ok(code);
        }
    }
}

/// The exit code as a shell reports it: 128 + N for a death by signal N; `None` when it is not an end.
fn exit_code(status: WaitStatus) -> Option<u8> {
    if let WaitStatus::Exited(_, code) = status {
        return Some(u8::try_from(code).unwrap_or(1));
    }
    if let WaitStatus::Signaled(_, signal, _) = status {
        return Some(u8::try_from(128 + signal as i32).unwrap_or(1));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_reported_as_a_shell_reports_them() {
        let pid = Pid::from_raw(7);
        for (status, code) in [
            (WaitStatus::Exited(pid, 0), Some(0)),
            (WaitStatus::Exited(pid, 3), Some(3)),
            (WaitStatus::Signaled(pid, Signal::SIGKILL, false), Some(137)),
            (WaitStatus::StillAlive, None),
        ] {
            assert_eq!(exit_code(status), code);
        }
    }

    #[test]
    fn a_process_that_is_not_the_first_of_its_namespace_refuses_to_be_init() {
        let error = init(&["true".into()]).unwrap_err().to_string();
        assert!(error.contains("host's network"), "{error}");
    }
}
