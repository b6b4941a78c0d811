//! A machine from its enrolment to the order of a deploy: what is taken, what is refused, and in which words.

use serde_json::{Value, json};

use super::{MAC, SHA256, client};
use crate::node::ProvisionState;

#[tokio::test]
async fn a_machine_is_enrolled_validated_mended_and_deleted() {
    let client = client();
    let node = client
        .node(json!({
            "name": "mytest", "properties": {"cpus": 4, "memory_mb": 8192, "local_gb": 500},
            "driver_info": {"ipmi_password": "hunter2"}, "extra": {"note": "spare server"},
        }))
        .await;
    assert_eq!(
        (&node["provision_state"], &node["driver_info"]["ipmi_password"]),
        (&json!("enroll"), &json!("******"))
    );
    let port =
        client.send("POST", "/v1/ports", json!({"node_uuid": node["uuid"], "address": MAC})).await;
    assert_eq!(port.status, 201, "{}", port.text);
    assert_eq!(client.get("/v1/nodes/mytest/ports").await.json()["ports"][0]["address"], MAC);

    let deploy = client.get("/v1/nodes/mytest/validate").await.json()["deploy"].clone();
    assert_eq!(deploy["result"], false);
    assert!(
        deploy["reason"].as_str().unwrap().contains("'instance_info.image_source'"),
        "{deploy}"
    );

    let patch = json!([
        {"op": "add", "path": "/instance_info/image_source", "value": "http://127.0.0.1:1/x.qcow2"},
        {"op": "add", "path": "/instance_info/image_checksum", "value": SHA256},
        {"op": "replace", "path": "/extra/note", "value": "database"},
        {"op": "add", "path": "/name", "value": "db01.example"},
    ]);
    let changed = client.send("PATCH", "/v1/nodes/mytest", patch).await;
    assert_eq!((changed.status, &changed.json()["extra"]["note"]), (200, &json!("database")));
    let deploy = client.get("/v1/nodes/validate?node=db01.example").await.json()["deploy"].clone();
    assert!(deploy["reason"].as_str().unwrap().contains("cannot be reached"), "{deploy}");

    assert_eq!(client.send("DELETE", "/v1/nodes/db01.example", Value::Null).await.status, 204);
    assert_eq!(client.get("/v1/nodes/db01.example").await.status, 404);
    assert_eq!(
        client.get(&format!("/v1/ports/{}", port.json()["uuid"].as_str().unwrap())).await.status,
        404
    );
}

#[tokio::test]
async fn a_deploy_is_refused_with_everything_that_is_missing_and_in_maintenance_for_that_alone() {
    let client = client();
    let uuid = client.node(json!({"name": "n", "driver": "ipmi"})).await["uuid"]
        .as_str()
        .unwrap()
        .to_owned();
    client.force(&uuid, |node| node.provision_state = ProvisionState::Available).await;
    let deploy = json!({"target": "active"});

    let refused = client.send("PUT", "/v1/nodes/n/states/provision", deploy.clone()).await;
    assert_eq!(refused.status, 400);
    for part in [
        "'ipmi_address', 'ipmi_username', 'ipmi_password'",
        "'instance_info.image_source', 'instance_info.image_checksum'",
        "any port",
    ] {
        assert!(refused.fault().contains(part), "{part}: {}", refused.text);
    }
    assert_eq!(
        refused.fault().matches("ipmi_address").count(),
        1,
        "said once, not once an interface"
    );

    assert_eq!(
        client
            .send("PUT", "/v1/nodes/n/maintenance", json!({"reason": "replacing disks"}))
            .await
            .status,
        202
    );
    let refused = client.send("PUT", "/v1/nodes/n/states/provision", deploy).await;
    assert_eq!(
        (refused.status, refused.fault()),
        (
            400,
            format!(
                "The provisioning operation can't be performed on node {uuid} because it's in maintenance mode."
            )
        )
    );
    let shown = client.get("/v1/nodes/n").await.json();
    assert_eq!(
        (&shown["maintenance"], &shown["maintenance_reason"]),
        (&json!(true), &json!("replacing disks"))
    );
    assert_eq!(client.send("DELETE", "/v1/nodes/n/maintenance", Value::Null).await.status, 202);
    assert_eq!(client.get("/v1/nodes/n").await.json()["maintenance_reason"], Value::Null);
}

