//! Records as Ironic's clients read them.

use serde_json::{Map, Value, json};

use super::fields::{self, Field};
use super::mask::{mask, mask_instance_info, without_password};
use super::version::Version;
use crate::node::interfaces::hardware_type;
use crate::node::{Node, Object, Port, ProvisionState};
use crate::store::NodeSummary;

/// How a record is shown to one request.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// The request's microversion.
    pub version: Version,
    /// The fields asked for; none: all that the version shows.
    pub fields: Option<&'a [String]>,
    /// `http://host:port` of this API, for links.
    pub base: &'a str,
    /// Name of this coordinator, Ironic's `conductor`.
    pub conductor: &'a str,
}

impl Shape<'_> {
    fn wants(&self, field: &Field) -> bool {
        self.version.0 >= field.1
            && self.fields.is_none_or(|fields| fields.iter().any(|name| name == field.0))
    }

    fn links(&self, path: &str) -> Value {
        links(self.base, path)
    }
}

/// Ironic's pair of links to a record; the bookmark has no version in it.
#[must_use]
pub fn links(base: &str, path: &str) -> Value {
    json!([
        {"href": format!("{base}/v1/{path}"), "rel": "self"},
        {"href": format!("{base}/{path}"), "rel": "bookmark"},
    ])
}

/// A time as Ironic writes it: microseconds and a numeric zone.
#[must_use]
pub fn time(at: jiff::Timestamp) -> String {
    crate::node::transition::wire_time(at)
}

