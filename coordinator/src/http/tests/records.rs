//! Resources that are only records, and allocations.

use serde_json::{Value, json};

use super::{Client, MAC, client};
use crate::node::{PowerState, ProvisionState};

/// A resource, the body of a good record (`NODE` stands for a node), a patch, and the first version.
fn resources() -> Vec<(&'static str, Value, Value, u16)> {
    let step = json!({"interface": "bios", "step": "apply", "args": {}, "priority": 10});
    let ordered = json!({"interface": "bios", "step": "apply", "order": 1});
    vec![
        (
            "chassis",
            json!({"description": "rack 4", "extra": {"a": 1}}),
            json!({"path": "/description", "value": "rack 5"}),
            1,
        ),
        (
            "portgroups",
            json!({"node_uuid": "NODE", "name": "bond0", "address": MAC}),
            json!({"path": "/mode", "value": "802.3ad"}),
            23,
        ),
        (
            "volume/connectors",
            json!({"node_uuid": "NODE", "type": "iqn", "connector_id": "iqn.2026-01.x"}),
            json!({"path": "/extra", "value": {"b": 2}}),
            32,
        ),
        (
            "volume/targets",
            json!({"node_uuid": "NODE", "volume_type": "iscsi", "volume_id": "v", "boot_index": "0"}),
            json!({"path": "/volume_id", "value": "w"}),
            32,
        ),
        (
            "deploy_templates",
            json!({"name": "CUSTOM_A", "steps": [step]}),
            json!({"path": "/name", "value": "CUSTOM_B"}),
            55,
        ),
        (
            "runbooks",
            json!({"name": "CUSTOM_A", "steps": [ordered]}),
            json!({"path": "/public", "value": true}),
            92,
        ),
        (
            "inspection_rules",
            json!({"description": "r", "actions": [{"op": "fail"}]}),
            json!({"path": "/priority", "value": 7}),
            96,
        ),
    ]
}

