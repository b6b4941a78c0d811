//! One call of a plugin: start it, ask, listen until its answer, and leave nothing of it behind.

use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ironwright_plugin::{Operation, Outcome, Progress, Reply, Request, Verdict};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::error::CallError;
use super::folder::Folder;
use super::launch::{self, Live, Spec};
use super::output::{self, LastWords, Said};
use super::reply;
use super::run::Plugin;

/// Seconds that `describe` and `plan` may take: they only look.
const LOOK: Duration = Duration::from_secs(60);
/// How long a plugin may take to end after its answer.
const GOODBYE: Duration = Duration::from_secs(5);
/// How often its end is looked for meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long the rest of its output and log is waited for when it is gone. Both end with their last process, at once; only one
/// that left its process group can hold them open.
const REST: Duration = Duration::from_millis(200);
/// How long an abortable step may take to stop.
const STOP: Duration = Duration::from_secs(30);
/// How often cancelling is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How much of the machine a plugin sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// Its own tree, namespaces, and the devices of the request: the program is this launcher (the agent's own binary), and
    /// the mount point an empty folder. Needs root.
    Tree {
        /// The agent's binary.
        launcher: PathBuf,
        /// An empty folder.
        mount: PathBuf,
    },
    /// Nothing is confined but time and output: on a developer's machine, for plugins that the developer trusts.
    None,
}

/// Who follows a call.
pub trait Watch {
    /// The plugin said how far it is.
    fn progress(&self, progress: &Progress);
    /// Whether the call should stop.
    fn cancelled(&self) -> bool;
}

/// A device that the plugin may open: where it is, and its path for the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// On this machine.
    pub path: PathBuf,
    /// Below the plugin's `/dev`.
    pub name: PathBuf,
}

/// Asks the plugin one thing.
///
/// # Errors
/// [`CallError`]; no process of the plugin is left in any case that its confinement can see.
pub(super) fn call(
    plugin: &Plugin,
    mut request: Request,
    watch: &dyn Watch,
) -> Result<Reply, CallError> {
    let Plugin { folder, confinement, devices, .. } = plugin;
    let confined = *confinement != Confinement::None;
    let path = |device: &Device| match confined {
        true => Path::new("/dev").join(&device.name).display().to_string(),
        false => device.path.display().to_string(),
    };
    request.devices = devices.iter().map(path).collect();
    request.protocol = ironwright_plugin::PROTOCOL;
    let mut running = Running::start(plugin, &request)?;
    let answer = running.listen(folder, &request, watch);
    let (status, after) = running.end(answer.is_ok());
    let last_words = running.last_words.text();
    let (number, reply) = answer.map_err(|error| error.with_end(status, &last_words))?;
    if let Some(taken_back) = afterwards(&reply, number, after) {
        return taken_back;
    }
    match status {
        Some(status) if status.success() => Ok(reply),
        None if is_failure(&reply) => Ok(lingering(reply)),
        Some(status) => Err(CallError::Contradicts { said: reply.name(), how: how(status) }),
        // It may have been at work still: that it is done is its word alone, and this was not its last act.
        None => Err(CallError::Lingers { said: words(&reply), seconds: GOODBYE.as_secs() }),
    }
}

fn is_failure(reply: &Reply) -> bool {
    matches!(reply, Reply::Result(verdict) if matches!(verdict.outcome, Outcome::Failed(_)))
}

/// A failure whose plugin did not end: its own words and remedy count.
fn lingering(reply: Reply) -> Reply {
    let Reply::Result(verdict) = reply else { return reply };
    let seconds = GOODBYE.as_secs();
    let message =
        format!("{} (it had not ended {seconds} s later, and was killed)", verdict.message);
    Reply::Result(Verdict { message, ..verdict })
}

