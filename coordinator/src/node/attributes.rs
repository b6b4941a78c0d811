//! Setting a node's attributes from a request: every type, length and name rule of Ironic's record, in one place.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::interfaces::{hardware_type, unknown_driver};
use super::{Node, Object, ProvisionState};

/// Attributes that hold a JSON object of the operator's.
pub const OBJECTS: [&str; 5] =
    ["driver_info", "extra", "instance_info", "network_data", "properties"];

/// Words that are paths under `/v1/nodes`, so no names.
const RESERVED: [&str; 6] =
    ["detail", "validate", "states", "management", "maintenance", "vendor_passthru"];

/// A node on which nothing was set yet, not even its driver.
#[must_use]
pub fn blank(uuid: Uuid, state: ProvisionState, now: Timestamp) -> Node {
    Node {
        uuid,
        name: None,
        driver: String::new(),
        driver_info: Object::new(),
        driver_internal_info: Object::new(),
        properties: Object::new(),
        instance_info: Object::new(),
        extra: Object::new(),
        instance_uuid: None,
        provision_state: state,
        target_provision_state: None,
        provision_updated_at: None,
        power_state: None,
        target_power_state: None,
        power_request: None,
        power_timeout: None,
        last_error: None,
        maintenance: false,
        maintenance_reason: None,
        fault: None,
        automated_clean: None,
        resource_class: None,
        protected: false,
        protected_reason: None,
        retired: false,
        retired_reason: None,
        clean_step: Object::new(),
        deploy_step: Object::new(),
        other: BTreeMap::new(),
        created_at: now,
        updated_at: None,
        work: None,
        evidence: Vec::new(),
        plan: Vec::new(),
        pretended_steps: Vec::new(),
        version: 0,
    }
}

/// Sets attribute `name` of `node` to `value`; null resets it to its default.
///
/// # Errors
///
/// One sentence that names the attribute and what it may be.
pub fn assign(node: &mut Node, name: &str, value: &Value) -> Result<(), String> {
    match name {
        "name" => node.name = node_name(value)?,
        "driver" => node.driver = driver(value)?,
        "driver_info" => node.driver_info = object(name, value)?,
        "extra" => node.extra = object(name, value)?,
        "instance_info" => node.instance_info = object(name, value)?,
        "properties" => node.properties = object(name, value)?,
        "network_data" => keep(node, name, Value::Object(object(name, value)?)),
        "instance_uuid" => node.instance_uuid = optional_uuid(name, value)?,
        "maintenance" => node.maintenance = flag(name, value)?,
        "maintenance_reason" => node.maintenance_reason = text(name, value, 4096)?,
        "automated_clean" if value.is_null() => node.automated_clean = None,
        "automated_clean" => node.automated_clean = Some(flag(name, value)?),
        "resource_class" => node.resource_class = text(name, value, 80)?,
        "protected" => node.protected = flag(name, value)?,
        "protected_reason" => node.protected_reason = text(name, value, 4096)?,
        "retired" => node.retired = flag(name, value)?,
        "retired_reason" => node.retired_reason = text(name, value, 4096)?,
        _ => assign_kept(node, name, value)?,
    }
    Ok(())
}

/// Attributes that are only kept and shown.
fn assign_kept(node: &mut Node, name: &str, value: &Value) -> Result<(), String> {
    let kept = match name {
        "console_enabled" | "disable_power_off" => Value::from(flag(name, value)?),
        "chassis_uuid" | "parent_node" if value.is_null() => Value::Null,
        // Whether they exist is the API's question to the store.
        "chassis_uuid" => json!(optional_uuid(name, value)?),
        "parent_node" => json!(optional_uuid(name, value)?),
        "boot_mode" => one_of(name, value, &["uefi", "bios"])?,
        "secure_boot" if value.is_null() => Value::Null,
        "secure_boot" => Value::from(flag(name, value)?),
        "description" => text(name, value, 4096)?.into(),
        "conductor_group" => Value::from(text(name, value, 255)?.unwrap_or_default()),
        _ => text(name, value, 255)?.into(),
    };
    keep(node, name, kept);
    Ok(())
}

fn keep(node: &mut Node, name: &str, value: Value) {
    if value.is_null() {
        node.other.remove(name);
    } else {
        node.other.insert(name.to_owned(), value);
    }
}

/// What every `*_interface` of `node` must be for its hardware type: one sentence for each that is not offered.
#[must_use]
pub fn interface_problems(node: &Node) -> Vec<String> {
    let Some(hardware) = hardware_type(&node.driver) else {
        return Vec::new();
    };
    let chosen = node
        .other
        .iter()
        .filter_map(|(field, value)| Some((field.strip_suffix("_interface")?, value.as_str()?)));
    chosen
        .filter(|(kind, class)| !hardware.classes(kind).contains(class))
        .map(|(kind, class)| {
            format!(
                "Could not find the following interface in the enabled {kind} interfaces of hardware type {}: {class}. Valid interfaces are: {}.",
                hardware.name,
                hardware.classes(kind).join(", ")
            )
        })
        .collect()
}

