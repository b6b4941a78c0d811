//! `/v1/nodes/{id}/history`: what happened to a node.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use uuid::Uuid;

use super::conductors;
use super::error::ApiError;
use super::nodes::{find, limit};
use super::representation::{links, time};
use super::request::{Base, Query};
use super::version::Version;
use crate::app::App;
use crate::node::Node;
use crate::store::HistoryEntry;

pub(super) const PARAMETERS: [(&str, u16); 5] =
    [("detail", 78), ("marker", 78), ("limit", 78), ("sort_key", 78), ("sort_dir", 78)];

/// Longest event text that Ironic shows, characters.
const EVENT_LIMIT: usize = 255;

/// `GET …/history`, oldest first.
///
/// # Errors
///
/// 400 for the query, 404.
pub async fn list(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    query.only(&PARAMETERS, version)?;
    let detail = query.flag("detail")?.unwrap_or(false);
    let (marker, limit) = (query.parsed::<Uuid>("marker")?, limit(&query)?);
    let node = find(&app, &ident).await?;
    let mut entries = app.store.history(node.uuid).await?;
    if let Some(marker) = marker {
        let at = entries.iter().position(|entry| entry.uuid == marker);
        let missing = || ApiError::NotFound { what: "History entry", ident: marker.to_string() };
        entries.drain(..=at.ok_or_else(missing)?);
    }
    let full = entries.len() >= limit;
    entries.truncate(limit);
    let path = format!("nodes/{}/history", node.uuid);
    let shown: Vec<Value> =
        entries.iter().map(|entry| shown(entry, &node, detail, &base, &path)).collect();
    let mut body = json!({"history": shown});
    if let Some(last) = entries.last().filter(|_| full) {
        let next = query.with_marker(limit, &last.uuid.to_string());
        body["next"] = Value::from(format!("{base}/v1/{path}?{next}"));
    }
    Ok(Json(body))
}

/// `GET …/history/{uuid}`.
///
/// # Errors
///
/// 404.
pub async fn show(
    State(app): State<App>,
    Base(base): Base,
    Path((ident, entry)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    let entries = app.store.history(node.uuid).await?;
    let found = entries.iter().find(|one| one.uuid.to_string() == entry);
    let found = found.ok_or(ApiError::NotFound { what: "History entry", ident: entry })?;
    let path = format!("nodes/{}/history", node.uuid);
    Ok(Json(shown(found, &node, true, &base, &path)))
}

fn shown(entry: &HistoryEntry, node: &Node, detail: bool, base: &str, path: &str) -> Value {
    let event: String = entry.event.chars().take(EVENT_LIMIT).collect();
    let mut shown = json!({
        "uuid": entry.uuid,
        "created_at": time(entry.created_at),
        "severity": entry.severity,
        "event": event,
        "links": links(base, &format!("{path}/{}", entry.uuid)),
    });
    if detail {
        shown["event_type"] = Value::from(entry.event_type.as_str());
        shown["conductor"] = Value::from(conductors::name());
        shown["user"] = Value::Null;
        shown["node_uuid"] = json!(node.uuid);
    }
    shown
}
