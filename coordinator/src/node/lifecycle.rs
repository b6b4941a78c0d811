//! The node lifecycle as one table. No clock, no I/O, no locks.
//!
//! ```text
//!   enroll ─manage▶ verifying ─▶ manageable ─provide▶ cleaning ⇄ clean wait
//!                                    ▲  ▲                 │ cleaned
//!                         clean failed  inspecting …      ▼
//!                                                     available ─active▶ deploying ⇄ wait call-back
//!                                                         ▲                  │ done
//!                            cleaning ◀─torn down─ deleting ◀─deleted─ active / deploy failed
//! ```

use serde::{Deserialize, Serialize};

/// Ironic's provision states, by their wire texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the wire text says it")]
pub enum ProvisionState {
    #[serde(rename = "enroll")]
    Enroll,
    #[serde(rename = "verifying")]
    Verifying,
    #[serde(rename = "manageable")]
    Manageable,
    #[serde(rename = "available")]
    Available,
    #[serde(rename = "active")]
    Active,
    #[serde(rename = "error")]
    Error,
    #[serde(rename = "deploying")]
    Deploying,
    #[serde(rename = "wait call-back")]
    WaitCallBack,
    #[serde(rename = "deploy failed")]
    DeployFailed,
    #[serde(rename = "cleaning")]
    Cleaning,
    #[serde(rename = "clean wait")]
    CleanWait,
    #[serde(rename = "clean failed")]
    CleanFailed,
    #[serde(rename = "deleting")]
    Deleting,
    #[serde(rename = "inspecting")]
    Inspecting,
    #[serde(rename = "inspect wait")]
    InspectWait,
    #[serde(rename = "inspect failed")]
    InspectFailed,
    #[serde(rename = "adopting")]
    Adopting,
    #[serde(rename = "adopt failed")]
    AdoptFailed,
    #[serde(rename = "clean hold")]
    CleanHold,
    #[serde(rename = "deploy hold")]
    DeployHold,
    #[serde(rename = "rescuing")]
    Rescuing,
    #[serde(rename = "rescue wait")]
    RescueWait,
    #[serde(rename = "rescue")]
    Rescue,
    #[serde(rename = "rescue failed")]
    RescueFailed,
    #[serde(rename = "unrescuing")]
    Unrescuing,
    #[serde(rename = "unrescue failed")]
    UnrescueFailed,
    #[serde(rename = "servicing")]
    Servicing,
    #[serde(rename = "service wait")]
    ServiceWait,
    #[serde(rename = "service failed")]
    ServiceFailed,
    #[serde(rename = "service hold")]
    ServiceHold,
}

impl ProvisionState {
    /// Every state.
    pub const ALL: [Self; 30] = [
        Self::Enroll,
        Self::Verifying,
        Self::Manageable,
        Self::Available,
        Self::Active,
        Self::Error,
        Self::Deploying,
        Self::WaitCallBack,
        Self::DeployFailed,
        Self::Cleaning,
        Self::CleanWait,
        Self::CleanFailed,
        Self::Deleting,
        Self::Inspecting,
        Self::InspectWait,
        Self::InspectFailed,
        Self::Adopting,
        Self::AdoptFailed,
        Self::CleanHold,
        Self::DeployHold,
        Self::Rescuing,
        Self::RescueWait,
        Self::Rescue,
        Self::RescueFailed,
        Self::Unrescuing,
        Self::UnrescueFailed,
        Self::Servicing,
        Self::ServiceWait,
        Self::ServiceFailed,
        Self::ServiceHold,
    ];

