//! PATCH of a node: RFC 6902 with Ironic's rules for what may change, how and when. Pure; the store is the caller's.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::attributes::{assign, default_of, interface_problems};
use super::interfaces::KINDS;
use super::{MASK, Node, ProvisionState};

/// Attributes a client may change, without the `*_interface` ones.
const ROOTS: [&str; 25] = [
    "automated_clean",
    "chassis_uuid",
    "conductor_group",
    "console_enabled",
    "description",
    "disable_power_off",
    "driver",
    "driver_info",
    "extra",
    "instance_info",
    "instance_name",
    "instance_uuid",
    "lessee",
    "maintenance",
    "name",
    "network_data",
    "owner",
    "parent_node",
    "properties",
    "protected",
    "protected_reason",
    "resource_class",
    "retired",
    "retired_reason",
    "shard",
];

/// Why a patch was refused; the node did not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is wrong; every problem is named.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// The node's state does not allow the change.
    #[error("{0}")]
    Conflict(String),
}

/// One checked operation.
#[derive(Debug, Clone)]
pub struct Operation {
    op: Op,
    root: String,
    /// JSON pointer below the root, empty for the root itself.
    rest: String,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Replace,
    Remove,
}

impl Operation {
    /// The attribute it changes.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }
}

/// Reads a patch document; every operation that may not be is named.
///
/// # Errors
///
/// [`PatchError::Invalid`].
pub fn parse(document: &Value) -> Result<Vec<Operation>, PatchError> {
    parse_for(document, &is_node_root, &node_roots())
}

/// As [`parse`], for another kind of record whose changeable roots are `allowed`.
///
/// # Errors
///
/// [`PatchError::Invalid`].
pub fn parse_for(
    document: &Value,
    allowed: &dyn Fn(&str) -> bool,
    names: &str,
) -> Result<Vec<Operation>, PatchError> {
    let Some(items) = document.as_array() else {
        return Err(PatchError::Invalid(vec!["A patch is a list of operations.".into()]));
    };
    let (mut operations, mut problems) = (Vec::new(), Vec::new());
    for item in items {
        match operation(item, allowed, names) {
            Ok(operation) => operations.push(operation),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(operations) } else { Err(PatchError::Invalid(problems)) }
}

fn operation(
    item: &Value,
    allowed: &dyn Fn(&str) -> bool,
    names: &str,
) -> Result<Operation, String> {
    let path = item["path"].as_str().ok_or("An operation needs a path.")?;
    let op = match item["op"].as_str() {
        Some("add") => Op::Add,
        Some("replace") => Op::Replace,
        Some("remove") => Op::Remove,
        _ => {
            return Err(format!(
                "Operation {} on {path} is not supported: use add, replace or remove.",
                item["op"]
            ));
        }
    };
    let pointer =
        path.strip_prefix('/').ok_or_else(|| format!("Path '{path}' must begin with a slash."))?;
    let (root, rest) = match pointer.find('/') {
        Some(at) => pointer.split_at(at),
        None => (pointer, ""),
    };
    if !allowed(root) {
        return Err(format!("Cannot patch {path}. Only the following can be updated: {names}"));
    }
    if op != Op::Remove && item.get("value").is_none() {
        return Err(format!("Operation {} on {path} needs a value.", item["op"]));
    }
    Ok(Operation { op, root: root.to_owned(), rest: rest.to_owned(), value: item["value"].clone() })
}

/// Whether a client may change the attribute.
pub(crate) fn is_node_root(root: &str) -> bool {
    let interface = root.strip_suffix("_interface").is_some_and(|kind| KINDS.contains(&kind));
    interface || ROOTS.contains(&root)
}

fn node_roots() -> String {
    let interfaces = KINDS.iter().map(|kind| format!("{kind}_interface"));
    let all: BTreeSet<String> =
        ROOTS.iter().map(|root| (*root).to_owned()).chain(interfaces).collect();
    all.into_iter().collect::<Vec<_>>().join(", ")
}

/// `node` with the operations applied. `reset_interfaces`: a change of the driver forgets the interfaces chosen before.
///
/// # Errors
///
/// [`PatchError::Invalid`] naming every value that may not be, [`PatchError::Conflict`] where the node's state forbids it.
pub fn apply(
    node: &Node,
    operations: &[Operation],
    reset_interfaces: bool,
) -> Result<Node, PatchError> {
    let touched: BTreeSet<&str> = operations.iter().map(Operation::root).collect();
    refuse_in_transition(node, operations)?;
    let mut values = Map::new();
    for root in &touched {
        values.insert((*root).to_owned(), current(node, root));
    }
    perform(&mut values, operations)?;

    let mut changed = node.clone();
    if reset_interfaces {
        changed
            .other
            .retain(|field, _| !field.ends_with("_interface") || touched.contains(field.as_str()));
    }
    let mut problems: Vec<String> =
        values.iter().filter_map(|(name, value)| assign(&mut changed, name, value).err()).collect();
    problems.extend(masked(node, &changed));
    if changed.protected_reason.is_some() && !changed.protected {
        problems.push("The protected_reason field can only be set when protected is True.".into());
    }
    if touched.iter().any(|root| *root == "driver" || root.ends_with("_interface")) {
        problems.extend(interface_problems(&changed));
    }
    if !problems.is_empty() {
        return Err(PatchError::Invalid(problems));
    }
    refuse_by_state(node, &changed)?;
    name_instance(&mut changed, &touched);
    Ok(changed)
}

/// Who reads a record and writes it back would replace each secret by what stood for it.
fn masked(old: &Node, new: &Node) -> Vec<String> {
    let objects = [
        ("driver_info", &old.driver_info, &new.driver_info),
        ("instance_info", &old.instance_info, &new.instance_info),
    ];
    let mut found = Vec::new();
    for (field, old, new) in objects {
        for (key, value) in new.iter().filter(|(key, value)| old.get(*key) != Some(*value)) {
            if holds_mask(value) {
                found.push(format!(
                    "{field}/{key}: {MASK} stands for a secret in answers. Give the secret itself, or patch the other keys only."
                ));
            }
        }
    }
    found
}

/// Anywhere: what is nested is masked too, and so are passwords in URLs.
fn holds_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MASK),
        Value::Array(items) => items.iter().any(holds_mask),
        Value::Object(object) => object.values().any(holds_mask),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Applies operations one by one to a map of whole attributes.