fn driver(value: &Value) -> Result<String, String> {
    let driver = value.as_str().ok_or("driver must be text.")?;
    match hardware_type(driver) {
        Some(hardware) => Ok(hardware.name.to_owned()),
        None => Err(unknown_driver(driver)),
    }
}

/// A node's name: URL-safe, no UUID, no path of ours.
fn node_name(value: &Value) -> Result<Option<String>, String> {
    let Some(name) = text("name", value, 255)? else {
        return Ok(None);
    };
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if name.is_empty() || !name.bytes().all(safe) {
        return Err(format!(
            "Cannot use invalid name '{name}' for a node: only letters, digits and -._~ are allowed."
        ));
    }
    if RESERVED.contains(&name.as_str()) || Uuid::try_parse(&name).is_ok() {
        return Err(format!("Cannot use name '{name}' for a node: it is reserved or a UUID."));
    }
    Ok(Some(name))
}

fn object(name: &str, value: &Value) -> Result<Object, String> {
    match value {
        Value::Null => Ok(Object::new()),
        Value::Object(object) => Ok(object.clone()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(format!("{name} must be an object."))
        }
    }
}

fn optional_uuid(name: &str, value: &Value) -> Result<Option<Uuid>, String> {
    let wrong = || format!("{name} must be a UUID or null.");
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Uuid::try_parse(text).map(Some).map_err(|_| wrong()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(wrong()),
    }
}

/// Text of at most `limit` characters, or none.
pub(crate) fn text(name: &str, value: &Value, limit: usize) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= limit => Ok(Some(text.clone())),
        Value::String(_) => Err(format!("{name} must have at most {limit} characters.")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("{name} must be text or null."))
        }
    }
}

/// A flag; the client also sends it as a word, and null is the default, false.
pub(crate) fn flag(name: &str, value: &Value) -> Result<bool, String> {
    let word = match value {
        Value::Bool(flag) => return Ok(*flag),
        Value::Null => return Ok(false),
        Value::String(word) => word.to_lowercase(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    truth(&word).ok_or_else(|| format!("{name} must be true or false."))
}

/// The words for yes and no that Ironic's clients use.
#[must_use]
pub fn truth(word: &str) -> Option<bool> {
    match word.trim().to_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
        _ => None,
    }
}

fn one_of(name: &str, value: &Value, allowed: &[&str]) -> Result<Value, String> {
    let known = value.is_null() || value.as_str().is_some_and(|text| allowed.contains(&text));
    if known {
        Ok(value.clone())
    } else {
        Err(format!("{name} must be one of {}.", allowed.join(", ")))
    }
}

/// What removing the attribute leaves.
#[must_use]
pub fn default_of(name: &str) -> Value {
    if OBJECTS.contains(&name) { json!({}) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::sample::node;

    #[test]
    fn values_of_the_wrong_kind_are_refused_by_name() {
        for (name, value) in [
            ("name", json!("with space")),
            ("name", json!("states")),
            ("name", json!("7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f")),
            ("name", json!("")),
            ("name", json!(5)),
            ("driver", json!("agent_ipmitool")),
            ("driver_info", json!([])),
            ("instance_uuid", json!("x")),
            ("maintenance", json!("maybe")),
            ("resource_class", json!("x".repeat(81))),
            ("chassis_uuid", json!("x")),
            ("parent_node", json!("x")),
            ("boot_mode", json!("legacy")),
            ("owner", json!(1)),
        ] {
            assert!(assign(&mut node(), name, &value).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn the_client_s_words_for_flags_are_understood() {
        for (value, expected) in [
            (json!("True"), true),
            (json!(true), true),
            (json!("off"), false),
            (json!(null), false),
            (json!(1), true),
        ] {
            let mut record = node();
            assign(&mut record, "protected", &value).unwrap();
            assert_eq!(record.protected, expected, "{value}");
        }
    }

    #[test]
    fn an_interface_the_hardware_type_does_not_offer_is_named_with_those_it_does() {
        let mut record = node();
        record.driver = "ipmi".into();
        for (field, class) in [("deploy_interface", "ansible"), ("boot_interface", "pxe")] {
            assign(&mut record, field, &json!(class)).unwrap();
        }
        let problems = interface_problems(&record);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("ansible") && problems[0].contains("direct"), "{problems:?}");
    }
}
