//! What an agent reports while it works.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::certificate::SignedCertificate;
use crate::evidence::Evidence;

/// One fact about an order that must not be lost. Sent until acknowledged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Counts the reports of one boot from 1, over all its orders and agent restarts.
    pub seq: u64,
    /// The order.
    pub order_id: Uuid,
    /// The order's attempt.
    pub attempt: u32,
    /// What happened.
    pub event: Event,
}

/// What happened to an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// What is about to be done, before anything is; once an order and attempt.
    Planned {
        /// The steps in the order to run them.
        steps: Vec<PlannedStep>,
        /// The sha256 of the order's plugins whose steps were in the catalogue; empty from agents before plugins in orders.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        plugins: Vec<String>,
    },
    /// A step begins. The agent waits for the acknowledgement before it changes anything.
    StepStarted {
        /// Step name.
        step: String,
    },
    /// A step ended well.
    StepEnded {
        /// Step name.
        step: String,
        /// Its proof, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
    },
    /// A plugin's step did a part of its work and goes on after a restart of the machine; nothing more happens in this boot.
    Reboot {
        /// Step name.
        step: String,
        /// What the plugin wants back when it goes on.
        #[serde(default)]
        state: serde_json::Value,
        /// Why, in the plugin's words.
        #[serde(default)]
        message: String,
    },
    /// Certificates of a step that is about to fail: of the disks that were not erased, and of those that were.
    Attested {
        /// Step name.
        step: String,
        /// One a disk.
        certificates: Vec<SignedCertificate>,
    },
    /// The whole order ended well.
    Finished,
    /// The order ended badly; nothing more happens to it in this boot.
    Failed(Failure),
    /// From a newer agent.
    #[serde(other)]
    Unknown,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Ironic interface.
    pub interface: String,
    /// Step name.
    pub step: String,
    /// Its priority in automated cleaning, 0 in manual.
    #[serde(default)]
    pub priority: u32,
    /// Whether it can be stopped half-way.
    #[serde(default)]
    pub abortable: bool,
    /// What it will do, one sentence a device: `/dev/sda (serial X): overwrite, clear; passed over: ...`.
    #[serde(default)]
    pub actions: Vec<String>,
}

/// A failure with who must act and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed; empty when planning refused the order.
    #[serde(default)]
    pub step: String,
    /// The whole error chain, outermost first, joined with `: `.
    pub message: String,
    /// What to do next, one sentence.
    #[serde(default)]
    pub remedy: String,
    /// Who can mend it.
    #[serde(default)]
    pub blame: Blame,
}

/// Who can mend a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The order: its author must change it.
    Order,
    /// Something between machine and server: trying again may help.
    Environment,
    /// The machine's hardware.
    Hardware,
    /// The agent itself.
    #[default]
    #[serde(other)]
    Internal,
}

/// A step of an order as the coordinator stored it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepRecord {
    /// Step name.
    pub step: String,
    /// The attempt that began it.
    pub attempt: u32,
    /// Whether its end was reported; a step with a start and no end is in doubt.
    pub ended: bool,
    /// Its proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// It goes on after a restart of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<Reboot>,
}

/// Where a step stopped that goes on after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// What the plugin saved.
    #[serde(default)]
    pub state: serde_json::Value,
}

/// A picture of the work in progress.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The order this belongs to.
    #[serde(default)]
    pub order_id: Option<Uuid>,
    /// Step name.
    #[serde(default)]
    pub step: String,
    /// Bytes done.
    #[serde(default)]
    pub bytes: u64,
    /// Bytes in all, when known.
    #[serde(default)]
    pub total: Option<u64>,
    /// Bytes a second, over the last seconds.
    #[serde(default)]
    pub rate: u64,
    /// Seconds left, when known.
    #[serde(default)]
    pub eta_s: Option<u64>,
    /// The last lines of the agent's log.
    #[serde(default)]
    pub log_tail: Vec<String>,
    /// Resident memory of the agent, bytes, and its peak (`VmHWM`).
    #[serde(default)]
    pub rss_peak: u64,
    /// Disks worked on at once, where a step has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskProgress>,
    /// What a plugin says of its step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Box<PluginProgress>>,
}

/// How far a plugin's step is, in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginProgress {
    /// Units done: bytes, devices, whatever the step counts.
    pub done: u64,
    /// Units in all, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What is happening, a few words.
    #[serde(default)]
    pub message: String,
}

/// One disk of a step that works on several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskProgress {
    /// Device node.
    pub device: String,
    /// What is happening to it: `prepare`, `erase`, `verify`, `done`, `failed`.
    pub phase: String,
    /// Per cent of the phase.
    pub percent: u8,
    /// Seconds left, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
}
