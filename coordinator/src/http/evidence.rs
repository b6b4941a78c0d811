//! `GET /v1/nodes/{id}/evidence`: what was written and erased, with proofs. Ours, not Ironic's.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::ApiError;
use super::mask::mask;
use super::nodes::find;
use super::representation::plain;
use crate::app::App;

/// `GET …/evidence`: of the last finished work, and of the steps of the work in progress.
///
/// # Errors
///
/// 404.
pub async fn show(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    let running: Vec<Value> = node
        .work
        .iter()
        .flat_map(|work| &work.steps)
        .filter_map(|step| {
            Some(json!({"step": step.step, "evidence": plain(step.evidence.as_ref()?)}))
        })
        .collect();
    let answer =
        json!({"node_uuid": node.uuid, "evidence": plain(&node.evidence), "in_progress": running});
    Ok(Json(mask(&answer)))
}
