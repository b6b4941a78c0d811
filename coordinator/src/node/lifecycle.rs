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

mod event;
mod state;
#[cfg(test)]
mod tests;

pub use event::{Event, Verb};
pub use state::ProvisionState;

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
    /// Set maintenance and the fault `service failure` if a service step had begun.
    MarkServiceFailure,
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
    use Effect::{AbandonWork, BootRamdisk, FinishWork, ForgetWork, LeaveRescue, MarkCleanFailure, MarkServiceFailure, OrderClean, OrderDeploy, OrderInspect, OrderRescue, OrderService, ReadPower, TearDown};
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
        (Servicing | ServiceWait | ServiceHold, Failed)            => (ServiceFailed, Keep, &[MarkServiceFailure, AbandonWork]),
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
