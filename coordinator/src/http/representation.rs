//! Records as Ironic's clients read them.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::fields::{self, Field};
use super::mask::{MaskedObject, without_password};
use super::version::Version;
use crate::node::interfaces::hardware_type;
use crate::node::{Node, Port, ProvisionState};

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
}

/// Ironic's pair of links to a record; the bookmark has no version in it.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    /// `http://host:port` of this API.
    pub base: &'a str,
    /// Below `/v1/`.
    pub path: &'a str,
}

#[derive(Serialize)]
struct Link {
    href: String,
    rel: &'static str,
}

impl Serialize for Links<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { base, path } = self;
        let own = Link { href: format!("{base}/v1/{path}"), rel: "self" };
        let bookmark = Link { href: format!("{base}/{path}"), rel: "bookmark" };
        [own, bookmark].serialize(serializer)
    }
}

/// [`Links`] as a value.
#[must_use]
pub fn links(base: &str, path: &str) -> Value {
    plain(Links { base, path })
}

/// A time as Ironic writes it: microseconds and a numeric zone.
#[must_use]
pub fn time(at: jiff::Timestamp) -> String {
    crate::node::transition::wire_time(at)
}

/// A serialisable value of ours (states and the like) as JSON.
pub fn plain(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A node.
#[must_use]
pub fn node(node: &Node, shape: &Shape<'_>) -> Value {
    plain(Shown { node, shape })
}

/// A node as it is written into a list: straight from the record, without a tree of values in between.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The record.
    pub node: &'a Node,
    /// How it is shown.
    pub shape: &'a Shape<'a>,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { node, shape } = *self;
        let mut map = serializer.serialize_map(None)?;
        for field in fields::NODE.iter().filter(|field| shape.wants(field)) {
            node_field(&mut map, node, field.0, shape)?;
        }
        let base = shape.base;
        let path = format!("nodes/{}", node.uuid);
        map.serialize_entry("links", &Links { base, path: &path })?;
        if shape.fields.is_none() {
            for (name, since) in [("ports", 1), ("states", 14), ("portgroups", 24), ("volume", 32)]
            {
                if shape.version.0 >= since {
                    let path = format!("{path}/{name}");
                    map.serialize_entry(name, &Links { base, path: &path })?;
                }
            }
        }
        map.end()
    }
}

/// The wire text of a provision state at `version`: states that older versions do not know, in the words those have.
#[must_use]
pub fn provision_state(state: ProvisionState, version: Version) -> Option<&'static str> {
    if state == ProvisionState::Available && version.0 < 2 {
        return None;
    }
    if state == ProvisionState::InspectWait && version.0 < 39 {
        return Some(ProvisionState::Inspecting.text());
    }
    Some(state.text())
}

fn node_field<M: SerializeMap>(
    map: &mut M,
    node: &Node,
    name: &'static str,
    shape: &Shape<'_>,
) -> Result<(), M::Error> {
    if let Some(kind) = name.strip_suffix("_interface") {
        return map.serialize_entry(name, &interface(node, name, kind));
    }
    let masked = |object| MaskedObject { object, also: None };
    match name {
        "uuid" => map.serialize_entry(name, &node.uuid),
        "created_at" => map.serialize_entry(name, &time(node.created_at)),
        "updated_at" => map.serialize_entry(name, &node.updated_at.map(time)),
        "name" => map.serialize_entry(name, &node.name),
        "driver" => map.serialize_entry(name, &node.driver),
        "driver_info" => map.serialize_entry(name, &masked(&node.driver_info)),
        "driver_internal_info" => map.serialize_entry(name, &masked(&node.driver_internal_info)),
        "properties" => map.serialize_entry(name, &node.properties),
        "extra" => map.serialize_entry(name, &node.extra),
        // Ironic: the resolved URL may be a signed one.
        "instance_info" => {
            let shown = MaskedObject { object: &node.instance_info, also: Some("image_url") };
            map.serialize_entry(name, &shown)
        }
        "instance_uuid" => map.serialize_entry(name, &node.instance_uuid),
        "automated_clean" => map.serialize_entry(name, &node.automated_clean),
        "resource_class" => map.serialize_entry(name, &node.resource_class),
        "conductor" => map.serialize_entry(name, shape.conductor),
        "provision_state" => {
            map.serialize_entry(name, &provision_state(node.provision_state, shape.version))
        }
        "clean_step" => map.serialize_entry(name, &masked(&node.clean_step)),
        "deploy_step" => map.serialize_entry(name, &masked(&node.deploy_step)),
        _ => status_field(map, node, name),
    }
}

/// The fields that say how the node is.
fn status_field<M: SerializeMap>(
    map: &mut M,
    node: &Node,
    name: &'static str,
) -> Result<(), M::Error> {
    match name {
        "target_provision_state" => map.serialize_entry(name, &node.target_provision_state),
        "provision_updated_at" => map.serialize_entry(name, &node.provision_updated_at.map(time)),
        "power_state" => map.serialize_entry(name, &node.power_state),
        "target_power_state" => map.serialize_entry(name, &node.target_power_state),
        "last_error" => map.serialize_entry(name, &node.last_error.as_deref().map(masked_text)),
        "maintenance" => map.serialize_entry(name, &node.maintenance),
        "maintenance_reason" => map.serialize_entry(name, &node.maintenance_reason),
        "fault" => map.serialize_entry(name, &node.fault),
        "protected" => map.serialize_entry(name, &node.protected),
        "protected_reason" => map.serialize_entry(name, &node.protected_reason),
        "retired" => map.serialize_entry(name, &node.retired),
        "retired_reason" => map.serialize_entry(name, &node.retired_reason),
        _ => match node.other.get(name) {
            Some(value) => map.serialize_entry(name, value),
            None => map.serialize_entry(name, &default_of(name)),
        },
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

fn interface<'a>(node: &'a Node, field: &str, kind: &str) -> Option<&'a str> {
    let chosen = node.other.get(field).and_then(Value::as_str);
    chosen.or_else(|| hardware_type(&node.driver)?.default_class(kind))
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
    shown.insert("links".to_owned(), links(shape.base, &format!("ports/{}", port.uuid)));
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
            (ProvisionState::Available, 1, None),
            (ProvisionState::Available, 2, Some("available")),
            (ProvisionState::InspectWait, 38, Some("inspecting")),
            (ProvisionState::InspectWait, 39, Some("inspect wait")),
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
