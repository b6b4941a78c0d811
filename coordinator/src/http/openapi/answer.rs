//! What answers hold: nodes, ports and lists of them, field by field.

use serde_json::{Map, Value, json};

use super::since;
use crate::http::fields::{self, Field};
use crate::http::nodes;
use crate::http::route::Output;
use crate::node::{PowerState, ProvisionState};

/// The schemas that answers refer to, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let links = json!({"type": "array", "items": reference("Link")});
    let more = |names: &[&str]| -> Vec<(String, Value)> {
        names.iter().map(|name| ((*name).to_owned(), links.clone())).collect()
    };
    let of_node = more(&["links", "ports", "portgroups", "states", "volume"]);
    let schemas = [
        ("Link", link()),
        ("Node", record(fields::NODE, node_field, of_node)),
        ("Nodes", list("nodes", "Node")),
        ("Port", record(fields::PORT, port_field, more(&["links"]))),
        ("Ports", list("ports", "Port")),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// The schema of an answer's body.
pub(super) fn body(output: Output) -> Value {
    match output {
        Output::Object => json!({"type": "object"}),
        Output::Node => reference("Node"),
        Output::Nodes => reference("Nodes"),
        Output::Port => reference("Port"),
        Output::Ports => reference("Ports"),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn link() -> Value {
    json!({
        "type": "object",
        "required": ["href", "rel"],
        "properties": {"href": {"type": "string", "format": "uri"}, "rel": {"enum": ["self", "bookmark"]}},
    })
}

/// A list; `next` is there while there are more.
fn list(key: &str, of: &str) -> Value {
    json!({
        "type": "object",
        "required": [key],
        "properties": {
            key: {"type": "array", "items": reference(of)},
            "next": {"type": "string", "format": "uri"},
        },
    })
}

/// No field but `links` is required: plain lists and the parameter `fields` leave others out.
fn record(table: &[Field], form: fn(&str) -> Value, links: Vec<(String, Value)>) -> Value {
    let mut properties: Map<String, Value> = table
        .iter()
        .map(|(name, minor)| {
            let mut schema = form(name);
            schema["x-since"] = Value::from(since(*minor));
            ((*name).to_owned(), schema)
        })
        .collect();
    properties.extend(links);
    json!({"type": "object", "required": ["links"], "properties": properties})
}

fn node_field(name: &str) -> Value {
    match name {
        "uuid" => json!({"type": "string", "format": "uuid"}),
        "allocation_uuid" | "chassis_uuid" | "instance_uuid" | "parent_node" => {
            json!({"type": ["string", "null"], "format": "uuid"})
        }
        "created_at" => json!({"type": "string", "format": "date-time"}),
        _ if name.ends_with("_at") => json!({"type": ["string", "null"], "format": "date-time"}),
        "driver" | "conductor" | "conductor_group" => json!({"type": "string"}),
        "console_enabled" | "disable_power_off" | "maintenance" | "protected" | "retired" => {
            json!({"type": "boolean"})
        }
        "automated_clean" | "secure_boot" => json!({"type": ["boolean", "null"]}),
        "clean_step"
        | "deploy_step"
        | "driver_info"
        | "driver_internal_info"
        | "extra"
        | "instance_info"
        | "network_data"
        | "properties"
        | "raid_config"
        | "service_step"
        | "target_raid_config" => json!({"type": "object"}),
        "traits" => json!({"type": "array", "items": {"type": "string"}}),
        "power_state" | "target_power_state" => {
            let known = [PowerState::On, PowerState::Off, PowerState::Error].map(PowerState::text);
            one_of(&known, true)
        }
        "provision_state" => one_of(&ProvisionState::ALL.map(ProvisionState::text), false),
        "target_provision_state" => one_of(&ProvisionState::ALL.map(ProvisionState::text), true),
        _ => json!({"type": ["string", "null"]}),
    }
}

fn port_field(name: &str) -> Value {
    match name {
        "uuid" | "node_uuid" => json!({"type": "string", "format": "uuid"}),
        "portgroup_uuid" => json!({"type": ["string", "null"], "format": "uuid"}),
        "created_at" => json!({"type": "string", "format": "date-time"}),
        "updated_at" => json!({"type": ["string", "null"], "format": "date-time"}),
        "address" => json!({"type": "string"}),
        "extra" | "internal_info" | "local_link_connection" => json!({"type": "object"}),
        "is_smartnic" | "pxe_enabled" => json!({"type": "boolean"}),
        _ => json!({"type": ["string", "null"]}),
    }
}

/// What a new node may say of itself.
pub(super) fn new_node() -> Value {
    let fields: Vec<&str> = nodes::creatable().collect();
    new_record(&fields, fields::NODE, node_field, "driver")
}

/// What a new port may say of itself.
pub(super) fn new_port() -> Value {
    let ours = ["created_at", "updated_at", "internal_info"];
    let names = fields::PORT.iter().map(|field| field.0).filter(|name| !ours.contains(name));
    new_record(&names.collect::<Vec<_>>(), fields::PORT, port_field, "address")
}

fn new_record(names: &[&str], table: &[Field], form: fn(&str) -> Value, required: &str) -> Value {
    let member = |name: &&str| {
        let mut schema = form(name);
        if let Some(field) = table.iter().find(|field| field.0 == *name) {
            schema["x-since"] = Value::from(since(field.1));
        }
        ((*name).to_owned(), schema)
    };
    let properties: Map<String, Value> = names.iter().map(member).collect();
    json!({
        "type": "object", "required": [required], "properties": properties, "additionalProperties": false,
    })
}

/// One of these texts, or null.
fn one_of(known: &[&str], or_null: bool) -> Value {
    let mut values: Vec<Value> = known.iter().map(|text| Value::from(*text)).collect();
    if or_null {
        values.push(Value::Null);
    }
    json!({"enum": values})
}
