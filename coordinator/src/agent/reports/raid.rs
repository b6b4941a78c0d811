//! What a step of the `raid` interface leaves in the node's record, as Ironic's conductor does. Pure.

use ironwright_api::{Blame, Evidence, Failure};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::node::transition::wire_time;
use crate::node::{Node, WorkRecord};

/// Ironic's steps that build arrays.
const BUILD: [&str; 2] = ["create_configuration", "apply_configuration"];
/// Ironic's step that removes them.
const DELETE: &str = "delete_configuration";
/// Steps that leave no array on the disks they reach.
const ERASE: [&str; 2] = ["erase_devices", "erase_devices_metadata"];

/// Whether the running step, by its plan, belongs to the `raid` interface.
fn is_raid(work: &WorkRecord, step: &str) -> bool {
    work.planned(step).is_some_and(|planned| planned.interface == "raid")
}

/// The configuration that a step says it built.
fn built(evidence: Option<&Evidence>) -> Option<&Value> {
    let Some(Evidence::Plugin(result)) = evidence else { return None };
    let disks = result.data.get("logical_disks").and_then(Value::as_array)?;
    (!disks.is_empty()).then_some(&result.data)
}

/// The failure of a step that was to build arrays and shows none: the next deploy would not find them.
pub(super) fn nothing_built(
    work: &WorkRecord,
    step: &str,
    evidence: Option<&Evidence>,
) -> Option<Failure> {
    let empty = is_raid(work, step) && BUILD.contains(&step) && built(evidence).is_none();
    empty.then(|| Failure {
        step: step.to_owned(),
        // Ironic's sentence.
        message: "Agent ramdisk didn't return a proper command result while building RAID"
            .to_owned(),
        remedy: "The plugin's result must have data.logical_disks: mend the plugin.".to_owned(),
        blame: Blame::Internal,
    })
}

/// Records what an ended step did to the node's arrays.
pub(super) fn record(node: &mut Node, step: &str, evidence: Option<&Evidence>) {
    let Some(work) = &node.work else { return };
    let raid = is_raid(work, step);
    if raid && BUILD.contains(&step) {
        if let Some(config) = built(evidence) {
            node.other.insert("raid_config".to_owned(), config.clone());
        }
    } else if raid && step == DELETE {
        node.other.insert("raid_config".to_owned(), json!({}));
        // It named a volume that is gone.
        node.properties.remove("root_device");
    } else if ERASE.contains(&step) && node.other.contains_key("raid_config") {
        node.other.insert("raid_config".to_owned(), json!({}));
    }
}

/// Ironic's time of the last change, where `raid_config` is another than `before`.
pub(in crate::agent) fn stamp(node: &mut Node, before: Option<&Value>, now: Timestamp) {
    let Some(config) = node.other.get_mut("raid_config") else { return };
    if Some(&*config) == before {
        return;
    }
    if let Some(config) = config.as_object_mut()
        && !config.is_empty()
    {
        config.insert("last_updated".to_owned(), json!(wire_time(now)));
    }
}

#[cfg(test)]
mod tests {
    use ironwright_api::{Event, PluginOutcome, PluginResult};

    use super::super::store;
    use super::super::tests::{began, cleaning_node, plan, report};
    use super::*;
    use crate::certificate::tests::Agent;
    use crate::node::Outcome;

    /// A node on which `step` of interface raid ended with this data.
    fn ended(step: &str, data: Value) -> Node {
        let mut node = cleaning_node(&Agent::new());
        node.properties.insert("root_device".to_owned(), json!({"name": "/dev/md0"}));
        node.other.insert("raid_config".to_owned(), json!({"logical_disks": [{"uuid": "old"}]}));
        let evidence = Evidence::Plugin(Box::new(PluginResult {
            plugin: "raid-mdadm".into(),
            version: "1".into(),
            sha256: String::new(),
            key_id: String::new(),
            outcome: PluginOutcome::Changed,
            message: String::new(),
            data,
        }));
        let end = Event::StepEnded { step: step.into(), evidence: Some(evidence) };
        let reports = [
            report(&node, 1, plan(step, false)),
            report(&node, 2, began(step)),
            report(&node, 3, end),
        ];
        store(&mut node, &reports, None, &mut Vec::new());
        node
    }

    #[test]
    fn what_was_built_is_recorded_with_the_time_and_what_was_deleted_is_forgotten() {
        let config = json!({"logical_disks": [{"uuid": "new"}]});
        let mut node = ended("create_configuration", config.clone());
        stamp(&mut node, None, Timestamp::UNIX_EPOCH);
        let recorded = &node.other["raid_config"];
        assert_eq!(recorded["logical_disks"], config["logical_disks"]);
        assert_eq!(recorded["last_updated"], "1970-01-01T00:00:00.000000+00:00");
        assert!(node.properties.contains_key("root_device"));
        let node = ended("delete_configuration", json!({"deleted": []}));
        assert_eq!(node.other["raid_config"], json!({}));
        assert!(!node.properties.contains_key("root_device"));
        let node = ended("show_configuration", json!({"arrays": []}));
        assert_eq!(node.other["raid_config"]["logical_disks"][0]["uuid"], "old");
    }

    #[test]
    fn a_step_that_built_nothing_has_failed_in_ironics_words() {
        for data in [json!({}), json!(null), json!({"logical_disks": []})] {
            let node = ended("apply_configuration", data);
            let Some(Outcome::Failed(failure)) = node.work.unwrap().outcome else {
                panic!("believed")
            };
            assert!(failure.message.contains("proper command result while building RAID"));
        }
    }
}
