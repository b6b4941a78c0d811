//! Heartbeat.
use super::{AgentError, Peer};
use crate::app::App;
use ironwright_api::{Heartbeat, HeartbeatReply};
use uuid::Uuid;

/// Takes a heartbeat: stores what is new, answers with the order.
///
/// # Errors
///
/// [`AgentError`].
pub async fn heartbeat(
    _app: &App,
    node: Uuid,
    _heartbeat: Heartbeat,
    _peer: Peer,
) -> Result<HeartbeatReply, AgentError> {
    Err(AgentError::NotFound(node.to_string()))
}