///
/// # Errors
///
/// [`PatchError::Invalid`] where a path leads nowhere.
pub fn perform(
    values: &mut Map<String, Value>,
    operations: &[Operation],
) -> Result<(), PatchError> {
    for operation in operations {
        let root = values.entry(operation.root.clone()).or_insert(Value::Null);
        if operation.rest.is_empty() {
            *root = match operation.op {
                Op::Add | Op::Replace => operation.value.clone(),
                Op::Remove => default_of(&operation.root),
            };
        } else {
            step(root, operation).map_err(|problem| PatchError::Invalid(vec![problem]))?;
        }
    }
    Ok(())
}

/// One operation below a root.
fn step(root: &mut Value, operation: &Operation) -> Result<(), String> {
    let wrong = |cause: String| {
        format!("Cannot apply the patch to /{}{}: {cause}", operation.root, operation.rest)
    };
    let path = json_patch::jsonptr::PointerBuf::parse(operation.rest.clone())
        .map_err(|error| wrong(error.to_string()))?;
    let value = operation.value.clone();
    let one = match operation.op {
        Op::Add => json_patch::PatchOperation::Add(json_patch::AddOperation { path, value }),
        Op::Replace => {
            json_patch::PatchOperation::Replace(json_patch::ReplaceOperation { path, value })
        }
        Op::Remove => json_patch::PatchOperation::Remove(json_patch::RemoveOperation { path }),
    };
    json_patch::patch(root, &[one]).map_err(|error| {
        if matches!(error.kind, json_patch::PatchErrorKind::InvalidPointer) {
            wrong("there is nothing at this path".to_owned())
        } else {
            wrong(error.kind.to_string())
        }
    })
}

