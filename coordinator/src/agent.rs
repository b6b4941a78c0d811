//! What a ramdisk may ask: its boot script, lookup and heartbeat; the nonce, the token, reports.
//!
//! Everything that arrives here comes from a network that anybody in the machine room may be on. A boot is bound in three
//! steps: the boot script carries a one-time nonce, the first lookup that presents it binds it to its boot identifier and
//! gets the token, and every heartbeat must carry both.

mod boot;
mod heartbeat;
mod lookup;
mod secret;

use std::net::IpAddr;

use crate::node::Node;
use crate::store::StoreError;

pub use boot::{expect_boot, moment};
pub use heartbeat::heartbeat;
pub use lookup::{Lookup, lookup};

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
