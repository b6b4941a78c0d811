//! The body of `PUT …/states/provision`: its keys, targets, steps and config drive, checked for their shape. Pure.

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::steps::{Step, deploy_step, in_order, one_step};
use crate::actions::Request;
use crate::http::error::ApiError;
use crate::http::request::text;
use crate::http::version::Version;
use crate::node::attributes::flag;
use crate::node::lifecycle::Verb;
use crate::node::validate::configdrive;

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

/// Targets and the first `1.N` that takes them.
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

/// Keys of the body with steps, and for which targets they are.
const STEPS: [(&str, &[Verb]); 2] =
    [("clean_steps", &[Verb::Clean]), ("service_steps", &[Verb::Service])];

/// What a body asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// Whose steps are meant.
    pub(super) runbook: Option<String>,
}

/// The request in a body; every problem of its shape at once.
pub(super) fn request(body: &Value, version: Version) -> Result<Asked, ApiError> {
    let empty = Map::new();
    let whole = body;
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
    let verb = verb(text(whole, "target")?, version)?;
    let given = |key: &str| body.get(key).filter(|value| !value.is_null());
    let without_ramdisk =
        given("disable_ramdisk").map_or(Ok(false), |value| without_ramdisk(verb, value, version));
    let without_ramdisk = match without_ramdisk {
        Ok(without) => without,
        Err(error @ ApiError::TooNew(_)) => return Err(error),
        Err(error) => {
            problems.push(error.to_string());
            false
        }
    };
    problems.extend(password_problem(verb, given("rescue_password")));
    let drive = given("configdrive").cloned();
    if let Some(drive) = &drive {
        problems.extend(drive_problem(verb, drive, version));
    }
    let mut all = Vec::new();
    for (key, verbs) in STEPS {
        all.extend(steps(key, verbs, verb, given(key), &one_step, &mut problems));
    }
    let of_deploy = &[Verb::Active, Verb::Rebuild];
    let deploy_steps =
        steps("deploy_steps", of_deploy, verb, given("deploy_steps"), &deploy_step, &mut problems);
    let runbook = given("runbook").map(|value| runbook(verb, value, &all)).transpose();
    let runbook = runbook.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    if problems.is_empty() {
        let request = Request {
            verb,
            configdrive: drive,
            steps: in_order(all),
            rescue_password: secret(given("rescue_password")),
            deploy_steps,
            without_ramdisk,
        };
        Ok(Asked { request, runbook })
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
            ApiError::Invalid(format!("The target provision state \"{target}\" is not valid."))
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

fn secret(value: Option<&Value>) -> Option<SecretString> {
    value.and_then(Value::as_str).map(SecretString::from)
}

/// Longest password of a rescue system, bytes: hashing takes time with every byte, and SSH servers take no more.
const PASSWORD_MAX: usize = 100;

/// Why the password of a rescue system cannot be taken.
fn password_problem(verb: Verb, password: Option<&Value>) -> Option<String> {
    let blank = password.and_then(Value::as_str).is_none_or(|text| text.trim().is_empty());
    match (verb == Verb::Rescue, password) {
        (true, None) => Some(
            "A non-empty \"rescue_password\" is required when setting target provision state to rescue"
                .to_owned(),
        ),
        (true, Some(_)) if blank => {
            Some("rescue_password must be text that is not blank.".to_owned())
        }
        (true, Some(Value::String(text))) if text.len() > PASSWORD_MAX => {
            Some(format!("rescue_password has {} bytes, at most {PASSWORD_MAX} are taken.", text.len()))
        }
        (false, Some(_)) => Some(
            "\"rescue_password\" is only valid when setting target provision state to rescue"
                .to_owned(),
        ),
        (true, Some(_)) | (false, None) => None,
    }
}

/// The name or UUID of a runbook, which stands for the steps.
fn runbook(verb: Verb, value: &Value, steps: &[Step]) -> Result<String, String> {
    let ident = value.as_str().ok_or("runbook must be the name or UUID of a runbook.")?;
    if !matches!(verb, Verb::Clean | Verb::Service) {
        return Err(
            "\"runbook\" is only valid when setting target provision state to clean or service"
                .to_owned(),
        );
    }
    if !steps.is_empty() {
        return Err("runbook stands for the steps: give one of the two, not both.".to_owned());
    }
    Ok(ident.to_owned())
}

/// Whether the steps must do without a ramdisk.
fn without_ramdisk(verb: Verb, value: &Value, version: Version) -> Result<bool, ApiError> {
    let without = flag("disable_ramdisk", value).map_err(ApiError::Invalid)?;
    if without && !matches!(verb, Verb::Clean | Verb::Service) {
        return Err(ApiError::Invalid(
            "\"disable_ramdisk\" is only valid when setting target provision state to clean or service"
                .into(),
        ));
    }
    if without && verb == Verb::Service && version.0 < 108 {
        return Err(ApiError::TooNew(
            "disable_ramdisk for a service needs at least version 1.108.".into(),
        ));
    }
    Ok(without)
}

/// The steps under `key`; every problem goes to `problems`.
fn steps<T>(
    key: &str,
    verbs: &[Verb],
    verb: Verb,
    steps: Option<&Value>,
    one: &dyn Fn(&Value) -> Result<T, String>,
    problems: &mut Vec<String>,
) -> Vec<T> {
    let Some(steps) = steps.filter(|steps| steps.as_array().is_none_or(|list| !list.is_empty()))
    else {
        return Vec::new();
    };
    if !verbs.contains(&verb) {
        let names: Vec<&str> = verbs.iter().map(|verb| verb.text()).collect();
        problems.push(format!(
            "\"{key}\" is only valid when setting target provision state to {}",
            names.join(" or ")
        ));
    }
    let Some(steps) = steps.as_array() else {
        problems.push(format!("{key} must be a list."));
        return Vec::new();
    };
    let mut good = Vec::new();
    let word = key.split('_').next().unwrap_or_default();
    for (at, step) in steps.iter().enumerate() {
        match one(step) {
            Ok(step) => good.push(step),
            Err(problem) => problems.push(format!("{word} step {}: {problem}", at + 1)),
        }
    }
    good
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_target_needs_its_version() {
        for (target, version, status) in [
            ("active", 1, "good"),
            ("deploy", 72, "newer"),
            ("deploy", 73, "good"),
            ("undeploy", 110, "good"),
            ("manage", 3, "newer"),
            ("manage", 4, "good"),
            ("clean", 14, "newer"),
            ("rescue", 37, "newer"),
            ("rescue", 110, "good"),
            ("service", 110, "good"),
            ("unhold", 84, "newer"),
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
        for part in [
            "tarjet",
            "config drive",
            "\"deploy_steps\" is only valid",
            "clean step 2",
            "clean step 3: 'interface'",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("clean step 1"));
    }

    #[test]
    fn what_the_client_sends_for_a_deploy_is_taken() {
        let body = json!({"target": "active", "configdrive": {"meta_data": {"hostname": "x"}}, "deploy_steps": null, "disable_ramdisk": false});
        let request = request(&body, Version(110)).unwrap().request;
        assert_eq!(request.verb, Verb::Active);
        assert!(request.configdrive.is_some());
        assert!(super::request(&body, Version(55)).is_err());
    }
}
