//! `/v1/drivers`: the hardware types.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::conductors::name;
use super::error::ApiError;
use super::representation::links;
use super::request::{Base, Query};
use super::version::Version;
use crate::app::App;
use crate::node::interfaces::{HARDWARE_TYPES, HardwareType, hardware_type};

pub(super) const PARAMETERS: [(&str, u16); 3] = [("type", 30), ("detail", 30), ("fields", 77)];

/// `GET /v1/drivers`.
///
/// # Errors
///
/// 400, 406 for the query.
pub async fn list(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    query.only(&PARAMETERS, version)?;
    let detail = query.flag("detail")?.unwrap_or(false);
    // Classic drivers are gone; asking for them is no error.
    let wanted = match query.get("type") {
        None | Some("dynamic") => true,
        Some("classic") => false,
        Some(other) => {
            return Err(ApiError::Invalid(format!(
                "Driver type '{other}' must be one of dynamic, classic."
            )));
        }
    };
    let fields =
        query.get("fields").map(|fields| fields.split(',').map(str::trim).collect::<Vec<_>>());
    let drivers: Vec<Value> = HARDWARE_TYPES
        .iter()
        .filter(|hardware| {
            wanted && app.settings.enabled_hardware_types.iter().any(|name| name == hardware.name)
        })
        .map(|hardware| {
            let mut shown = shown(hardware, detail || fields.is_some(), version, &base);
            if let Some(fields) = &fields {
                shown.retain(|key, _| key == "links" || fields.contains(&key.as_str()));
            }
            Value::Object(shown)
        })
        .collect();
    Ok(Json(json!({"drivers": drivers})))
}

/// `GET /v1/drivers/{name}`.
///
/// # Errors
///
/// 404.
pub async fn show(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    Path(driver): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let hardware = find(&app, &driver)?;
    Ok(Json(Value::Object(shown(hardware, true, version, &base))))
}

/// `GET /v1/drivers/{name}/properties`, also `?driver_name=`.
///
/// # Errors
///
/// 404.
pub async fn properties(
    State(app): State<App>,
    Path(driver): Path<String>,
) -> Result<Json<Value>, ApiError> {
    described(&app, &driver)
}

/// `GET /v1/drivers/properties?driver_name=NAME`.
///
/// # Errors
///
/// 400 without a name, 404.
pub async fn properties_by_query(
    State(app): State<App>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let missing = || ApiError::Invalid("Missing mandatory parameter: driver_name".into());
    described(&app, query.get("driver_name").ok_or_else(missing)?)
}

/// `GET /v1/drivers/{name}/raid/logical_disk_properties`.
///
/// # Errors
///
/// 404; 400 where the type's RAID interface is off.
pub async fn raid_properties(
    State(app): State<App>,
    Path(driver): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let hardware = find(&app, &driver)?;
    if hardware.default_class("raid").is_some_and(|class| class.starts_with("no-")) {
        return Err(ApiError::Invalid(format!(
            "Driver {driver} does not support raid (disabled or not implemented)."
        )));
    }
    Ok(Json(json!({})))
}

/// `GET /v1/drivers/{name}/vendor_passthru/methods`: there are none.
///
/// # Errors
///
/// 404.
pub async fn vendor_methods(
    State(app): State<App>,
    Path(driver): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&app, &driver).map(|_| Json(json!({})))
}

fn described(app: &App, driver: &str) -> Result<Json<Value>, ApiError> {
    let properties = find(app, driver)?.properties.iter();
    Ok(Json(
        properties
            .map(|(key, text)| ((*key).to_owned(), Value::from(*text)))
            .collect::<Map<_, _>>()
            .into(),
    ))
}

fn find(app: &App, driver: &str) -> Result<&'static HardwareType, ApiError> {
    hardware_type(driver)
        .filter(|hardware| {
            app.settings.enabled_hardware_types.iter().any(|name| name == hardware.name)
        })
        .ok_or_else(|| ApiError::NotFound { what: "Driver", ident: driver.to_owned() })
}

fn shown(
    hardware: &HardwareType,
    detail: bool,
    version: Version,
    base: &str,
) -> Map<String, Value> {
    let path = format!("drivers/{}", hardware.name);
    let mut shown = Map::new();
    shown.insert("name".into(), hardware.name.into());
    shown.insert("hosts".into(), json!([name()]));
    shown.insert("links".into(), links(base, &path));
    if version.0 >= 14 {
        shown.insert("properties".into(), links(base, &format!("{path}/properties")));
    }
    if version.0 >= 30 {
        shown.insert("type".into(), "dynamic".into());
    }
    if detail && version.0 >= 30 {
        for (kind, classes) in hardware.offers {
            if version.0 >= since(kind) {
                shown.insert(format!("default_{kind}_interface"), classes.first().copied().into());
                shown.insert(format!("enabled_{kind}_interfaces"), json!(classes));
            }
        }
    }
    shown
}

/// The version that shows a kind of interface in a driver.
fn since(kind: &str) -> u16 {
    match kind {
        "storage" => 33,
        "rescue" => 38,
        "bios" => 40,
        "firmware" => 86,
        _ => 30,
    }
}
