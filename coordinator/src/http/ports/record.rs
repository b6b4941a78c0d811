//! A port's record from a request: every type and name rule in one place. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::http::error::ApiError;
use crate::http::fields::{self, PORT};
use crate::http::version::Version;
use crate::node::attributes::{flag, text};
use crate::node::patch::{self, Operation};
use crate::node::{Object, Port};

/// What a client may change.
pub(super) const CHANGE: [&str; 12] = [
    "address",
    "category",
    "description",
    "extra",
    "is_smartnic",
    "local_link_connection",
    "name",
    "node_uuid",
    "physical_network",
    "portgroup_uuid",
    "pxe_enabled",
    "vendor",
];

pub(super) fn may_change(root: &str) -> bool {
    CHANGE.contains(&root)
}

/// A port that a body asks for; its node is still a name.
#[derive(Debug)]
pub(super) struct Asked {
    /// Name or UUID of the node.
    pub(super) node: String,
    uuid: Uuid,
    draft: Draft,
}

/// The settable part of a port.
#[derive(Debug)]
struct Draft {
    address: String,
    pxe_enabled: bool,
    extra: Object,
    other: BTreeMap<String, Value>,
}

impl Asked {
    pub(super) fn port(self, node_uuid: Uuid, now: Timestamp) -> Port {
        let Draft { address, pxe_enabled, extra, other } = self.draft;
        Port {
            uuid: self.uuid,
            node_uuid,
            address,
            pxe_enabled,
            extra,
            other,
            created_at: now,
            updated_at: None,
        }
    }
}

/// Reads a body; the schema is closed.
pub(super) fn created(body: &Value, version: Version) -> Result<Asked, ApiError> {
    let Some(body) = body.as_object() else {
        return Err(ApiError::Invalid("Schema error for port: the body must be an object.".into()));
    };
    fields::refuse_newer(PORT, body.keys().map(String::as_str), version)?;
    let mut problems = Vec::new();
    let known = |key: &str| may_change(key) || matches!(key, "uuid" | "node_ident");
    let unknown: Vec<String> =
        body.keys().filter(|key| !known(key)).map(|key| format!("'{key}'")).collect();
    if !unknown.is_empty() {
        problems.push(format!(
            "Schema error for port: Additional properties are not allowed ({} unexpected).",
            unknown.join(", ")
        ));
    }
    let node = node(body, version).unwrap_or_else(|problem| {
        problems.push(problem);
        String::new()
    });
    let uuid = match body
        .get("uuid")
        .map(|value| value.as_str().and_then(|text| Uuid::try_parse(text).ok()))
    {
        None => Uuid::now_v7(),
        Some(Some(uuid)) => uuid,
        Some(None) => {
            problems.push("uuid must be a UUID.".into());
            Uuid::nil()
        }
    };
    if !body.contains_key("address") {
        problems.push("Schema error for port: 'address' is a required property.".into());
    }
    let mut draft = Draft {
        address: String::new(),
        pxe_enabled: true,
        extra: Object::new(),
        other: BTreeMap::new(),
    };
    for (key, value) in body.iter().filter(|(key, _)| may_change(key) && *key != "node_uuid") {
        problems.extend(assign(&mut draft, key, value).err());
    }
    if problems.is_empty() {
        Ok(Asked { node, uuid, draft })
    } else {
        Err(ApiError::problems(&problems))
    }
}

/// Ironic takes a UUID as `node_uuid`, and a name only as `node_ident` (1.94).
fn node(body: &Map<String, Value>, version: Version) -> Result<String, String> {
    if let Some(ident) = body.get("node_ident").and_then(Value::as_str).filter(|_| version.0 >= 94)
    {
        return Ok(ident.to_owned());
    }
    match body.get("node_uuid").and_then(Value::as_str) {
        None => Err("Schema error for port: 'node_uuid' is a required property.".into()),
        Some(uuid) if Uuid::try_parse(uuid).is_ok() => Ok(uuid.to_owned()),
        Some(other) => Err(format!("Expected a UUID for node_uuid but received {other}.")),
    }
}

/// `port` with the operations applied.
pub(super) fn changed(port: &Port, operations: &[Operation]) -> Result<Port, ApiError> {
    let mut values = Map::new();
    for operation in operations {
        let root = operation.root();
        values.insert(root.to_owned(), current(port, root));
    }
    patch::perform(&mut values, operations)?;
    let mut draft = Draft {
        address: port.address.clone(),
        pxe_enabled: port.pxe_enabled,
        extra: port.extra.clone(),
        other: port.other.clone(),
    };
    let mut node_uuid = port.node_uuid;
    let mut problems = Vec::new();
    for (key, value) in &values {
        if key == "node_uuid" {
            match value.as_str().and_then(|text| Uuid::try_parse(text).ok()) {
                Some(uuid) => node_uuid = uuid,
                None => {
                    problems.push(format!("Expected a UUID for node_uuid but received {value}."));
                }
            }
        } else {
            problems.extend(assign(&mut draft, key, value).err());
        }
    }
    if !problems.is_empty() {
        return Err(ApiError::problems(&problems));
    }
    let Draft { address, pxe_enabled, extra, other } = draft;
    Ok(Port { node_uuid, address, pxe_enabled, extra, other, ..port.clone() })
}