    /// The text on the wire.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Verifying => "verifying",
            Self::Manageable => "manageable",
            Self::Available => "available",
            Self::Active => "active",
            Self::Error => "error",
            Self::Deploying => "deploying",
            Self::WaitCallBack => "wait call-back",
            Self::DeployFailed => "deploy failed",
            Self::Cleaning => "cleaning",
            Self::CleanWait => "clean wait",
            Self::CleanFailed => "clean failed",
            Self::Deleting => "deleting",
            Self::Inspecting => "inspecting",
            Self::InspectWait => "inspect wait",
            Self::InspectFailed => "inspect failed",
            Self::Adopting => "adopting",
            Self::AdoptFailed => "adopt failed",
            Self::CleanHold => "clean hold",
            Self::DeployHold => "deploy hold",
            Self::Rescuing => "rescuing",
            Self::RescueWait => "rescue wait",
            Self::Rescue => "rescue",
            Self::RescueFailed => "rescue failed",
            Self::Unrescuing => "unrescuing",
            Self::UnrescueFailed => "unrescue failed",
            Self::Servicing => "servicing",
            Self::ServiceWait => "service wait",
            Self::ServiceFailed => "service failed",
            Self::ServiceHold => "service hold",
        }
    }

    /// The state with this wire text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.text() == text)
    }

    /// Whether the reconciler performs something in this state: nobody else may touch the machine's power.
    #[must_use]
    pub fn is_busy(self) -> bool {
        matches!(
            self,
            Self::Verifying
                | Self::Deploying
                | Self::Cleaning
                | Self::Deleting
                | Self::Inspecting
                | Self::Adopting
                | Self::Rescuing
                | Self::Unrescuing
                | Self::Servicing
        )
    }

    /// Whether the last action failed and a person has to decide.
    #[must_use]
    pub fn is_failed(self) -> bool {
        matches!(
            self,
            Self::DeployFailed
                | Self::CleanFailed
                | Self::InspectFailed
                | Self::AdoptFailed
                | Self::RescueFailed
                | Self::UnrescueFailed
                | Self::ServiceFailed
                | Self::Error
        )
    }

    /// Whether an agent is awaited or works in this state.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(
            self,
            Self::WaitCallBack
                | Self::CleanWait
                | Self::InspectWait
                | Self::RescueWait
                | Self::ServiceWait
        )
    }

    /// Whether steps stopped at a `hold` until an operator lets them go on.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Self::CleanHold | Self::DeployHold | Self::ServiceHold)
    }

    /// Whether a ramdisk may look the node up in this state (Ironic's list; others answer as if the node did not exist).
    #[must_use]
    pub fn allows_lookup(self) -> bool {
        self.is_waiting()
            || matches!(
                self,
                Self::Deploying
                    | Self::Cleaning
                    | Self::Inspecting
                    | Self::Rescuing
                    | Self::Servicing
            )
    }
}

impl std::fmt::Display for ProvisionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// What an operator may ask for: the targets of `PUT states/provision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the wire text says it")]
pub enum Verb {
    Active,
    Rebuild,
    Deleted,
    Manage,
    Provide,
    Inspect,
    Abort,
    Clean,
    Adopt,
    Rescue,
    Unrescue,
    Service,
    Unhold,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 13] = [
        Self::Active,
        Self::Rebuild,
        Self::Deleted,
        Self::Manage,
        Self::Provide,
        Self::Inspect,
        Self::Abort,
        Self::Clean,
        Self::Adopt,
        Self::Rescue,
        Self::Unrescue,
        Self::Service,
        Self::Unhold,
    ];

    /// The verb of an API target; `deploy` and `undeploy` are the newer names of `active` and `deleted`.
    #[must_use]
    pub fn parse(target: &str) -> Option<Self> {
        match target {
            "deploy" => Some(Self::Active),
            "undeploy" => Some(Self::Deleted),
            _ => Self::ALL.into_iter().find(|verb| verb.text() == target),
        }
    }

    /// The text on the wire.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Rebuild => "rebuild",
            Self::Deleted => "deleted",
            Self::Manage => "manage",
            Self::Provide => "provide",
            Self::Inspect => "inspect",
            Self::Abort => "abort",
            Self::Clean => "clean",
            Self::Adopt => "adopt",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::Service => "service",
            Self::Unhold => "unhold",
        }
    }
}

