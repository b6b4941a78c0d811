//! Microversions, error shapes, discovery.

use serde_json::{Value, json};

use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt as _;

use super::{Answer, client, send};

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
    for route in crate::http::operator_table().into_iter().filter(|route| route.since > 1) {
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
