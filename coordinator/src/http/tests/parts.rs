//! The parts of a node that few machines have, runbooks, shards, events.

use serde_json::{Value, json};

use super::client;
use crate::app::Change;
use crate::node::order::ARRAYS_DUE;
use crate::reconcile;
use crate::store::StoreError;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn what_no_interface_does_is_answered_as_by_a_disabled_one_and_lists_are_empty() {
    let client = client();
    client.node(json!({"name": "n", "driver": "ipmi", "vendor_interface": "no-vendor"})).await;
    for (method, path, body, status, part) in [
        ("GET", "bios", Value::Null, 200, "{\"bios\":[]}"),
        ("GET", "bios/virt", Value::Null, 404, "BIOS setting virt"),
        ("GET", "firmware", Value::Null, 200, "{\"firmware\":[]}"),
        ("GET", "management/indicators", Value::Null, 200, "led@chassis"),
        ("GET", "management/indicators/chassis", Value::Null, 200, "led@chassis"),
        ("GET", "management/indicators/system", Value::Null, 200, "{\"indicators\":[]}"),
        ("GET", "management/indicators/chassis/led-9", Value::Null, 404, "led-9@chassis"),
        ("GET", "management/indicators/led@chassis", Value::Null, 400, "ipmi_address"),
        ("PUT", "management/indicators/chassis/led", json!({"state": "on"}), 400, "OFF, ON"),
        ("PUT", "management/indicators/led@chassis", json!({"state": "ON"}), 400, "ipmi_address"),
        ("PUT", "management/inject_nmi", json!({}), 400, "ipmi_address"),
        ("PUT", "states/raid", json!({"logical_disks": []}), 400, "does not support raid"),
        ("PUT", "states/raid", json!({"logical_disks": "x"}), 400, "logical_disks"),
        (
            "PUT",
            "states/boot_mode",
            json!({"target": "uefi"}),
            400,
            "does not support set_boot_mode",
        ),
        ("PUT", "states/boot_mode", json!({"target": "legacy"}), 400, "uefi or bios"),
        ("PUT", "states/secure_boot", json!({"target": true}), 400, "does not support"),
        ("PUT", "states/secure_boot", json!({}), 400, "target"),
        ("PUT", "states/console", json!({"enabled": true}), 400, "does not support console"),
        ("GET", "states/console", Value::Null, 200, "\"console_enabled\":false"),
        ("GET", "vmedia", Value::Null, 400, "does not support virtual media"),
        ("POST", "vmedia", json!({}), 400, "does not support virtual media"),
        ("DELETE", "vmedia", Value::Null, 400, "does not support virtual media"),
        ("GET", "vendor_passthru/methods", Value::Null, 200, "{}"),
        (
            "POST",
            "vendor_passthru?method=send_raw",
            json!({"raw_bytes": "0x00"}),
            400,
            "does not support vendor",
        ),
        ("PUT", "vendor_passthru/bmc_reset", json!({}), 400, "does not support vendor"),
        ("GET", "volume", Value::Null, 200, "connectors"),
        ("GET", "volume/targets", Value::Null, 200, "{\"targets\":[]}"),
        ("GET", "allocation", Value::Null, 404, "Allocation for node"),
    ] {
        let answer = client.send(method, &format!("/v1/nodes/n/{path}"), body).await;
        assert_eq!(answer.status, status, "{method} {path} {}", answer.text);
        assert!(
            answer.text.contains(part) || answer.text.contains(&part.replace('"', "\\\"")),
            "{method} {path} {}",
            answer.text
        );
        let nobody = client
            .send(
                method,
                &format!("/v1/nodes/nobody/{path}"),
                json!({"target": "uefi", "enabled": true, "id": "x"}),
            )
            .await;
        assert!(matches!(nobody.status, 404 | 400), "{method} {path} {}", nobody.text);
    }
    assert_eq!(client.get("/v1/drivers/ipmi/raid/logical_disk_properties").await.status, 400);
    assert_eq!(client.get("/v1/drivers/ipmi/vendor_passthru/methods").await.json(), json!({}));
}

