//! `GET /v1/nodes` and `/v1/nodes/detail`: filters, pages, selected fields.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::shelf::{Entry, View};
use crate::app::App;
use crate::http::conductors;
use crate::http::error::ApiError;
use crate::http::fields::{self, NODE, NODE_LIST};
use crate::http::records::resources::CHASSIS;
use crate::http::records::{self, Ask};
use crate::http::representation::{Shape, Shown};
use crate::http::request::{Base, Query};
use crate::http::version::Version;
use crate::node::{Node, ProvisionState};
use crate::store::{Children, NodeFilter};

/// Parameters of a list and the first `1.N` that takes them.
pub(in crate::http) const PARAMETERS: [(&str, u16); 27] = [
    ("marker", 1),
    ("limit", 1),
    ("sort_key", 1),
    ("sort_dir", 1),
    ("chassis_uuid", 1),
    ("instance_uuid", 1),
    ("associated", 1),
    ("maintenance", 1),
    ("project", 1),
    ("fields", 8),
    ("provision_state", 9),
    ("driver", 16),
    ("resource_class", 21),
    ("fault", 42),
    ("detail", 43),
    ("conductor_group", 46),
    ("conductor", 49),
    ("owner", 50),
    ("description_contains", 51),
    ("retired", 61),
    ("lessee", 65),
    ("shard", 82),
    ("sharded", 82),
    ("parent_node", 83),
    ("include_children", 83),
    ("instance_name", 104),
    ("health", 109),
];

/// Ironic's `[api]max_limit`.
const MAX_LIMIT: usize = 1000;

const FAULTS: [&str; 4] =
    ["power failure", "clean failure", "rescue abort failure", "service failure"];

/// Columns that order a list; the others are documents.
const SORT_KEYS: [&str; 12] = [
    "id",
    "uuid",
    "name",
    "driver",
    "provision_state",
    "power_state",
    "maintenance",
    "instance_uuid",
    "resource_class",
    "fault",
    "created_at",
    "updated_at",
];

/// `GET /v1/nodes`.
///
/// # Errors
///
/// 400, 406 for the query, 404 for the marker.
pub async fn plain(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
) -> Result<Response, ApiError> {
    query.only(&PARAMETERS, version)?;
    let detail = query.flag("detail")?.unwrap_or(false);
    if detail && query.get("fields").is_some() {
        return Err(ApiError::Invalid("Can't fetch a subset of fields with 'detail' set".into()));
    }
    let selected = match (query.get("fields"), detail) {
        (Some(asked), _) => Some(fields::select(NODE, asked, version)?),
        (None, true) => None,
        (None, false) => Some(NODE_LIST.iter().map(|name| (*name).to_owned()).collect()),
    };
    answer(&app, version, &base, &query, selected, "nodes").await
}

/// `GET /v1/nodes/detail`.
///
/// # Errors
///
/// As [`plain`].
pub async fn detailed(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
) -> Result<Response, ApiError> {
    query.only(&PARAMETERS, version)?;
    answer(&app, version, &base, &query, None, "nodes/detail").await
}

/// `GET /v1/chassis/{id}/nodes`.
///
/// # Errors
///
/// As [`plain`]; 404 for an unknown chassis.
pub async fn of_chassis(ask: Ask, Path(ident): Path<String>) -> Result<Response, ApiError> {
    let chassis = records::find(&CHASSIS, &ask.app, &ident).await?.uuid;
    let Ask { app, version, base, query } = ask;
    query.only(&PARAMETERS, version)?;
    let selected: Vec<String> = NODE_LIST.iter().map(|name| (*name).to_owned()).collect();
    let query = query.with("chassis_uuid", &chassis.to_string());
    answer(&app, version, &base, &query, Some(selected), "nodes").await
}

