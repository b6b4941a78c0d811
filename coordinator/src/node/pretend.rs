//! Work of Ironic's `fake` interfaces: steps that are walked through without a machine, so that clients, tests and people in
//! training see the whole lifecycle. Only nodes of hardware type `fake-hardware` have such interfaces. Pure.

use ironwright_api::CleanStep;
use serde_json::json;

use super::interfaces::class_of;
use super::program::{OWN, Own};
use super::{Node, Object, ProvisionState};

/// The step that waits for an operator.
const HOLD: &str = "hold";

/// The agent's own steps of a cleaning, interface `deploy`: a fake machine knows what a real one does.
pub const CLEAN_STEPS: [&str; 5] = [
    "erase_devices_metadata",
    "erase_devices",
    "erase_devices_express",
    "erase_pstore",
    "clean_uefi_nvram",
];
/// The agent's own steps of a service, interface `deploy`.
pub const SERVICE_STEPS: [&str; 1] = ["write_image"];
/// Steps that Ironic's other fake interfaces have in both.
const OF_INTERFACES: [(&str, &[&str]); 3] = [
    ("bios", &["apply_configuration", "factory_reset"]),
    ("firmware", &["update"]),
    ("raid", &["create_configuration", "delete_configuration"]),
];

/// What a fake machine refuses of steps that it has not, with those that it has; `phase` is `clean` or `service`, `own` the
/// agent's steps of it.
#[must_use]
pub fn unknown_steps(node: &Node, steps: &[CleanStep], phase: &str, own: &[&str]) -> Vec<String> {
    let fakes = OF_INTERFACES.iter().filter(|(kind, _)| class_of(node, kind) == Some("fake"));
    let mut known: Vec<String> = own.iter().map(|step| format!("deploy.{step}")).collect();
    known.extend(OWN.iter().map(|step| format!("power.{step}")));
    known.extend(
        fakes.flat_map(|(kind, steps)| steps.iter().map(move |step| format!("{kind}.{step}"))),
    );
    let problem = |step: &CleanStep| {
        let key = format!("{}.{}", step.interface, step.step);
        // Wrong arguments of our own steps are judged elsewhere.
        let is_known = known.contains(&key) || !matches!(Own::of(step), Ok(None));
        (!is_known).then(|| {
            format!("node {} has no {phase} step {key}; it has {}", node.uuid, known.join(", "))
        })
    };
    steps.iter().filter_map(problem).collect()
}

/// Whether the node's interface of this kind (`deploy`, `inspect`, `rescue`) only pretends.
#[must_use]
pub fn is_pretended(node: &Node, kind: &str) -> bool {
    node.driver == "fake-hardware" && class_of(node, kind) == Some("fake")
}

/// Whether what the node is doing or waiting for is pretended.
#[must_use]
pub fn is_playing(node: &Node) -> bool {
    use ProvisionState as State;
    match node.provision_state {
        State::Deploying
        | State::WaitCallBack
        | State::DeployHold
        | State::Cleaning
        | State::CleanWait
        | State::CleanHold
        | State::Servicing
        | State::ServiceWait
        | State::ServiceHold => is_pretended(node, "deploy"),
        State::Inspecting | State::InspectWait => is_pretended(node, "inspect"),
        State::Rescuing | State::RescueWait | State::Unrescuing => is_pretended(node, "rescue"),
        State::Enroll
        | State::Verifying
        | State::Manageable
        | State::Available
        | State::Active
        | State::Error
        | State::DeployFailed
        | State::CleanFailed
        | State::Deleting
        | State::InspectFailed
        | State::Adopting
        | State::AdoptFailed
        | State::Rescue
        | State::RescueFailed
        | State::UnrescueFailed
        | State::ServiceFailed => false,
    }
}

/// Begins work with these steps. What was left of earlier work is forgotten.
pub(crate) fn begin(node: &mut Node, steps: &[CleanStep]) {
    node.work = None;
    node.evidence.clear();
    node.plan.clear();
    end(node);
    node.pretended_steps = steps.to_vec();
}

/// Walks the steps up to the next `hold`, which becomes the step in progress; false: there was none, everything is done.
pub(crate) fn walk(node: &mut Node) -> bool {
    let hold = node.pretended_steps.iter().position(|step| step.step == HOLD);
    let Some(at) = hold else {
        end(node);
        return false;
    };
    let done: Vec<CleanStep> = node.pretended_steps.drain(..=at).collect();
    let shown = done.last().map(shown).unwrap_or_default();
    node.show_step(shown);
    true
}

fn shown(step: &CleanStep) -> Object {
    let shown = json!({"interface": step.interface, "step": step.step, "args": step.args});
    shown.as_object().cloned().unwrap_or_default()
}

/// Ends the work.
pub(crate) fn end(node: &mut Node) {
    node.pretended_steps.clear();
    node.end_step();
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::node::sample::node;

    fn step(name: &str) -> CleanStep {
        CleanStep { interface: "power".into(), step: name.into(), args: Value::Null }
    }

    #[test]
    fn fake_steps_stop_at_each_hold_and_end_once() {
        let mut record = node();
        record.provision_state = ProvisionState::Cleaning;
        begin(&mut record, &[step("power_on"), step("hold"), step("reboot"), step("hold")]);
        for left in [2, 0] {
            assert!(walk(&mut record));
            assert_eq!(
                (record.pretended_steps.len(), &record.clean_step["step"]),
                (left, &json!("hold"))
            );
        }
        assert!(!walk(&mut record));
        assert!(record.clean_step.is_empty());
    }

    #[test]
    fn steps_that_a_fake_machine_has_not_are_refused_with_those_it_has() {
        let mut record = node();
        let step = |interface: &str, name: &str| CleanStep {
            interface: interface.into(),
            step: name.into(),
            args: Value::Null,
        };
        let refused =
            |node: &Node, steps: &[CleanStep]| unknown_steps(node, steps, "clean", &CLEAN_STEPS);
        let good = [
            step("deploy", "erase_devices"),
            step("raid", "create_configuration"),
            step("power", "reboot"),
            step("deploy", "hold"),
        ];
        assert_eq!(refused(&record, &good), [""; 0]);
        let found =
            refused(&record, &[step("deploy", "erase_device"), step("power", "erase_devices")]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains(
            "has no clean step deploy.erase_device; it has deploy.erase_devices_metadata, "
        ));
        assert!(found[0].ends_with("bios.apply_configuration, bios.factory_reset, firmware.update, raid.create_configuration, raid.delete_configuration"), "{found:?}");
        record.other.insert("raid_interface".into(), json!("no-raid"));
        assert_eq!(refused(&record, &good).len(), 1);
        assert_eq!(unknown_steps(&record, &good[..1], "service", &SERVICE_STEPS).len(), 1);
    }

    #[test]
    fn fake_interfaces_belong_to_fake_hardware_alone() {
        let mut record = node();
        assert!(is_pretended(&record, "deploy"));
        record.other.insert("deploy_interface".into(), json!("direct"));
        assert!(!is_pretended(&record, "deploy") && is_pretended(&record, "rescue"));
        record.driver = "ipmi".into();
        record.other.insert("deploy_interface".into(), json!("fake"));
        assert!(!is_pretended(&record, "deploy"));
    }
}
