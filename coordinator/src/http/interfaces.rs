//! What only some interfaces of a node do: RAID, boot mode, console, virtual media. A `fake`
//! interface records it; every other one answers as a disabled interface does in Ironic. Lists are empty, never an error.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::error::ApiError;
use super::nodes::{find, update};
use super::request::{Base, Body};
use super::states::accepted;
use crate::actions;
use crate::app::App;
use crate::node::Node;
use crate::node::attributes::flag;
use crate::node::interfaces::class_of;
use crate::node::order::ARRAYS_DUE;
use crate::power::Vendor;

/// Ironic's sentence for an interface that does not do `what`.
#[must_use]
pub fn unsupported(node: &Node, what: &str) -> ApiError {
    ApiError::Invalid(format!(
        "Driver {} does not support {what} (disabled or not implemented).",
        node.driver
    ))
}

/// Sets a field of a node whose interface of this `kind` is fake.
async fn record(
    app: &App,
    ident: &str,
    (kind, what): (&str, &str),
    field: &str,
    value: &Value,
) -> Result<Node, ApiError> {
    let set = |node: &mut Node| drop(node.other.insert(field.to_owned(), value.clone()));
    change_for(app, ident, (kind, what, &["fake"]), set).await
}

/// Changes a node whose interface of this `kind` is one of `classes`.
async fn change_for(
    app: &App,
    ident: &str,
    (kind, what, classes): (&str, &str, &[&str]),
    change: impl Fn(&mut Node),
) -> Result<Node, ApiError> {
    update(app, ident, |node| {
        if !class_of(node, kind).is_some_and(|class| classes.contains(&class)) {
            return Err(unsupported(node, what));
        }
        if node.provision_state.is_busy() || node.provision_state.is_waiting() {
            return Err(ApiError::Conflict(format!(
                "Cannot change the {what} of node {} while it is in state '{}'.",
                node.uuid, node.provision_state
            )));
        }
        let mut changed = node.clone();
        change(&mut changed);
        Ok(changed)
    })
    .await
}

/// `PUT …/states/raid`: 204. What it asks for is built by the clean step `raid.create_configuration`, which judges it too.
///
/// # Errors
///
/// 400 for the body or an interface that cannot, 404, 409.
pub async fn raid(
    State(app): State<App>,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<StatusCode, ApiError> {
    let disks = body.get("logical_disks").and_then(Value::as_array);
    let none = body.as_object().is_some_and(serde_json::Map::is_empty);
    let good = none || disks.is_some_and(|disks| disks.iter().all(Value::is_object));
    if !good {
        find(&app, &ident).await?;
        return Err(ApiError::Invalid(
            "target_raid_config must be an object with a list 'logical_disks' of objects, or empty.".into(),
        ));
    }
    let classes = ("raid", "raid", &["fake", "agent"][..]);
    let set = |node: &mut Node| {
        node.other.insert("target_raid_config".to_owned(), body.clone());
        if none {
            // Who wants no arrays wants none of those either that a cleaning has still to build.
            node.driver_internal_info.remove(ARRAYS_DUE);
        }
    };
    change_for(&app, &ident, classes, set).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT …/states/boot_mode {"target": "uefi"|"bios"}`: 202.
///
/// # Errors
///
/// 400 for the body or an interface that cannot, 404, 409.
pub async fn boot_mode(
    State(app): State<App>,
    Base(base): Base,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<(StatusCode, HeaderMap), ApiError> {
    let target = &body["target"];
    if !matches!(target.as_str(), Some("uefi" | "bios")) {
        return Err(ApiError::Invalid(format!(
            "Invalid boot mode {target} requested; target must be uefi or bios."
        )));
    }
    let kind = ("management", "set_boot_mode");
    let node = record(&app, &ident, kind, "boot_mode", target).await?;
    Ok(accepted(&base, &node))
}

/// `PUT …/states/secure_boot {"target": true|false}`: 202.
///
/// # Errors
///
/// 400 for the body or an interface that cannot, 404, 409.
pub async fn secure_boot(
    State(app): State<App>,
    Base(base): Base,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<(StatusCode, HeaderMap), ApiError> {
    let target = body.get("target").filter(|target| !target.is_null());
    let missing = || ApiError::Invalid("Missing mandatory parameter: target".into());
    let target = flag("target", target.ok_or_else(missing)?).map_err(ApiError::Invalid)?;
    let kind = ("management", "set_secure_boot_state");
    let node = record(&app, &ident, kind, "secure_boot", &Value::from(target)).await?;
    Ok(accepted(&base, &node))
}

/// `PUT …/states/console {"enabled": …}`: 202.
///
/// # Errors
///
/// 400 for the body or an interface that cannot, 404, 409.
pub async fn set_console(
    State(app): State<App>,
    Base(base): Base,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<(StatusCode, HeaderMap), ApiError> {
    let enabled = body.get("enabled").filter(|enabled| !enabled.is_null());
    let missing = || ApiError::Invalid("Missing mandatory parameter: enabled".into());
    let enabled = flag("enabled", enabled.ok_or_else(missing)?).map_err(ApiError::Invalid)?;
    let value = Value::from(enabled);
    let node = record(&app, &ident, ("console", "console"), "console_enabled", &value).await?;
    Ok(accepted(&base, &node))
}

/// `GET …/states/console`.
///
/// # Errors
///
/// 404.
pub async fn console(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    let enabled = node.other.get("console_enabled") == Some(&Value::Bool(true));
    // A fake console is nowhere, as in Ironic.
    let place = enabled.then(|| json!({"type": "fake", "url": null}));
    Ok(Json(json!({"console_enabled": enabled, "console_info": place})))
}

/// `PUT …/management/inject_nmi`: 204.
///
/// # Errors
///
/// 400 where the interface cannot, 404, 409 while the machine is driven, 500 when the BMC refuses.
pub async fn inject_nmi(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let node = find(&app, &ident).await?;
    match class_of(&node, "management") {
        Some("fake") => {}
        Some("ipmitool") => drop(actions::vendor(&app, &node, &Vendor::Interrupt).await?),
        _ => return Err(unsupported(&node, "inject_nmi")),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `GET …/bios`.
///
/// # Errors
///
/// 404.
pub async fn bios(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&app, &ident).await?;
    Ok(Json(json!({"bios": []})))
}

/// `GET …/bios/{setting}`: none is known.
///
/// # Errors
///
/// 404.
pub async fn bios_setting(
    State(app): State<App>,
    Path((ident, setting)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    Err(ApiError::NotFound {
        what: "BIOS setting",
        ident: format!("{setting} of node {}", node.uuid),
    })
}

/// `GET …/firmware`.
///
/// # Errors
///
/// 404.
pub async fn firmware(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&app, &ident).await?;
    Ok(Json(json!({"firmware": []})))
}

/// `GET`, `POST` and `DELETE …/vmedia`: no interface attaches virtual media.
///
/// # Errors
///
/// 400, 404.
pub async fn vmedia(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let node = find(&app, &ident).await?;
    Err(unsupported(&node, "virtual media"))
}
