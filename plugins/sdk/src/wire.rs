//! The lines that agent and plugin exchange.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::StepInfo;

/// The one line a plugin gets when it starts. A second one, only during `run`, is `{"op":"abort"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What is wanted.
    pub op: Operation,
    /// Version of the protocol.
    #[serde(default)]
    pub protocol: u32,
    /// The step, for `plan` and `run`.
    #[serde(default)]
    pub step: String,
    /// The step's arguments: an object, or null where there are none.
    #[serde(default)]
    pub args: Value,
    /// The device nodes that the plugin may open: those its manifest declares and this machine has.
    #[serde(default)]
    pub devices: Vec<String>,
    /// What the plugin saved when it asked for the last reboot; null in the first call.
    #[serde(default)]
    pub state: Value,
}

/// What is asked of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Which steps it has: one [`Reply::Describe`].
    Describe,
    /// What a step would do here, changing nothing: one [`Reply::Plan`], or a failed [`Reply::Result`].
    Plan,
    /// Do it: any number of [`Reply::Progress`], then one [`Reply::Result`].
    Run,
    /// Stop as soon as the hardware is in a good state, then answer with a failed [`Reply::Result`].
    Abort,
}

impl Operation {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Plan => "plan",
            Self::Run => "run",
            Self::Abort => "abort",
        }
    }
}

/// One line of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Reply {
    /// Answers `describe`.
    Describe(Describe),
    /// Answers `plan`.
    Plan(Plan),
    /// How far `run` is.
    Progress(Progress),
    /// Answers `run`.
    Result(Verdict),
}

impl Reply {
    /// Its name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Describe(_) => "describe",
            Self::Plan(_) => "plan",
            Self::Progress(_) => "progress",
            Self::Result(_) => "result",
        }
    }
}

/// What a plugin is; must agree with its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Describe {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Version of the protocol it speaks.
    pub protocol: u32,
    /// Its steps.
    pub steps: Vec<StepInfo>,
}

/// What a step would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// One sentence for each thing that would change; empty: nothing would.
    pub actions: Vec<String>,
}

/// How far a step is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done: bytes, devices, whatever the step counts.
    #[serde(default)]
    pub done: u64,
    /// Units in all, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What is happening, a few words.
    #[serde(default)]
    pub message: String,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which way.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What was done, one sentence; what went wrong where it failed.
    #[serde(default)]
    pub message: String,
    /// Evidence, kept with the node: versions before and after, serial numbers, what was read back.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// The ways a step ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// The machine is as asked, and was not before.
    Changed,
    /// The machine was as asked already.
    Unchanged,
    /// It is not as asked.
    Failed(Failed),
    /// The machine must restart before the step can go on; it is then called again with this state.
    Reboot {
        /// Whatever the plugin needs to go on; at most 64 KiB as JSON.
        #[serde(default)]
        state: Value,
    },
}

impl Outcome {
    /// Its name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Failed(_) => "failed",
            Self::Reboot { .. } => "reboot",
        }
    }
}

/// A failure's address and cure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Who must act.
    #[serde(default)]
    pub who: Who,
    /// What they should do, one sentence.
    #[serde(default)]
    pub remedy: String,
}

/// Who can mend a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// The operator: arguments or settings are wrong.
    Order,
    /// Something around the machine; trying again may help.
    Environment,
    /// The machine's hardware.
    Hardware,
    /// The plugin's author.
    #[default]
    Plugin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_as_the_readme_shows_them() {
        let ok =
            Verdict { outcome: Outcome::Changed, message: "done".to_owned(), data: Value::Null };
        let failed = Failed { who: Who::Hardware, remedy: "replace it".to_owned() };
        let bad = Verdict {
            outcome: Outcome::Failed(failed),
            message: "dead".to_owned(),
            data: Value::Null,
        };
        let again = Outcome::Reboot { state: serde_json::json!({"slot": 2}) };
        let again = Verdict { outcome: again, message: "activate".to_owned(), data: Value::Null };
        for (reply, line) in [
            (Reply::Result(ok), r#"{"type":"result","outcome":"changed","message":"done"}"#),
            (
                Reply::Result(bad),
                r#"{"type":"result","outcome":"failed","who":"hardware","remedy":"replace it","message":"dead"}"#,
            ),
            (
                Reply::Result(again),
                r#"{"type":"result","outcome":"reboot","state":{"slot":2},"message":"activate"}"#,
            ),
            (
                Reply::Progress(Progress { done: 1, total: Some(4), message: "disk 1".to_owned() }),
                r#"{"type":"progress","done":1,"total":4,"message":"disk 1"}"#,
            ),
            (
                Reply::Plan(Plan { actions: vec!["a".to_owned()] }),
                r#"{"type":"plan","actions":["a"]}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&reply).unwrap(), line);
            assert_eq!(serde_json::from_str::<Reply>(line).unwrap(), reply);
        }
    }

    #[test]
    fn the_shortest_result_is_enough() {
        let reply: Reply = serde_json::from_str(r#"{"type":"result","outcome":"failed"}"#).unwrap();
        let Reply::Result(verdict) = reply else { panic!("{reply:?}") };
        assert_eq!(verdict.outcome, Outcome::Failed(Failed::default()));
        assert!(serde_json::from_str::<Reply>(r#"{"type":"dance"}"#).is_err());
        let abort: Request = serde_json::from_str(r#"{"op":"abort"}"#).unwrap();
        assert_eq!(abort.op, Operation::Abort);
    }
}
