//! The network ports of a node.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Object;

/// One network port of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Port {
    /// Identifier.
    pub uuid: Uuid,
    /// Its node.
    pub node_uuid: Uuid,
    /// MAC address, lower case with colons.
    pub address: String,
    /// Whether it boots from the network.
    #[serde(default = "yes")]
    pub pxe_enabled: bool,
    /// The operator's own notes.
    #[serde(default)]
    pub extra: Object,
    /// Other fields of Ironic's record, kept as set.
    #[serde(default)]
    pub other: BTreeMap<String, Value>,
    /// Created.
    pub created_at: Timestamp,
    /// Changed.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
}

fn yes() -> bool {
    true
}
