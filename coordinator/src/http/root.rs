//! `GET /` and `GET /v1`: what this API is and which versions it speaks.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::ApiError;
use super::nodes::find;
use super::representation::links;
use super::request::Base;
use super::version::{MAX, MIN, Version};
use crate::app::App;

/// Resources with links in the version document, and the first `1.N` that shows them.
const RESOURCES: [(&str, u16); 16] = [
    ("chassis", 1),
    ("nodes", 1),
    ("ports", 1),
    ("drivers", 1),
    ("lookup", 22),
    ("heartbeat", 22),
    ("portgroups", 23),
    ("volume", 32),
    ("conductors", 49),
    ("allocations", 52),
    ("events", 54),
    ("deploy_templates", 55),
    ("shards", 82),
    ("continue_inspection", 84),
    ("runbooks", 92),
    ("inspection_rules", 96),
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

/// `GET /v1/volume`: where its parts are.
pub async fn volume(Base(base): Base) -> Json<Value> {
    Json(volumes(&base, "volume"))
}

/// `GET /v1/nodes/{id}/volume`.
///
/// # Errors
///
/// 404.
pub async fn node_volume(
    State(app): State<App>,
    Base(base): Base,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    Ok(Json(volumes(&base, &format!("nodes/{}/volume", node.uuid))))
}

fn volumes(base: &str, path: &str) -> Value {
    json!({
        "connectors": links(base, &format!("{path}/connectors")),
        "targets": links(base, &format!("{path}/targets")),
        "links": links(base, path),
    })
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
