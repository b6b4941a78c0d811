//! What a step of the `raid` interface leaves in the node's record, as Ironic's conductor does. Pure.

use ironwright_api::{Blame, Clean, Erased, Evidence, Failure, Work, is_on_disk};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::node::order::{ARRAYS_DUE, builds_arrays};
use crate::node::transition::wire_time;
use crate::node::{Node, WorkRecord};

/// Ironic's steps that build arrays.
const BUILD: [&str; 2] = ["create_configuration", "apply_configuration"];
/// Ironic's step that removes them.
const DELETE: &str = "delete_configuration";

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
            node.driver_internal_info.remove(ARRAYS_DUE);
        }
    } else if raid && step == DELETE {
        node.other.insert("raid_config".to_owned(), json!({}));
        node.driver_internal_info.remove(ARRAYS_DUE);
        keep_in_mind(node);
        // It named a volume that is gone.
        node.properties.remove("root_device");
    } else if let Some(Evidence::Erased { disks }) = evidence {
        keep_in_mind(node);
        erased(node, disks);
    }
}

/// An automated cleaning that erases disks, or deletes arrays, builds them anew in the end. Where it does not get there (its attempts are used
/// up, somebody aborts it), `raid_config` names the arrays no more, and the next cleaning must know of them all the same.
fn keep_in_mind(node: &mut Node) {
    let Some(work) = &node.work else { return };
    let Work::Clean(Clean { automated: Some(automated), .. }) = &work.order.work else { return };
    if builds_arrays(automated) {
        node.driver_internal_info.insert(ARRAYS_DUE.to_owned(), json!(true));
    } else {
        node.driver_internal_info.remove(ARRAYS_DUE);
    }
}

/// Forgets the software arrays that lost a member with these disks, and nothing else: not those of other disks, nor of a controller.
fn erased(node: &mut Node, disks: &[Erased]) {
    let Some(config) = node.other.get_mut("raid_config").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(arrays) = config.get_mut("logical_disks").and_then(Value::as_array_mut) else {
        return;
    };
    let before = arrays.len();
    arrays.retain(|array| !disks.iter().any(|disk| has_member(array, disk, disks)));
    match (arrays.len(), before) {
        (left, before) if left == before => {}
        (0, _) => config.clear(),
        // The mirror of EFI system partitions has a member on each disk of each array.
        _ => drop(config.remove("esp")),
    }
}

