//! `/v1/conductors`: this coordinator, under Ironic's name for it.

use std::sync::OnceLock;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::ApiError;
use super::representation::{links, time};
use super::request::{Base, Query};
use super::version::Version;
use crate::app::App;

pub(super) const PARAMETERS: [(&str, u16); 6] = [
    ("detail", 49),
    ("fields", 49),
    ("limit", 49),
    ("marker", 49),
    ("sort_key", 49),
    ("sort_dir", 49),
];

/// This coordinator's name: the machine's host name.
pub fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = read.trim();
        if name.is_empty() { "ironwright".to_owned() } else { name.to_owned() }
    })
}

/// `GET /v1/conductors`.
///
/// # Errors
///
/// 400 for the query.
pub async fn list(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    query.only(&PARAMETERS, version)?;
    let detail = query.flag("detail")?.unwrap_or(false);
    let mut shown = shown(&app, &base);
    if !detail && let Some(object) = shown.as_object_mut() {
        object.retain(|key, _| {
            matches!(key.as_str(), "hostname" | "conductor_group" | "alive" | "links")
        });
    }
    Ok(Json(json!({"conductors": [shown]})))
}

/// `GET /v1/conductors/{hostname}`.
///
/// # Errors
///
/// 404 unless it is this one.
pub async fn show(
    State(app): State<App>,
    Base(base): Base,
    Path(host): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if host == name() {
        Ok(Json(shown(&app, &base)))
    } else {
        Err(ApiError::NotFound { what: "Conductor", ident: host })
    }
}

fn shown(app: &App, base: &str) -> Value {
    json!({
        "hostname": name(),
        "conductor_group": "",
        "alive": true,
        "drivers": app.settings.enabled_hardware_types,
        "created_at": null,
        "updated_at": time(jiff::Timestamp::now()),
        "links": links(base, &format!("conductors/{}", name())),
    })
}
