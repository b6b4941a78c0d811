//! The whole router, as a client sees it.

mod access;
mod bad_input;
mod inspection;
mod lifecycle;
mod parts;
mod records;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::app::App;
use crate::node::{Node, ProvisionState};
use crate::power::Drivers;
use crate::settings::Settings;
use crate::store::memory::Memory;

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const MAC: &str = "00:11:22:00:11:22";

struct Client {
    app: App,
    routes: Router,
    version: String,
    _files: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The text a client would print.
    fn fault(&self) -> String {
        let inner: Value =
            serde_json::from_str(self.json()["error_message"].as_str().unwrap()).unwrap();
        let text = inner.get("faultstring").or_else(|| inner.get("description"));
        text.unwrap().as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A coordinator with a kernel and a ramdisk.
fn app() -> (App, tempfile::TempDir) {
    let _already = rustls::crypto::ring::default_provider().install_default().is_err();
    let files = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    for (slot, name, content) in [
        (&mut settings.boot.kernel, "vmlinuz", "0123456789"),
        (&mut settings.boot.ramdisk, "initrd", "ramdisk"),
    ] {
        let path = files.path().join(name);
        std::fs::write(&path, content).unwrap();
        *slot = Some(path);
    }
    settings.enabled_hardware_types = vec!["fake-hardware".into(), "ipmi".into()];
    settings.provisioning.listen = Some("172.22.0.1:6386".parse().unwrap());
    settings.provisioning.tls_listen = Some("172.22.0.1:6387".parse().unwrap());
    let power = Arc::new(Drivers::new(&settings));
    (App::new(Arc::new(Memory::default()), Arc::new(settings), power), files)
}

fn client() -> Client {
    let (app, files) = app();
    Client { routes: super::operator(app.clone()), app, version: "1.110".into(), _files: files }
}

impl Client {
    async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        let headers = [("x-openstack-ironic-api-version", self.version.as_str())];
        send(&self.routes, method, path, &headers, &body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Value::Null).await
    }

    /// A node of the fake driver; its answer.
    async fn node(&self, body: Value) -> Value {
        let mut asked = json!({"driver": "fake-hardware", "boot_interface": "ipxe", "deploy_interface": "direct"});
        asked.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let answer = self.send("POST", "/v1/nodes", asked).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }

    /// Changes a record behind the API's back.
    async fn force(&self, ident: &str, change: impl Fn(&mut Node)) {
        let mut node = self.app.store.node(ident).await.unwrap().unwrap();
        change(&mut node);
        self.app.store.update_node(&node, None).await.unwrap();
    }
}

async fn send(
    routes: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "h:6385");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let response = routes.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(to_bytes(body, 1 << 24).await.unwrap().to_vec()).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, text }
}

#[tokio::test]
async fn a_version_that_is_too_new_is_answered_with_the_range_so_that_the_client_can_try_again() {
    let mut client = client();
    client.version = "1.115".into();
    let answer = client.get("/v1/nodes").await;
    assert_eq!(answer.status, 406);
    assert_eq!(answer.header("x-openstack-ironic-api-minimum-version"), Some("1.1"));
    assert_eq!(answer.header("x-openstack-ironic-api-maximum-version"), Some("1.110"));
    assert_eq!(answer.header("x-openstack-ironic-api-version"), None);
    assert!(answer.fault().contains("[1.1, 1.110]"), "{}", answer.text);

    client.version = "latest".into();
    let answer = client.get("/v1/nodes").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-openstack-ironic-api-version"), Some("1.110"));
    assert!(answer.header("openstack-request-id").unwrap().starts_with("req-"));
}

