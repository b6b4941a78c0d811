//! `PUT /v1/nodes/{id}/states/provision`.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use ironwright_api::CleanStep;
use serde_json::{Map, Value};

use super::accepted;
use crate::actions::{self, Request};
use crate::app::App;
use crate::http::error::ApiError;
use crate::http::nodes::find;
use crate::http::request::{Base, Body};
use crate::http::validate::{local, reason};
use crate::http::version::Version;
use crate::node::Node;
use crate::node::lifecycle::{Event, Verb, next};
use crate::node::validate::{FOR_DEPLOY, configdrive};

/// Keys of the body and the first `1.N` that takes them.
const KEYS: [(&str, u16); 8] = [
    ("target", 1),
    ("configdrive", 1),
    ("clean_steps", 15),
    ("rescue_password", 38),
    ("deploy_steps", 69),
    ("disable_ramdisk", 70),
    ("service_steps", 87),
    ("runbook", 92),
];

/// Targets and the first `1.N` that takes them. Those that are no [`Verb`] are known and not supported.
const TARGETS: [(&str, u16); 15] = [
    ("active", 1),
    ("deleted", 1),
    ("rebuild", 1),
    ("provide", 4),
    ("manage", 4),
    ("inspect", 6),
    ("abort", 13),
    ("clean", 15),
    ("adopt", 17),
    ("rescue", 38),
    ("unrescue", 38),
    ("deploy", 73),
    ("undeploy", 73),
    ("unhold", 85),
    ("service", 87),
];

/// Interfaces that have clean steps.
const STEP_INTERFACES: [&str; 7] =
    ["vendor", "power", "management", "firmware", "deploy", "bios", "raid"];

/// Stores the wish: 202. A config drive makes bodies large, hence 64 MiB (Ironic's limit).
///
/// # Errors
///
/// 400 for the body, for an action the state does not allow, in maintenance, and with everything that a deploy lacks; 404;
/// 406 for targets newer than the version; 409 while the node is driven.
pub async fn provision(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    Path(ident): Path<String>,
    Body(body): Body<65536>,
) -> Result<(StatusCode, HeaderMap), ApiError> {
    let request = request(&body, version)?;
    let node = find(&app, &ident).await?;
    if matches!(request.verb, Verb::Active | Verb::Rebuild) {
        refuse_deploy(&app, &node, &request).await?;
    }
    actions::provision(&app, &ident, request).await?;
    Ok(accepted(&base, &node))
}

/// Everything in the record that would make the deploy fail. What the state or maintenance forbids comes first, and is the
/// action's own refusal.
async fn refuse_deploy(app: &App, node: &Node, request: &Request) -> Result<(), ApiError> {
    if node.maintenance
        || node.protected
        || next(node.provision_state, Event::Asked(request.verb)).is_err()
    {
        return Ok(());
    }
    let mut asked = node.clone();
    if let Some(drive) = &request.configdrive {
        asked.instance_info.insert("configdrive".to_owned(), drive.clone());
    }
    let problems = local(app, &asked).await?.problems(&FOR_DEPLOY);
    match reason(&problems) {
        None => Ok(()),
        Some(reason) => Err(ApiError::Invalid(format!(
            "Failed to validate deploy or power info for node {}. Error: {reason}",
            node.uuid
        ))),
    }
}

/// The request in a body; every problem of its shape at once.
fn request(body: &Value, version: Version) -> Result<Request, ApiError> {
    let empty = Map::new();
    let body = body.as_object().unwrap_or(&empty);
    let mut problems = Vec::new();
    for key in body.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key) {
        match KEYS.iter().find(|known| known.0 == key) {
            None => problems.push(format!("Unknown parameter in the body: {key}.")),
            Some((_, since)) if version.0 < *since => {
                return Err(ApiError::TooNew(format!(
                    "The parameter '{key}' needs at least version 1.{since}."
                )));
            }
            Some(_) => {}
        }
    }
    let target = body.get("target").and_then(Value::as_str);
    let target =
        target.ok_or_else(|| ApiError::Invalid("Missing mandatory parameter: target".into()))?;
    let verb = verb(target, version)?;
    let given = |key: &str| body.get(key).filter(|value| !value.is_null());
    for key in ["deploy_steps", "disable_ramdisk", "service_steps", "runbook", "rescue_password"] {
        let nothing = given(key).is_none_or(|value| {
            value.as_bool() == Some(false) || value.as_array().is_some_and(Vec::is_empty)
        });
        if !nothing {
            problems.push(format!("{key} is not supported by this coordinator yet."));
        }
    }
    let drive = given("configdrive").cloned();
    if let Some(drive) = &drive {
        problems.extend(drive_problem(verb, drive, version));
    }
    let clean_steps = clean_steps(verb, given("clean_steps"), &mut problems);
    if problems.is_empty() {
        Ok(Request { verb, configdrive: drive, clean_steps })
    } else {
        Err(ApiError::problems(&problems))
    }
}

