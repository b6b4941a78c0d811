//! Lookup.
use super::{AgentError, Peer};
use crate::app::App;
use ironwright_api::LookupReply;
use uuid::Uuid;

/// What a lookup presents.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    /// MAC addresses.
    pub addresses: Vec<String>,
    /// The node, if the agent knows it.
    pub node_uuid: Option<Uuid>,
    /// The nonce of the boot script.
    pub nonce: Option<String>,
    /// The agent's boot identifier.
    pub boot_id: Option<Uuid>,
}

/// Answers a lookup.
///
/// # Errors
///
/// [`AgentError`].
pub async fn lookup(_app: &App, lookup: &Lookup, _peer: Peer) -> Result<LookupReply, AgentError> {
    Err(AgentError::NotFound(lookup.addresses.join(",")))
}