/// What a plugin said after its answer, which should have been its last line: a failure is what counts then, anything else is an
/// error.
fn afterwards(first: &Reply, number: u64, after: Vec<Said>) -> Option<Result<Reply, CallError>> {
    let fails = !matches!(first, Reply::Describe(_));
    let mut found = None;
    for (number, said) in (number + 1..).zip(after) {
        let line = match said {
            Said::Line(line) => line,
            Said::LongLine => return Some(Err(CallError::LongLine { number })),
            Said::TooMuch => return Some(Err(CallError::TooMuch)),
            Said::End => break,
        };
        match reply::read(&line) {
            Ok(Reply::Result(verdict))
                if fails && matches!(verdict.outcome, Outcome::Failed(_)) =>
            {
                let message = format!("{} (before that it said {})", verdict.message, words(first));
                return Some(Ok(Reply::Result(Verdict { message, ..verdict })));
            }
            Ok(_) | Err(_) => {
                found.get_or_insert_with(|| CallError::after(number, &line, words(first)));
            }
        }
    }
    found.map(Err)
}

/// A reply for people: its type, of a result also which and what.
fn words(reply: &Reply) -> String {
    match reply {
        Reply::Result(Verdict { outcome, message, .. }) => {
            format!("result {} ({message:?})", outcome.name())
        }
        other @ (Reply::Describe(_) | Reply::Plan(_) | Reply::Progress(_)) => {
            other.name().to_owned()
        }
    }
}

struct Running {
    child: Child,
    group: Pid,
    said: Receiver<Said>,
    to_child: Sender<String>,
    last_words: LastWords,
    /// Closed when all of the log was read.
    log_read: Receiver<()>,
}

impl Running {
    fn start(plugin: &Plugin, request: &Request) -> Result<Self, CallError> {
        let folder = &plugin.folder;
        let broken = |source| CallError::Start { program: folder.program().to_path_buf(), source };
        let line = serde_json::to_string(request).map_err(|error| broken(error.into()))?;
        let mut command = match &plugin.confinement {
            Confinement::None => unconfined(folder)?,
            Confinement::Tree { launcher, mount } => {
                confined(plugin, launcher, mount).map_err(broken)?
            }
        };
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/tmp")
            .env("LANG", "C.UTF-8")
            .env("IRONWRIGHT_OP", request.op.name())
            .env("IRONWRIGHT_STEP", &request.step)
            .env("IRONWRIGHT_DEVICES", request.devices.join(" "))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(broken)?;
        let group = i32::try_from(child.id())
            .map(Pid::from_raw)
            .map_err(io::Error::other)
            .map_err(broken)?;
        let (said, from_child) = mpsc::sync_channel(64);
        let (to_child, requests) = mpsc::channel::<String>();
        let last_words = LastWords::default();
        let (reading, log_read) = mpsc::channel();
        // The threads end with the pipes, which is when the last process of the plugin is gone.
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || output::lines(stdout, &said));
        }
        if let Some(stderr) = child.stderr.take() {
            let (words, name) = (last_words.clone(), folder.manifest().name.clone());
            thread::spawn(move || {
                words.follow(&name, stderr);
                drop(reading);
            });
        }
        if let Some(mut stdin) = child.stdin.take() {
            thread::spawn(move || requests.iter().try_for_each(|line| writeln!(stdin, "{line}")));
        }
        to_child.send(line).ok();
        Ok(Self { child, group, said: from_child, to_child, last_words, log_read })
    }

    /// Waits for the answer, and says which line it is, from 1.
    fn listen(
        &self,
        folder: &Folder,
        request: &Request,
        watch: &dyn Watch,
    ) -> Result<(u64, Reply), CallError> {
        let manifest = folder.manifest();
        let limit = match request.op {
            Operation::Run => Duration::from_secs(manifest.limits.seconds),
            Operation::Describe | Operation::Plan | Operation::Abort => LOOK,
        };
        let abortable = manifest.step(&request.step).is_none_or(|step| step.abortable);
        let began = Instant::now();
        let mut stop_by = None;
        for number in 1.. {
            let said = loop {
                let now = Instant::now();
                if now.duration_since(began) >= limit {
                    return Err(CallError::TimedOut {
                        op: request.op.name(),
                        seconds: limit.as_secs(),
                    });
                }
                if stop_by.is_some_and(|by| now >= by) {
                    return Err(CallError::Aborted);
                }
                if stop_by.is_none() && abortable && watch.cancelled() {
                    stop_by = Some(now + STOP);
                    self.to_child.send(r#"{"op":"abort"}"#.to_owned()).ok();
                }
                match self.said.recv_timeout(TICK) {
                    Ok(said) => break said,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break Said::End,
                }
            };
            let line = match said {
                Said::Line(line) => line,
                Said::LongLine => return Err(CallError::LongLine { number }),
                Said::TooMuch => return Err(CallError::TooMuch),
                Said::End => {
                    return Err(CallError::NoAnswer {
                        op: request.op.name(),
                        how: String::new(),
                        code: None,
                        last_words: String::new(),
                    });
                }
            };
            let reply =
                reply::read(&line).map_err(|source| CallError::garbage(number, &line, source))?;
            match (request.op, reply) {
                (Operation::Run, Reply::Progress(progress)) => watch.progress(&progress),
                (Operation::Describe, reply @ Reply::Describe(_))
                | (Operation::Plan, reply @ (Reply::Plan(_) | Reply::Result(_)))
                | (Operation::Run, reply @ Reply::Result(_)) => return Ok((number, reply)),
                (op, reply) => {
                    return Err(CallError::Unexpected { op: op.name(), got: reply.name() });
                }
            }
        }
        Err(CallError::TooMuch)
    }

    /// Waits for the end, for a while where it `answered`, and kills what is left. The exit status where it ended by itself, and
    /// what it said meanwhile.
    fn end(&mut self, answered: bool) -> (Option<ExitStatus>, Vec<Said>) {
        let patience = if answered { GOODBYE } else { Duration::from_millis(500) };
        let by = Instant::now() + patience;
        let mut after = Vec::new();
        let mut ended = self.ended();
        while !ended && Instant::now() < by {
            // Lines must be taken, or who says many could not end.
            match self.said.recv_timeout(LOOK_AGAIN) {
                Ok(said) => after.push(said),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK_AGAIN),
            }
            ended = self.ended();
        }
        // Before the child is reaped, so that the number of its group cannot be another's yet.
        killpg(self.group, Signal::SIGKILL).ok();
        let status = self.child.wait().ok();
        // What is still in the pipes counts too.
        let by = Instant::now() + REST;
        while let Ok(said) = self.said.recv_timeout(by.saturating_duration_since(Instant::now())) {
            after.push(said);
        }
        self.log_read.recv_timeout(REST).ok();
        (status.filter(|_| ended), after)
    }

    fn ended(&self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        !matches!(waitid(Id::Pid(self.group), look), Ok(WaitStatus::StillAlive))
    }
}

