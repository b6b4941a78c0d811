//! Work in progress on a node: the order, its phase, the ramdisk's boot, the steps done.

use std::collections::BTreeMap;

use ironwright_api::{Order, PlannedStep, Progress, StepRecord};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::program::{Part, asks_nothing};

/// An order being carried out on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkRecord {
    /// What the agent is asked to do. Its `attempt` counts the boots; its `steps` are filled from `steps` when sent.
    pub order: Order,
    /// When the order was made.
    pub ordered_at: Timestamp,
    /// How far it is.
    pub phase: Phase,
    /// Since when it is in this phase.
    pub since: Timestamp,
    /// Steps begun and ended.
    #[serde(default)]
    pub steps: Vec<StepRecord>,
    /// What the agent said it is about to do, before it began.
    #[serde(default)]
    pub plan: Vec<PlannedStep>,
    /// Whether the operator asked to abort: at once the agent is told to stop, or, where the running step cannot be
    /// stopped half-way, when that step has ended.
    #[serde(default)]
    pub abort: bool,
    /// The expected or living boot of the ramdisk.
    #[serde(default)]
    pub boot: Boot,
    /// The agent's last picture of the work (kept in memory between writes).
    #[serde(default)]
    pub progress: Option<Progress>,
    /// The agent's final report; none: not yet received.
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// Restarts that steps asked for: boots that were not lost.
    #[serde(default)]
    pub restarts: u32,
    /// The parts that come after the order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<Part>,
    /// Steps of orders before this one, which were parts of the same work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<StepRecord>,
    /// Whether all of it is the coordinator's own: no ramdisk is started, and the machine's power is left as the steps leave it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_ramdisk: bool,
}

/// How an order ended, by the agent's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything was done and proven.
    Finished,
    /// It ended badly.
    Failed(ironwright_api::Failure),
    /// It has not ended: a step goes on after a restart of the machine.
    Reboot,
}

/// The phases of work, driven by the reconciler. Each is idempotent: after a restart it is begun again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The first of [`WorkRecord::later`] is to be begun.
    Between,
    /// Boot device to network, power cycled: to be done.
    StartRamdisk,
    /// The ramdisk is booting; nothing was heard of it yet.
    AwaitAgent,
    /// The agent works.
    Working,
    /// The agent finished well; boot device to disk (or power off) is to be done.
    Finish,
    /// The work failed; power off is to be done.
    Abandon,
}

/// One boot of the ramdisk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Boot {
    /// SHA-256 of the one-time nonce of the boot script, hexadecimal; none: no boot is expected.
    #[serde(default)]
    pub nonce_sha256: Option<String>,
    /// The boot identifier that took the nonce.
    #[serde(default)]
    pub boot_id: Option<Uuid>,
    /// SHA-256 of the agent's token, hexadecimal.
    #[serde(default)]
    pub token_sha256: Option<String>,
    /// The Ed25519 public key that signs this boot's certificates, hexadecimal; the first heartbeat that named one.
    #[serde(default)]
    pub erase_key: Option<String>,
    /// Address the agent looked up from.
    #[serde(default)]
    pub address: Option<String>,
    /// Last report stored.
    #[serde(default)]
    pub acknowledged: u64,
    /// Last heartbeat.
    #[serde(default)]
    pub last_heartbeat: Option<Timestamp>,
    /// Named moments of this boot: `power_on`, `script`, `kernel`, `ramdisk`, `lookup`, `heartbeat`.
    #[serde(default)]
    pub moments: BTreeMap<String, Timestamp>,
    /// The agent's own clock of its start.
    #[serde(default)]
    pub timing: Option<ironwright_api::Timing>,
}

impl WorkRecord {
    /// An order that begins with its ramdisk.
    #[must_use]
    pub fn new(order: Order, now: Timestamp) -> Self {
        Self {
            order,
            ordered_at: now,
            phase: Phase::StartRamdisk,
            since: now,
            steps: Vec::new(),
            plan: Vec::new(),
            abort: false,
            boot: Boot::default(),
            progress: None,
            outcome: None,
            restarts: 0,
            later: Vec::new(),
            done: Vec::new(),
            without_ramdisk: false,
        }
    }

    /// Goes on with the next order in the same or another boot of the ramdisk.
    pub(crate) fn go_on_with(&mut self, order: Order) {
        self.order = order;
        self.done.append(&mut self.steps);
        self.plan.clear();
        (self.progress, self.outcome) = (None, None);
    }

    /// Whether the agent has done what it is there for, and said so by its first heartbeat.
    #[must_use]
    pub fn is_awake_for_nothing(&self) -> bool {
        self.phase == Phase::Working && asks_nothing(&self.order.work)
    }

    /// Whether an agent is there that would take an order.
    #[must_use]
    pub fn has_agent(&self) -> bool {
        self.boot.boot_id.is_some() && self.boot.last_heartbeat.is_some()
    }

    /// The step that has begun and not ended in this attempt.
    #[must_use]
    pub fn running_step(&self) -> Option<&str> {
        let running = self.steps.iter().rev().find(|step| !step.ended);
        running.filter(|step| step.attempt == self.order.attempt).map(|step| step.step.as_str())
    }

    /// What the plan says of a step.
    #[must_use]
    pub fn planned(&self, step: &str) -> Option<&PlannedStep> {
        self.plan.iter().find(|planned| planned.step == step)
    }

    /// Whether the agent may be stopped now: nothing runs, or what runs can be stopped half-way. An agent that showed no
    /// plan has only such steps.
    #[must_use]
    pub fn is_abortable(&self) -> bool {
        let running = self.running_step().and_then(|step| self.planned(step));
        running.is_none_or(|step| step.abortable)
    }
}
