//! Lists, ports, traits, drivers.

use serde_json::{Value, json};

use super::{MAC, client};

#[tokio::test]
async fn lists_come_in_pages_with_the_fields_asked_for() {
    let client = client();
    for name in ["a", "b", "c"] {
        client.node(json!({"name": name, "owner": name, "resource_class": "gold"})).await;
    }
    let first = client.get("/v1/nodes?limit=2&resource_class=gold").await.json();
    let items = first["nodes"].as_array().unwrap();
    let keys: Vec<&String> = items[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["uuid", "instance_uuid", "maintenance", "name", "power_state", "provision_state", "links"]
    );
    let next = first["next"].as_str().unwrap().strip_prefix("http://h:6385").unwrap();
    assert!(next.contains("resource_class=gold") && next.contains("limit=2"), "{next}");
    let second = client.get(next).await.json();
    assert_eq!((second["nodes"][0]["name"].as_str(), second.get("next")), (Some("c"), None));

    let selected = client.get("/v1/nodes?fields=name,owner&owner=b").await.json();
    assert_eq!(selected["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&selected["nodes"][0]["owner"], selected["nodes"][0].get("uuid")),
        (&json!("b"), None)
    );
    assert!(selected["nodes"][0].get("links").is_some());
    for path in ["/v1/nodes/detail?limit=1", "/v1/nodes?detail=True&limit=1"] {
        assert_eq!(client.get(path).await.json()["nodes"][0]["driver"], "fake-hardware", "{path}");
    }
    for (path, status) in [
        ("/v1/nodes?fields=name&detail=true", 400),
        ("/v1/nodes?fields=nam", 400),
        ("/v1/nodes?provision_state=boiling", 400),
        ("/v1/nodes?sort_key=driver_info", 400),
        ("/v1/nodes?sort_dir=up", 400),
        ("/v1/nodes?marker=x", 400),
        ("/v1/nodes?marker=7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f", 404),
        ("/v1/nodes?sort_key=name&sort_dir=desc", 200),
    ] {
        assert_eq!(client.get(path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn names_uuids_and_addresses_are_unique() {
    let client = client();
    let uuid = client.node(json!({"name": "n"})).await["uuid"].clone();
    let twin =
        client.send("POST", "/v1/nodes", json!({"driver": "fake-hardware", "name": "n"})).await;
    assert_eq!(twin.status, 409, "{}", twin.text);
    for status in [201, 409] {
        let port = json!({"node_uuid": uuid, "address": "00-11-22-00-11-22"});
        assert_eq!(client.send("POST", "/v1/ports", port).await.status, status);
    }
    let named = client
        .send("POST", "/v1/ports", json!({"node_uuid": "n", "address": "00:11:22:00:11:23"}))
        .await;
    assert_eq!(named.status, 400, "{}", named.text);
}

#[tokio::test]
async fn ports_are_changed_found_and_deleted() {
    let client = client();
    let uuid = client.node(json!({"name": "n"})).await["uuid"].clone();
    let port = client
        .send("POST", "/v1/ports", json!({"node_uuid": uuid, "address": MAC, "name": "eth0"}))
        .await
        .json();
    let path = format!("/v1/ports/{}", port["uuid"].as_str().unwrap());
    let patch = json!([{"op": "replace", "path": "/pxe_enabled", "value": false}]);
    assert_eq!(client.send("PATCH", &path, patch).await.json()["pxe_enabled"], false);
    assert_eq!(client.get("/v1/ports/eth0").await.json()["uuid"], port["uuid"]);
    for (query, count) in [
        ("", 1),
        ("?address=00:11:22:00:11:22", 1),
        ("?address=00:11:22:00:11:23", 0),
        ("?node=n", 1),
    ] {
        let found = client.get(&format!("/v1/ports{query}")).await.json();
        assert_eq!(found["ports"].as_array().unwrap().len(), count, "{query}");
    }
    assert_eq!(client.get("/v1/ports/detail").await.json()["ports"][0]["node_uuid"], uuid);
    assert_eq!(client.send("DELETE", &path, Value::Null).await.status, 204);
    assert_eq!(client.send("DELETE", &path, Value::Null).await.status, 404);
}

#[tokio::test]
async fn traits_are_kept_with_the_node() {
    let client = client();
    client.node(json!({"name": "n"})).await;
    let put =
        client.send("PUT", "/v1/nodes/n/traits", json!({"traits": ["CUSTOM_B", "CUSTOM_A"]})).await;
    assert_eq!(put.status, 204, "{}", put.text);
    assert_eq!(client.send("PUT", "/v1/nodes/n/traits/CUSTOM_C", Value::Null).await.status, 204);
    assert_eq!(client.send("DELETE", "/v1/nodes/n/traits/CUSTOM_B", Value::Null).await.status, 204);
    assert_eq!(
        client.get("/v1/nodes/n/traits").await.json(),
        json!({"traits": ["CUSTOM_A", "CUSTOM_C"]})
    );
    assert_eq!(client.get("/v1/nodes/n").await.json()["traits"], json!(["CUSTOM_A", "CUSTOM_C"]));
    assert_eq!(client.send("PUT", "/v1/nodes/n/traits/custom", Value::Null).await.status, 400);
}

#[tokio::test]
async fn drivers_say_what_they_offer_and_need() {
    let client = client();
    let drivers = client.get("/v1/drivers").await.json();
    let names: Vec<_> =
        drivers["drivers"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["fake-hardware", "ipmi"]);
    let shown = client.get("/v1/drivers/ipmi").await.json();
    assert_eq!(
        (&shown["default_power_interface"], &shown["type"]),
        (&json!("ipmitool"), &json!("dynamic"))
    );
    assert!(client.get("/v1/drivers/ipmi/properties").await.json()["ipmi_address"].is_string());
    assert_eq!(client.get("/v1/drivers?type=classic").await.json()["drivers"], json!([]));
}
