//! Records for tests.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Node, Object, Port};

/// An available node without settings.
pub(crate) fn node() -> Node {
    serde_json::from_value(json!({
        "uuid": "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f",
        "name": "mytest",
        "driver": "fake-hardware",
        "provision_state": "available",
        "created_at": "2026-11-22T18:50:13.431709Z",
    }))
    .unwrap()
}

/// A port of [`node`] that boots from the network.
pub(crate) fn port() -> Port {
    serde_json::from_value(json!({
        "uuid": Uuid::nil(),
        "node_uuid": node().uuid,
        "address": "00:11:22:00:11:22",
        "created_at": "2026-11-22T18:50:13Z",
    }))
    .unwrap()
}

/// An object out of `json!({…})`.
pub(crate) fn object(value: Value) -> Object {
    serde_json::from_value(value).unwrap()
}
