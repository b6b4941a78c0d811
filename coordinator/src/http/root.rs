//! `GET /` and `GET /v1`: what this API is and which versions it speaks.

use axum::Json;
use serde_json::{Value, json};

use super::request::Base;
use super::version::{MAX, MIN, Version};

/// Resources with links in the version document, and the first `1.N` that shows them.
const RESOURCES: [(&str, u16); 6] = [
    ("nodes", 1),
    ("ports", 1),
    ("drivers", 1),
    ("lookup", 22),
    ("heartbeat", 22),
    ("conductors", 49),
];

/// `GET /`.
pub async fn discover(Base(base): Base) -> Json<Value> {
    let version = version_entry(&base);
    Json(json!({
        "name": "OpenStack Ironic API",
        "description": "Ironwright serves the Bare Metal API of OpenStack Ironic.",
        "default_version": version,
        "versions": [version],
    }))
}

/// `GET /v1`.
pub async fn version_document(version: Version, Base(base): Base) -> Json<Value> {
    let mut document = json!({
        "id": "v1",
        "links": [
            {"href": format!("{base}/v1/"), "rel": "self"},
            {"href": "https://docs.openstack.org/api-ref/baremetal/", "rel": "describedby", "type": "text/html"},
        ],
        "media_types": {"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"},
    });
    for (resource, since) in RESOURCES {
        if version.0 >= since {
            document[resource] = json!([
                {"href": format!("{base}/v1/{resource}/"), "rel": "self"},
                {"href": format!("{base}/{resource}/"), "rel": "bookmark"},
            ]);
        }
    }
    document["version"] = version_entry(&base);
    Json(document)
}

fn version_entry(base: &str) -> Value {
    json!({
        "id": "v1",
        "links": [{"href": format!("{base}/v1/"), "rel": "self"}],
        "status": "CURRENT",
        "min_version": MIN.to_string(),
        "version": MAX.to_string(),
    })
}
