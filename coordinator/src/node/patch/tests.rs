//! What a patch does to a record, and what it must not.

use serde_json::json;

use super::*;
use crate::node::sample::{node, object};

fn patched(node: &Node, document: &Value) -> Result<Node, PatchError> {
    apply(node, &parse(document)?, false)
}

fn refusal(node: &Node, document: &Value) -> String {
    patched(node, document).unwrap_err().to_string()
}

#[test]
fn what_the_client_sends_for_set_and_unset_changes_the_record() {
    let mut record = node();
    record.instance_info = object(json!({"a": 1, "b": {"c": [1, 2]}}));
    let after = patched(
        &record,
        &json!([
            {"op": "add", "path": "/driver_info/ipmi_address", "value": "192.0.2.7"},
            {"op": "replace", "path": "/name", "value": "db01.example"},
            {"op": "add", "path": "/extra/a~1b", "value": 1},
            {"op": "remove", "path": "/instance_info/a"},
            {"op": "add", "path": "/instance_info/b/c/-", "value": 3},
            {"op": "add", "path": "/owner", "value": "me"},
            {"op": "add", "path": "/instance_info/display_name", "value": "web"},
        ]),
    )
    .unwrap();
    assert_eq!(after.driver_info, object(json!({"ipmi_address": "192.0.2.7"})));
    assert_eq!(after.name.as_deref(), Some("db01.example"));
    assert_eq!(after.extra, object(json!({"a/b": 1})));
    assert_eq!(after.instance_info, object(json!({"b": {"c": [1, 2, 3]}, "display_name": "web"})));
    assert_eq!(
        (&after.other["owner"], &after.other["instance_name"]),
        (&json!("me"), &json!("web"))
    );
}

#[test]
fn removing_a_root_resets_it_to_its_default() {
    let mut record = node();
    record.instance_info = object(json!({"a": 1}));
    record.protected_reason = None;
    record.automated_clean = Some(false);
    let after = patched(
        &record,
        &json!([{"op": "remove", "path": "/instance_info"}, {"op": "remove", "path": "/automated_clean"},
                {"op": "remove", "path": "/name"}]),
    )
    .unwrap();
    assert_eq!((after.instance_info.len(), after.automated_clean, after.name), (0, None, None));
}