fn verb(target: &str, version: Version) -> Result<Verb, ApiError> {
    match TARGETS.iter().find(|known| known.0 == target) {
        None => {
            Err(ApiError::Invalid(format!("The target provision state \"{target}\" is not valid.")))
        }
        Some((_, since)) if version.0 < *since => Err(ApiError::TooNew(format!(
            "The target \"{target}\" needs at least version 1.{since}."
        ))),
        Some(_) => Verb::parse(target).ok_or_else(|| {
            ApiError::Invalid(format!(
                "The target \"{target}\" is not supported by this coordinator yet."
            ))
        }),
    }
}

fn drive_problem(verb: Verb, drive: &Value, version: Version) -> Option<String> {
    if !matches!(verb, Verb::Active | Verb::Rebuild) {
        return Some("Adding a config drive is only supported when setting provision state to active or rebuild".into());
    }
    if verb == Verb::Rebuild && version.0 < 35 {
        return Some("A config drive for a rebuild needs at least version 1.35.".into());
    }
    if drive.is_object() && version.0 < 56 {
        return Some("A config drive as a JSON object needs at least version 1.56.".into());
    }
    if drive.get("vendor_data").is_some() && version.0 < 59 {
        return Some("vendor_data in a config drive needs at least version 1.59.".into());
    }
    configdrive(drive).err()
}

fn clean_steps(verb: Verb, steps: Option<&Value>, problems: &mut Vec<String>) -> Vec<CleanStep> {
    let Some(steps) = steps else {
        return Vec::new();
    };
    if verb != Verb::Clean {
        problems.push(
            "\"clean_steps\" is only valid when setting target provision state to clean".into(),
        );
    }
    let Some(steps) = steps.as_array() else {
        problems.push("clean_steps must be a list.".into());
        return Vec::new();
    };
    let mut good = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        match clean_step(step) {
            Ok(step) => good.push(step),
            Err(problem) => problems.push(format!("clean step {}: {problem}", at + 1)),
        }
    }
    good
}

fn clean_step(step: &Value) -> Result<CleanStep, String> {
    let object = step.as_object().ok_or("must be an object.")?;
    if let Some(key) =
        object.keys().find(|key| !matches!(key.as_str(), "interface" | "step" | "args"))
    {
        return Err(format!("'{key}' is not supported; known are interface, step, args."));
    }
    let text = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_str)
            .ok_or(format!("'{key}' is required and must be text."))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_target_needs_its_version_and_some_are_known_but_not_supported() {
        for (target, version, status) in [
            ("active", 1, "good"),
            ("deploy", 72, "newer"),
            ("deploy", 73, "good"),
            ("undeploy", 110, "good"),
            ("manage", 3, "newer"),
            ("manage", 4, "good"),
            ("clean", 14, "newer"),
            ("rescue", 110, "bad"),
            ("service", 110, "bad"),
            ("boil", 110, "bad"),
        ] {
            let found = match verb(target, Version(version)) {
                Ok(_) => "good",
                Err(ApiError::TooNew(_)) => "newer",
                Err(_) => "bad",
            };
            assert_eq!(found, status, "{target} {version}");
        }
    }

    #[test]
    fn every_problem_of_the_body_is_named_at_once() {
        let body = json!({
            "target": "clean", "configdrive": "x", "deploy_steps": [{}], "tarjet": 1,
            "clean_steps": [{"interface": "deploy", "step": "erase_devices"}, {"interface": "x", "step": "y"}, {"step": "z"}],
        });
        let text = request(&body, Version(110)).unwrap_err().to_string();
        for part in
            ["tarjet", "config drive", "deploy_steps", "clean step 2", "clean step 3: 'interface'"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("clean step 1"));
    }

    #[test]
    fn what_the_client_sends_for_a_deploy_is_taken() {
        let body = json!({"target": "active", "configdrive": {"meta_data": {"hostname": "x"}}, "deploy_steps": null, "disable_ramdisk": false});
        let request = request(&body, Version(110)).unwrap();
        assert_eq!(request.verb, Verb::Active);
        assert!(request.configdrive.is_some());
        assert!(super::request(&body, Version(55)).is_err());
    }
}
