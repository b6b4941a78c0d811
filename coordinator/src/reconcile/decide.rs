//! What is to be done with a node now. Pure.

use ironwright_api::Failure;
use jiff::Timestamp;

use crate::agent::reports;
use crate::app::Pulse;
use crate::node::deadline::{self, Waiting};
use crate::node::program::Part;
use crate::node::{
    Node, Outcome, Phase, PowerTarget, ProvisionState, WorkRecord, pretend, transition,
};
use crate::settings::Settings;

/// The one thing to do.
#[derive(Debug, Clone)]
pub(super) enum Todo {
    /// Wait.
    Nothing,
    /// Remember the heartbeats that were only in memory, so that the deadline moves.
    RememberHeartbeat(Timestamp),
    /// Change the power as the operator asked.
    Power(PowerTarget),
    /// Read the power state of a node that is being enrolled or adopted.
    ReadPower,
    /// Power off and forget the instance.
    TearDown,
    /// Start the machine from its own disk after a rescue.
    LeaveRescue,
    /// Automated cleaning is off: go on without.
    SkipCleaning,
    /// Start the machine into the ramdisk.
    StartRamdisk,
    /// Begin the next part of the work.
    NextPart(Part),
    /// All parts of the work are done.
    LastPart,
    /// The agent finished well, and there are further parts.
    PartDone,
    /// The agent finished well.
    AgentDone,
    /// The agent failed.
    AgentFailed(Failure),
    /// A step goes on after a restart.
    Restart,
    /// Boot device to disk and power cycle, or power off.
    Finish,
    /// Power off and forget the work.
    Abandon,
    /// Do as a fake interface does.
    Pretend,
    /// A fake interface has nothing to wait for.
    GoOn,
    /// Nobody let a held node go on.
    HeldTooLong,
    /// A deadline has passed.
    Late(Waiting),
    /// A busy state without the work it is for: cannot happen, must not wait for ever.
    Broken,
}

/// Decides from the record, the agent's pulse and the time.
pub(super) fn decide(
    node: &Node,
    settings: &Settings,
    pulse: Option<&Pulse>,
    heard_since: Timestamp,
    now: Timestamp,
) -> Todo {
    if let Some(target) = node.power_request {
        return Todo::Power(target);
    }
    if node.provision_state.is_held() {
        return match deadline::due(node, settings) {
            Some(until) if until <= now => Todo::HeldTooLong,
            Some(_) | None => Todo::Nothing,
        };
    }
    let Some(work) = &node.work else { return without_work(node, settings) };
    match work.phase {
        Phase::StartRamdisk => Todo::StartRamdisk,
        Phase::Between if deadline::next_part_at(work) > now => Todo::Nothing,
        Phase::Between => work.later.first().cloned().map_or(Todo::LastPart, Todo::NextPart),
        Phase::Finish => Todo::Finish,
        Phase::Abandon if deadline::abandon_at(work) > now => Todo::Nothing,
        Phase::Abandon => Todo::Abandon,
        Phase::AwaitAgent | Phase::Working => {
            if !node.provision_state.is_waiting() {
                return Todo::Broken;
            }
            match &work.outcome {
                Some(Outcome::Finished) if !work.later.is_empty() => Todo::PartDone,
                Some(Outcome::Finished) => Todo::AgentDone,
                Some(Outcome::Failed(failure)) => Todo::AgentFailed(failure.clone()),
                Some(Outcome::Reboot) => Todo::Restart,
                None if work.is_awake_for_nothing() && !work.abort => {
                    if work.later.is_empty() {
                        Todo::AgentDone
                    } else {
                        Todo::PartDone
                    }
                }
                None if work.abort && work.is_abortable() => {
                    Todo::AgentFailed(reports::aborted(""))
                }
                None => waiting(node, work, settings, pulse, heard_since, now),
            }
        }
    }
}

fn without_work(node: &Node, settings: &Settings) -> Todo {
    if pretend::is_playing(node) {
        let wants_cleaning = node.target_provision_state == Some(ProvisionState::Manageable)
            || transition::is_cleaned(node, settings.clean.automated);
        return match node.provision_state.is_waiting() {
            true => Todo::GoOn,
            false if node.provision_state == ProvisionState::Cleaning && !wants_cleaning => {
                Todo::SkipCleaning
            }
            false => Todo::Pretend,
        };
    }
    match node.provision_state {
        ProvisionState::Verifying | ProvisionState::Adopting => Todo::ReadPower,
        ProvisionState::Deleting => Todo::TearDown,
        ProvisionState::Unrescuing => Todo::LeaveRescue,
        ProvisionState::Cleaning => Todo::SkipCleaning,
        ProvisionState::Deploying
        | ProvisionState::WaitCallBack
        | ProvisionState::CleanWait
        | ProvisionState::Inspecting
        | ProvisionState::InspectWait
        | ProvisionState::Rescuing
        | ProvisionState::RescueWait
        | ProvisionState::Servicing
        | ProvisionState::ServiceWait => Todo::Broken,
        ProvisionState::Enroll
        | ProvisionState::Manageable
        | ProvisionState::Available
        | ProvisionState::Active
        | ProvisionState::Error
        | ProvisionState::DeployFailed
        | ProvisionState::CleanFailed
        | ProvisionState::InspectFailed
        | ProvisionState::AdoptFailed
        | ProvisionState::CleanHold
        | ProvisionState::DeployHold
        | ProvisionState::ServiceHold
        | ProvisionState::Rescue
        | ProvisionState::RescueFailed
        | ProvisionState::UnrescueFailed
        | ProvisionState::ServiceFailed => Todo::Nothing,
    }
}

fn waiting(
    node: &Node,
    work: &WorkRecord,
    settings: &Settings,
    pulse: Option<&Pulse>,
    heard_since: Timestamp,
    now: Timestamp,
) -> Todo {
    let waiting = deadline::waiting(node, work, settings, pulse, heard_since);
    if waiting.until <= now {
        return Todo::Late(waiting);
    }
    let stored = deadline::waiting(node, work, settings, None, Timestamp::MIN);
    match pulse {
        Some(pulse)
            if stored.until <= now && work.boot.last_heartbeat < Some(pulse.last_heartbeat) =>
        {
            Todo::RememberHeartbeat(pulse.last_heartbeat)
        }
        Some(_) | None => Todo::Nothing,
    }
}
