//! The list of bad input: Ironic's status and shape, the field, the value and the remedy named, nothing changed.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Client, MAC, client};
use crate::node::ProvisionState;

/// Sends raw bytes; the status and the text.
async fn raw(
    client: &Client,
    method: &str,
    path: &str,
    body: Body,
    length: Option<u64>,
) -> (u16, String) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-openstack-ironic-api-version", "1.110");
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    let response = client.routes.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(text.to_vec()).unwrap())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn wrong_fields_values_and_paths_are_named_and_change_nothing() {
    let mut client = client();
    let node = client.node(json!({"name": "n", "driver": "ipmi"})).await["uuid"].clone();
    client.node(json!({"name": "taken"})).await;
    client.send("POST", "/v1/ports", json!({"node_uuid": node, "address": MAC})).await;
    client.force("n", |node| node.provision_state = ProvisionState::Available).await;
    let before = client.get("/v1/nodes/n").await.json();
    let patch = |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
    for (method, path, body, status, parts) in [
        ("POST", "/v1/nodes", json!({"driver": "ipmi", "colour": "red"}), 400, vec!["colour"]),
        (
            "POST",
            "/v1/nodes",
            json!({"driver": "ipmi", "properties": 5}),
            400,
            vec!["properties", "object"],
        ),
        ("POST", "/v1/nodes", json!({"driver": "ilo"}), 400, vec!["'ilo'", "ipmi"]),
        (
            "POST",
            "/v1/nodes",
            json!({"driver": "ipmi", "name": "taken"}),
            409,
            vec!["taken", "exists"],
        ),
        ("POST", "/v1/ports", json!({"node_uuid": node, "address": MAC}), 409, vec![MAC]),
        (
            "PATCH",
            "/v1/nodes/n",
            patch("/uuid", json!("x")),
            400,
            vec!["/uuid", "Only the following"],
        ),
        (
            "PATCH",
            "/v1/nodes/n",
            patch("/provision_state", json!("active")),
            400,
            vec!["/provision_state"],
        ),
        ("PATCH", "/v1/nodes/n", patch("/name", json!("taken")), 409, vec!["taken"]),
        ("PATCH", "/v1/nodes/n", patch("/name", json!("a b")), 400, vec!["'a b'", "letters"]),
        (
            "PATCH",
            "/v1/nodes/n",
            patch("/maintenance", json!("maybe")),
            400,
            vec!["maintenance", "true or false"],
        ),
        ("PATCH", "/v1/nodes/n", json!({"name": "x"}), 400, vec!["list of operations"]),
        (
            "PATCH",
            "/v1/nodes/n",
            json!([{"op": "copy", "path": "/name"}]),
            400,
            vec!["copy", "add, replace or remove"],
        ),
        (
            "PATCH",
            "/v1/nodes/n",
            patch("/deploy_interface", json!("ansible")),
            400,
            vec!["ansible", "direct"],
        ),
        (
            "POST",
            "/v1/nodes/n/vifs",
            json!({"id": 5}),
            400,
            vec!["Invalid value for id: 5 is a number"],
        ),
        ("POST", "/v1/nodes/n/vifs", json!({"id": ""}), 400, vec!["id: it has 0 bytes"]),
        (
            "PUT",
            "/v1/nodes/n/states/provision",
            json!({"target": 5}),
            400,
            vec!["Invalid value for target: 5 is a number, it must be text"],
        ),
        (
            "PUT",
            "/v1/nodes/n/states/power",
            json!({"target": true}),
            400,
            vec!["target: true is a boolean"],
        ),
        (
            "PUT",
            "/v1/nodes/n/management/boot_device",
            json!({"boot_device": ["pxe"]}),
            400,
            vec!["boot_device: [\"pxe\"] is a list"],
        ),
        (
            "PUT",
            "/v1/nodes/n/states/provision",
            json!({"target": "rebuild"}),
            400,
            vec!["\"rebuild\"", "\"available\""],
        ),
        (
            "PUT",
            "/v1/nodes/n/states/provision",
            json!({"target": "active", "configdrive": "not base64!"}),
            400,
            vec!["configdrive", "base64"],
        ),
        (
            "PUT",
            "/v1/nodes/n/states/provision",
            json!({"target": "active", "configdrive": "aGVsbG8gd29ybGQhISEh"}),
            400,
            vec!["configdrive", "gzip"],
        ),
        (
            "PUT",
            "/v1/nodes/n/states/provision",
            json!({"target": "active", "configdrive": "H4sIAAAAAAACA8tIzcnJVyjPL8pJ0VHIy1fIzE1MTwUA6For6hUAAAA="}),
            400,
            vec!["configdrive", "ISO 9660"],
        ),
        (
            "PUT",
            "/v1/nodes/n/states/provision",
            json!({"target": "active", "configdrive": "ftp://h/x"}),
            400,
            vec!["configdrive", "http"],
        ),
        (
            "PUT",
            "/v1/nodes/n/states/power",
            json!({"target": "sideways"}),
            400,
            vec!["sideways", "power on"],
        ),
        ("PUT", "/v1/nodes/n/maintenance", json!({"reason": 5}), 400, vec!["reason"]),
        ("POST", "/v1/nodes", json!({"driver": 5}), 400, vec!["5", "ipmi"]),
        ("POST", "/v1/nodes", json!({"driver": "ipmi", "uuid": "x"}), 400, vec!["uuid"]),
        ("POST", "/v1/nodes", json!(["ipmi"]), 400, vec!["object"]),
        (
            "POST",
            "/v1/nodes",
            json!({"driver": "ipmi", "resource_class": "x".repeat(81)}),
            400,
            vec!["resource_class", "80"],
        ),
        ("POST", "/v1/ports", json!({"node_uuid": node, "address": "zz"}), 400, vec!["zz"]),
        ("PATCH", "/v1/nodes/n", json!([{"op": "add", "path": "/colour"}]), 400, vec!["colour"]),
        ("PATCH", "/v1/nodes/n", json!([{"op": "add"}]), 400, vec!["path"]),
        (
            "PUT",
            "/v1/nodes/n/states/provision",
            json!({"target": "active", "deploy_steps": [{"interface": "raid", "step": "x"}]}),
            400,
            vec!["deploy step 1", "priority"],
        ),
        (
            "PUT",
            "/v1/nodes/n/states/power",
            json!({"target": "power on", "timeout": "soon"}),
            400,
            vec!["timeout", "soon", "3600"],
        ),
        ("GET", "/v1/nodes?limit=-1", Value::Null, 400, vec!["positive"]),
        ("GET", "/v1/nodes?sort_dir=sideways", Value::Null, 400, vec!["sideways", "asc"]),
        ("GET", "/v1/nodes?fields=colour", Value::Null, 400, vec!["colour"]),
        ("GET", "/v1/nodes/%ff", Value::Null, 400, vec!["UTF-8"]),
    ] {
        let answer = client.send(method, path, body.clone()).await;
        assert_eq!(answer.status, status, "{method} {path} {body} {}", answer.text);
        for part in parts {
            assert!(
                answer.fault().contains(part),
                "{method} {path} {body}: {part}: {}",
                answer.text
            );
        }
    }
    assert_eq!(client.get("/v1/nodes/n").await.json(), before, "nothing changed");
    client.version = "1.49".into();
    let newer = client.send("PATCH", "/v1/nodes/n", patch("/owner", json!("me"))).await;
    assert_eq!((newer.status, newer.fault().contains("owner")), (406, true), "{}", newer.text);
}

