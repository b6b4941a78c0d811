//! What a ramdisk may ask: its boot script, lookup, heartbeat and inspection; the nonce, the token, reports.
//!
//! Everything that arrives here comes from a network that anybody in the machine room may be on. A boot is bound in three
//! steps: the boot script carries a one-time nonce, the first lookup that presents it binds it to its boot identifier and
//! gets the token, and every heartbeat must carry both.

mod boot;
mod heartbeat;
mod inspection;
mod lookup;
pub(crate) mod reports;
mod secret;

use std::net::IpAddr;

use uuid::Uuid;

use crate::app::{App, Severity};
use crate::node::Node;
use crate::store::StoreError;

pub use boot::{Beacon, beacon, expect_boot, moment};
pub use heartbeat::heartbeat;
pub use inspection::{Found, Inspection, inspection};
pub use lookup::{Lookup, lookup};
pub(crate) use secret::sha256;

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether it came over the TLS listener.
    pub secure: bool,
}

/// What a boot script has to say.
#[derive(Debug)]
pub enum BootDecision {
    /// Boot the ramdisk with this one-time nonce.
    Ramdisk {
        /// The node (for its own kernel parameters).
        node: Box<Node>,
        /// Hexadecimal; only its hash is kept.
        nonce: String,
    },
    /// Boot the local disk.
    LocalDisk,
}

/// Why an agent was refused.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// 404. Also for nodes that no ramdisk may look up now: a stranger learns nothing.
    #[error("Node {0} could not be found.")]
    NotFound(String),
    /// 400.
    #[error("{0}")]
    Invalid(String),
    /// 400, Ironic's sentence.
    #[error("Invalid or missing agent token received.")]
    Token,
    /// 403.
    #[error("{0}")]
    Forbidden(String),
    /// 409 for a conflict, else 500.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AgentError {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) => 404,
            Self::Invalid(_) | Self::Token => 400,
            Self::Forbidden(_) => 403,
            Self::Store(StoreError::Conflict(_) | StoreError::Duplicate { .. }) => 409,
            Self::Store(StoreError::Database { .. }) => 500,
        }
    }
}

/// Agents use TLS, unless the settings say otherwise by name or nothing leaves this machine.
fn transport(app: &App, peer: Peer) -> Result<(), AgentError> {
    if peer.secure || peer.address.is_loopback() || app.settings.provisioning.insecure_plain_http {
        return Ok(());
    }
    Err(AgentError::Forbidden(
        "agents must use HTTPS (provisioning.tls_listen), or set provisioning.insecure_plain_http"
            .to_owned(),
    ))
}

/// Writes a refusal into log and history, with the stranger's address; the history at most once in a while, so that nobody
/// can flush it.
async fn record_refusal(app: &App, node: Uuid, error: &AgentError, peer: Peer) {
    if !matches!(error, AgentError::Forbidden(_) | AgentError::Token) {
        return;
    }
    let sentence = format!("refused {}: {error}", peer.address);
    if app.live.may_record_refusal(node, app.clock.now()) {
        app.note(node, Severity::Error, "agent", sentence).await;
    } else {
        tracing::warn!(%node, "node {node}: {sentence}");
    }
}
