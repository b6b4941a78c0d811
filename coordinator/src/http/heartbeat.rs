//! `POST /v1/heartbeat/{id}`: a ramdisk lives; the answer carries its order.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use ironwright_api::{Heartbeat, HeartbeatReply};
use uuid::Uuid;

use super::error::ApiError;
use super::lookup::{Remote, Secure};
use super::request::Body;
use crate::agent::{self, Peer};
use crate::app::App;

/// `POST /v1/heartbeat/{id}`: 202. Inventory and log tail make it large: at most 16 MiB (Ironic's limit for inspections).
///
/// # Errors
///
/// 400 for the body and a wrong token, 403, 404, 409.
pub async fn beat(
    State(app): State<App>,
    Extension(Secure(secure)): Extension<Secure>,
    Remote(address): Remote,
    Path(node): Path<String>,
    Body(body): Body<16384>,
) -> Result<(StatusCode, Json<HeartbeatReply>), ApiError> {
    let node = Uuid::try_parse(&node).map_err(|_| ApiError::NodeNotFound(node))?;
    let heartbeat: Heartbeat = serde_json::from_value(body)
        .map_err(|error| ApiError::Invalid(format!("The heartbeat is malformed: {error}.")))?;
    let reply = agent::heartbeat(&app, node, heartbeat, Peer { address, secure }).await?;
    Ok((StatusCode::ACCEPTED, Json(reply)))
}
