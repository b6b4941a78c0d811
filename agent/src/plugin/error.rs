//! Why a plugin gave no usable answer.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use ironwright_api::{Blame, Failure};
use ironwright_plugin::ManifestProblem;

use super::launch::{NOT_IN_TREE, NOT_STARTED, UNSTARTED};
use super::output::{MAX_BYTES, MAX_LINE, MAX_LINES};
use super::process::how;
use super::reply::escaped;
use crate::report::chain;

/// Bytes of state that a plugin may save over a reboot.
pub(super) const MAX_STATE: usize = 64 << 10;
/// What to do where the program could not be started.
const BRING: &str = "check that the program and its interpreter are in the plugin's tree";

/// Why a plugin gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The manifest has no such step.
    #[error("the plugin {plugin} has no step {step}; it has {known}")]
    NoStep {
        /// Its name.
        plugin: String,
        /// As asked.
        step: String,
        /// What there is.
        known: String,
    },
    /// The arguments do not fit.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Arguments(Vec<ManifestProblem>),
    /// The program could not be started.
    #[error("starting {}", program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Its program is a link to something that nobody signed or looked at.
    #[error(
        "the program {} leads to {}, which is not below the plugin's tree {}; it was not started",
        program.display(),
        target.display(),
        tree.display()
    )]
    Outside {
        /// As the manifest names it.
        program: PathBuf,
        /// Where it leads on this machine.
        target: PathBuf,
        /// The plugin's `root/`.
        tree: PathBuf,
    },
    /// It took too long and was killed.
    #[error("{op} took longer than {seconds} s, the most it may; the plugin was killed")]
    TimedOut {
        /// What was asked.
        op: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// It was asked to stop and did not; killed.
    #[error("the plugin did not stop within 30 s after abort and was killed")]
    Aborted,
    /// A line past the cap.
    #[error("line {number} of its output is longer than {MAX_LINE} bytes; the plugin was killed")]
    LongLine {
        /// From 1.
        number: u64,
    },
    /// Output past the caps.
    #[error(
        "it wrote more than {MAX_LINES} lines or {MAX_BYTES} bytes of output; the plugin was killed"
    )]
    TooMuch,
    /// A line that is no reply.
    #[error(
        "line {number} of its output is not a line of protocol {}: {text:?}",
        ironwright_plugin::PROTOCOL
    )]
    Garbage {
        /// From 1.
        number: u64,
        /// Its beginning.
        text: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A line that does not belong there.
    #[error("it answered {op} with a line of type {got}")]
    Unexpected {
        /// What was asked.
        op: &'static str,
        /// What came.
        got: &'static str,
    },
    /// It ended without an answer.
    #[error("it gave no answer to {op} and {how}; last words: {last_words:?}")]
    NoAnswer {
        /// What was asked.
        op: &'static str,
        /// How it ended.
        how: String,
        /// Its exit status, where it had one.
        code: Option<i32>,
        /// The end of its log.
        last_words: String,
    },
    /// Answered well, ended badly.
    #[error("it said {said}, but {how}")]
    Contradicts {
        /// The type of its answer.
        said: &'static str,
        /// How it ended.
        how: String,
    },
    /// Answered, and went on.
    #[error("it said {said}, but had not ended {seconds} s later, and was killed")]
    Lingers {
        /// Its answer.
        said: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Answered, and said more.
    #[error("it said {said}, and after that line {number} of its output: {text:?}")]
    AfterAnswer {
        /// Its answer.
        said: String,
        /// From 1.
        number: u64,
        /// The beginning of that line.
        text: String,
    },
    /// Too much state.
    #[error("it wants to save {bytes} bytes over the reboot, the most is {MAX_STATE}")]
    State {
        /// Its size as JSON.
        bytes: usize,
    },
    /// Too many reboots.
    #[error("it asked for reboot number {asked}, the manifest allows {limit} in one step")]
    Reboots {
        /// With this one.
        asked: u32,
        /// `limits.reboots`.
        limit: u32,
    },
    /// What it describes is not what was signed.
    #[error("its describe differs from its manifest: {differs}")]
    Describe {
        /// What differs.
        differs: String,
    },
}

impl CallError {
    pub(super) fn garbage(number: u64, line: &str, source: serde_json::Error) -> Self {
        Self::Garbage { number, text: line.chars().take(120).collect(), source }
    }

    pub(super) fn after(number: u64, line: &str, said: String) -> Self {
        Self::AfterAnswer { said, number, text: line.chars().take(120).collect() }
    }

    /// Adds how the process ended, where that is what is to be told.
    pub(super) fn with_end(self, status: Option<ExitStatus>, words: &str) -> Self {
        let Self::NoAnswer { op, .. } = self else { return self };
        let code = status.and_then(|status| status.code());
        let how = status.map_or_else(|| "closed its output".to_owned(), how);
        Self::NoAnswer { op, how, code, last_words: words.to_owned() }
    }

    /// Whether its program could not run: the launcher's word, or a shell's or loader's exit statuses for that.
    fn not_runnable(&self) -> bool {
        let Self::NoAnswer { code: Some(code), last_words, .. } = self else { return false };
        match *code {
            126 | 127 => true,
            code => code == i32::from(NOT_STARTED) && last_words.contains(NOT_IN_TREE),
        }
    }

    /// Whether the launcher failed before it came to the program: the machine's kernel is in the way, not the plugin.
    fn not_confined(&self) -> bool {
        let Self::NoAnswer { code: Some(code), last_words, .. } = self else { return false };
        *code == i32::from(NOT_STARTED)
            && last_words.contains(UNSTARTED)
            && !last_words.contains(NOT_IN_TREE)
    }

    /// What to do about it, one sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        if self.not_confined() {
            return "the last words name what this machine's kernel refused: mend that, or run the plugin on another machine";
        }
        if self.not_runnable() {
            return BRING;
        }
        match self {
            Self::NoStep { .. } | Self::Arguments(_) => "correct the step's name and its arguments",
            Self::Start { .. } => BRING,
            Self::Outside { .. } => {
                "put the program itself into the plugin's tree, or make the link a relative one to a file in it"
            }
            Self::TimedOut { .. } => {
                "check the hardware it waits for; raise limits.seconds in its manifest if it needs longer"
            }
            Self::Aborted => {
                "check the hardware before it is used; the plugin should heed abort, or not be abortable"
            }
            Self::LongLine { .. }
            | Self::TooMuch
            | Self::Garbage { .. }
            | Self::Unexpected { .. } => {
                "the plugin's author must mend it: only lines of the protocol on standard output, all else on standard error"
            }
            Self::NoAnswer { .. } | Self::Contradicts { .. } => {
                "the plugin's author must mend it: one result line, then exit status 0"
            }
            Self::Lingers { .. } => {
                "check the hardware, the plugin may have been at work on it; its author must mend it: the result is the last thing \
                 that a plugin says, then it ends"
            }
            Self::AfterAnswer { .. } => {
                "the plugin's author must mend it: the result is the last thing that a plugin says, and there is one"
            }
            Self::State { .. } | Self::Reboots { .. } => {
                "the plugin's author must mend it, or limits.reboots of its manifest"
            }
            Self::Describe { .. } => {
                "make manifest and program agree, then bundle and sign it again"
            }
        }
    }

    /// As it is reported.
    #[must_use]
    pub fn failure(&self, plugin: &str, step: &str) -> Failure {
        let blame = match self {
            Self::NoStep { .. } | Self::Arguments(_) => Blame::Order,
            Self::TimedOut { .. } | Self::Aborted => Blame::Hardware,
            error if error.not_confined() => Blame::Environment,
            Self::Start { .. }
            | Self::Outside { .. }
            | Self::LongLine { .. }
            | Self::TooMuch
            | Self::Garbage { .. }
            | Self::Unexpected { .. }
            | Self::NoAnswer { .. }
            | Self::Contradicts { .. }
            | Self::Lingers { .. }
            | Self::AfterAnswer { .. }
            | Self::State { .. }
            | Self::Reboots { .. }
            | Self::Describe { .. } => Blame::Internal,
        };
        Failure {
            step: step.to_owned(),
            // A parser's complaint repeats what the plugin wrote.
            message: format!("plugin {plugin}: {}", escaped(&chain(self))),
            remedy: self.remedy().to_owned(),
            blame,
        }
    }
}