#[tokio::test]
async fn vendor_methods_are_ironic_s_and_wrong_calls_reach_no_bmc() {
    let client = client();
    client.node(json!({"name": "n", "driver": "ipmi"})).await;
    client.node(json!({"name": "fake"})).await;
    let methods = client.get("/v1/nodes/n/vendor_passthru/methods").await.json();
    assert_eq!(methods["send_raw"]["http_methods"], json!(["POST"]));
    assert!(methods["bmc_reset"]["description"].as_str().unwrap().contains("warm"), "{methods}");
    let raw = json!({"raw_bytes": "0x06 0x01"});
    for (method, path, body, part) in [
        ("POST", "n/vendor_passthru", raw.clone(), "Missing mandatory parameter: method"),
        ("POST", "n/vendor_passthru?method=fly", raw.clone(), "No handler for method fly"),
        ("POST", "fake/vendor_passthru/send_raw", raw.clone(), "No handler for method send_raw"),
        ("GET", "n/vendor_passthru?method=send_raw", Value::Null, "does not support HTTP GET"),
        ("PUT", "n/vendor_passthru/bmc_reset", json!({}), "does not support HTTP PUT"),
        ("POST", "n/vendor_passthru/send_raw", Value::Null, "raw_bytes (string of bytes)"),
        ("POST", "n/vendor_passthru/send_raw", json!({"raw_bytes": [6, 1]}), "raw_bytes"),
        ("POST", "n/vendor_passthru/send_raw", json!({"raw_bytes": "6 x"}), "byte 2 is 'x'"),
        ("POST", "n/vendor_passthru/send_raw", json!({"raw_bytes": "6 1", "x": 1}), "'x'"),
        ("POST", "n/vendor_passthru/send_raw", json!([1]), "must be an object"),
        ("POST", "n/vendor_passthru/bmc_reset", json!({"warm": "perhaps"}), "warm"),
        ("POST", "n/vendor_passthru/bmc_reset", json!({"cold": true}), "no argument 'cold'"),
        ("POST", "n/vendor_passthru/send_raw", raw, "ipmi_address"),
    ] {
        let answer = client.send(method, &format!("/v1/nodes/{path}"), body).await;
        assert_eq!(answer.status, 400, "{method} {path} {}", answer.text);
        assert!(answer.fault().contains(part), "{part}: {}", answer.text);
    }
    let nobody = client.send("POST", "/v1/nodes/nobody/vendor_passthru/send_raw", json!({})).await;
    assert_eq!(nobody.status, 404);
}

#[tokio::test]
async fn a_fake_interface_records_what_it_is_told() {
    let client = client();
    client.node(json!({"name": "n"})).await;
    let raid = json!({"logical_disks": [{"size_gb": 100, "raid_level": "1"}]});
    for (path, body, status) in [
        ("states/raid", raid.clone(), 204),
        ("states/boot_mode", json!({"target": "bios"}), 202),
        ("states/secure_boot", json!({"target": true}), 202),
        ("states/console", json!({"enabled": true}), 202),
        ("management/inject_nmi", json!({}), 204),
    ] {
        let answer = client.send("PUT", &format!("/v1/nodes/n/{path}"), body).await;
        assert_eq!(answer.status, status, "{path} {}", answer.text);
    }
    let in_band = json!({"name": "r", "driver": "ipmi", "raid_interface": "agent"});
    client.node(in_band).await;
    assert_eq!(client.send("PUT", "/v1/nodes/r/states/raid", raid.clone()).await.status, 204);
    let states = client.get("/v1/nodes/r/states").await.json();
    assert_eq!(states["target_raid_config"], raid);
    // Arrays that a cleaning erased and has still to build are forgotten by who wants none, and by nobody else.
    for (body, due) in [(raid.clone(), true), (json!({}), false)] {
        let change = client.app.change("r", |node| -> Result<_, StoreError> {
            node.driver_internal_info.insert(ARRAYS_DUE.to_owned(), json!(true));
            Ok(Change::Write(()))
        });
        change.await.unwrap();
        assert_eq!(client.send("PUT", "/v1/nodes/r/states/raid", body.clone()).await.status, 204);
        let node = client.app.store.node("r").await.unwrap().unwrap();
        assert_eq!(node.other["target_raid_config"], body);
        assert_eq!(node.driver_internal_info.contains_key(ARRAYS_DUE), due, "{body}");
    }
    let states = client.get("/v1/nodes/n/states").await.json();
    assert_eq!(
        (
            &states["target_raid_config"],
            &states["boot_mode"],
            &states["secure_boot"],
            &states["console_enabled"]
        ),
        (&raid, &json!("bios"), &json!(true), &json!(true))
    );
}

