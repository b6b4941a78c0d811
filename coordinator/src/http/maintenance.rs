//! `/v1/nodes/{id}/maintenance`: keep automation's hands off.

use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::error::ApiError;
use super::request::Body;
use crate::actions;
use crate::app::App;
use crate::node::attributes::text;

/// `PUT …/maintenance {"reason": …}`: 202.
///
/// # Errors
///
/// 400, 404.
pub async fn set(
    State(app): State<App>,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<StatusCode, ApiError> {
    let reason = text("reason", &body["reason"], 4096).map_err(ApiError::Invalid)?;
    actions::maintenance(&app, &ident, true, reason.as_deref()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `DELETE …/maintenance`: 202. Clears the reason and the fault.
///
/// # Errors
///
/// 404.
pub async fn unset(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    actions::maintenance(&app, &ident, false, None).await?;
    Ok(StatusCode::ACCEPTED)
}