/// Whether a software array has a member on `disk`, one of those that were `erased`: by serial number, as names change between boots.
/// By the name it was built with where one is not known, or where several disks have it, as behind some bridges and controllers. An
/// array that does not say what it is made of has none.
fn has_member(array: &Value, disk: &Erased, erased: &[Erased]) -> bool {
    let list = |key: &str| array.get(key).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let serials: Vec<String> = list("member_serials").map(text).collect();
    let is_alone = |serial: &str| {
        serials.iter().filter(|other| *other == serial).count() == 1
            && erased.iter().filter(|other| other.serial == serial).count() == 1
    };
    let serials = serials.iter().map(String::as_str).chain(std::iter::repeat(""));
    let mut members = list("members").map(text).zip(serials);
    members.any(|(member, serial)| match (serial, disk.serial.as_str()) {
        ("", _) | (_, "") => is_on_disk(&member, &disk.device),
        (serial, other) if serial != other => false,
        (serial, _) => is_alone(serial) || is_on_disk(&member, &disk.device),
    })
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
    use ironwright_api::{Automated, Event, PluginOutcome, PluginResult};

    use super::super::store;
    use super::super::tests::{began, cleaning_node, plan, report};
    use super::*;
    use crate::certificate::tests::Agent;
    use crate::node::Outcome;
    use crate::node::order::automated_clean;
    use crate::settings::CleanSettings;

    /// A node on which `step` of interface raid ended with this data.
    fn ended(step: &str, data: Value) -> Node {
        let mut node = cleaning_node(&Agent::new());
        node.properties.insert("root_device".to_owned(), json!({"name": "/dev/md0"}));
        node.other.insert("raid_config".to_owned(), json!({"logical_disks": [{"uuid": "old"}]}));
        node.driver_internal_info.insert(ARRAYS_DUE.to_owned(), json!(true));
        let evidence = Evidence::Plugin(Box::new(PluginResult {
            plugin: "raid-mdadm".into(),
            version: "1".into(),
            sha256: String::new(),
            key_id: String::new(),
            outcome: PluginOutcome::Changed,
            message: String::new(),
            data,
            warnings: Vec::new(),
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
        assert!(!node.driver_internal_info.contains_key(ARRAYS_DUE));
        let node = ended("delete_configuration", json!({"deleted": []}));
        assert_eq!(node.other["raid_config"], json!({}));
        assert!(!node.properties.contains_key("root_device"));
        assert!(!node.driver_internal_info.contains_key(ARRAYS_DUE));
        let node = ended("show_configuration", json!({"arrays": []}));
        assert_eq!(node.other["raid_config"]["logical_disks"][0]["uuid"], "old");
    }

    /// A node with two arrays and a volume of a controller, in a cleaning by this `automated`.
    fn with_arrays(automated: Option<Automated>) -> Node {
        let agent = Agent::new();
        let mut node = cleaning_node(&agent);
        let clean = Clean { automated, ..Clean::default() };
        node.work.as_mut().unwrap().order.work = Work::Clean(clean);
        let array = |uuid: &str, members: [&str; 2]| json!({"controller": "software", "uuid": uuid, "members": members});
        let config = json!({
            "logical_disks": [
                array("root", ["/dev/vda2", "/dev/vdb2"]),
                array("data", ["/dev/nvme0n1p1", "/dev/nvme0n10p1"]),
                {"controller": "Smart Array P822 in Slot 2", "size_gb": 100},
            ],
            "esp": {"uuid": "esp"},
        });
        for (field, value) in
            [("raid_config", config), ("target_raid_config", json!({"logical_disks": [{}]}))]
        {
            node.other.insert(field.to_owned(), value);
        }
        node.other.insert("raid_interface".to_owned(), json!("agent"));
        node
    }

    /// The same after a step that erased these disks.
    fn after_erasing(node: Node, disks: &[&str]) -> Node {
        let disks: Vec<_> = disks.iter().map(|disk| (*disk, "")).collect();
        after_erasing_those(node, &disks)
    }

    /// The same by name and serial number.
    fn after_erasing_those(mut node: Node, disks: &[(&str, &str)]) -> Node {
        let erased = |(device, serial): &(&str, &str)| Erased {
            device: (*device).to_owned(),
            serial: (*serial).to_owned(),
            disk_bytes: 1,
            method: "overwrite".to_owned(),
            bytes: 1,
            verified_bytes: 1,
            certificate: None,
        };
        let evidence = Evidence::Erased { disks: disks.iter().map(erased).collect() };
        record(&mut node, "erase_devices", Some(&evidence));
        node
    }

    #[test]
    fn only_arrays_that_lost_a_member_are_forgotten() {
        for (disks, left, esp) in [
            (&["/dev/vdb"][..], &[Some("data"), None][..], false),
            (&["/dev/nvme0n1"], &[Some("root"), None], false),
            (&["/dev/nvme0n10", "/dev/vda"], &[None], false),
            (&["/dev/vd", "/dev/nvme0", "/dev/vdc"], &[Some("root"), Some("data"), None], true),
            (&[], &[Some("root"), Some("data"), None], true),
        ] {
            let node = after_erasing(with_arrays(None), disks);
            let config = &node.other["raid_config"];
            let arrays = config["logical_disks"].as_array().unwrap();
            let uuids: Vec<_> =
                arrays.iter().map(|array| array.get("uuid").and_then(Value::as_str)).collect();
            assert_eq!(uuids, left, "{disks:?}");
            assert_eq!(config.get("esp").is_some(), esp, "{disks:?}");
        }
    }

    #[test]
    fn disks_are_recognised_by_their_serial_numbers_when_their_names_have_changed() {
        let array = |serials: Value| json!({"controller": "software", "uuid": "root", "members": ["/dev/sda2", "/dev/sdb2"], "member_serials": serials});
        let other = json!({"controller": "software", "uuid": "other"});
        for (serials, erased, lost) in [
            (json!(["A", "B"]), ("/dev/sdc", "A"), true),
            (json!(["A", "B"]), ("/dev/sda", "C"), false),
            (json!(["A", "B"]), ("/dev/sda", "B"), true),
            // Where one of the two is not known, the name is all there is.
            (json!(["A", "B"]), ("/dev/sda", ""), true),
            (json!(["", "B"]), ("/dev/sda", "A"), true),
            (json!(["", "B"]), ("/dev/sdb", "C"), false),
            (json!(["A"]), ("/dev/sdb", "C"), true),
            (Value::Null, ("/dev/sdb", "C"), true),
            (json!(["A", "B"]), ("/dev/sdc", "C"), false),
        ] {
            let mut node = with_arrays(None);
            let config = json!({"logical_disks": [array(serials.clone()), other]});
            node.other.insert("raid_config".to_owned(), config);
            let node = after_erasing_those(node, &[erased]);
            let left = node.other["raid_config"]["logical_disks"].as_array().unwrap();
            assert_eq!(left.len(), if lost { 1 } else { 2 }, "{serials}, {erased:?}");
            assert_eq!(left.last(), Some(&other), "it does not say what it is made of");
        }
    }

    #[test]
    fn a_serial_number_that_several_disks_have_tells_nothing_of_them() {
        let array = |members: Value, serials: Value| json!({"controller": "software", "uuid": "root", "members": members, "member_serials": serials});
        let members = json!(["/dev/sda2", "/dev/sdb2"]);
        for (members, serials, erased, lost) in [
            (&members, json!(["X", "X"]), &[("/dev/sdc", "X")][..], false),
            (&members, json!(["X", "X"]), &[("/dev/sda", "X")], true),
            (&members, json!(["X", "B"]), &[("/dev/sdc", "X"), ("/dev/sdd", "X")], false),
            (&members, json!(["X", "B"]), &[("/dev/sda", "X"), ("/dev/sdd", "X")], true),
            (&members, json!(["A", "B"]), &[("/dev/sdc", "A"), ("/dev/sdd", "D")], true),
            // Each serial number stands beside its own member.
            (&json!([5, "/dev/sdb2"]), json!(["A", ""]), &[("/dev/sdb", "C")], true),
            (&json!([5, "/dev/sdb2"]), json!(["A", "B"]), &[("/dev/sdc", "B")], true),
        ] {
            let mut node = with_arrays(None);
            let config = json!({"logical_disks": [array(members.clone(), serials.clone())]});
            node.other.insert("raid_config".to_owned(), config);
            let node = after_erasing_those(node, erased);
            let left = node.other["raid_config"].get("logical_disks").is_some();
            assert_eq!(left, !lost, "{members}, {serials}, {erased:?}");
        }
    }

    #[test]
    fn arrays_that_a_cleaning_deletes_before_it_builds_them_stay_due() {
        for (builds, due) in [(1, true), (0, false)] {
            let priorities = [("raid.create_configuration".to_owned(), builds)].into();
            let automated = Automated { priorities, ..Automated::default() };
            let mut node = with_arrays(Some(automated));
            node.driver_internal_info.insert(ARRAYS_DUE.to_owned(), json!(true));
            let planned = plan("delete_configuration", false);
            let deleted = Event::StepEnded { step: "delete_configuration".into(), evidence: None };
            let reports = [
                report(&node, 1, planned),
                report(&node, 2, began("delete_configuration")),
                report(&node, 3, deleted),
            ];
            store(&mut node, &reports, None, &mut Vec::new());
            assert_eq!(node.other["raid_config"], json!({}));
            assert_eq!(node.driver_internal_info.contains_key(ARRAYS_DUE), due);
        }
    }

    #[test]
    fn a_cleaning_that_ended_between_erase_and_rebuilding_leaves_the_arrays_to_the_next_one() {
        let next = |node: &Node| {
            let clean = automated_clean(node, &CleanSettings::default(), Vec::new());
            let Work::Clean(Clean { automated: Some(automated), .. }) = clean else {
                panic!("not an automated clean")
            };
            automated
        };
        let software = |automated: Option<Automated>| {
            let mut node = with_arrays(automated);
            let config = node.other.get_mut("raid_config").unwrap();
            config["logical_disks"].as_array_mut().unwrap().pop();
            node
        };
        let first = next(&software(None));
        assert!(builds_arrays(&first));
        let all = &["/dev/vda", "/dev/vdb", "/dev/nvme0n1", "/dev/nvme0n10"];
        let cut = after_erasing(software(Some(first)), all);
        assert_eq!(cut.other["raid_config"], json!({}), "no deploy looks for what is gone");
        assert!(builds_arrays(&next(&cut)), "the arrays are forgotten");

        // Whoever wants none any more says so.
        let mut without = cut.clone();
        without.other.insert("target_raid_config".to_owned(), json!({}));
        let order = next(&without);
        assert!(!builds_arrays(&order));
        without.work.as_mut().unwrap().order.work =
            Work::Clean(Clean { automated: Some(order), ..Clean::default() });
        let mut without = after_erasing(without, all);
        without.other.insert("target_raid_config".to_owned(), json!({"logical_disks": [{}]}));
        without.other.insert("raid_config".to_owned(), json!({}));
        assert!(!builds_arrays(&next(&without)), "a new wish is built by its own step first");
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