/// What can happen to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// An operator asked.
    Asked(Verb),
    /// The machine was started into the ramdisk; its agent is awaited.
    Waiting,
    /// The ramdisk was lost; it is to be booted once more.
    BootAgain,
    /// A `hold` among the steps was reached.
    Held,
    /// The agent finished its order well, or the wait is over for another reason.
    AgentDone,
    /// What a busy state had to do is done.
    Done,
    /// An automated cleaning was proven by the agent's final report.
    Cleaned,
    /// Automated cleaning is switched off, for this node or for all.
    CleaningSkipped,
    /// A cleaning that the operator asked for is done.
    CleanedManually,
    /// It failed.
    Failed,
}

impl Event {
    /// Every event.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut events: Vec<Self> = Verb::ALL.into_iter().map(Self::Asked).collect();
        events.extend([
            Self::Waiting,
            Self::BootAgain,
            Self::Held,
            Self::AgentDone,
            Self::Done,
            Self::Cleaned,
            Self::CleaningSkipped,
            Self::CleanedManually,
            Self::Failed,
        ]);
        events
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked(verb) => f.write_str(verb.text()),
            Self::Waiting => f.write_str("(wait)"),
            Self::BootAgain => f.write_str("(boot again)"),
            Self::Held => f.write_str("(hold)"),
            Self::AgentDone => f.write_str("(agent done)"),
            Self::Done => f.write_str("(done)"),
            Self::Cleaned => f.write_str("(cleaned)"),
            Self::CleaningSkipped => f.write_str("(cleaning skipped)"),
            Self::CleanedManually => f.write_str("(cleaned manually)"),
            Self::Failed => f.write_str("(fail)"),
        }
    }
}

/// What begins with a transition. The record remembers it; the reconciler performs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Read the power state through the BMC.
    ReadPower,
    /// Make a deploy order and boot the ramdisk for it.
    OrderDeploy,
    /// Make a clean order (or skip it where automated cleaning is off) and boot the ramdisk for it.
    OrderClean,
    /// Make an inspect order and boot the ramdisk for it.
    OrderInspect,
    /// Start a rescue system on the machine.
    OrderRescue,
    /// Start the machine from its disk after a rescue.
    LeaveRescue,
    /// Begin the service steps.
    OrderService,
    /// Boot the ramdisk once more for the same order.
    BootRamdisk,
    /// After the agent's work: boot device to disk and power cycle, or power off.
    FinishWork,
    /// Power off and forget the order.
    AbandonWork,
    /// Forget the order; its evidence stays.
    ForgetWork,
    /// Power off and forget the instance.
    TearDown,
    /// Set maintenance and the fault `clean failure` if a clean step had begun.
    MarkCleanFailure,
}

/// Where a transition leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The new state.
    pub state: ProvisionState,
    /// The new target state.
    pub target: Target,
    /// What begins.
    pub effects: &'static [Effect],
}

/// What becomes of the target state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// It stays.
    Keep,
    /// It is reached.
    Clear,
    /// It is this.
    Set(ProvisionState),
}

/// An action that the state does not allow. Ironic's sentence needs the node: see [`Refused::on`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the requested action \"{event}\" can not be performed while in state \"{state}\"")]
pub struct Refused {
    /// The state.
    pub state: ProvisionState,
    /// The event.
    pub event: Event,
}

impl Refused {
    /// Ironic's own sentence.
    #[must_use]
    pub fn on(&self, node: uuid::Uuid) -> String {
        format!(
            "The requested action \"{}\" can not be performed on node \"{node}\" while it is in state \"{}\".",
            self.event, self.state
        )
    }
}