/// A serialisable value of ours (states and the like) as JSON.
pub fn plain(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A node.
#[must_use]
pub fn node(node: &Node, shape: &Shape<'_>) -> Value {
    let mut shown = Map::new();
    for field in fields::NODE.iter().filter(|field| shape.wants(field)) {
        shown.insert(field.0.to_owned(), node_field(node, field.0, shape));
    }
    let path = format!("nodes/{}", node.uuid);
    shown.insert("links".to_owned(), shape.links(&path));
    if shape.fields.is_none() {
        for (name, since) in [("ports", 1), ("states", 14), ("portgroups", 24), ("volume", 32)] {
            if shape.version.0 >= since {
                shown.insert(name.to_owned(), shape.links(&format!("{path}/{name}")));
            }
        }
    }
    Value::Object(shown)
}

/// One line of a plain list of nodes.
#[must_use]
pub fn summary(summary: &NodeSummary, shape: &Shape<'_>) -> Value {
    let mut shown = Map::new();
    for field in fields::NODE.iter().filter(|field| shape.wants(field)) {
        let value = match field.0 {
            "uuid" => plain(summary.uuid),
            "name" => plain(&summary.name),
            "instance_uuid" => plain(summary.instance_uuid),
            "power_state" => plain(&summary.power_state),
            "provision_state" => {
                old_state(Value::from(summary.provision_state.as_str()), shape.version)
            }
            "maintenance" => Value::from(summary.maintenance),
            _ => continue,
        };
        shown.insert(field.0.to_owned(), value);
    }
    shown.insert("links".to_owned(), shape.links(&format!("nodes/{}", summary.uuid)));
    Value::Object(shown)
}

/// States that older versions do not know, in the words those versions have.
fn old_state(state: Value, version: Version) -> Value {
    match state.as_str() {
        Some("available") if version.0 < 2 => Value::Null,
        Some("inspect wait") if version.0 < 39 => Value::from("inspecting"),
        _ => state,
    }
}

/// The wire text of a provision state at `version`.
#[must_use]
pub fn provision_state(state: ProvisionState, version: Version) -> Value {
    old_state(plain(state), version)
}

fn node_field(node: &Node, name: &str, shape: &Shape<'_>) -> Value {
    if let Some(kind) = name.strip_suffix("_interface") {
        return interface(node, name, kind);
    }
    match name {
        "uuid" => plain(node.uuid),
        "created_at" => Value::from(time(node.created_at)),
        "updated_at" => node.updated_at.map(time).into(),
        "name" => plain(&node.name),
        "driver" => Value::from(node.driver.as_str()),
        "driver_info" => masked(&node.driver_info),
        "driver_internal_info" => masked(&node.driver_internal_info),
        "properties" => plain(&node.properties),
        "extra" => plain(&node.extra),
        "instance_info" => {
            let mut value = plain(&node.instance_info);
            mask_instance_info(&mut value);
            value
        }
        "instance_uuid" => plain(node.instance_uuid),
        "automated_clean" => plain(node.automated_clean),
        "resource_class" => plain(&node.resource_class),
        "conductor" => Value::from(shape.conductor),
        "provision_state" => provision_state(node.provision_state, shape.version),
        "clean_step" => masked(&node.clean_step),
        "deploy_step" => masked(&node.deploy_step),
        _ => status_field(node, name),
    }
}

/// The fields that say how the node is.
fn status_field(node: &Node, name: &str) -> Value {
    match name {
        "target_provision_state" => plain(node.target_provision_state),
        "provision_updated_at" => node.provision_updated_at.map(time).into(),
        "power_state" => plain(node.power_state),
        "target_power_state" => plain(node.target_power_state),
        "last_error" => node.last_error.as_deref().map(masked_text).into(),
        "maintenance" => Value::from(node.maintenance),
        "maintenance_reason" => plain(&node.maintenance_reason),
        "fault" => plain(&node.fault),
        "protected" => Value::from(node.protected),
        "protected_reason" => plain(&node.protected_reason),
        "retired" => Value::from(node.retired),
        "retired_reason" => plain(&node.retired_reason),
        _ => node.other.get(name).cloned().unwrap_or_else(|| default_of(name)),
    }
}

/// What Ironic shows for a field that was never set.
fn default_of(name: &str) -> Value {
    match name {
        "network_data" | "raid_config" | "target_raid_config" | "service_step" => json!({}),
        "traits" => json!([]),
        "conductor_group" => Value::from(""),
        "console_enabled" | "disable_power_off" => Value::from(false),
        _ => Value::Null,
    }
}

fn interface(node: &Node, field: &str, kind: &str) -> Value {
    match node.other.get(field) {
        Some(value) if !value.is_null() => value.clone(),
        _ => hardware_type(&node.driver).and_then(|hardware| hardware.default_class(kind)).into(),
    }
}

fn masked(object: &Object) -> Value {
    let mut value = plain(object);
    mask(&mut value);
    value
}

/// Passwords inside URLs of a sentence, masked word by word.
fn masked_text(text: &str) -> String {
    text.split(' ')
        .map(|word| without_password(word).unwrap_or_else(|| word.to_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A port.
#[must_use]
pub fn port(port: &Port, shape: &Shape<'_>) -> Value {
    let mut shown = Map::new();
    for field in fields::PORT.iter().filter(|field| shape.wants(field)) {
        shown.insert(field.0.to_owned(), port_field(port, field.0));
    }
    shown.insert("links".to_owned(), shape.links(&format!("ports/{}", port.uuid)));
    Value::Object(shown)
}

fn port_field(port: &Port, name: &str) -> Value {
    match name {
        "uuid" => plain(port.uuid),
        "created_at" => Value::from(time(port.created_at)),
        "updated_at" => port.updated_at.map(time).into(),
        "address" => Value::from(port.address.as_str()),
        "extra" => plain(&port.extra),
        "node_uuid" => plain(port.node_uuid),
        "pxe_enabled" => Value::from(port.pxe_enabled),
        "internal_info" => json!({}),
        _ => port.other.get(name).cloned().unwrap_or_else(|| match name {
            "is_smartnic" => Value::from(false),
            "local_link_connection" => json!({}),
            _ => Value::Null,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::sample::node as sample;

    fn shape(version: u16) -> Shape<'static> {
        Shape { version: Version(version), fields: None, base: "http://h:6385", conductor: "c0" }
    }

    #[test]
    fn a_node_shows_exactly_the_fields_of_its_version_and_its_links() {
        let shown = node(&sample(), &shape(110));
        for (name, _) in fields::NODE {
            assert!(shown.get(name).is_some(), "{name}");
        }
        assert_eq!(shown.as_object().unwrap().len(), fields::NODE.len() + 5);
        let old = node(&sample(), &shape(1));
        assert!(old.get("name").is_none() && old.get("states").is_none());
        assert_eq!(old["links"][1]["href"], format!("http://h:6385/nodes/{}", sample().uuid));
    }

    #[test]
    fn secrets_of_a_node_are_masked() {
        let mut record = sample();
        record.driver_info.insert("ipmi_password".into(), json!("hunter2"));
        record.instance_info.insert("configdrive".into(), json!({"user_data": "hunter2"}));
        record.instance_info.insert("image_source".into(), json!("http://u:hunter2@h/x"));
        record.driver_internal_info.insert("agent_secret_token".into(), json!("hunter2"));
        record.last_error = Some("cannot read http://u:hunter2@h/x: 404".into());
        let text = node(&record, &shape(110)).to_string();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("http://u:******@h/x: 404"), "{text}");
    }

    #[test]
    fn states_newer_than_the_version_are_shown_in_its_words() {
        for (state, version, expected) in [
            (ProvisionState::Available, 1, Value::Null),
            (ProvisionState::Available, 2, json!("available")),
            (ProvisionState::InspectWait, 38, json!("inspecting")),
            (ProvisionState::InspectWait, 39, json!("inspect wait")),
        ] {
            assert_eq!(provision_state(state, Version(version)), expected);
        }
    }

    #[test]
    fn interfaces_nobody_chose_are_the_hardware_type_s_first() {
        let mut record = sample();
        record.driver = "ipmi".into();
        record.other.insert("boot_interface".into(), json!("pxe"));
        let shown = node(&record, &shape(110));
        assert_eq!(
            (&shown["power_interface"], &shown["boot_interface"], &shown["deploy_interface"]),
            (&json!("ipmitool"), &json!("pxe"), &json!("direct"))
        );
    }

    #[test]
    fn times_have_microseconds_and_a_zone() {
        let at: jiff::Timestamp = "2026-11-22T18:50:13.431709Z".parse().unwrap();
        assert_eq!(time(at), "2026-11-22T18:50:13.431709+00:00");
        let whole: jiff::Timestamp = "2026-11-22T18:50:13Z".parse().unwrap();
        assert_eq!(time(whole), "2026-11-22T18:50:13.000000+00:00");
    }
}