/// The value of a changeable attribute now.
fn current(node: &Node, name: &str) -> Value {
    let known = match name {
        "driver_info" => Some(&node.driver_info),
        "extra" => Some(&node.extra),
        "instance_info" => Some(&node.instance_info),
        "properties" => Some(&node.properties),
        _ => None,
    };
    if let Some(object) = known {
        return Value::Object(object.clone());
    }
    match name {
        "name" => node.name.clone().into(),
        "driver" => Value::from(node.driver.as_str()),
        "instance_uuid" => node.instance_uuid.map(|uuid| uuid.to_string()).into(),
        "maintenance" => node.maintenance.into(),
        "automated_clean" => node.automated_clean.into(),
        "resource_class" => node.resource_class.clone().into(),
        "protected" => node.protected.into(),
        "protected_reason" => node.protected_reason.clone().into(),
        "retired" => node.retired.into(),
        "retired_reason" => node.retired_reason.clone().into(),
        _ => node.other.get(name).cloned().unwrap_or_else(|| default_of(name)),
    }
}

/// While a transition runs the record belongs to it; only an instance may be taken off a node in maintenance.
fn refuse_in_transition(node: &Node, operations: &[Operation]) -> Result<(), PatchError> {
    use ProvisionState as State;
    let resting = matches!(
        node.provision_state,
        State::DeployFailed
            | State::InspectFailed
            | State::InspectWait
            | State::CleanFailed
            | State::Error
            | State::Verifying
            | State::AdoptFailed
            | State::RescueFailed
            | State::UnrescueFailed
            | State::ServiceHold
            | State::ServiceFailed
    );
    let release = node.maintenance
        && operations.len() == 1
        && operations.iter().all(|one| one.op == Op::Remove && one.root == "instance_uuid");
    if resting || release || node.target_provision_state.is_none() {
        return Ok(());
    }
    Err(PatchError::Conflict(format!(
        "Node {} can not be updated while a state transition is in progress.",
        node.uuid
    )))
}

fn refuse_by_state(before: &Node, after: &Node) -> Result<(), PatchError> {
    use ProvisionState as State;
    let node = before.uuid;
    let state = before.provision_state;
    let settled = before.maintenance
        || matches!(
            state,
            State::Enroll
                | State::Inspecting
                | State::InspectWait
                | State::Manageable
                | State::Available
        );
    let conflict = |text: String| Err(PatchError::Conflict(text));
    if let Some(field) = changed_hardware(before, after).filter(|_| !settled) {
        let state = state.text();
        return conflict(format!(
            "Node {node} can not have {field} updated unless it is in one of allowed (enroll, inspecting, inspect wait, manageable, available) states or in maintenance mode. Current state is '{state}'."
        ));
    }
    if let (Some(old), Some(new)) = (before.instance_uuid, after.instance_uuid)
        && old != new
    {
        return associated(node, old);
    }
    if after.protected && !before.protected && !matches!(state, State::Active | State::Rescue) {
        let state = state.text();
        return conflict(format!(
            "Node {node} can not be protected: it must be active or in rescue, and is in state '{state}'."
        ));
    }
    let retiring =
        (after.retired && !before.retired) || after.retired_reason != before.retired_reason;
    if retiring && state == State::Available && after.retired {
        return conflict(format!(
            "Node {node} can not have 'retired' set in provision state 'available', the current state is 'available'."
        ));
    }
    Ok(())
}

fn associated(node: Uuid, instance: Uuid) -> Result<(), PatchError> {
    Err(PatchError::Conflict(format!("Node {node} is associated with instance {instance}.")))
}

/// The first of driver, interfaces and (once set) resource class that differs.
fn changed_hardware<'a>(before: &'a Node, after: &'a Node) -> Option<&'a str> {
    if before.driver != after.driver {
        return Some("driver");
    }
    if before.resource_class.is_some() && before.resource_class != after.resource_class {
        return Some("resource_class");
    }
    let fields = before.other.keys().chain(after.other.keys());
    fields
        .filter(|field| field.ends_with("_interface"))
        .find(|field| before.other.get(*field) != after.other.get(*field))
        .map(String::as_str)
}

/// The instance's display name is its name where none was given.
fn name_instance(node: &mut Node, touched: &BTreeSet<&str>) {
    if !touched.contains("instance_info") || node.other.contains_key("instance_name") {
        return;
    }
    if let Some(name @ Value::String(_)) = node.instance_info.get("display_name").cloned() {
        node.other.insert("instance_name".to_owned(), name);
    }
}

#[cfg(test)]
mod tests;
