//! Steps as clients write them: in a request, a runbook, a deploy template. Pure.

use ironwright_api::{CleanStep, DeployStep};
use serde_json::{Map, Value};

/// Interfaces that have steps.
const STEP_INTERFACES: [&str; 7] =
    ["vendor", "power", "management", "firmware", "deploy", "bios", "raid"];

/// A step of a cleaning, a service or a runbook.
#[derive(Debug, Clone)]
pub(in crate::http) struct Step {
    step: CleanStep,
    /// Where it comes; none: as written, behind those that say.
    order: Option<u64>,
}

/// The steps in the order they are to be done.
pub(in crate::http) fn in_order(mut steps: Vec<Step>) -> Vec<CleanStep> {
    steps.sort_by_key(|step| step.order.unwrap_or(u64::MAX));
    steps.into_iter().map(|step| step.step).collect()
}

/// One step of a cleaning, a service or a runbook.
pub(in crate::http) fn one_step(step: &Value) -> Result<Step, String> {
    let children = ["execute_on_child_nodes", "limit_child_node_execution"];
    let object = known(step, &["order", children[0], children[1]])?;
    let order = match object.get("order") {
        None | Some(Value::Null) => None,
        Some(order) => {
            Some(order.as_u64().ok_or("'order' must be a whole number from 0 on.".to_owned())?)
        }
    };
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
    };
    if let Some(key) =
        children.into_iter().find(|key| object.get(*key).is_some_and(|value| !empty(value)))
    {
        return Err(format!(
            "'{key}' is not supported; ask for the step on each child node by itself."
        ));
    }
    Ok(Step { step: plain(object)?, order })
}

/// One step of a deploy or a template: it has a priority, and must have it.
pub(in crate::http) fn deploy_step(step: &Value) -> Result<DeployStep, String> {
    let object = known(step, &["priority"])?;
    let priority = object.get("priority").and_then(Value::as_u64);
    let priority = priority.and_then(|priority| u32::try_from(priority).ok());
    let priority =
        priority.ok_or("'priority' is required and must be a whole number from 0 on.")?;
    let CleanStep { interface, step, args } = plain(object)?;
    Ok(DeployStep { interface, step, args, priority })
}

fn known<'a>(step: &'a Value, more: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let object = step.as_object().ok_or("must be an object.")?;
    let all = [&["interface", "step", "args"], more].concat();
    match object.keys().find(|key| !all.contains(&key.as_str())) {
        Some(key) => Err(format!("'{key}' is not supported; known are {}.", all.join(", "))),
        None => Ok(object),
    }
}

fn plain(object: &Map<String, Value>) -> Result<CleanStep, String> {
    let text = |key: &str| {
        let text = object.get(key).and_then(Value::as_str);
        text.ok_or(format!("'{key}' is required and must be text."))
    };
    let (interface, step) = (text("interface")?, text("step")?);
    if !STEP_INTERFACES.contains(&interface) {
        return Err(format!(
            "interface '{interface}' must be one of {}.",
            STEP_INTERFACES.join(", ")
        ));
    }
    let args = object.get("args").cloned().unwrap_or_default();
    if !args.is_object() && !args.is_null() {
        return Err("'args' must be an object.".into());
    }
    Ok(CleanStep { interface: interface.to_owned(), step: step.to_owned(), args })
}