async fn answer(
    app: &App,
    version: Version,
    base: &str,
    query: &Query,
    selected: Option<Vec<String>>,
    path: &str,
) -> Result<Response, ApiError> {
    let filter = filter(app, query, version).await?;
    let rest = Rest::of(query)?;
    let view = View { version, base: base.to_owned(), fields: selected };
    let entries = if rest.is_empty() {
        shown(app, &filter, &view).await?
    } else {
        let found = matching(app, filter.clone(), &rest).await?;
        found.iter().map(|node| written(node, &view)).collect::<Result<_, _>>()?
    };
    let mut body =
        Vec::with_capacity(entries.iter().map(|entry| entry.json.len() + 1).sum::<usize>() + 300);
    body.extend(b"{\"nodes\":[");
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend(&*entry.json);
    }
    body.push(b']');
    let full = entries.len() == filter.limit && filter.instance_uuid.is_none();
    if let Some(last) = entries.last().filter(|_| full) {
        let next = query.with_marker(filter.limit, &last.uuid.to_string());
        let next = Value::from(format!("{base}/v1/{path}?{next}"));
        body.extend(format!(",\"next\":{next}").as_bytes());
    }
    body.push(b'}');
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// The nodes of a list as `view` shows them; only those are read that changed since they were last shown.
async fn shown(app: &App, filter: &NodeFilter, view: &View) -> Result<Vec<Entry>, ApiError> {
    let stamps = app.store.node_stamps(filter).await?;
    let mut found = app.shelf.find(view, &stamps);
    let missing = stamps.iter().zip(&found).filter(|(_, entry)| entry.is_none());
    let missing: Vec<i64> = missing.map(|(stamp, _)| stamp.row).collect();
    if !missing.is_empty() {
        let mut fresh = HashMap::with_capacity(missing.len());
        for (row, node) in app.store.nodes_of(&missing).await? {
            fresh.insert(row, written(&node, view)?);
        }
        app.shelf.keep(view, fresh.iter().map(|(row, entry)| (*row, entry.clone())));
        for (stamp, entry) in stamps.iter().zip(&mut found).filter(|(_, entry)| entry.is_none()) {
            *entry = fresh.remove(&stamp.row);
        }
    }
    // What is still missing was deleted in between.
    Ok(found.into_iter().flatten().collect())
}

fn written(node: &Node, view: &View) -> Result<Entry, ApiError> {
    let conductor = conductors::name();
    let View { version, base, fields } = view;
    let shape = Shape { version: *version, fields: fields.as_deref(), base, conductor };
    let json = serde_json::to_vec(&Shown { node, shape: &shape }).map_err(ApiError::internal)?;
    Ok(Entry { version: node.version, uuid: node.uuid, json: json.into() })
}

/// Whole nodes that also match what the store has no columns for.
async fn matching(
    app: &App,
    mut filter: NodeFilter,
    rest: &Rest<'_>,
) -> Result<Vec<Node>, ApiError> {
    let wanted = filter.limit;
    let mut found = Vec::new();
    loop {
        filter.limit = if rest.is_empty() { wanted } else { MAX_LIMIT };
        let page = app.store.nodes(&filter).await?;
        let last = page.len() < filter.limit;
        filter.marker = page.last().map(|node| node.uuid);
        found.extend(page.into_iter().filter(|node| rest.matches(node)));
        if last || found.len() >= wanted {
            found.truncate(wanted);
            return Ok(found);
        }
    }
}

/// What the store filters by.
async fn filter(app: &App, query: &Query, version: Version) -> Result<NodeFilter, ApiError> {
    let text = |name: &str| query.get(name).map(str::to_owned);
    let filter = NodeFilter {
        provision_state: provision_state(query)?,
        maintenance: query.flag("maintenance")?,
        driver: text("driver"),
        resource_class: text("resource_class"),
        instance_uuid: query.parsed("instance_uuid")?,
        associated: query.flag("associated")?,
        fault: fault(query)?,
        children: children(app, query).await?,
        marker: query.parsed("marker")?,
        sort_key: sort_key(query, version)?,
        descending: descending(query)?,
        limit: limit(query)?,
    };
    if let Some(marker) = filter.marker {
        super::find(app, &marker.to_string()).await?;
    }
    Ok(filter)
}

/// Nodes with a parent are hidden unless they are asked for.
async fn children(app: &App, query: &Query) -> Result<Children, ApiError> {
    if let Some(parent) = query.get("parent_node") {
        return Ok(Children::Of(super::find(app, parent).await?.uuid));
    }
    let included = query.flag("include_children")?.unwrap_or(false);
    Ok(if included { Children::Shown } else { Children::Hidden })
}