fn current(port: &Port, name: &str) -> Value {
    match name {
        "address" => Value::from(port.address.as_str()),
        "pxe_enabled" => Value::from(port.pxe_enabled),
        "extra" => Value::Object(port.extra.clone()),
        "node_uuid" => Value::from(port.node_uuid.to_string()),
        "local_link_connection" => port.other.get(name).cloned().unwrap_or_else(|| json!({})),
        _ => port.other.get(name).cloned().unwrap_or_default(),
    }
}

fn assign(draft: &mut Draft, name: &str, value: &Value) -> Result<(), String> {
    let kept = match name {
        "address" => {
            draft.address = address(value.as_str().ok_or("address must be text.")?)?;
            return Ok(());
        }
        // A port boots from the network unless it is said not to.
        "pxe_enabled" => {
            draft.pxe_enabled = value.is_null() || flag(name, value)?;
            return Ok(());
        }
        "extra" => {
            draft.extra = value
                .as_object()
                .cloned()
                .or(value.is_null().then(Object::new))
                .ok_or("extra must be an object.")?;
            return Ok(());
        }
        "portgroup_uuid" if value.is_null() => Value::Null,
        "portgroup_uuid" => match value.as_str().map(Uuid::try_parse) {
            Some(Ok(uuid)) => Value::from(uuid.to_string()),
            _ => return Err(format!("Expected a UUID for portgroup_uuid but received {value}.")),
        },
        "is_smartnic" => Value::from(flag(name, value)?),
        "local_link_connection" if value.is_null() || value.is_object() => value.clone(),
        "local_link_connection" => return Err("local_link_connection must be an object.".into()),
        "physical_network" => text(name, value, 64)?.into(),
        _ => text(name, value, 255)?.into(),
    };
    if kept.is_null() {
        draft.other.remove(name);
    } else {
        draft.other.insert(name.to_owned(), kept);
    }
    Ok(())
}

/// A MAC address in our form: lower case, colons.
pub(in crate::http) fn address(text: &str) -> Result<String, String> {
    let mac = text.trim().to_lowercase().replace('-', ":");
    let parts: Vec<&str> = mac.split(':').collect();
    let byte = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.len() == 6 && parts.iter().all(byte) {
        Ok(mac)
    } else {
        Err(format!("Expected a MAC address but received {text}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::sample::port;

    const NODE: &str = "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f";

    #[test]
    fn a_new_port_has_a_normal_mac_and_boots_from_the_network() {
        let body =
            json!({"node_uuid": NODE, "address": "00-11-22-00-11-AA", "physical_network": "p"});
        let made = created(&body, Version(110)).unwrap().port(Uuid::nil(), Timestamp::UNIX_EPOCH);
        assert_eq!((made.address.as_str(), made.pxe_enabled), ("00:11:22:00:11:aa", true));
        assert_eq!(made.other["physical_network"], "p");
    }

    #[test]
    fn every_problem_of_a_port_is_named_at_once() {
        let body = json!({"node_uuid": "mytest", "address": "00:11", "extra": 5, "mac": "x", "portgroup_uuid": "g"});
        let text = created(&body, Version(110)).unwrap_err().to_string();
        for part in [
            "'mac'",
            "Expected a UUID for node_uuid",
            "Expected a MAC",
            "extra must",
            "Expected a UUID for portgroup_uuid",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = created(&json!({}), Version(110)).unwrap_err().to_string();
        assert!(text.contains("'node_uuid'") && text.contains("'address'"), "{text}");
    }

    #[test]
    fn a_node_s_name_is_taken_as_node_ident_from_its_version_on() {
        let body = json!({"node_ident": "mytest", "address": "00:11:22:00:11:22"});
        assert_eq!(created(&body, Version(94)).unwrap().node, "mytest");
        assert!(created(&body, Version(93)).is_err());
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let document = json!([
            {"op": "replace", "path": "/address", "value": "52:54:00:AA:00:01"},
            {"op": "add", "path": "/extra/rack", "value": 4},
            {"op": "replace", "path": "/pxe_enabled", "value": "False"},
        ]);
        let operations = patch::parse_for(&document, &may_change, "").unwrap();
        let after = changed(&port(), &operations).unwrap();
        assert_eq!((after.address.as_str(), after.pxe_enabled), ("52:54:00:aa:00:01", false));
        assert_eq!((after.extra["rack"].as_u64(), after.node_uuid), (Some(4), port().node_uuid));
        assert!(
            patch::parse_for(&json!([{"op": "add", "path": "/uuid", "value": 1}]), &may_change, "")
                .is_err()
        );
    }
}
