//! `/v1/ports` and `/v1/nodes/{id}/ports`.

mod record;

pub(super) use record::address;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::ApiError;
use super::fields::{self, PORT, PORT_LIST};
use super::nodes::{descending, find, limit};
use super::records::resources::PORTGROUP;
use super::records::{self, Ask};
use super::representation::{self, Shape};
use super::request::{Base, Body, Query};
use super::version::Version;
use crate::app::App;
use crate::node::Port;
use crate::node::patch;
use crate::store::{PortFilter, RecordKind};

pub(super) const PARAMETERS: [(&str, u16); 13] = [
    ("node", 6),
    ("node_uuid", 1),
    ("address", 1),
    ("marker", 1),
    ("limit", 1),
    ("sort_key", 1),
    ("sort_dir", 1),
    ("fields", 8),
    ("detail", 43),
    ("portgroup", 24),
    ("project", 1),
    ("shard", 82),
    ("conductor_groups", 99),
];

/// `POST /v1/ports`: 201 with the port.
///
/// # Errors
///
/// 400 naming every problem of the body, 406, 409 for an address or UUID that is taken.
pub async fn create(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let asked = record::created(&body, version)?;
    let node = app.store.node(&asked.node).await?;
    // Ironic answers 400, not 404, when the node of a new port is unknown.
    let node =
        node.ok_or_else(|| ApiError::Invalid(format!("Node {} could not be found.", asked.node)))?;
    let port = asked.port(node.uuid, app.clock.now());
    in_group(&app, &port).await?;
    app.store.create_port(&port).await?;
    let shape = Shape { version, fields: None, base: &base, conductor: "" };
    let mut response =
        (StatusCode::CREATED, Json(representation::port(&port, &shape))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("{base}/v1/ports/{}", port.uuid)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `GET /v1/ports`.
///
/// # Errors
///
/// 400, 406 for the query, 404 for an unknown node.
pub async fn list(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let node = of_query(&app, &query).await?;
    answer(&app, version, &base, &query, Listing { node, detail: false, path: "ports".into() })
        .await
}

/// `GET /v1/ports/detail`.
///
/// # Errors
///
/// As [`list`].
pub async fn detailed(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let node = of_query(&app, &query).await?;
    answer(
        &app,
        version,
        &base,
        &query,
        Listing { node, detail: true, path: "ports/detail".into() },
    )
    .await
}

/// `GET /v1/nodes/{id}/ports`.
///
/// # Errors
///
/// As [`list`].
pub async fn of_node(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?.uuid;
    let path = format!("nodes/{node}/ports");
    answer(&app, version, &base, &query, Listing { node: Some(node), detail: false, path }).await
}

/// `GET /v1/nodes/{id}/ports/detail`.
///
/// # Errors
///
/// As [`list`].
pub async fn of_node_detailed(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?.uuid;
    let path = format!("nodes/{node}/ports/detail");
    answer(&app, version, &base, &query, Listing { node: Some(node), detail: true, path }).await
}

/// `GET /v1/portgroups/{id}/ports`.
///
/// # Errors
///
/// As [`list`]; 404 for an unknown group.
pub async fn of_group(ask: Ask, Path(ident): Path<String>) -> Result<Json<Value>, ApiError> {
    let group = records::find(&PORTGROUP, &ask.app, &ident).await?;
    let path = format!("portgroups/{}/ports", group.uuid);
    let listing = Listing { node: group.node, detail: false, path };
    let query = ask.query.with("portgroup", &group.uuid.to_string());
    answer(&ask.app, ask.version, &ask.base, &query, listing).await
}

/// Refuses a port group that does not exist or is another node's.
async fn in_group(app: &App, port: &Port) -> Result<(), ApiError> {
    let Some(group) = group_of(port) else { return Ok(()) };
    match app.store.record(RecordKind::Portgroup, group).await? {
        Some(found) if found.node == Some(port.node_uuid) => Ok(()),
        Some(_) => Err(ApiError::Invalid(format!(
            "Port group {group} belongs to another node than the port; name one of node {}.",
            port.node_uuid
        ))),
        None => Err(ApiError::Invalid(format!("Portgroup {group} could not be found."))),
    }
}

fn group_of(port: &Port) -> Option<&str> {
    port.other.get("portgroup_uuid").and_then(Value::as_str)
}

/// The node that `?node=` or `?node_uuid=` names.
async fn of_query(app: &App, query: &Query) -> Result<Option<Uuid>, ApiError> {
    match query.get("node").or_else(|| query.get("node_uuid")) {
        Some(ident) => Ok(Some(find(app, ident).await?.uuid)),
        None => Ok(None),
    }
}

/// Which list is asked for.
struct Listing {
    node: Option<Uuid>,
    detail: bool,
    path: String,
}

async fn answer(
    app: &App,
    version: Version,
    base: &str,
    query: &Query,
    listing: Listing,
) -> Result<Json<Value>, ApiError> {
    query.only(&PARAMETERS, version)?;
    let detail = listing.detail || query.flag("detail")?.unwrap_or(false);
    let selected = match (query.get("fields"), detail) {
        (Some(_), true) => {
            return Err(ApiError::Invalid(
                "Can't fetch a subset of fields with 'detail' set".into(),
            ));
        }
        (Some(asked), false) => Some(fields::select(PORT, asked, version)?),
        (None, true) => None,
        (None, false) => Some(PORT_LIST.iter().map(|name| (*name).to_owned()).collect()),
    };
    let filter = PortFilter {
        node: listing.node,
        address: query
            .get("address")
            .map(record::address)
            .transpose()
            .map_err(ApiError::Invalid)?,
        marker: query.parsed("marker")?,
        limit: limit(query)?,
    };
    let sorted = sorted(query, version)?;
    let group = match query.get("portgroup") {
        Some(ident) => Some(records::find(&PORTGROUP, app, ident).await?.uuid.to_string()),
        None => None,
    };
    // Pages of what the store cannot sort or filter by are cut here.
    let by_hand = sorted.is_some() || group.is_some();
    let mut ports = if by_hand {
        let all = PortFilter { marker: None, limit: 0, ..filter.clone() };
        app.store.ports(&all).await?
    } else {
        app.store.ports(&filter).await?
    };
    if by_hand {
        ports.retain(|port| group.as_deref().is_none_or(|group| group_of(port) == Some(group)));
        if let Some((key, descending)) = sorted {
            let shape = Shape { version, fields: None, base, conductor: "" };
            ports.sort_by_cached_key(|port| representation::port(port, &shape)[key].to_string());
            if descending {
                ports.reverse();
            }
        }
        if let Some(marker) = filter.marker {
            let at = ports.iter().position(|port| port.uuid == marker).map_or(0, |at| at + 1);
            ports.drain(..at);
        }
        ports.truncate(filter.limit);
    }
    let shape = Shape { version, fields: selected.as_deref(), base, conductor: "" };
    let shown: Vec<Value> = ports.iter().map(|port| representation::port(port, &shape)).collect();
    let mut body = json!({"ports": shown});
    if let Some(last) = ports.last().filter(|_| ports.len() == filter.limit) {
        let next = query.with_marker(filter.limit, &last.uuid.to_string());
        body["next"] = Value::from(format!("{base}/v1/{}?{next}", listing.path));
    }
    Ok(Json(body))
}

/// The column to sort by and whether downwards; none: as created.
fn sorted(query: &Query, version: Version) -> Result<Option<(&str, bool)>, ApiError> {
    let descending = descending(query)?;
    let key = query.get("sort_key").filter(|key| *key != "id");
    let document = |key: &str| matches!(key, "extra" | "internal_info" | "local_link_connection");
    match key {
        Some(key) if document(key) || fields::visible(PORT, key, version) != Some(true) => {
            Err(ApiError::Invalid(format!(
                "The sort_key value \"{key}\" is an invalid field for sorting"
            )))
        }
        Some(key) => Ok(Some((key, descending))),
        None if descending => Ok(Some(("created_at", true))),
        None => Ok(None),
    }
}

/// `GET /v1/ports/{uuid}`; by name since 1.88.
///
/// # Errors
///
/// 400, 406 for `fields`, 404.
pub async fn show(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    query.only(&[("fields", 8)], version)?;
    let selected =
        query.get("fields").map(|asked| fields::select(PORT, asked, version)).transpose()?;
    let port = find_port(&app, &ident, version).await?;
    let shape = Shape { version, fields: selected.as_deref(), base: &base, conductor: "" };
    Ok(Json(representation::port(&port, &shape)))
}

async fn find_port(app: &App, ident: &str, version: Version) -> Result<Port, ApiError> {
    let missing = || ApiError::NotFound { what: "Port", ident: ident.to_owned() };
    if let Ok(uuid) = Uuid::try_parse(ident) {
        return app.store.port(uuid).await?.ok_or_else(missing);
    }
    if version.0 < 88 {
        return Err(ApiError::Invalid(format!("Expected a UUID but received {ident}.")));
    }
    let all = app.store.ports(&PortFilter::default()).await?;
    let named = |port: &Port| port.other.get("name").and_then(Value::as_str) == Some(ident);
    all.into_iter().find(named).ok_or_else(missing)
}

/// `PATCH /v1/ports/{id}`.
///
/// # Errors
///
/// 400 naming every wrong operation or value, 404, 406, 409 for an address that is taken.
pub async fn change(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let operations = patch::parse_for(&body, &record::may_change, &record::CHANGE.join(", "))?;
    fields::refuse_newer(PORT, operations.iter().map(patch::Operation::root), version)?;
    let port = find_port(&app, &ident, version).await?;
    let mut changed = record::changed(&port, &operations)?;
    if changed.node_uuid != port.node_uuid {
        find(&app, &changed.node_uuid.to_string()).await?;
    }
    in_group(&app, &changed).await?;
    changed.updated_at = Some(app.clock.now());
    app.store.update_port(&changed).await?;
    let shape = Shape { version, fields: None, base: &base, conductor: "" };
    Ok(Json(representation::port(&changed, &shape)))
}

/// `DELETE /v1/ports/{id}`: 204.
///
/// # Errors
///
/// 404.
pub async fn delete(
    State(app): State<App>,
    version: Version,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let port = find_port(&app, &ident, version).await?;
    if app.store.delete_port(port.uuid).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NotFound { what: "Port", ident })
    }
}
