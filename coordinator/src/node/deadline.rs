//! When a node must be looked at, and whether what it waits for took too long. Pure.

use jiff::{SignedDuration, Timestamp};

use super::program::{Own, Part};
use super::{Node, Phase, ProvisionState, WorkRecord};
use crate::app::Pulse;
use crate::settings::Settings;

/// Work that is to be done is due at once, also after a restart.
const AT_ONCE: Timestamp = Timestamp::UNIX_EPOCH;

/// When the reconciler must look at the node next; none: nothing is going on.
///
/// It depends on the record alone, so that every writer sets the same: heartbeats that are only in memory move the
/// deadline when the reconciler looks.
#[must_use]
pub fn due(node: &Node, settings: &Settings) -> Option<Timestamp> {
    let between = node.work.as_ref().filter(|work| work.phase == Phase::Between);
    match between {
        Some(work) if node.power_request.is_none() && !node.provision_state.is_held() => {
            return Some(next_part_at(work));
        }
        _ if node.power_request.is_some() || node.provision_state.is_busy() => {
            return Some(AT_ONCE);
        }
        Some(_) | None => {}
    }
    if node.provision_state.is_held() {
        let since = node.provision_updated_at.unwrap_or(AT_ONCE);
        return Some(wait(For::NextHeartbeat, since, settings.deadlines.hold).until);
    }
    let Some(work) = &node.work else {
        // Waiting for work that is not there cannot happen; should it, it must end.
        return node.provision_state.is_waiting().then_some(AT_ONCE);
    };
    match work.phase {
        Phase::StartRamdisk | Phase::Finish => Some(AT_ONCE),
        Phase::Between => Some(next_part_at(work)),
        Phase::Abandon => Some(abandon_at(work)),
        Phase::Working if work.outcome.is_some() || work.is_awake_for_nothing() => Some(AT_ONCE),
        Phase::AwaitAgent | Phase::Working => {
            Some(waiting(node, work, settings, None, Timestamp::MIN).until)
        }
    }
}

/// When the next part of the work is to be begun: at once, or, where it is a `wait`, ended.
#[must_use]
pub fn next_part_at(work: &WorkRecord) -> Timestamp {
    match work.later.first() {
        Some(Part::Own(Own::Wait(seconds))) => wait(For::NextHeartbeat, work.since, *seconds).until,
        Some(_) | None => AT_ONCE,
    }
}

/// Seconds that an agent gets to stop what it does before its power is cut.
const STOP_GRACE_S: u64 = 20;

/// When abandoned work ends with a power off: at once, unless the operator aborted it and its agent can still stop in order.
#[must_use]
pub fn abandon_at(work: &WorkRecord) -> Timestamp {
    let stops = work.abort && work.outcome.is_none() && work.boot.last_heartbeat.is_some();
    if stops { wait(For::NextHeartbeat, work.since, STOP_GRACE_S).until } else { AT_ONCE }
}

/// What a waiting node waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// The first heartbeat after power on.
    FirstHeartbeat,
    /// The next heartbeat.
    NextHeartbeat,
    /// A sign that the work goes on.
    Progress,
}

/// A wait and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// For what.
    pub what: For,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// The wait of a node in [`Phase::AwaitAgent`] or [`Phase::Working`]: the deadline that comes first.
///
/// `heard_since`: when this coordinator began to listen; silence before that is its own.
#[must_use]
pub fn waiting(
    node: &Node,
    work: &WorkRecord,
    settings: &Settings,
    pulse: Option<&Pulse>,
    heard_since: Timestamp,
) -> Waiting {
    let limits = &settings.deadlines;
    if work.phase == Phase::AwaitAgent {
        return wait(For::FirstHeartbeat, work.since.max(heard_since), limits.await_agent);
    }
    let stored = work.boot.last_heartbeat.unwrap_or(work.since).max(work.since).max(heard_since);
    let heartbeat = pulse.map_or(stored, |pulse| pulse.last_heartbeat.max(stored));
    let progress = pulse.map_or(stored, |pulse| pulse.last_progress.max(work.since));
    let deploys = node.provision_state == ProvisionState::WaitCallBack;
    let patience = if deploys { limits.deploy } else { limits.clean };
    let silence = wait(For::NextHeartbeat, heartbeat, limits.agent_silent);
    let standstill = wait(For::Progress, progress, patience);
    if silence.until <= standstill.until { silence } else { standstill }
}

fn wait(what: For, since: Timestamp, seconds: u64) -> Waiting {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let until = since.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    Waiting { what, since, until }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::working_node;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pulse(heartbeat: i64, progress: i64) -> Pulse {
        Pulse { last_heartbeat: at(heartbeat), last_progress: at(progress), progress: None }
    }

    #[test]
    fn the_first_deadline_wins_and_silence_before_our_own_start_does_not_count() {
        let settings = Settings::default();
        let mut node = working_node(at(1000));
        for (phase, pulse, heard_since, expected) in [
            (Phase::AwaitAgent, None, 0, (For::FirstHeartbeat, 1300)),
            (Phase::AwaitAgent, None, 2000, (For::FirstHeartbeat, 2300)),
            (Phase::Working, None, 0, (For::NextHeartbeat, 1060)),
            (Phase::Working, None, 2000, (For::NextHeartbeat, 2060)),
            (Phase::Working, Some(pulse(1500, 1200)), 0, (For::NextHeartbeat, 1560)),
            (Phase::Working, Some(pulse(2990, 1200)), 0, (For::Progress, 3000)),
        ] {
            node.work.as_mut().unwrap().phase = phase;
            let work = node.work.as_ref().unwrap();
            let found = waiting(&node, work, &settings, pulse.as_ref(), at(heard_since));
            assert_eq!((found.what, found.until), (expected.0, at(expected.1)));
        }
    }

    #[test]
    fn every_state_with_something_to_do_is_due() {
        let settings = Settings::default();
        let mut node = working_node(at(1000));
        node.work = None;
        for state in ProvisionState::ALL {
            node.provision_state = state;
            let busy = state.is_busy() || state.is_waiting() || state.is_held();
            assert_eq!(due(&node, &settings).is_some(), busy, "{state}");
        }
    }
}