#[tokio::test]
async fn each_record_is_made_listed_shown_changed_and_deleted() {
    for (path, body, change, since) in resources() {
        let mut client = client();
        let node = client.node(json!({"name": "n"})).await["uuid"].as_str().unwrap().to_owned();
        let body: Value = serde_json::from_str(&body.to_string().replace("NODE", &node)).unwrap();
        let all = format!("/v1/{path}");
        let made = client.send("POST", &all, body.clone()).await;
        assert_eq!(made.status, 201, "{path} {}", made.text);
        let uuid = made.json()["uuid"].as_str().unwrap().to_owned();
        let one = format!("{all}/{uuid}");
        assert_eq!(made.header("location").unwrap(), format!("http://h:6385{one}"));
        assert_eq!(client.get(&one).await.json(), made.json(), "{path}");
        let plural = path.rsplit('/').next().unwrap();
        for list in [
            all.clone(),
            format!("{all}/detail"),
            format!("{all}?fields=uuid&sort_key=uuid&sort_dir=desc"),
        ] {
            let list = client.get(&list).await;
            assert_eq!(list.json()[plural][0]["uuid"], uuid, "{path} {}", list.text);
            assert!(list.json()[plural][0]["links"].is_array());
        }
        let page = client.get(&format!("{all}?limit=1")).await.json();
        let next = page["next"].as_str().unwrap().strip_prefix("http://h:6385").unwrap().to_owned();
        assert_eq!(client.get(&next).await.json()[plural], json!([]), "{path}");

        let mut patch = change.clone();
        patch["op"] = json!("replace");
        let changed = client.send("PATCH", &one, json!([patch])).await;
        let field = change["path"].as_str().unwrap().trim_start_matches('/');
        assert_eq!(changed.json()[field], change["value"], "{path} {}", changed.text);
        assert!(changed.json()["updated_at"].is_string());
        for (method, at, sent, status) in [
            ("POST", &all, json!({"colour": "red"}), 400),
            ("POST", &all, json!([]), 400),
            ("PATCH", &one, json!([{"op": "add", "path": "/uuid", "value": "x"}]), 400),
            ("PATCH", &one, json!([{"op": "move", "path": "/extra", "from": "/extra"}]), 400),
        ] {
            assert_eq!(client.send(method, at, sent.clone()).await.status, status, "{path} {sent}");
        }
        if since > 1 {
            client.version = format!("1.{}", since - 1);
            assert_eq!(client.get(&all).await.status, 404, "{path}");
            client.version = "1.110".into();
        }
        assert_eq!(client.send("DELETE", &one, Value::Null).await.status, 204, "{path}");
        assert_eq!(client.get(&one).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn names_and_keys_of_records_are_unique_and_their_nodes_exist() {
    let client = client();
    let node = client.node(json!({"name": "n"})).await["uuid"].clone();
    for (path, body) in [
        ("portgroups", json!({"node_uuid": node, "address": MAC})),
        (
            "volume/targets",
            json!({"node_uuid": node, "volume_type": "iscsi", "volume_id": "v", "boot_index": 0}),
        ),
        (
            "deploy_templates",
            json!({"name": "CUSTOM_A", "steps": [{"interface": "bios", "step": "x", "args": {}, "priority": 1}]}),
        ),
    ] {
        for status in [201, 409] {
            let answer = client.send("POST", &format!("/v1/{path}"), body.clone()).await;
            assert_eq!(answer.status, status, "{path} {}", answer.text);
        }
    }
    let nobody = json!({"node_uuid": "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f"});
    let answer = client.send("POST", "/v1/portgroups", nobody).await;
    assert_eq!((answer.status, answer.fault().contains("could not be found")), (400, true));
    let several =
        client.send("POST", "/v1/volume/targets", json!({"boot_index": -1, "volume_id": 5})).await;
    for part in ["node_uuid", "volume_type", "boot_index must", "volume_id must"] {
        assert!(several.fault().contains(part), "{part}: {}", several.text);
    }
}

#[tokio::test]
async fn chassis_and_port_groups_know_what_is_in_them() {
    let client = client();
    let chassis = client.send("POST", "/v1/chassis", Value::Null).await.json()["uuid"].clone();
    let node = client.node(json!({"name": "n", "chassis_uuid": chassis})).await;
    assert_eq!(node["chassis_uuid"], chassis);
    client.node(json!({"name": "m"})).await;
    let chassis = chassis.as_str().unwrap();
    for list in
        [format!("/v1/chassis/{chassis}/nodes"), format!("/v1/nodes?chassis_uuid={chassis}")]
    {
        let nodes = client.get(&list).await.json();
        assert_eq!(
            (nodes["nodes"].as_array().unwrap().len(), &nodes["nodes"][0]["name"]),
            (1, &json!("n"))
        );
    }
    let refused = client.send("DELETE", &format!("/v1/chassis/{chassis}"), Value::Null).await;
    assert_eq!((refused.status, refused.fault().contains("contains nodes")), (400, true));
    let nowhere = json!([{"op": "replace", "path": "/chassis_uuid", "value": "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f"}]);
    assert_eq!(client.send("PATCH", "/v1/nodes/n", nowhere).await.status, 400);

    let group = json!({"node_uuid": node["uuid"], "name": "bond0"});
    let group = client.send("POST", "/v1/portgroups", group).await.json()["uuid"].clone();
    let port = json!({"node_uuid": node["uuid"], "address": MAC, "portgroup_uuid": group});
    assert_eq!(
        client.send("POST", "/v1/ports", port.clone()).await.json()["portgroup_uuid"],
        group
    );
    for list in ["/v1/portgroups/bond0/ports", "/v1/ports?portgroup=bond0"] {
        assert_eq!(client.get(list).await.json()["ports"][0]["address"], MAC, "{list}");
    }
    assert_eq!(client.get("/v1/nodes/n/portgroups").await.json()["portgroups"][0]["name"], "bond0");
    assert_eq!(client.send("DELETE", "/v1/portgroups/bond0", Value::Null).await.status, 400);
    let other = client.get("/v1/nodes/m").await.json()["uuid"].clone();
    let foreign =
        json!({"node_uuid": other, "address": "00:11:22:00:11:23", "portgroup_uuid": group});
    let answer = client.send("POST", "/v1/ports", foreign).await;
    assert_eq!(
        (answer.status, answer.fault().contains("another node")),
        (400, true),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn children_are_hidden_from_lists_and_found_by_their_parent() {
    let client = client();
    client.node(json!({"name": "server"})).await;
    let parent = client.get("/v1/nodes/server").await.json()["uuid"].clone();
    let child = client.node(json!({"name": "dpu", "parent_node": parent})).await["uuid"].clone();
    for (query, names) in [
        ("", vec!["server"]),
        ("?include_children=true", vec!["server", "dpu"]),
        ("?parent_node=server", vec!["dpu"]),
    ] {
        let list = client.get(&format!("/v1/nodes{query}")).await.json();
        let found: Vec<_> =
            list["nodes"].as_array().unwrap().iter().map(|node| node["name"].clone()).collect();
        assert_eq!(found, names, "{query}");
    }
    assert_eq!(client.get("/v1/nodes/server/children").await.json()["children"], json!([child]));
    assert_eq!(client.send("DELETE", "/v1/nodes/server", Value::Null).await.status, 409);
    let wrong = json!({"driver": "ipmi", "parent_node": "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f"});
    assert_eq!(client.send("POST", "/v1/nodes", wrong).await.status, 400);
}

async fn gold(client: &Client, name: &str, traits: Value) {
    client.node(json!({"name": name, "resource_class": "gold"})).await;
    client.send("PUT", &format!("/v1/nodes/{name}/traits"), json!({"traits": traits})).await;
    client
        .force(name, |node| {
            (node.provision_state, node.power_state) =
                (ProvisionState::Available, Some(PowerState::Off));
        })
        .await;
}

#[tokio::test]
async fn an_allocation_takes_a_fitting_node_and_gives_it_back() {
    let client = client();
    gold(&client, "plain", json!([])).await;
    gold(&client, "fast", json!(["CUSTOM_FAST"])).await;
    let body = json!({"name": "mine", "resource_class": "gold", "traits": ["CUSTOM_FAST"]});
    let made = client.send("POST", "/v1/allocations", body.clone()).await;
    assert_eq!((made.status, &made.json()["state"]), (201, &json!("allocating")), "{}", made.text);
    let mine = client.get("/v1/allocations/mine").await.json();
    let node = client.get("/v1/nodes/fast").await.json();
    assert_eq!((&mine["state"], &mine["node_uuid"]), (&json!("active"), &node["uuid"]));
    assert_eq!((&node["instance_uuid"], &node["allocation_uuid"]), (&mine["uuid"], &mine["uuid"]));
    assert_eq!(node["instance_info"]["traits"], json!(["CUSTOM_FAST"]));
    assert_eq!(client.get("/v1/nodes/fast/allocation").await.json()["name"], "mine");
    assert_eq!(client.get("/v1/nodes/plain/allocation").await.status, 404);

    let second = json!({"name": "second", "resource_class": "gold", "traits": ["CUSTOM_FAST"]});
    client.send("POST", "/v1/allocations", second).await;
    let second = client.get("/v1/allocations/second").await.json();
    assert_eq!(second["state"], "error");
    assert!(second["last_error"].as_str().unwrap().contains("CUSTOM_FAST"), "{second}");
    let listed = client.get("/v1/allocations?state=active&resource_class=gold").await.json();
    assert_eq!(listed["allocations"].as_array().unwrap().len(), 1);

    assert_eq!(client.send("POST", "/v1/allocations", body).await.status, 409);
    client.force("fast", |node| node.provision_state = ProvisionState::Active).await;
    assert_eq!(client.send("DELETE", "/v1/allocations/mine", Value::Null).await.status, 409);
    client.force("fast", |node| node.provision_state = ProvisionState::Available).await;
    assert_eq!(client.send("DELETE", "/v1/nodes/fast/allocation", Value::Null).await.status, 204);
    let node = client.get("/v1/nodes/fast").await.json();
    assert_eq!((&node["instance_uuid"], &node["instance_info"]), (&Value::Null, &json!({})));
}

#[tokio::test]
async fn two_allocations_at_once_never_take_one_node() {
    let client = client();
    for name in ["a", "b", "c"] {
        gold(&client, name, json!([])).await;
    }
    let ask = || client.send("POST", "/v1/allocations", json!({"resource_class": "gold"}));
    let _made = tokio::join!(ask(), ask(), ask(), ask());
    let list = client.get("/v1/allocations").await.json();
    let states = |state: &str| {
        list["allocations"].as_array().unwrap().iter().filter(|one| one["state"] == state).count()
    };
    assert_eq!((states("active"), states("error")), (3, 1), "{list}");
}

#[tokio::test]
async fn an_allocation_that_cannot_be_is_refused_by_its_field() {
    let mut client = client();
    gold(&client, "n", json!([])).await;
    for (body, status, part) in [
        (json!({}), 400, "resource_class"),
        (json!({"resource_class": "gold", "candidate_nodes": ["nobody"]}), 400, "nobody"),
        (json!({"resource_class": "gold", "traits": "x"}), 400, "traits must be a list"),
        (json!({"resource_class": "gold", "state": "active"}), 400, "'state'"),
        (json!({"node": "n"}), 409, "active"),
    ] {
        let answer = client.send("POST", "/v1/allocations", body.clone()).await;
        assert_eq!(answer.status, status, "{body} {}", answer.text);
        assert!(answer.fault().contains(part), "{body} {}", answer.text);
    }
    assert_eq!(client.get("/v1/allocations").await.json()["allocations"], json!([]));
    client.force("n", |node| node.provision_state = ProvisionState::Active).await;
    assert_eq!(
        client.send("POST", "/v1/allocations", json!({"node": "n", "name": "a"})).await.status,
        201
    );
    assert_eq!(client.get("/v1/allocations/a").await.json()["state"], "active");
    client.version = "1.56".into();
    assert_eq!(client.send("PATCH", "/v1/allocations/a", json!([])).await.status, 405);
}
