//! `/v1/nodes/{id}/management/indicators`: lights of a machine. An IPMI chassis has one, which identifies it; fake machines have
//! those of Ironic's fake interface.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ironwright_ipmi::RawRequest;
use serde_json::{Value, json};

use super::error::ApiError;
use super::interfaces::unsupported;
use super::nodes::{find, update};
use super::representation::Links;
use super::request::{Base, Body};
use crate::actions;
use crate::app::App;
use crate::node::Node;
use crate::node::interfaces::class_of;
use crate::power::Vendor;

/// One light.
#[derive(Debug, Clone, Copy)]
struct Light {
    component: &'static str,
    name: &'static str,
    readonly: bool,
    states: &'static [&'static str],
}

const IPMI: [Light; 1] =
    [Light { component: "chassis", name: "led", readonly: false, states: &["OFF", "ON"] }];

const FAKE: [Light; 2] = [
    Light { component: "chassis", name: "led-0", readonly: true, states: &["OFF", "ON"] },
    Light { component: "system", name: "led", readonly: false, states: &["BLINKING", "OFF", "ON"] },
];

/// Where a fake machine's lights are recorded, in `driver_internal_info`.
const RECORD: &str = "indicators";

fn lights(node: &Node) -> &'static [Light] {
    match class_of(node, "management") {
        Some("ipmitool") => &IPMI,
        Some("fake") => &FAKE,
        _ => &[],
    }
}

impl Light {
    /// Its name, unique on the machine.
    fn unique(self) -> String {
        format!("{}@{}", self.name, self.component)
    }

    fn shown(self, node: &Node, base: &str) -> Value {
        let path = format!("nodes/{}/management/indicators/{}", node.uuid, self.unique());
        json!({
            "name": self.unique(), "component": self.component, "readonly": self.readonly,
            "states": self.states, "links": Links { base, path: &path },
        })
    }
}

/// The light that a path names, as `name@component` or `component/name`.
fn find_light(node: &Node, component: &str, name: Option<&str>) -> Result<Light, ApiError> {
    let unique = name.map_or_else(|| component.to_owned(), |name| format!("{name}@{component}"));
    let found = lights(node).iter().find(|light| light.unique() == unique).copied();
    found.ok_or(ApiError::NotFound { what: "Indicator", ident: unique })
}

/// `GET …/indicators`.
///
/// # Errors
///
/// 404.
pub async fn list(
    State(app): State<App>,
    Base(base): Base,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    let shown: Vec<Value> = lights(&node).iter().map(|light| light.shown(&node, &base)).collect();
    Ok(Json(json!({"indicators": shown})))
}

/// `GET …/indicators/{component}`: its lights; `GET …/indicators/{name}@{component}`: the state of one.
///
/// # Errors
///
/// 404; 500 when the BMC does not say.
pub async fn of_component(
    State(app): State<App>,
    Base(base): Base,
    Path((ident, component)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    if component.contains('@') {
        return state(&app, &node, find_light(&node, &component, None)?).await;
    }
    let of = lights(&node).iter().filter(|light| light.component == component);
    let shown: Vec<Value> = of.map(|light| light.shown(&node, &base)).collect();
    Ok(Json(json!({"indicators": shown})))
}

/// `GET …/indicators/{component}/{name}`.
///
/// # Errors
///
/// As [`of_component`].
pub async fn show(
    State(app): State<App>,
    Path((ident, component, name)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    state(&app, &node, find_light(&node, &component, Some(&name))?).await
}

/// `PUT …/indicators/{name}@{component} {"state": …}`: 204.
///
/// # Errors
///
/// 400 for the state or a light that cannot be set, 404, 409 while the machine is driven, 500 when the BMC refuses.
pub async fn set_unique(
    State(app): State<App>,
    Path((ident, unique)): Path<(String, String)>,
    Body(body): Body,
) -> Result<StatusCode, ApiError> {
    let node = find(&app, &ident).await?;
    let light = find_light(&node, &unique, None)?;
    set_light(&app, &node, light, &body).await
}

/// `PUT …/indicators/{component}/{name} {"state": …}`: 204.
///
/// # Errors
///
/// As [`set_unique`].
pub async fn set(
    State(app): State<App>,
    Path((ident, component, name)): Path<(String, String, String)>,
    Body(body): Body,
) -> Result<StatusCode, ApiError> {
    let node = find(&app, &ident).await?;
    let light = find_light(&node, &component, Some(&name))?;
    set_light(&app, &node, light, &body).await
}

async fn state(app: &App, node: &Node, light: Light) -> Result<Json<Value>, ApiError> {
    if class_of(node, "management") == Some("fake") {
        let known = node.driver_internal_info.get(RECORD).and_then(|all| all.get(light.unique()));
        return Ok(Json(json!({"state": known.cloned().unwrap_or_else(|| "OFF".into())})));
    }
    // Get chassis status (spec 28.2): bits 5 and 4 of byte 3 are the identify state, if bit 6 says so.
    let status = RawRequest::new(0x00, 0x01, Vec::new()).map_err(ApiError::internal)?;
    let reply = actions::ask_bmc(app, node, &Vendor::Raw(status)).await?;
    let state = match reply.get(2) {
        Some(byte) if byte & 0x40 != 0 && byte & 0x30 == 0 => "OFF",
        Some(byte) if byte & 0x40 != 0 => "ON",
        Some(_) | None => "UNKNOWN",
    };
    Ok(Json(json!({"state": state})))
}

async fn set_light(
    app: &App,
    node: &Node,
    light: Light,
    body: &Value,
) -> Result<StatusCode, ApiError> {
    let asked = body["state"].as_str().unwrap_or_default();
    if light.readonly {
        return Err(unsupported(node, "set_indicator_state"));
    }
    if !light.states.contains(&asked) {
        return Err(ApiError::Invalid(format!(
            "Invalid state {} of indicator {}; state must be one of {}.",
            body["state"],
            light.unique(),
            light.states.join(", ")
        )));
    }
    if class_of(node, "management") == Some("fake") {
        update(app, &node.uuid.to_string(), |node| {
            let mut changed = node.clone();
            let record = changed.driver_internal_info.entry(RECORD).or_insert_with(|| json!({}));
            record[light.unique()] = Value::from(asked);
            Ok(changed)
        })
        .await?;
    } else {
        actions::vendor(app, node, &Vendor::Identify(asked == "ON")).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
