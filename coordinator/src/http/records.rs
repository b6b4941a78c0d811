//! Resources that are only records (chassis, port groups, volumes, templates, runbooks, rules): one pattern for all of them.
//! What each kind has is in [`resources`], what a value may be in [`rules`].

mod document;
pub mod resources;
pub mod rules;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::ApiError;
use super::fields;
use super::nodes::{self, limit};
use super::request::Query;
use super::version::Version;
use crate::app::App;
use crate::node::patch;
use crate::store::{Record, RecordKind};
pub use document::{changeable, made};

use document::plain;
use rules::Form;

/// One field of a resource.
#[derive(Debug)]
pub struct Rule {
    /// Ironic's name.
    pub name: &'static str,
    /// The first `1.N` that has it.
    pub since: u16,
    /// What it may be.
    pub form: Form,
    /// Whether a new record must have it.
    pub required: bool,
}

/// A resource that is only a record.
#[derive(Debug)]
pub struct Resource {
    /// Its kind.
    pub kind: RecordKind,
    /// Its path below `/v1`.
    pub path: &'static str,
    /// The key of a list.
    pub plural: &'static str,
    /// Its fields besides uuid, `created_at` and `updated_at`.
    pub rules: &'static [Rule],
    /// What a plain list shows.
    pub listed: &'static [&'static str],
    /// Fields that a query may filter by, and the first `1.N` that takes them.
    pub filters: &'static [(&'static str, u16)],
    /// Fields that together must be unique.
    pub unique: &'static [&'static str],
    /// The first `1.N` that has it.
    pub since: u16,
}

/// What one request asks of a resource.
#[derive(Debug)]
pub struct Ask {
    /// The coordinator.
    pub app: App,
    /// The request's microversion.
    pub version: Version,
    /// For links.
    pub base: String,
    /// The query.
    pub query: Query,
}

/// Parameters of every list, and the first `1.N` that takes them.
pub const PAGE: [(&str, u16); 6] =
    [("fields", 1), ("detail", 1), ("limit", 1), ("marker", 1), ("sort_key", 1), ("sort_dir", 1)];

/// `GET /v1/{resource}`; `node`: those of one node, `detail`: whole records.
///
/// # Errors
///
/// 400, 406 for the query, 404 for the marker or a node.
pub async fn list(
    resource: &'static Resource,
    ask: &Ask,
    node: Option<Uuid>,
    detail: bool,
) -> Result<Json<Value>, ApiError> {
    let Ask { app, version, base, query } = ask;
    let known: Vec<(&str, u16)> = PAGE.iter().chain(resource.filters).copied().collect();
    query.only(&known, *version)?;
    let table = resource.table();
    let detail = detail || query.flag("detail")?.unwrap_or(false);
    let only = match (query.get("fields"), detail) {
        (Some(_), true) => {
            return Err(ApiError::Invalid(
                "Can't fetch a subset of fields with 'detail' set".into(),
            ));
        }
        (Some(asked), false) => Some(fields::select(&table, asked, *version)?),
        (None, true) => None,
        (None, false) => Some(resource.listed.iter().map(|name| (*name).to_owned()).collect()),
    };
    let node = match query.get("node").or_else(|| query.get("node_uuid")) {
        Some(ident) => Some(nodes::find(app, ident).await?.uuid),
        None => node,
    };
    let mut found = app.store.records(resource.kind, node).await?;
    for (name, _) in resource.filters.iter().filter(|filter| !filter.0.starts_with("node")) {
        if let Some(wanted) = query.get(name) {
            found
                .retain(|record| plain(&resource.value(record, name)).eq_ignore_ascii_case(wanted));
        }
    }
    sort(resource, &mut found, query, *version)?;
    if let Some(marker) = query.parsed::<Uuid>("marker")? {
        let at = found.iter().position(|record| record.uuid == marker);
        let missing =
            || ApiError::NotFound { what: resource.kind.noun(), ident: marker.to_string() };
        found.drain(..=at.ok_or_else(missing)?);
    }
    let most = limit(query)?;
    let full = found.len() >= most;
    found.truncate(most);
    let shown: Vec<Value> = found
        .iter()
        .map(|record| resource.shown(record, *version, base, only.as_deref()))
        .collect();
    let mut body = json!({resource.plural: shown});
    if let Some(last) = found.last().filter(|_| full) {
        let next = query.with_marker(most, &last.uuid.to_string());
        body["next"] = Value::from(format!("{base}/v1/{}?{next}", resource.path));
    }
    Ok(Json(body))
}

fn sort(
    resource: &Resource,
    found: &mut [Record],
    query: &Query,
    version: Version,
) -> Result<(), ApiError> {
    if let Some(key) = query.get("sort_key").filter(|key| *key != "id") {
        let known = fields::visible(&resource.table(), key, version) == Some(true);
        let document = resource.rule(key).is_some_and(|rule| rule.form.is_document());
        if !known || document {
            return Err(ApiError::Invalid(format!(
                "The sort_key value \"{key}\" is an invalid field for sorting"
            )));
        }
        found.sort_by_key(|record| plain(&resource.value(record, key)));
    }
    if nodes::descending(query)? {
        found.reverse();
    }
    Ok(())
}

/// The record with this UUID or name.
///
/// # Errors
///
/// 404.
pub async fn find(resource: &'static Resource, app: &App, ident: &str) -> Result<Record, ApiError> {
    let found = app.store.record(resource.kind, ident).await?;
    found.ok_or_else(|| ApiError::NotFound { what: resource.kind.noun(), ident: ident.to_owned() })
}

