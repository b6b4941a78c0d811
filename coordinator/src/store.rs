//! Where records live. Nothing else touches storage.
//!
//! Every change of a node is compare-and-set by its `version`: a writer that read an older version gets
//! [`StoreError::Conflict`], reads again and decides again.

#[cfg(test)]
mod conformance;
pub mod memory;
mod record;
pub mod sqlite;

use std::future::Future;
use std::pin::Pin;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::certificate::Kept;
use crate::node::{Node, Port};

pub use record::{Record, RecordKind};

/// Lines of history kept for a node, as Ironic does.
pub const HISTORY_MAX: usize = 300;

/// What a store call returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote the node since it was read.
    #[error("node {0} was changed by another request")]
    Conflict(Uuid),
    /// A unique value is taken.
    #[error("{what} {value} already exists")]
    Duplicate {
        /// `node name`, `node uuid`, `port address`, …
        what: &'static str,
        /// The value.
        value: String,
    },
    /// The database refused.
    #[error("cannot {attempt}")]
    Database {
        /// What was attempted.
        attempt: &'static str,
        /// The database's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Which nodes a list wants. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct NodeFilter {
    /// By provision state (wire text).
    pub provision_state: Option<String>,
    /// By maintenance.
    pub maintenance: Option<bool>,
    /// By driver.
    pub driver: Option<String>,
    /// By resource class.
    pub resource_class: Option<String>,
    /// By instance.
    pub instance_uuid: Option<Uuid>,
    /// With (true) or without (false) an instance.
    pub associated: Option<bool>,
    /// By fault.
    pub fault: Option<String>,
    /// Which nodes with a parent.
    pub children: Children,
    /// Start after this node.
    pub marker: Option<Uuid>,
    /// Column to sort by, default order of creation.
    pub sort_key: Option<String>,
    /// Descending.
    pub descending: bool,
    /// At most this many; 0: all.
    pub limit: usize,
}

/// Which nodes with a parent a list shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Children {
    /// All.
    #[default]
    Shown,
    /// None.
    Hidden,
    /// Those of this parent alone.
    Of(Uuid),
}

/// Which ports a list wants.
#[derive(Debug, Clone, Default)]
pub struct PortFilter {
    /// Of this node.
    pub node: Option<Uuid>,
    /// With this address.
    pub address: Option<String>,
    /// Start after this port.
    pub marker: Option<Uuid>,
    /// At most this many; 0: all.
    pub limit: usize,
}

/// What a list has to know of a node to tell whether it changed; never reads the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The enrolment. A node that is deleted and enrolled again under the same identifier has another.
    pub row: i64,
    /// [`Node::version`].
    pub version: i64,
}

/// One line of a node's history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Identifier.
    pub uuid: Uuid,
    /// When.
    pub created_at: Timestamp,
    /// `INFO` or `ERROR`.
    pub severity: String,
    /// What kind, e.g. `provisioning`, `power`, `boot`.
    pub event_type: String,
    /// The sentence.
    pub event: String,
}

/// The storage of one coordinator, or of many (PostgreSQL).
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Adds a node at version 1.
    fn create_node<'a>(&'a self, node: &'a Node) -> Answer<'a, Node>;
    /// The node with this identifier or name.
    fn node<'a>(&'a self, ident: &'a str) -> Answer<'a, Option<Node>>;
    /// Writes `node` if its `version` is the stored one; returns it with the new version. `due`: when the reconciler must look
    /// at it next (none: only when woken by a request).
    fn update_node<'a>(&'a self, node: &'a Node, due: Option<Timestamp>) -> Answer<'a, Node>;
    /// Removes a node, its ports, history and inventory.
    fn delete_node(&self, uuid: Uuid) -> Answer<'_, ()>;
    /// Whole nodes.
    fn nodes<'a>(&'a self, filter: &'a NodeFilter) -> Answer<'a, Vec<Node>>;
    /// The stamps of what [`Store::nodes`] would return, in its order.
    fn node_stamps<'a>(&'a self, filter: &'a NodeFilter) -> Answer<'a, Vec<Stamp>>;
    /// The nodes of these enrolments that still exist, in any order.
    fn nodes_of<'a>(&'a self, rows: &'a [i64]) -> Answer<'a, Vec<(i64, Node)>>;
    /// Other `ipmi` nodes with the BMC of this one (address and port as written, ports default to 623).
    fn bmc_sharers<'a>(&'a self, node: &'a Node) -> Answer<'a, Vec<Uuid>>;
    /// Nodes whose `due` has come, earliest first.
    fn due(&self, now: Timestamp, limit: usize) -> Answer<'_, Vec<Uuid>>;
    /// The earliest `due` of all.
    fn next_due(&self) -> Answer<'_, Option<Timestamp>>;

    /// Adds a port.
    fn create_port<'a>(&'a self, port: &'a Port) -> Answer<'a, ()>;
    /// One port.
    fn port(&self, uuid: Uuid) -> Answer<'_, Option<Port>>;
    /// Ports, in order of creation.
    fn ports<'a>(&'a self, filter: &'a PortFilter) -> Answer<'a, Vec<Port>>;
    /// Replaces a port.
    fn update_port<'a>(&'a self, port: &'a Port) -> Answer<'a, ()>;
    /// Removes a port; false when there was none.
    fn delete_port(&self, uuid: Uuid) -> Answer<'_, bool>;
    /// The one node that owns at least one of these addresses; none when none or several do.
    fn node_by_addresses<'a>(&'a self, addresses: &'a [String]) -> Answer<'a, Option<Uuid>>;

    /// Appends to a node's history (the newest 300 are kept).
    fn add_history<'a>(&'a self, node: Uuid, entry: &'a HistoryEntry) -> Answer<'a, ()>;
    /// A node's history, oldest first.
    fn history(&self, node: Uuid) -> Answer<'_, Vec<HistoryEntry>>;
    /// Replaces a node's inventory.
    fn put_inventory<'a>(&'a self, node: Uuid, inventory: &'a Value) -> Answer<'a, ()>;
    /// A node's inventory.
    fn inventory(&self, node: Uuid) -> Answer<'_, Option<Value>>;

    /// Keeps certificates of the node they name, for ever: also when the node is deleted. One that is kept already stays as
    /// it is.
    fn keep_certificates<'a>(&'a self, certificates: &'a [Kept]) -> Answer<'a, ()>;
    /// A node's certificates, newest first: at most `limit` that are older than `marker`, or the newest without one.
    fn certificates(&self, node: Uuid, marker: Option<Uuid>, limit: usize)
    -> Answer<'_, Vec<Kept>>;
    /// One certificate of a node.
    fn certificate(&self, node: Uuid, id: Uuid) -> Answer<'_, Option<Kept>>;

    /// Adds a record; its identifier, name and key must be new in its kind.
    fn create_record<'a>(&'a self, record: &'a Record) -> Answer<'a, ()>;
    /// The record of this kind with this identifier or name.
    fn record<'a>(&'a self, kind: RecordKind, ident: &'a str) -> Answer<'a, Option<Record>>;
    /// The records of this kind (and of this node), in order of creation.
    fn records(&self, kind: RecordKind, node: Option<Uuid>) -> Answer<'_, Vec<Record>>;
    /// Replaces a record; false when there is none.
    fn update_record<'a>(&'a self, record: &'a Record) -> Answer<'a, bool>;
    /// Removes a record; false when there was none.
    fn delete_record(&self, kind: RecordKind, uuid: Uuid) -> Answer<'_, bool>;

    /// Ends all use of the storage and leaves it in one piece; everything asked afterwards fails.
    fn close(&self) -> Answer<'_, ()>;
}