/// Applies `event` to `state`: the whole lifecycle is this one match.
///
/// # Errors
///
/// [`Refused`] where the table has no row; the node does not change.
#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "one table, one row a line")]
pub fn next(state: ProvisionState, event: Event) -> Result<Transition, Refused> {
    use Effect::{AbandonWork, BootRamdisk, FinishWork, ForgetWork, LeaveRescue, MarkCleanFailure, OrderClean, OrderDeploy, OrderInspect, OrderRescue, OrderService, ReadPower, TearDown};
    use Event::{AgentDone, Asked, BootAgain, Cleaned, CleanedManually, CleaningSkipped, Done, Failed, Held, Waiting};
    use ProvisionState::{Active, AdoptFailed, Adopting, Available, CleanFailed, CleanHold, CleanWait, Cleaning, Deleting, DeployFailed, DeployHold, Deploying, Enroll, Error, InspectFailed, InspectWait, Inspecting, Manageable, Rescue, RescueFailed, RescueWait, Rescuing, ServiceFailed, ServiceHold, ServiceWait, Servicing, UnrescueFailed, Unrescuing, Verifying, WaitCallBack};
    use Target::{Clear, Keep, Set};

    let (to, target, effects): (ProvisionState, Target, &'static [Effect]) = match (state, event) {
        // Enrolment
        (Enroll, Asked(Verb::Manage))                              => (Verifying, Set(Manageable), &[ReadPower]),
        (Verifying, Done)                                          => (Manageable, Clear, &[]),
        (Verifying, Failed)                                        => (Enroll, Clear, &[]),
        (Manageable | AdoptFailed, Asked(Verb::Adopt))             => (Adopting, Set(Active), &[ReadPower]),
        (Adopting, Done)                                           => (Active, Clear, &[]),
        (Adopting, Failed)                                         => (AdoptFailed, Set(Active), &[]),
        // Inspection
        (Manageable | InspectFailed, Asked(Verb::Inspect))         => (Inspecting, Set(Manageable), &[OrderInspect]),
        (Inspecting, Waiting)                                      => (InspectWait, Keep, &[]),
        (InspectWait, BootAgain)                                   => (Inspecting, Keep, &[BootRamdisk]),
        (InspectWait, AgentDone)                                   => (Inspecting, Keep, &[FinishWork]),
        (Inspecting, Done)                                         => (Manageable, Clear, &[ForgetWork]),
        (Inspecting | InspectWait, Failed)                         => (InspectFailed, Keep, &[AbandonWork]),
        (InspectWait, Asked(Verb::Abort))                          => (InspectFailed, Keep, &[AbandonWork]),
        // Cleaning
        (Manageable, Asked(Verb::Provide))                         => (Cleaning, Set(Available), &[OrderClean]),
        (Manageable, Asked(Verb::Clean))                           => (Cleaning, Set(Manageable), &[OrderClean]),
        (Cleaning, Waiting)                                        => (CleanWait, Keep, &[]),
        (CleanWait, BootAgain)                                     => (Cleaning, Keep, &[BootRamdisk]),
        (CleanWait, AgentDone)                                     => (Cleaning, Keep, &[FinishWork]),
        (Cleaning, Cleaned | CleaningSkipped)                      => (Available, Clear, &[ForgetWork]),
        (Cleaning, CleanedManually)                                => (Manageable, Clear, &[ForgetWork]),
        (Cleaning | CleanWait, Held)                               => (CleanHold, Keep, &[]),
        (CleanHold, Asked(Verb::Unhold))                           => (CleanWait, Keep, &[]),
        (Cleaning | CleanWait | CleanHold, Failed)                 => (CleanFailed, Keep, &[MarkCleanFailure, AbandonWork]),
        (CleanWait | CleanHold, Asked(Verb::Abort))                => (CleanFailed, Keep, &[MarkCleanFailure, AbandonWork]),
        // Deployment
        (Available | DeployFailed, Asked(Verb::Active))            => (Deploying, Set(Active), &[OrderDeploy]),
        (Active | DeployFailed | Error, Asked(Verb::Rebuild))      => (Deploying, Set(Active), &[OrderDeploy]),
        (Deploying, Waiting)                                       => (WaitCallBack, Keep, &[]),
        (WaitCallBack, BootAgain)                                  => (Deploying, Keep, &[BootRamdisk]),
        (WaitCallBack, AgentDone)                                  => (Deploying, Keep, &[FinishWork]),
        (Deploying, Done)                                          => (Active, Clear, &[ForgetWork]),
        (Deploying | WaitCallBack, Held)                           => (DeployHold, Keep, &[]),
        (DeployHold, Asked(Verb::Unhold))                          => (WaitCallBack, Keep, &[]),
        (Deploying | WaitCallBack | DeployHold, Failed)            => (DeployFailed, Keep, &[AbandonWork]),
        (WaitCallBack | DeployHold, Asked(Verb::Abort))            => (DeployFailed, Keep, &[AbandonWork]),
        // Rescue
        (Active | Rescue | RescueFailed | UnrescueFailed | ServiceFailed, Asked(Verb::Rescue)) => (Rescuing, Set(Rescue), &[OrderRescue]),
        (Rescuing, Waiting)                                        => (RescueWait, Keep, &[]),
        (RescueWait, BootAgain)                                    => (Rescuing, Keep, &[BootRamdisk]),
        (RescueWait, AgentDone)                                    => (Rescuing, Keep, &[FinishWork]),
        (Rescuing, Done)                                           => (Rescue, Clear, &[ForgetWork]),
        (Rescuing | RescueWait, Failed)                            => (RescueFailed, Keep, &[AbandonWork]),
        (RescueWait, Asked(Verb::Abort))                           => (RescueFailed, Keep, &[AbandonWork]),
        (Rescue | RescueFailed | UnrescueFailed, Asked(Verb::Unrescue)) => (Unrescuing, Set(Active), &[LeaveRescue]),
        (Unrescuing, Done)                                         => (Active, Clear, &[ForgetWork]),
        (Unrescuing, Failed)                                       => (UnrescueFailed, Keep, &[]),
        // Service
        (Active | ServiceFailed | ServiceHold, Asked(Verb::Service)) => (Servicing, Set(Active), &[OrderService]),
        (Servicing, Waiting)                                       => (ServiceWait, Keep, &[]),
        (ServiceWait, BootAgain)                                   => (Servicing, Keep, &[BootRamdisk]),
        (ServiceWait, AgentDone)                                   => (Servicing, Keep, &[FinishWork]),
        (Servicing | ServiceWait, Held)                            => (ServiceHold, Keep, &[]),
        (ServiceHold, Asked(Verb::Unhold))                         => (ServiceWait, Keep, &[]),
        (Servicing, Done)                                          => (Active, Clear, &[ForgetWork]),
        (Servicing | ServiceWait | ServiceHold, Failed)            => (ServiceFailed, Keep, &[AbandonWork]),
        (ServiceWait | ServiceHold, Asked(Verb::Abort))            => (ServiceFailed, Keep, &[AbandonWork]),
        (ServiceFailed, Asked(Verb::Abort))                        => (Active, Clear, &[ForgetWork]),
        // Back to the operator, or back to the pool
        (Available | CleanFailed | InspectFailed | AdoptFailed, Asked(Verb::Manage)) => (Manageable, Clear, &[]),
        (Active | Error | WaitCallBack | DeployFailed | Rescue | RescueWait | RescueFailed | UnrescueFailed | ServiceWait | ServiceFailed, Asked(Verb::Deleted))
                                                                   => (Deleting, Set(Available), &[TearDown]),
        (Deleting, Done)                                           => (Cleaning, Keep, &[OrderClean]),
        (Deleting, Failed)                                         => (Error, Keep, &[]),
        (state, event) => return Err(Refused { state, event }),
    };
    Ok(Transition { state: to, target, effects })
}

#[cfg(test)]
mod tests;