#[tokio::test]
async fn a_busy_node_is_locked() {
    let client = client();
    client.node(json!({"name": "n"})).await;
    client
        .force("n", |node| {
            node.provision_state = ProvisionState::Deploying;
            node.target_provision_state = Some(ProvisionState::Active);
        })
        .await;
    for (method, path, body) in [
        ("PUT", "states/provision", json!({"target": "deleted"})),
        ("PUT", "states/power", json!({"target": "power off"})),
        ("PUT", "management/boot_device", json!({"boot_device": "pxe"})),
        ("PATCH", "", json!([{"op": "add", "path": "/extra/a", "value": 1}])),
    ] {
        let path = format!("/v1/nodes/n/{path}");
        let answer = client.send(method, path.trim_end_matches('/'), body).await;
        assert_eq!(answer.status, 409, "{method} {path} {}", answer.text);
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_too_deep_or_too_large_are_refused_before_they_are_read() {
    let client = client();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, length, status, part) in [
        (Body::from("{\"driver\": "), None, 400, "not JSON"),
        (Body::from(vec![b'"', 0xff, 0xfe, b'"']), None, 400, "not JSON"),
        (Body::from(deep), None, 400, "10000 deep"),
        (Body::empty(), Some(1 << 30), 413, "larger than 1048576"),
        (Body::from(vec![b' '; (1 << 20) + 1]), None, 413, "larger than 1048576"),
    ] {
        let (found, text) = raw(&client, "POST", "/v1/nodes", body, length).await;
        assert_eq!(found, status, "{text}");
        let outer: Value = serde_json::from_str(&text).unwrap();
        let inner: Value = serde_json::from_str(outer["error_message"].as_str().unwrap()).unwrap();
        assert!(inner["faultstring"].as_str().unwrap().contains(part), "{part}: {text}");
    }
    assert_eq!(client.get("/v1/nodes").await.json()["nodes"], json!([]));
}