#[tokio::test]
async fn network_attachments_are_recorded_and_end_with_the_instance() {
    let client = client();
    client.node(json!({"name": "n", "deploy_interface": "fake"})).await;
    let vif = json!({"id": "port-1"});
    for status in [204, 409] {
        assert_eq!(client.send("POST", "/v1/nodes/n/vifs", vif.clone()).await.status, status);
    }
    assert_eq!(client.get("/v1/nodes/n/vifs").await.json(), json!({"vifs": [vif]}));
    assert_eq!(client.send("DELETE", "/v1/nodes/n/vifs/port-2", Value::Null).await.status, 400);
    client.force("n", |node| node.provision_state = crate::node::ProvisionState::Active).await;
    client.send("PUT", "/v1/nodes/n/states/provision", json!({"target": "deleted"})).await;
    let uuid = client.app.store.node("n").await.unwrap().unwrap().uuid;
    reconcile::look(&client.app, uuid).await.unwrap();
    assert_eq!(client.get("/v1/nodes/n/vifs").await.json(), json!({"vifs": []}));
}

#[tokio::test]
async fn a_runbook_stands_for_its_steps_on_nodes_with_its_trait() {
    let client = client();
    client.node(json!({"name": "n", "deploy_interface": "fake"})).await;
    let steps = json!([
        {"interface": "power", "step": "reboot", "order": 2},
        {"interface": "power", "step": "hold", "order": 1},
    ]);
    let runbook = json!({"name": "CUSTOM_CARE", "steps": steps});
    assert_eq!(client.send("POST", "/v1/runbooks", runbook).await.status, 201);
    client.force("n", |node| node.provision_state = crate::node::ProvisionState::Manageable).await;
    let clean = json!({"target": "clean", "runbook": "CUSTOM_CARE"});
    let refused = client.send("PUT", "/v1/nodes/n/states/provision", clean.clone()).await;
    assert_eq!(
        (refused.status, refused.fault().contains("trait CUSTOM_CARE")),
        (400, true),
        "{}",
        refused.text
    );
    client.send("PUT", "/v1/nodes/n/traits/CUSTOM_CARE", Value::Null).await;
    assert_eq!(client.send("PUT", "/v1/nodes/n/states/provision", clean).await.status, 202);
    let uuid = client.app.store.node("n").await.unwrap().unwrap().uuid;
    reconcile::look(&client.app, uuid).await.unwrap();
    let node = client.get("/v1/nodes/n").await.json();
    assert_eq!(
        (&node["provision_state"], &node["clean_step"]["step"]),
        (&json!("clean hold"), &json!("hold"))
    );
    for (body, status, part) in [
        (json!({"target": "unhold", "runbook": "CUSTOM_CARE"}), 400, "only valid"),
        (
            json!({"target": "clean", "runbook": "CUSTOM_CARE", "clean_steps": [{"interface": "power", "step": "x"}]}),
            400,
            "not both",
        ),
        (json!({"target": "clean", "runbook": "CUSTOM_NONE"}), 404, "Runbook CUSTOM_NONE"),
    ] {
        let answer = client.send("PUT", "/v1/nodes/n/states/provision", body).await;
        assert_eq!(
            (answer.status, answer.fault().contains(part)),
            (status, true),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_template_s_steps_are_in_the_order_of_a_machine_whose_traits_name_it() {
    let client = client();
    let step = |step: &str, priority: u32| json!({"interface": "raid", "step": step, "args": {}, "priority": priority});
    for (name, steps) in [
        ("CUSTOM_T", json!([step("a", 90), step("b", 20)])),
        ("CUSTOM_OTHER", json!([step("c", 10)])),
        (
            "CUSTOM_CORE",
            json!([{"interface": "deploy", "step": "write_image", "args": {}, "priority": 70}]),
        ),
    ] {
        let template = json!({"name": name, "steps": steps});
        assert_eq!(client.send("POST", "/v1/deploy_templates", template).await.status, 201);
    }
    let info = json!({"traits": ["CUSTOM_T", "CUSTOM_NONE"], "image_source": "http://h/x", "image_checksum": super::SHA256});
    let uuid = client.node(json!({"name": "n", "instance_info": info})).await["uuid"].clone();
    client.send("POST", "/v1/ports", json!({"node_uuid": uuid, "address": super::MAC})).await;
    client.force("n", |node| node.provision_state = crate::node::ProvisionState::Available).await;
    let asked = json!({"target": "active", "deploy_steps": [step("b", 0), step("d", 5)]});
    let answer = client.send("PUT", "/v1/nodes/n/states/provision", asked).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let order = client.app.store.node("n").await.unwrap().unwrap().work.unwrap().order.work;
    let ironwright_api::Work::Deploy(deploy) = order else { panic!("{order:?}") };
    let steps: Vec<_> =
        deploy.steps.iter().map(|step| (step.step.as_str(), step.priority)).collect();
    assert_eq!(steps, [("a", 90), ("d", 5)]);

    client
        .force("n", |node| {
            node.provision_state = crate::node::ProvisionState::Available;
            node.instance_info.insert("traits".into(), json!(["CUSTOM_CORE"]));
        })
        .await;
    let active = json!({"target": "active"});
    let refused = client.send("PUT", "/v1/nodes/n/states/provision", active).await;
    assert_eq!(
        (refused.status, refused.fault().contains("deploy.write_image is a part of every deploy")),
        (400, true),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn the_lights_of_a_fake_machine_are_read_and_set() {
    let client = client();
    client.node(json!({"name": "n"})).await;
    let at = "/v1/nodes/n/management/indicators";
    let all = client.get(at).await.json();
    let names: Vec<&str> = all["indicators"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["led-0@chassis", "led@system"]);
    let set = |path: &'static str, state: &'static str| {
        let path = format!("{at}/{path}");
        let client = &client;
        async move { client.send("PUT", &path, json!({"state": state})).await.status }
    };
    assert_eq!(set("led@system", "BLINKING").await, 204);
    assert_eq!(set("system/led", "GREEN").await, 400);
    assert_eq!(set("led-0@chassis", "ON").await, 400, "it is read-only");
    for path in ["led@system", "system/led"] {
        let state = client.get(&format!("{at}/{path}")).await.json();
        assert_eq!(state, json!({"state": "BLINKING"}));
    }
}

#[tokio::test]
async fn shards_are_counted_and_events_taken() {
    let client = client();
    for (name, shard) in [("a", json!("x")), ("b", json!("x")), ("c", Value::Null)] {
        client.node(json!({"name": name, "shard": shard})).await;
    }
    let shards = client.get("/v1/shards").await.json();
    assert_eq!(shards["shards"], json!([{"name": null, "count": 1}, {"name": "x", "count": 2}]));
    for (body, status) in [
        (json!({"events": [{"event": "network.bind_port", "port_id": "x"}]}), 204),
        (json!({"events": []}), 400),
        (json!({"events": [{}]}), 400),
    ] {
        assert_eq!(client.send("POST", "/v1/events", body).await.status, status);
    }
    assert!(client.get("/v1/volume").await.json()["connectors"].is_array());
}
