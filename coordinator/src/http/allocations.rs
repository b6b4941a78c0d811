//! `/v1/allocations` and `/v1/nodes/{id}/allocation`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::error::ApiError;
use super::nodes;
use super::records::resources::ALLOCATION;
use super::records::{self, Ask};
use super::request::Body;
use crate::allocation;
use crate::app::App;
use crate::node::{Node, ProvisionState};
use crate::store::{Record, RecordKind};

/// `POST /v1/allocations`: 201. The answer says `allocating`; the next look says whether a node was found.
///
/// # Errors
///
/// 400 naming every problem, 406, 409 for a name or UUID that is taken.
pub async fn create(ask: Ask, Body(body): Body) -> Result<Response, ApiError> {
    let app = &ask.app;
    let mut body = body;
    let node = match body.as_object_mut().and_then(|body| body.remove("node")) {
        None | Some(Value::Null) => None,
        Some(_) if ask.version.0 < 58 => {
            return Err(ApiError::TooNew("The field 'node' needs at least version 1.58.".into()));
        }
        Some(ident) => Some(named(app, &ident).await?),
    };
    let mut record = records::made(&ALLOCATION, &body, ask.version, app.clock.now())?;
    if let Some(node) = &node {
        let class = node.resource_class.clone();
        record.fields.entry("resource_class").or_insert_with(|| class.into());
    }
    if record.text("resource_class").is_none() {
        return Err(ApiError::Invalid(
            "Schema error for allocation: 'resource_class' is a required property; name the class of the nodes.".into(),
        ));
    }
    candidates(app, &mut record).await?;
    record.fields.insert("state".to_owned(), "allocating".into());
    app.store.create_record(&record).await?;
    match &node {
        None => allocation::allocate(app, &record).await?,
        Some(node) => {
            if !allocation::backfill(app, &record, node).await? {
                app.store.delete_record(RecordKind::Allocation, record.uuid).await?;
                return Err(ApiError::Conflict(format!(
                    "Node {} cannot be allocated: it must be active and without another instance.",
                    node.uuid
                )));
            }
        }
    }
    Ok(records::created(&ALLOCATION, &record, ask.version, &ask.base))
}

async fn named(app: &App, ident: &Value) -> Result<Node, ApiError> {
    let missing = || ApiError::Invalid(format!("Node {ident} could not be found."));
    let found = app.store.node(ident.as_str().ok_or_else(missing)?).await?;
    found.ok_or_else(missing)
}

/// Candidates are kept by UUID, and must exist.
async fn candidates(app: &App, record: &mut Record) -> Result<(), ApiError> {
    let Some(asked) = record.fields.get("candidate_nodes").and_then(Value::as_array).cloned()
    else {
        return Ok(());
    };
    let mut found = Vec::new();
    for ident in &asked {
        found.push(named(app, ident).await?.uuid);
    }
    record.fields.insert("candidate_nodes".to_owned(), json!(found));
    Ok(())
}

/// `DELETE /v1/allocations/{id}`: 204.
///
/// # Errors
///
/// 404; 409 while its node is in use, unless in maintenance.
pub async fn delete(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let record = records::find(&ALLOCATION, &app, &ident).await?;
    remove(&app, &record).await
}

async fn remove(app: &App, record: &Record) -> Result<StatusCode, ApiError> {
    if let Some(uuid) = record.node
        && let Some(node) = app.store.node(&uuid.to_string()).await?
    {
        let free = node.maintenance
            || matches!(
                node.provision_state,
                ProvisionState::Available | ProvisionState::Manageable | ProvisionState::Enroll
            );
        if !free {
            return Err(ApiError::Conflict(format!(
                "Cannot remove instance_uuid of node {uuid} while it is in provision state '{}': undeploy it first.",
                node.provision_state
            )));
        }
        allocation::release(app, uuid, record.uuid).await?;
    }
    app.store.delete_record(RecordKind::Allocation, record.uuid).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn of(app: &App, ident: &str) -> Result<Record, ApiError> {
    let node = nodes::find(app, ident).await?;
    let found = app.store.records(RecordKind::Allocation, Some(node.uuid)).await?;
    found.into_iter().next().ok_or_else(|| ApiError::NotFound {
        what: "Allocation for node",
        ident: node.uuid.to_string(),
    })
}

/// `GET /v1/nodes/{id}/allocation`.
///
/// # Errors
///
/// 404 for an unknown node and one without allocation.
pub async fn of_node(ask: Ask, Path(ident): Path<String>) -> Result<Json<Value>, ApiError> {
    let record = of(&ask.app, &ident).await?;
    Ok(Json(ALLOCATION.shown(&record, ask.version, &ask.base, None)))
}

/// `DELETE /v1/nodes/{id}/allocation`: 204.
///
/// # Errors
///
/// As [`delete`].
pub async fn delete_of_node(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let record = of(&app, &ident).await?;
    remove(&app, &record).await
}