fn provision_state(query: &Query) -> Result<Option<String>, ApiError> {
    match query.get("provision_state") {
        Some(state) if ProvisionState::parse(state).is_none() => {
            Err(ApiError::Invalid(format!("Provision state \"{state}\" is not valid.")))
        }
        state => Ok(state.map(str::to_owned)),
    }
}

fn fault(query: &Query) -> Result<Option<String>, ApiError> {
    match query.get("fault") {
        Some(fault) if !FAULTS.contains(&fault) => Err(ApiError::Invalid(format!(
            "Unrecognized fault \"{fault}\" is specified, allowed faults are {}.",
            FAULTS.join(", ")
        ))),
        fault => Ok(fault.map(str::to_owned)),
    }
}

fn sort_key(query: &Query, version: Version) -> Result<Option<String>, ApiError> {
    let Some(key) = query.get("sort_key").filter(|key| *key != "id") else {
        return Ok(None);
    };
    if !SORT_KEYS.contains(&key) {
        return Err(ApiError::Invalid(format!(
            "The sort_key value \"{key}\" is an invalid field for sorting; valid are {}.",
            SORT_KEYS.join(", ")
        )));
    }
    fields::refuse_newer(NODE, std::iter::once(key), version)?;
    Ok(Some(key.to_owned()))
}

/// Whether the list is turned round.
///
/// # Errors
///
/// 400 for other words than `asc` and `desc`.
pub fn descending(query: &Query) -> Result<bool, ApiError> {
    match query.get("sort_dir") {
        None | Some("asc") => Ok(false),
        Some("desc") => Ok(true),
        Some(other) => Err(ApiError::Invalid(format!(
            "Invalid sort direction: {other}. Acceptable values are 'asc' or 'desc'"
        ))),
    }
}

/// The page length asked for, at most [`MAX_LIMIT`].
///
/// # Errors
///
/// 400 for what is no positive number.
pub fn limit(query: &Query) -> Result<usize, ApiError> {
    match query.parsed::<i64>("limit")? {
        None => Ok(MAX_LIMIT),
        Some(limit) if limit > 0 => Ok(usize::try_from(limit).unwrap_or(MAX_LIMIT).min(MAX_LIMIT)),
        Some(_) => Err(ApiError::Invalid("Limit must be positive".into())),
    }
}

/// The filters that look into the documents.
#[derive(Debug, Default)]
struct Rest<'a> {
    /// Kept attribute and the value it must have.
    equal: Vec<(&'static str, &'a str)>,
    description_contains: Option<&'a str>,
    retired: Option<bool>,
    sharded: Option<bool>,
    shards: Option<Vec<&'a str>>,
    /// Nothing can match: we have no other conductor.
    nothing: bool,
}

impl<'a> Rest<'a> {
    fn of(query: &'a Query) -> Result<Self, ApiError> {
        let kept =
            ["chassis_uuid", "owner", "lessee", "conductor_group", "instance_name", "health"];
        let foreign = query.get("conductor").is_some_and(|host| host != conductors::name());
        Ok(Self {
            equal: kept.into_iter().filter_map(|name| Some((name, query.get(name)?))).collect(),
            description_contains: query.get("description_contains"),
            retired: query.flag("retired")?,
            sharded: query.flag("sharded")?,
            shards: query.get("shard").map(|shards| shards.split(',').collect()),
            nothing: foreign,
        })
    }

    fn is_empty(&self) -> bool {
        self.equal.is_empty()
            && self.description_contains.is_none()
            && self.retired.is_none()
            && self.sharded.is_none()
            && self.shards.is_none()
            && !self.nothing
    }

    fn matches(&self, node: &Node) -> bool {
        let kept = |name: &str| node.other.get(name).and_then(Value::as_str);
        let shard = kept("shard");
        !self.nothing
            && self.equal.iter().all(|(name, value)| kept(name) == Some(value))
            && self
                .description_contains
                .is_none_or(|part| kept("description").is_some_and(|text| text.contains(part)))
            && self.retired.is_none_or(|retired| node.retired == retired)
            && self.sharded.is_none_or(|sharded| shard.is_some() == sharded)
            && self
                .shards
                .as_ref()
                .is_none_or(|shards| shard.is_some_and(|shard| shards.contains(&shard)))
    }
}
