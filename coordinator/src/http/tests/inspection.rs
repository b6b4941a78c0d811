//! A fake ramdisk of Ironic's kind posts its inventory to the machines' side.

use axum::Router;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, Client, MAC, client, send};
use crate::agent::{self, BootDecision};
use crate::node::ProvisionState;
use crate::reconcile;

/// A node in `inspect wait`, the nonce of its boot script, and the machines' side.
async fn inspected() -> (Client, String, Router) {
    let client = client();
    let uuid =
        client.node(json!({"name": "n", "inspect_interface": "agent"})).await["uuid"].clone();
    client.send("POST", "/v1/ports", json!({"node_uuid": uuid, "address": MAC})).await;
    client.force("n", |node| node.provision_state = ProvisionState::Manageable).await;
    let asked = client.send("PUT", "/v1/nodes/n/states/provision", json!({"target": "inspect"}));
    assert_eq!(asked.await.status, 202);
    look(&client).await;
    assert_eq!(state(&client).await, "inspect wait");
    let BootDecision::Ramdisk { nonce, .. } = agent::expect_boot(&client.app, MAC).await.unwrap()
    else {
        panic!("no ramdisk")
    };
    let machines = crate::http::provisioning(client.app.clone(), true);
    (client, nonce, machines)
}

async fn look(client: &Client) {
    let uuid = client.app.store.node("n").await.unwrap().unwrap().uuid;
    reconcile::look(&client.app, uuid).await.unwrap();
}

async fn state(client: &Client) -> Value {
    client.get("/v1/nodes/n").await.json()["provision_state"].clone()
}

fn found() -> Value {
    json!({
        "inventory": {
            "interfaces": [{"name": "eth0", "mac_address": MAC, "ipv4_address": "10.0.0.2"}],
            "disks": [{"name": "/dev/sda", "size": 1u64 << 40}], "bmc_address": "10.0.0.5",
        },
        "root_disk": {"name": "/dev/sda"}, "logs": "H4sIAAAA", "error": null,
    })
}

async fn post(machines: &Router, query: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    send(machines, "POST", &format!("/v1/continue_inspection{query}"), headers, body).await
}

#[tokio::test]
async fn what_a_fake_ramdisk_posts_ends_the_inspection_and_is_the_nodes_inventory() {
    let (client, nonce, machines) = inspected().await;
    let nonce = [("x-ironwright-nonce", nonce.as_str())];
    let answer = post(&machines, "", &nonce, &found()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let uuid = client.get("/v1/nodes/n").await.json()["uuid"].clone();
    assert_eq!(answer.json(), json!({"uuid": uuid}), "without a version: Ironic's oldest answer");

    let mut other = found();
    other["root_disk"] = json!({"name": "/dev/sdb"});
    let again = post(&machines, "", &nonce, &other).await;
    assert_eq!(again.status, 202, "the answer was lost: {}", again.text);
    let stored = client.get("/v1/nodes/n/inventory").await.json();
    assert_eq!(stored["inventory"], found()["inventory"]);
    assert_eq!(
        stored["plugin_data"],
        json!({"root_disk": {"name": "/dev/sda"}}),
        "the first counts"
    );

    look(&client).await;
    let node = client.get("/v1/nodes/n").await.json();
    assert_eq!(
        (&node["provision_state"], &node["power_state"], &node["last_error"]),
        (&json!("manageable"), &json!("power off"), &Value::Null)
    );
    assert_eq!(post(&machines, "", &nonce, &found()).await.status, 404, "nobody is inspected");
}

#[tokio::test]
async fn from_1_84_the_answer_is_a_lookups_and_the_token_is_handed_out_once() {
    let (client, nonce, machines) = inspected().await;
    let uuid = client.get("/v1/nodes/n").await.json()["uuid"].as_str().unwrap().to_owned();
    let boot = Uuid::new_v4().to_string();
    let headers = [
        ("x-openstack-ironic-api-version", "1.84"),
        ("x-ironwright-nonce", nonce.as_str()),
        ("x-ironwright-boot-id", boot.as_str()),
    ];
    let query = format!("?node_uuid={uuid}");
    let answer = post(&machines, &query, &headers, &found()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let (node, config) = (&answer.json()["node"], &answer.json()["config"]);
    assert_eq!(node["uuid"], uuid.as_str());
    assert_eq!(config["agent_token"].as_str().unwrap().len(), 43, "{config}");
    let again = post(&machines, &query, &headers, &found()).await.json();
    assert_eq!(again["config"]["agent_token"], "******");
}

#[tokio::test]
async fn strangers_and_wrong_versions_store_nothing() {
    let (client, nonce, machines) = inspected().await;
    let uuid = client.get("/v1/nodes/n").await.json()["uuid"].as_str().unwrap().to_owned();
    let version = "x-openstack-ironic-api-version";
    let good = format!("?nonce={nonce}");
    let mut unknown = found();
    unknown["inventory"]["interfaces"][0]["mac_address"] = json!("52:54:00:ff:ff:ff");
    let mut empty = found();
    empty["inventory"]["interfaces"] = json!([]);
    for (query, headers, body, status) in [
        (String::new(), vec![], found(), 403),
        ("?nonce=00ff".to_owned(), vec![], found(), 403),
        (format!("?node_uuid={uuid}"), vec![(version, "1.84")], found(), 403),
        (good.clone(), vec![], unknown, 404),
        (good.clone(), vec![], empty, 400),
        (good.clone(), vec![], json!([]), 400),
        (good.clone(), vec![], Value::Null, 400),
        (good.clone(), vec![(version, "1.83")], found(), 404),
        (format!("{good}&node_uuid={uuid}"), vec![], found(), 406),
        (format!("{good}&colour=red"), vec![], found(), 400),
    ] {
        let answer = post(&machines, &query, &headers, &body).await;
        assert_eq!(answer.status, status, "{query} {headers:?} {}", answer.text);
    }
    assert_eq!(client.get("/v1/nodes/n/inventory").await.status, 404);
    assert_eq!(state(&client).await, "inspect wait");
    let history = client.get("/v1/nodes/n/history").await.text;
    assert!(history.contains("refused 0.0.0.0"), "{history}");
    assert!(!history.contains(&nonce), "{history}");
    // The nonce in the query, as in the callback URL of the boot script.
    assert_eq!(post(&machines, &good, &[], &found()).await.status, 202);
}

#[tokio::test]
async fn an_error_of_a_fake_ramdisk_fails_the_inspection_and_says_why() {
    let (client, nonce, machines) = inspected().await;
    let mut body = found();
    body["error"] = json!("collector default failed");
    let answer = post(&machines, &format!("?nonce={nonce}"), &[], &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    look(&client).await;
    let node = client.get("/v1/nodes/n").await.json();
    assert_eq!(node["provision_state"], "inspect failed");
    let error = node["last_error"].as_str().unwrap();
    assert!(error.contains("the inspection ramdisk reported: collector default failed"), "{error}");
}

#[tokio::test]
async fn a_machine_that_is_still_being_started_is_asked_to_try_again() {
    let (client, nonce, machines) = inspected().await;
    client.force("n", |node| node.provision_state = ProvisionState::Inspecting).await;
    let answer = post(&machines, &format!("?nonce={nonce}"), &[], &found()).await;
    assert_eq!(answer.status, 409, "{}", answer.text);
}
