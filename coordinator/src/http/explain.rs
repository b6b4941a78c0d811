//! `GET /v1/nodes/{id}/explain`: what a node waits for and what to do. Ours, not Ironic's.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;

use super::error::ApiError;
use super::mask::mask;
use super::nodes::find;
use super::representation::plain;
use crate::app::App;
use crate::node::explain::explain;

/// `GET …/explain`.
///
/// # Errors
///
/// 404.
pub async fn show(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    let answer = plain(explain(&node, &app.settings, &app.live));
    Ok(Json(mask(&answer)))
}