#[tokio::test]
async fn a_complete_node_is_taken_for_a_deploy_and_its_config_drive_is_never_shown() {
    let client = client();
    let uuid = client
        .node(json!({"name": "n", "instance_info": {"image_source": "http://h/x", "image_checksum": SHA256}}))
        .await["uuid"]
        .clone();
    client.send("POST", "/v1/ports", json!({"node_uuid": uuid, "address": MAC})).await;
    client.force("n", |node| node.provision_state = ProvisionState::Available).await;
    let body = json!({"target": "active", "configdrive": {"user_data": "hunter2"}});
    let answer = client.send("PUT", "/v1/nodes/n/states/provision", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(
        answer.header("location").unwrap(),
        format!("http://h:6385/v1/nodes/{}/states", uuid.as_str().unwrap())
    );
    let shown = client.get("/v1/nodes/n").await;
    assert_eq!(shown.json()["provision_state"], "deploying");
    for path in ["", "/progress", "/explain", "/evidence", "/states", "/history?detail=true"] {
        let answer = client.get(&format!("/v1/nodes/n{path}")).await;
        assert_eq!(answer.status, 200, "{path} {}", answer.text);
        assert!(!answer.text.contains("hunter2"), "{path}");
    }
    let again = client
        .send("PATCH", "/v1/nodes/n", json!([{"op": "add", "path": "/extra/a", "value": 1}]))
        .await;
    assert_eq!(again.status, 409, "{}", again.text);
}

#[tokio::test]
async fn an_illegal_action_is_refused_in_ironic_s_words() {
    let client = client();
    let uuid = client.node(json!({"name": "n"})).await["uuid"].as_str().unwrap().to_owned();
    let refused =
        client.send("PUT", "/v1/nodes/n/states/provision", json!({"target": "active"})).await;
    assert_eq!(
        (refused.status, refused.fault()),
        (
            400,
            format!(
                "The requested action \"active\" can not be performed on node \"{uuid}\" while it is in state \"enroll\"."
            )
        )
    );
}

#[tokio::test]
async fn power_and_boot_device_requests_are_taken_and_wrong_ones_named() {
    let client = client();
    client.node(json!({"name": "n"})).await;
    for (path, body, status) in [
        ("states/power", json!({"target": "power sideways"}), 400),
        ("states/power", json!({"target": "power on"}), 202),
        ("management/boot_device", json!({"boot_device": "floppy"}), 400),
        ("management/boot_device", json!({}), 400),
    ] {
        let answer = client.send("PUT", &format!("/v1/nodes/n/{path}"), body.clone()).await;
        assert_eq!(answer.status, status, "{path} {body} {}", answer.text);
    }
    let supported = client.get("/v1/nodes/n/management/boot_device/supported").await.json();
    assert_eq!(
        supported["supported_boot_devices"],
        json!(["pxe", "disk", "cdrom", "bios", "safe"])
    );

    client.node(json!({"name": "m"})).await;
    let set = json!({"boot_device": "pxe", "persistent": true});
    assert_eq!(client.send("PUT", "/v1/nodes/m/management/boot_device", set).await.status, 204);
    let device = client.get("/v1/nodes/m/management/boot_device").await.json();
    assert_eq!(device, json!({"boot_device": "pxe", "persistent": true}));
}

#[tokio::test]
async fn an_inventory_exists_after_an_inspection_only() {
    let client = client();
    let uuid = client.node(json!({"name": "n"})).await["uuid"].as_str().unwrap().parse().unwrap();
    assert_eq!(client.get("/v1/nodes/n/inventory").await.status, 404);
    client.app.store.put_inventory(uuid, &json!({"disks": []})).await.unwrap();
    assert_eq!(client.get("/v1/nodes/n/inventory").await.json()["inventory"], json!({"disks": []}));
}
