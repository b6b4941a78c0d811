//! `/v1/nodes/{id}/management`: the boot device.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::ApiError;
use super::nodes::find;
use super::request::{Body, text};
use crate::actions;
use crate::app::App;
use crate::node::attributes::flag;
use crate::power::BootDevice;

/// `GET …/management/boot_device`.
///
/// # Errors
///
/// 404; 500 when the BMC does not answer.
pub async fn boot_device(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (device, persistent) = actions::boot_device(&app, &ident).await?;
    Ok(Json(json!({"boot_device": device, "persistent": persistent})))
}

/// `PUT …/management/boot_device {"boot_device": …, "persistent": …}`: 204, set and read back.
///
/// # Errors
///
/// 400 for the body, 404, 409 while the node is driven, 500 when the BMC does not do it.
pub async fn set_boot_device(
    State(app): State<App>,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<StatusCode, ApiError> {
    let name = text(&body, "boot_device")?;
    let device = BootDevice::parse(name).ok_or_else(|| {
        ApiError::Invalid(format!(
            "Invalid boot device {name} specified; supported are {}.",
            names().join(", ")
        ))
    })?;
    let persistent = flag("persistent", &body["persistent"]).map_err(ApiError::Invalid)?;
    actions::set_boot_device(&app, &ident, device, persistent).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET …/management/boot_device/supported`.
///
/// # Errors
///
/// 404.
pub async fn supported(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&app, &ident).await?;
    Ok(Json(json!({"supported_boot_devices": names()})))
}

fn names() -> Vec<&'static str> {
    BootDevice::ALL.iter().map(|device| device.text()).collect()
}
