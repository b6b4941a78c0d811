//! What a node refers to: its hardware type, its chassis, its parent, and its children.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use uuid::Uuid;

use super::find;
use crate::app::App;
use crate::http::error::ApiError;
use crate::http::representation;
use crate::http::request::Base;
use crate::node::Node;
use crate::store::{Children, NodeFilter, RecordKind};

/// `node`, whose chassis and parent exist; the parent by its UUID.
pub(super) async fn referring(app: &App, mut node: Node) -> Result<Node, ApiError> {
    let text =
        |node: &Node, name: &str| node.other.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some(chassis) = text(&node, "chassis_uuid")
        && app.store.record(RecordKind::Chassis, &chassis).await?.is_none()
    {
        return Err(ApiError::Invalid(format!("Chassis {chassis} could not be found.")));
    }
    if let Some(parent) = text(&node, "parent_node") {
        let missing =
            || ApiError::Invalid(format!("Node {parent}, the parent_node, could not be found."));
        let found = app.store.node(&parent).await?.ok_or_else(missing)?;
        if found.uuid == node.uuid || found.parent().is_some() {
            return Err(ApiError::Invalid(format!(
                "Node {parent} cannot be the parent_node: it is the node itself or has a parent."
            )));
        }
        node.other.insert("parent_node".to_owned(), Value::from(found.uuid.to_string()));
    }
    Ok(node)
}

/// `GET /v1/nodes/{id}/children`.
///
/// # Errors
///
/// 404.
pub async fn children(
    State(app): State<App>,
    Base(base): Base,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    let filter = NodeFilter { children: Children::Of(node.uuid), ..NodeFilter::default() };
    let found = app.store.nodes(&filter).await?;
    let children: Vec<Uuid> = found.iter().map(|child| child.uuid).collect();
    let links = representation::links(&base, &format!("nodes/{}/children", node.uuid));
    Ok(Json(json!({"children": children, "links": links})))
}

/// Refuses a hardware type that is switched off.
pub(super) fn enabled(app: &App, node: &Node) -> Result<(), ApiError> {
    let enabled = &app.settings.enabled_hardware_types;
    if enabled.contains(&node.driver) {
        return Ok(());
    }
    Err(ApiError::Invalid(format!(
        "No valid host was found. Reason: no conductor supports driver '{}'. Available drivers: {}. The setting enabled_hardware_types switches it on.",
        node.driver,
        enabled.join(", ")
    )))
}
