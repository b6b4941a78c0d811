//! `GET /v1/nodes/{id}/plan`: what the agent is about to do, or had planned last. Ours, not Ironic's.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::ApiError;
use super::nodes::find;
use super::representation::plain;
use crate::app::App;

/// `GET …/plan`. `steps` is empty until the agent has looked at the machine.
///
/// # Errors
///
/// 404.
pub async fn show(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    let work = node.work.as_ref();
    let steps = work.map_or(&node.plan, |work| &work.plan);
    Ok(Json(json!({
        "node_uuid": node.uuid,
        "order_id": work.map(|work| work.order.order_id),
        "attempt": work.map(|work| work.order.attempt),
        "running": work.and_then(|work| work.running_step()),
        "steps": plain(steps),
    })))
}