/// `GET /v1/{resource}/{id}`.
///
/// # Errors
///
/// 400, 406 for `fields`, 404.
pub async fn show(
    resource: &'static Resource,
    ask: &Ask,
    ident: &str,
) -> Result<Json<Value>, ApiError> {
    let Ask { app, version, base, query } = ask;
    query.only(&[("fields", 1)], *version)?;
    let only = query.get("fields");
    let only = only.map(|asked| fields::select(&resource.table(), asked, *version)).transpose()?;
    let record = find(resource, app, ident).await?;
    Ok(Json(resource.shown(&record, *version, base, only.as_deref())))
}

/// `POST /v1/{resource}`: 201 with the record.
///
/// # Errors
///
/// 400 naming every problem of the body, 406, 409 for a name, UUID or key that is taken.
pub async fn create(
    resource: &'static Resource,
    ask: &Ask,
    body: &Value,
) -> Result<Response, ApiError> {
    let Ask { app, version, base, .. } = ask;
    let record = made(resource, body, *version, app.clock.now())?;
    references(app, &record).await?;
    app.store.create_record(&record).await?;
    Ok(created(resource, &record, *version, base))
}

/// The answer to a creation.
#[must_use]
pub fn created(resource: &Resource, record: &Record, version: Version, base: &str) -> Response {
    let shown = resource.shown(record, version, base, None);
    let mut response = (StatusCode::CREATED, Json(shown)).into_response();
    let location = format!("{base}/v1/{}/{}", resource.path, record.uuid);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Refuses a node that is not there. Ironic answers 400, not 404, where the node is only named in a body.
async fn references(app: &App, record: &Record) -> Result<(), ApiError> {
    let Some(node) = record.node else { return Ok(()) };
    match app.store.node(&node.to_string()).await? {
        Some(_) => Ok(()),
        None => Err(ApiError::Invalid(format!("Node {node} could not be found."))),
    }
}

/// `PATCH /v1/{resource}/{id}`.
///
/// # Errors
///
/// 400 naming every wrong operation or value, 404, 406, 409 for a name or key that is taken.
pub async fn change(
    resource: &'static Resource,
    ask: &Ask,
    ident: &str,
    body: &Value,
    roots: &[&str],
) -> Result<Json<Value>, ApiError> {
    let Ask { app, version, base, .. } = ask;
    let operations = patch::parse_for(body, &|root| roots.contains(&root), &roots.join(", "))?;
    fields::refuse_newer(
        &resource.table(),
        operations.iter().map(patch::Operation::root),
        *version,
    )?;
    let mut record = find(resource, app, ident).await?;
    let mut values = Map::new();
    for operation in &operations {
        let root = operation.root();
        values.insert(root.to_owned(), resource.value(&record, root));
    }
    patch::perform(&mut values, &operations)?;
    let problems = resource.assign(&mut record, &values);
    if !problems.is_empty() {
        return Err(ApiError::problems(&problems));
    }
    references(app, &record).await?;
    record.updated_at = Some(app.clock.now());
    if !app.store.update_record(&record).await? {
        return Err(ApiError::NotFound { what: resource.kind.noun(), ident: ident.to_owned() });
    }
    Ok(Json(resource.shown(&record, *version, base, None)))
}

/// `DELETE /v1/{resource}/{id}`: 204.
///
/// # Errors
///
/// 404; 400 where other records are in it.
pub async fn delete(
    resource: &'static Resource,
    app: &App,
    ident: &str,
) -> Result<StatusCode, ApiError> {
    let record = find(resource, app, ident).await?;
    if let Some(content) = content(app, &record).await? {
        return Err(ApiError::Invalid(format!(
            "Cannot complete the requested action because {} {} contains {content}.",
            resource.kind.noun().to_lowercase(),
            record.uuid
        )));
    }
    app.store.delete_record(resource.kind, record.uuid).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What keeps a record from being deleted.
async fn content(app: &App, record: &Record) -> Result<Option<&'static str>, ApiError> {
    let uuid = record.uuid.to_string();
    Ok(match record.kind {
        RecordKind::Chassis => {
            let nodes = app.store.nodes(&crate::store::NodeFilter::default()).await?;
            let inside = |node: &crate::node::Node| {
                node.other.get("chassis_uuid").and_then(Value::as_str) == Some(uuid.as_str())
            };
            nodes.iter().any(inside).then_some("nodes; take them out first")
        }
        RecordKind::Portgroup => {
            let filter = crate::store::PortFilter { node: record.node, ..Default::default() };
            let ports = app.store.ports(&filter).await?;
            let inside = |port: &crate::node::Port| {
                port.other.get("portgroup_uuid").and_then(Value::as_str) == Some(uuid.as_str())
            };
            ports.iter().any(inside).then_some("ports; take them out first")
        }
        RecordKind::VolumeConnector
        | RecordKind::VolumeTarget
        | RecordKind::DeployTemplate
        | RecordKind::Runbook
        | RecordKind::InspectionRule
        | RecordKind::Allocation
        | RecordKind::Inventory => None,
    })
}

/// `DELETE /v1/{resource}`: 204, all records of the kind.
///
/// # Errors
///
/// 500.
pub async fn clear(resource: &'static Resource, app: &App) -> Result<StatusCode, ApiError> {
    for record in app.store.records(resource.kind, None).await? {
        app.store.delete_record(resource.kind, record.uuid).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