/// The program as this machine's own. What it is in the end must be in the plugin's tree, as it is where it is confined: a link that
/// leads out of it would start what nobody signed.
#[expect(
    clippy::disallowed_methods,
    reason = "plugins are one of the two places that start a program"
)]
fn unconfined(folder: &Folder) -> Result<Command, CallError> {
    let start = |source| CallError::Start { program: folder.program().to_path_buf(), source };
    let tree = folder.dir().join("root").canonicalize().map_err(start)?;
    let target = folder.program().canonicalize().map_err(start)?;
    if !target.starts_with(&tree) {
        return Err(CallError::Outside { program: folder.program().to_path_buf(), target, tree });
    }
    let mut command = Command::new(target);
    command.args(folder.manifest().exec.iter().skip(1)).current_dir(tree);
    Ok(command)
}

#[expect(
    clippy::disallowed_methods,
    reason = "plugins are one of the two places that start a program"
)]
fn confined(plugin: &Plugin, launcher: &Path, mount: &Path) -> io::Result<Command> {
    let Plugin { folder, devices, live, .. } = plugin;
    let tree = folder.dir().join("root");
    launch::make_mount_points(&tree)?;
    let spec = Spec {
        tree,
        mount: mount.to_path_buf(),
        exec: folder.manifest().exec.clone(),
        devices: devices.iter().map(|device| (device.path.clone(), device.name.clone())).collect(),
        files_mib: folder.manifest().limits.files_mib,
        live: live.as_ref().map(|withheld| Live {
            patterns: folder.manifest().devices.clone(),
            withheld: withheld.clone(),
        }),
    };
    let mut command = Command::new(launcher);
    command.args(["plugin", "launch", &serde_json::to_string(&spec)?]);
    Ok(command)
}

/// How a process ended, in words.
pub(super) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) if code > 128 => {
            format!("ended with exit status {code} (signal {}, if a launcher says so)", code - 128)
        }
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