#[test]
fn every_operation_that_may_not_be_is_named_at_once() {
    let text = refusal(
        &node(),
        &json!([
            {"op": "replace", "path": "/uuid", "value": "x"},
            {"op": "move", "from": "/extra/a", "path": "/extra/b"},
            {"op": "add", "path": "/provision_state", "value": "active"},
            {"op": "add", "path": "/extra/x"},
            {"op": "add", "path": "extra/x", "value": 1},
        ]),
    );
    for part in [
        "Cannot patch /uuid.",
        "\"move\"",
        "/provision_state",
        "needs a value",
        "begin with a slash",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_path_that_leads_nowhere_and_values_of_the_wrong_kind_are_refused() {
    for (document, part) in [
        (json!([{"op": "remove", "path": "/instance_info/none"}]), "/instance_info/none"),
        (json!([{"op": "replace", "path": "/extra/none", "value": 1}]), "/extra/none"),
        (json!([{"op": "add", "path": "/extra", "value": 5}]), "extra must be an object"),
        (json!([{"op": "remove", "path": "/driver"}]), "driver"),
        (json!([{"op": "add", "path": "/driver", "value": "agent_ipmitool"}]), "'ipmi'"),
        (json!([{"op": "add", "path": "/protected_reason", "value": "x"}]), "protected_reason"),
        (json!([{"op": "add", "path": "/power_interface", "value": "redfish"}]), "redfish"),
        (json!({"op": "add"}), "list of operations"),
    ] {
        assert!(refusal(&node(), &document).contains(part), "{document}");
    }
}

#[test]
fn the_state_decides_what_may_change() {
    let rename = json!([{"op": "add", "path": "/name", "value": "x"}]);
    let interface = json!([{"op": "add", "path": "/boot_interface", "value": "pxe"}]);
    let protect = json!([{"op": "add", "path": "/protected", "value": true}]);
    let retire = json!([{"op": "add", "path": "/retired", "value": true}]);
    let release = json!([{"op": "remove", "path": "/instance_uuid"}]);
    use ProvisionState as S;
    for (state, target, maintenance, document, allowed) in [
        (S::Available, None, false, &rename, true),
        (S::Deploying, Some(S::Active), false, &rename, false),
        (S::WaitCallBack, Some(S::Active), true, &rename, false),
        (S::WaitCallBack, Some(S::Active), true, &release, true),
        (S::WaitCallBack, Some(S::Active), false, &release, false),
        (S::Inspecting, Some(S::Manageable), false, &rename, false),
        (S::DeployFailed, Some(S::Active), false, &rename, true),
        (S::CleanFailed, Some(S::Available), false, &rename, true),
        (S::Available, None, false, &interface, true),
        (S::Active, None, false, &interface, false),
        (S::Active, None, true, &interface, true),
        (S::DeployFailed, Some(S::Active), false, &interface, false),
        (S::Active, None, false, &protect, true),
        (S::Available, None, false, &protect, false),
        (S::Available, None, false, &retire, false),
        (S::Manageable, None, false, &retire, true),
    ] {
        let mut record = node();
        (record.provision_state, record.target_provision_state) = (state, target);
        record.maintenance = maintenance;
        let result = patched(&record, document);
        assert_eq!(result.is_ok(), allowed, "{state:?} {maintenance} {document} {result:?}");
        if let Err(error) = result {
            assert!(matches!(error, PatchError::Conflict(_)), "{error:?}");
        }
    }
}

#[test]
fn a_node_with_an_instance_takes_no_second_one() {
    let mut record = node();
    record.instance_uuid = Some(Uuid::nil());
    let second = json!([{"op": "add", "path": "/instance_uuid", "value": node().uuid}]);
    assert!(matches!(patched(&record, &second), Err(PatchError::Conflict(_))));
    let none = json!([{"op": "remove", "path": "/instance_uuid"}]);
    assert_eq!(patched(&record, &none).unwrap().instance_uuid, None);
}

#[test]
fn a_new_driver_with_reset_forgets_the_interfaces_chosen_for_the_old_one() {
    let mut record = node();
    record.other.insert("power_interface".into(), json!("fake"));
    let document = json!([{"op": "replace", "path": "/driver", "value": "ipmi"}]);
    assert!(refusal(&record, &document).contains("power"));
    let after = apply(&record, &parse(&document).unwrap(), true).unwrap();
    assert!(!after.other.contains_key("power_interface"));
}

#[test]
fn what_stands_for_a_secret_is_not_written_back_as_one() {
    let mut record = node();
    record.driver_info = object(json!({"ipmi_address": "192.0.2.7", "ipmi_password": "fake"}));
    let read = json!({"ipmi_address": "192.0.2.8", "ipmi_password": "******"});
    for document in [
        json!([{"op": "replace", "path": "/driver_info", "value": read}]),
        json!([{"op": "replace", "path": "/driver_info/ipmi_password", "value": "******"}]),
        json!([{"op": "replace", "path": "/driver_info/ipmi_password", "value": {"token": ["******"]}}]),
        json!([{"op": "replace", "path": "/driver_info/ipmi_password", "value": "http://me:******@h/"}]),
    ] {
        let said = refusal(&record, &document);
        assert!(
            said.starts_with("driver_info/ipmi_password: ****** stands for a secret"),
            "{said}"
        );
    }
    let other =
        json!([{"op": "replace", "path": "/driver_info/ipmi_address", "value": "192.0.2.8"}]);
    assert_eq!(patched(&record, &other).unwrap().driver_info["ipmi_password"], "fake");
}