#[tokio::test]
async fn errors_carry_the_version_headers_and_their_two_shapes() {
    let client = client();
    for (method, path, status, part) in [
        ("GET", "/v1/nodes/nobody", 404, "Node nobody could not be found."),
        ("GET", "/v1/nothing", 404, "could not be found"),
        ("DELETE", "/v1/nodes", 405, "DELETE"),
        ("POST", "/v1", 405, "POST"),
        ("GET", "/v1/nodes?limit=0", 400, "Limit must be positive"),
        ("GET", "/v1/nodes?colour=red", 400, "colour"),
        ("GET", "/v1/ports/7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f", 404, "Port 7a1ce8d0"),
        ("GET", "/v1/drivers/agent_ipmitool", 404, "Driver agent_ipmitool"),
        ("GET", "/v1/lookup?addresses=x", 404, "could not be found"),
        ("GET", "/boot/ipxe", 404, "could not be found"),
    ] {
        let answer = client.send(method, path, Value::Null).await;
        assert_eq!(answer.status, status, "{method} {path} {}", answer.text);
        assert!(answer.fault().contains(part), "{method} {path} {}", answer.text);
        let versioned = answer.header("x-openstack-ironic-api-version").is_some();
        assert_eq!(versioned, path.starts_with("/v1"), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
    let malformed =
        Request::builder().method("POST").uri("/v1/nodes").body(Body::from("{")).unwrap();
    assert_eq!(client.routes.clone().oneshot(malformed).await.unwrap().status(), 400);
}

#[tokio::test]
async fn an_endpoint_does_not_exist_before_its_version() {
    let mut client = client();
    client.node(json!({"name": "n"})).await;
    // Ironic's web framework answers 404 in its own shape, which has a code.
    let missing =
        |answer: &Answer| answer.status == 404 && answer.text.contains("\\\"code\\\":404");
    let mut seen = 0;
    for route in super::operator_table().into_iter().filter(|route| route.since > 1) {
        let path = route.path.replace("{node}", "n").replace(['{', '}'], "");
        for (version, exists) in [(route.since - 1, false), (route.since, true)] {
            client.version = format!("1.{version}");
            let answer = client.send(route.method, &path, Value::Null).await;
            assert_eq!(
                !missing(&answer),
                exists,
                "{} {path} 1.{version} {}",
                route.method,
                answer.text
            );
            assert!(answer.status < 500, "{} {path} {}", route.method, answer.text);
        }
        seen += 1;
    }
    assert!(seen > 70, "{seen}");
}

#[tokio::test]
async fn trailing_slashes_and_discovery_without_a_version_work() {
    let client = client();
    for path in ["/v1/nodes/", "/v1/drivers/", "/v1/"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    let root = send(&client.routes, "GET", "/", &[], &Value::Null).await.json();
    assert_eq!(root["default_version"]["version"], "1.110");
    let v1 = send(&client.routes, "GET", "/v1/", &[], &Value::Null).await;
    assert_eq!(v1.header("x-openstack-ironic-api-version"), Some("1.1"));
    assert!(v1.json().get("conductors").is_none(), "1.1 has no conductors");
    assert_eq!(v1.json()["nodes"][0]["href"], "http://h:6385/v1/nodes/");
}

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

#[tokio::test]
async fn an_inventory_exists_after_an_inspection_only() {
    let client = client();
    let uuid = client.node(json!({"name": "n"})).await["uuid"].as_str().unwrap().parse().unwrap();
    assert_eq!(client.get("/v1/nodes/n/inventory").await.status, 404);
    client.app.store.put_inventory(uuid, &json!({"disks": []})).await.unwrap();
    assert_eq!(client.get("/v1/nodes/n/inventory").await.json()["inventory"], json!({"disks": []}));
}

#[tokio::test]
async fn machines_and_operators_do_not_see_each_other_s_side() {
    let (app, _files) = app();
    let plain = super::provisioning(app.clone(), false);
    let secure = super::provisioning(app, true);
    for (routes, path, exists) in [
        (&plain, "/boot/ipxe", true),
        (&secure, "/boot/ipxe", false),
        (&plain, "/v1/nodes", false),
        (&secure, "/v1/nodes", false),
        (&secure, "/v1/drivers", false),
        (&secure, "/v1", true),
        (&plain, "/", true),
    ] {
        let answer = send(routes, "GET", path, &[], &Value::Null).await;
        assert_eq!(answer.status == 200, exists, "{path} {}", answer.text);
    }
    let nobody =
        send(&secure, "GET", "/v1/lookup?addresses=52:54:00:00:00:01", &[], &Value::Null).await;
    assert_eq!(
        (nobody.status, nobody.fault().contains("could not be found")),
        (404, true),
        "{}",
        nobody.text
    );
}

#[tokio::test]
async fn kernel_and_ramdisk_are_served_in_ranges_and_unknown_machines_start_their_disk() {
    let (app, _files) = app();
    let routes = super::provisioning(app, false);
    let whole = send(&routes, "GET", "/boot/vmlinuz?node=x", &[], &Value::Null).await;
    assert_eq!((whole.status, whole.text.as_str()), (200, "0123456789"));
    let part = send(&routes, "GET", "/boot/vmlinuz", &[("range", "bytes=2-4")], &Value::Null).await;
    assert_eq!((part.status, part.text.as_str()), (206, "234"));
    assert_eq!(send(&routes, "GET", "/boot/initrd", &[], &Value::Null).await.text, "ramdisk");

    let entry = send(&routes, "GET", "/boot/ipxe", &[], &Value::Null).await;
    assert!(
        entry.text.contains("chain --replace http://172.22.0.1:6386/boot/ipxe/${netX/mac:hexhyp}"),
        "{}",
        entry.text
    );
    let script =
        send(&routes, "GET", "/boot/ipxe/52-54-00-00-00-01?nics=,,", &[], &Value::Null).await;
    assert!(script.text.contains("sanboot") && !script.text.contains("kernel"), "{}", script.text);
}

#[tokio::test]
async fn a_machine_that_is_expected_gets_the_ramdisk_with_a_nonce_under_any_of_its_addresses() {
    let (mut app, _files) = app();
    app.certificate_sha256 = Some("c0ffee".into());
    let mut node = crate::node::tests::working_node(app.clock.now());
    let work = node.work.as_mut().unwrap();
    work.phase = crate::node::Phase::AwaitAgent;
    work.boot = crate::node::Boot::default();
    node.driver_info.insert("kernel_append_params".into(), json!("console=ttyS0"));
    let mut port = crate::node::sample::port();
    port.node_uuid = node.uuid;
    app.store.create_node(&node).await.unwrap();
    app.store.create_port(&port).await.unwrap();

    let routes = super::provisioning(app.clone(), false);
    let path = "/boot/ipxe/52-54-00-00-00-09?nics=52-54-00-00-00-09,00-11-22-00-11-22,";
    let script = send(&routes, "GET", path, &[], &Value::Null).await.text;
    for part in [
        "ipa-api-url=https://172.22.0.1:6387 ",
        "ironwright.tls=c0ffee ",
        "BOOTIF=01-52-54-00-00-00-09 ",
        "panic=30 console=ttyS0",
        &format!("http://172.22.0.1:6386/boot/vmlinuz?node={} ", node.uuid),
    ] {
        assert!(script.contains(part), "{part}: {script}");
    }
    let nonce = script.split("ironwright.nonce=").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(nonce.len(), 32);

    send(&routes, "GET", &format!("/boot/initrd?node={}", node.uuid), &[], &Value::Null).await;
    let after = app.store.node(&node.uuid.to_string()).await.unwrap().unwrap().work.unwrap();
    assert!(!serde_json::to_string(&after).unwrap().contains(nonce), "only its hash is kept");
    assert!(
        after.boot.moments.contains_key("script") && after.boot.moments.contains_key("ramdisk")
    );

    let lookup = format!("/v1/lookup?addresses={}", port.address);
    let headers = [
        ("x-ironwright-nonce", nonce),
        ("x-ironwright-boot-id", "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f"),
    ];
    let agents = super::provisioning(app, true);
    let found = send(&agents, "GET", &lookup, &headers, &Value::Null).await;
    assert_eq!(
        (found.status, &found.json()["node"]["uuid"]),
        (200, &json!(node.uuid)),
        "{}",
        found.text
    );
    let beat = json!({"agent_token": found.json()["config"]["agent_token"], "ironwright": {"protocol": 1, "boot_id": headers[1].1}});
    let reply = send(&agents, "POST", &format!("/v1/heartbeat/{}", node.uuid), &[], &beat).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let stranger =
        json!({"agent_token": "x", "ironwright": {"protocol": 1, "boot_id": headers[1].1}});
    let refused =
        send(&agents, "POST", &format!("/v1/heartbeat/{}", node.uuid), &[], &stranger).await;
    assert_eq!(
        (refused.status, refused.fault().as_str()),
        (400, "Invalid or missing agent token received.")
    );
}
