//! `/v1/nodes/{id}/states`: how it is, power, provision.

mod provision;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

pub use provision::provision;
pub(super) use provision::{deploy_step, one_step};

use super::error::ApiError;
use super::fields::{NODE, visible};
use super::nodes::find;
use super::representation::{self, Shape};
use super::request::{Base, Body, text};
use super::version::Version;
use crate::actions;
use crate::app::App;
use crate::node::{Node, PowerTarget};

/// The members of the body of `PUT …/states/provision`, with their JSON types.
pub(super) const PROVISION: [(&str, &str); 8] = [
    ("target", "string"),
    ("configdrive", "object"),
    ("clean_steps", "array"),
    ("deploy_steps", "array"),
    ("service_steps", "array"),
    ("rescue_password", "string"),
    ("disable_ramdisk", "boolean"),
    ("runbook", "string"),
];

/// What `GET …/states` shows of a node.
const SHOWN: [&str; 11] = [
    "console_enabled",
    "last_error",
    "power_state",
    "provision_state",
    "provision_updated_at",
    "raid_config",
    "target_power_state",
    "target_provision_state",
    "target_raid_config",
    "boot_mode",
    "secure_boot",
];

/// `GET /v1/nodes/{id}/states`.
///
/// # Errors
///
/// 404.
pub async fn show(
    State(app): State<App>,
    version: Version,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    let shape = Shape { version, fields: None, base: "", conductor: "" };
    let whole = representation::node(&node, &shape);
    let states = SHOWN.iter().filter(|name| visible(NODE, name, version) == Some(true));
    let states =
        states.map(|name| ((*name).to_owned(), whole.get(*name).cloned().unwrap_or_default()));
    Ok(Json(Value::Object(states.collect::<Map<_, _>>())))
}

/// `PUT /v1/nodes/{id}/states/power`: 202, the wish is stored.
///
/// # Errors
///
/// 400 for the body or the state, 404, 409 while the machine is being driven.
pub async fn power(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<(StatusCode, HeaderMap), ApiError> {
    let (target, timeout_s) = power_target(&body, version)?;
    let node = find(&app, &ident).await?;
    let off = matches!(target, PowerTarget::Off | PowerTarget::SoftOff);
    if off && node.other.get("disable_power_off") == Some(&Value::Bool(true)) {
        return Err(ApiError::Conflict(format!("Power off is disabled for node {}.", node.uuid)));
    }
    actions::power(&app, &ident, target, timeout_s).await?;
    Ok(accepted(&base, &node))
}

/// Longest that a power change may be waited for, seconds: an hour. A BMC's line is taken meanwhile.
const TIMEOUT_MAX_S: u64 = 3600;

/// The target of a body and the seconds that reaching it may take.
fn power_target(body: &Value, version: Version) -> Result<(PowerTarget, Option<u64>), ApiError> {
    let unknown: Vec<&String> = body
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .filter(|key| !matches!(key.as_str(), "target" | "timeout"))
        .collect();
    if !unknown.is_empty() {
        return Err(ApiError::Invalid(format!("Unknown parameter(s) in the body: {unknown:?}.")));
    }
    let asked = text(body, "target")?;
    let target = PowerTarget::parse(asked).ok_or_else(|| {
        let known: Vec<&str> = PowerTarget::ALL.iter().map(|target| target.text()).collect();
        ApiError::Invalid(format!(
            "Invalid power target '{asked}'; valid are: {}.",
            known.join(", ")
        ))
    })?;
    let soft = matches!(target, PowerTarget::SoftOff | PowerTarget::SoftReboot);
    let timeout = body.get("timeout").filter(|timeout| !timeout.is_null());
    if version.0 < 27 && (soft || timeout.is_some()) {
        return Err(ApiError::TooNew(
            "Soft power actions and timeouts need at least version 1.27.".into(),
        ));
    }
    let timeout_s = timeout.map(|timeout| {
        timeout.as_u64().filter(|seconds| (1..=TIMEOUT_MAX_S).contains(seconds)).ok_or_else(|| {
            let problem =
                format!("Invalid timeout {timeout}: must be 1 to {TIMEOUT_MAX_S} seconds.");
            ApiError::Invalid(problem)
        })
    });
    Ok((target, timeout_s.transpose()?))
}

/// 202 with the place to look at.
pub(super) fn accepted(base: &str, node: &Node) -> (StatusCode, HeaderMap) {
    let mut headers = HeaderMap::new();
    if let Ok(location) = HeaderValue::from_str(&format!("{base}/v1/nodes/{}/states", node.uuid)) {
        headers.insert(header::LOCATION, location);
    }
    (StatusCode::ACCEPTED, headers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn power_targets_are_ironic_s_and_soft_ones_need_their_version() {
        for (body, version, good) in [
            (json!({"target": "power on"}), 1, true),
            (json!({"target": "rebooting"}), 1, true),
            (json!({"target": "soft power off"}), 26, false),
            (json!({"target": "soft power off"}), 27, true),
            (json!({"target": "soft rebooting", "timeout": null}), 27, true),
            (json!({"target": "power on", "timeout": 5}), 27, true),
            (json!({"target": "power on", "timeout": 5}), 26, false),
            (json!({"target": "power on", "timeout": 0}), 27, false),
            (json!({"target": "power on", "timeout": "5"}), 27, false),
            (json!({"target": "power on", "timeout": 3601}), 27, false),
            (json!({"target": "on"}), 110, false),
            (json!({"target": "power on", "x": 1}), 110, false),
            (json!({}), 110, false),
            (json!(null), 110, false),
        ] {
            assert_eq!(power_target(&body, Version(version)).is_ok(), good, "{body} {version}");
        }
    }
}
