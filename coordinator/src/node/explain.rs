//! What a node waits for, since when, until when, and what to do. Pure.

use jiff::Timestamp;
use serde::Serialize;

use super::deadline::{self, For};
use super::program::{Own, Part};
use super::{Node, Phase, ProvisionState, WorkRecord};
use crate::app::{Live, Pulse};
use crate::settings::Settings;

/// The answer of `GET /v1/nodes/{n}/explain`.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// One sentence on where it is.
    pub summary: String,
    /// What it waits for; none: nothing is going on.
    pub waits_for: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// The next deadline.
    pub deadline: Option<Timestamp>,
    /// What happens at the deadline.
    pub then: Option<String>,
    /// Boots tried, of how many.
    pub attempt: Option<u32>,
    /// The most boots.
    pub attempts: u32,
    /// What a person can do now.
    pub what_to_do: String,
}

/// Explains a node.
#[must_use]
pub fn explain(node: &Node, settings: &Settings, live: &Live) -> Explanation {
    let pulse = live.pulse(node.uuid);
    let mut explanation = Explanation {
        summary: summary(node),
        waits_for: None,
        since: node.provision_updated_at,
        deadline: None,
        then: None,
        attempt: node.work.as_ref().map(|work| work.order.attempt),
        attempts: settings.boot.attempts,
        what_to_do: what_to_do(node),
    };
    match &node.work {
        Some(work) if !node.provision_state.is_held() => {
            wait(&mut explanation, node, work, settings, pulse.as_ref(), live.started());
        }
        None if node.provision_state.is_busy() => {
            explanation.waits_for = Some("the BMC".to_owned());
        }
        _ if node.provision_state.is_held() => {
            explanation.waits_for = Some("an operator".to_owned());
            explanation.deadline = deadline::due(node, settings);
            explanation.then = Some("the work is given up".to_owned());
        }
        Some(_) | None => {}
    }
    explanation
}

fn wait(
    explanation: &mut Explanation,
    node: &Node,
    work: &WorkRecord,
    settings: &Settings,
    pulse: Option<&Pulse>,
    started: Timestamp,
) {
    explanation.since = Some(work.since);
    let waits_for = match work.phase {
        Phase::StartRamdisk => "the BMC to start the machine from the network",
        Phase::Between if matches!(work.later.first(), Some(Part::Own(Own::Wait(_)))) => {
            explanation.deadline = Some(deadline::next_part_at(work));
            "the end of a wait step"
        }
        Phase::Between => "the next part of the work",
        Phase::Finish => "the BMC to start the machine from its disk or to power it off",
        Phase::Abandon => "the BMC to power the machine off",
        Phase::AwaitAgent | Phase::Working => {
            let waiting = deadline::waiting(node, work, settings, pulse, started);
            explanation.since = Some(waiting.since);
            explanation.deadline = Some(waiting.until);
            explanation.then = Some(
                if waiting.what == For::Progress || work.order.attempt >= settings.boot.attempts {
                    "the work is given up and the machine is powered off".to_owned()
                } else {
                    "the machine is booted into the ramdisk once more".to_owned()
                },
            );
            match waiting.what {
                For::FirstHeartbeat => last_moment(work),
                For::NextHeartbeat => "the agent's next heartbeat",
                For::Progress => "a sign that the agent's work goes on",
            }
        }
    };
    explanation.waits_for = Some(waits_for.to_owned());
}

/// How far a boot came, which tells what is missing.
fn last_moment(work: &WorkRecord) -> &'static str {
    let reached = |name: &str| work.boot.moments.contains_key(name);
    if reached("lookup") {
        "the agent's first heartbeat (it looked the node up already)"
    } else if reached("network") {
        "the agent's lookup (its ramdisk runs and has a network)"
    } else if reached("ramdisk") {
        "the agent's lookup (kernel and ramdisk were fetched)"
    } else if reached("script") {
        "the machine to fetch kernel and ramdisk (it fetched its boot script)"
    } else {
        "the machine to fetch its boot script (it is powered on)"
    }
}

fn summary(node: &Node) -> String {
    let mut text = format!("the node is {}", node.provision_state);
    if let Some(target) = node.target_provision_state {
        text.push_str(&format!(", on its way to {target}"));
    }
    if let Some(error) = &node.last_error {
        text.push_str(&format!("; last error: {error}"));
    }
    if node.maintenance {
        text.push_str("; it is in maintenance");
        if let Some(reason) = &node.maintenance_reason {
            text.push_str(&format!(" ({reason})"));
        }
    }
    text
}

fn what_to_do(node: &Node) -> String {
    let text = match node.provision_state {
        ProvisionState::Enroll => "mend driver_info if there is an error, then ask for manage",
        ProvisionState::Manageable => "ask for provide to make it available, or for inspect",
        ProvisionState::Available => "set instance_info and ask for active",
        ProvisionState::Active => "nothing; ask for deleted to take it back",
        ProvisionState::Error => "mend what last_error names, then ask for deleted",
        ProvisionState::DeployFailed => {
            "mend what last_error names, then ask for active or deleted"
        }
        ProvisionState::CleanFailed => {
            "mend what last_error names, switch maintenance off, then ask for manage and provide"
        }
        ProvisionState::InspectFailed => {
            "mend what last_error names, then ask for inspect or manage"
        }
        ProvisionState::AdoptFailed => "mend what last_error names, then ask for adopt or manage",
        ProvisionState::RescueFailed => {
            "mend what last_error names, then ask for rescue, unrescue or deleted"
        }
        ProvisionState::UnrescueFailed => {
            "mend what last_error names, then ask for unrescue, rescue or deleted"
        }
        ProvisionState::ServiceFailed => {
            "mend what last_error names, then ask for service again, or for abort to leave it active"
        }
        ProvisionState::Rescue => "ask for unrescue to start the instance again",
        ProvisionState::CleanHold | ProvisionState::DeployHold | ProvisionState::ServiceHold => {
            "ask for unhold to go on, or for abort"
        }
        ProvisionState::WaitCallBack
        | ProvisionState::CleanWait
        | ProvisionState::InspectWait
        | ProvisionState::RescueWait
        | ProvisionState::ServiceWait => "wait, or ask for abort",
        ProvisionState::Verifying
        | ProvisionState::Deploying
        | ProvisionState::Cleaning
        | ProvisionState::Deleting
        | ProvisionState::Inspecting
        | ProvisionState::Rescuing
        | ProvisionState::Unrescuing
        | ProvisionState::Servicing
        | ProvisionState::Adopting => "wait",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::working_node;

    #[test]
    fn a_machine_that_fetched_its_script_is_told_apart_from_one_that_did_not() {
        let now = Timestamp::from_second(1000).unwrap();
        let live = Live::new(now);
        let mut node = working_node(now);
        node.work.as_mut().unwrap().phase = Phase::AwaitAgent;
        let before = explain(&node, &Settings::default(), &live);
        assert!(before.waits_for.unwrap().contains("fetch its boot script"));
        assert_eq!(before.deadline, Timestamp::from_second(1300).ok());
        node.work.as_mut().unwrap().boot.moments.insert("script".into(), now);
        let after = explain(&node, &Settings::default(), &live);
        assert!(after.waits_for.unwrap().contains("fetch kernel"));
        assert!(after.then.unwrap().contains("once more"));
    }
}
