//! `/v1/nodes`: create, show, change, delete. Lists are in [`list`].

mod list;
mod relations;
mod shelf;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

pub(super) use list::PARAMETERS;
pub use list::{descending, detailed, limit, of_chassis, plain};
pub use relations::children;
pub use shelf::Shelf;

use relations::{enabled, referring};

use super::conductors;
use super::error::ApiError;
use super::fields;
use super::representation::{self, Shape};
use super::request::{Base, Body, Query};
use super::version::Version;
use crate::app::{App, Change, Severity};
use crate::node::attributes::{assign, blank, interface_problems};
use crate::node::interfaces::unknown_driver;
use crate::node::patch::{self, PatchError};
use crate::node::{Node, ProvisionState};
use crate::store::{Children, NodeFilter};

/// What only `POST /v1/nodes` takes, besides what a patch may change. The schema is closed.
const CREATE_ONLY: [&str; 4] = ["boot_mode", "maintenance_reason", "secure_boot", "uuid"];
/// What only a patch may change.
const PATCH_ONLY: [&str; 2] = ["protected", "protected_reason"];

/// `POST /v1/nodes`: 201 with the node.
///
/// # Errors
///
/// 400 naming every problem of the body, 406 for fields newer than the version, 409 for a name or UUID that is taken.
pub async fn create(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let node = created(&body, version, app.clock.now())?;
    enabled(&app, &node)?;
    let node = referring(&app, node).await?;
    let node = app.store.create_node(&node).await?;
    app.note(
        node.uuid,
        Severity::Info,
        "enrolment",
        format!("enrolled with driver {}", node.driver),
    )
    .await;
    let location = format!("{base}/v1/nodes/{}", node.uuid);
    let shape = Shape { version, fields: None, base: &base, conductor: conductors::name() };
    let mut response =
        (StatusCode::CREATED, Json(representation::node(&node, &shape))).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The record that a body asks for.
fn created(body: &Value, version: Version, now: Timestamp) -> Result<Node, ApiError> {
    let Some(body) = body.as_object() else {
        return Err(ApiError::Invalid("Schema error for node: the body must be an object.".into()));
    };
    let unknown: Vec<String> =
        body.keys().filter(|key| !may_create(key)).map(|key| format!("'{key}'")).collect();
    let mut problems = Vec::new();
    if !unknown.is_empty() {
        problems.push(format!(
            "Schema error for node: Additional properties are not allowed ({} unexpected).",
            unknown.join(", ")
        ));
    }
    fields::refuse_newer(fields::NODE, body.keys().map(String::as_str), version)?;
    // Ironic: nodes begin in `enroll` since 1.11, in `available` before.
    let state = if version.0 >= 11 { ProvisionState::Enroll } else { ProvisionState::Available };
    let mut node = blank(Uuid::now_v7(), state, now);
    match body.get("driver") {
        None => problems.push("Schema error for node: 'driver' is a required property.".into()),
        Some(Value::String(_)) => {}
        Some(other) => problems.push(unknown_driver(&other.to_string())),
    }
    match body.get("uuid").map(|value| value.as_str().and_then(|text| Uuid::try_parse(text).ok())) {
        None => {}
        Some(Some(uuid)) => node.uuid = uuid,
        Some(None) => problems.push("uuid must be a UUID.".into()),
    }
    for (key, value) in body.iter().filter(|(key, _)| may_create(key) && *key != "uuid") {
        problems.extend(assign(&mut node, key, value).err());
    }
    problems.extend(interface_problems(&node));
    if problems.is_empty() { Ok(node) } else { Err(ApiError::problems(&problems)) }
}

/// The fields that a new node may have.
pub(super) fn creatable() -> impl Iterator<Item = &'static str> {
    let known = fields::NODE.iter().map(|field| field.0);
    known.filter(|name| may_create(name))
}

fn may_create(key: &str) -> bool {
    let changeable = patch::is_node_root(key) && !PATCH_ONLY.contains(&key);
    changeable || CREATE_ONLY.contains(&key)
}

/// The node with this name or UUID.
///
/// # Errors
///
/// 404.
pub async fn find(app: &App, ident: &str) -> Result<Node, ApiError> {
    app.store.node(ident).await?.ok_or_else(|| ApiError::NodeNotFound(ident.to_owned()))
}

/// `GET /v1/nodes/{id}`.
///
/// # Errors
///
/// 404; 400, 406 for `fields`.
pub async fn show(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    query.only(&[("fields", 8)], version)?;
    let selected = query
        .get("fields")
        .map(|asked| fields::select(fields::NODE, asked, version))
        .transpose()?;
    let node = find(&app, &ident).await?;
    let shape =
        Shape { version, fields: selected.as_deref(), base: &base, conductor: conductors::name() };
    Ok(Json(representation::node(&node, &shape)))
}

/// `PATCH /v1/nodes/{id}`.
///
/// # Errors
///
/// 404; 400 naming every wrong operation or value; 406; 409 where the state forbids the change.
pub async fn change(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    query.only(&[("reset_interfaces", 45)], version)?;
    let reset = query.flag("reset_interfaces")?.unwrap_or(false);
    let operations = patch::parse(&body)?;
    fields::refuse_newer(fields::NODE, operations.iter().map(patch::Operation::root), version)?;
    if reset && !operations.iter().any(|operation| operation.root() == "driver") {
        return Err(ApiError::Invalid(
            "The reset_interfaces parameter can only be used when changing the node's driver."
                .into(),
        ));
    }
    let found = find(&app, &ident).await?;
    let refers = ["chassis_uuid", "parent_node"];
    if operations.iter().any(|operation| refers.contains(&operation.root())) {
        referring(&app, patch::apply(&found, &operations, reset)?).await?;
    }
    let node = update(&app, &ident, |node| {
        let mut changed = patch::apply(node, &operations, reset)?;
        if changed.driver != node.driver {
            enabled(&app, &changed)?;
        }
        if !changed.maintenance && node.maintenance {
            (changed.maintenance_reason, changed.fault) = (None, None);
        }
        Ok(changed)
    })
    .await?;
    let shape = Shape { version, fields: None, base: &base, conductor: conductors::name() };
    Ok(Json(representation::node(&node, &shape)))
}

/// Reads, decides, writes; decides again when somebody else wrote in between.
///
/// # Errors
///
/// 404, whatever `decide` says, 409 when others keep writing.
pub(super) async fn update(
    app: &App,
    ident: &str,
    decide: impl Fn(&Node) -> Result<Node, ApiError>,
) -> Result<Node, ApiError> {
    let changed = app
        .change(ident, |node| -> Result<_, ApiError> {
            *node = decide(node)?;
            node.updated_at = Some(app.clock.now());
            Ok(Change::Write(()))
        })
        .await?;
    changed.map(|(node, ())| node).ok_or_else(|| ApiError::NodeNotFound(ident.to_owned()))
}

/// `DELETE /v1/nodes/{id}`: 204.
///
/// # Errors
///
/// 404; 403 when it is protected; 409 with an instance or in a state that forbids it, unless in maintenance.
pub async fn delete(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let node = find(&app, &ident).await?;
    refuse_delete(&node)?;
    let children = NodeFilter { children: Children::Of(node.uuid), ..NodeFilter::default() };
    if !app.store.node_stamps(&children).await?.is_empty() {
        return Err(ApiError::Conflict(format!(
            "Can not delete node \"{}\": it is the parent_node of others. Delete them first.",
            node.uuid
        )));
    }
    app.store.delete_node(node.uuid).await?;
    app.live.forget(node.uuid);
    tracing::info!(node = %node.uuid, "node {} deleted", node.uuid);
    Ok(StatusCode::NO_CONTENT)
}

fn refuse_delete(node: &Node) -> Result<(), ApiError> {
    use ProvisionState as State;
    if node.protected {
        return Err(ApiError::Forbidden(format!(
            "Node {} is protected and can not be undeployed, rebuilt or deleted",
            node.uuid
        )));
    }
    if node.maintenance {
        return Ok(());
    }
    if let Some(instance) = node.instance_uuid {
        return Err(ApiError::Conflict(format!(
            "Node {} is associated with instance {instance}.",
            node.uuid
        )));
    }
    let state = node.provision_state;
    if matches!(state, State::Manageable | State::Enroll | State::AdoptFailed | State::Available) {
        return Ok(());
    }
    Err(ApiError::Conflict(format!(
        "Can not delete node \"{}\" while it is in provision state \"{}\". Valid provision states to perform deletion are: \"manageable, enroll, adopt failed, available\"",
        node.uuid,
        state.text()
    )))
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::Invalid(problems) => Self::problems(&problems),
            PatchError::Conflict(text) => Self::Conflict(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(body: &Value, version: u16) -> Result<Node, ApiError> {
        created(body, Version(version), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_new_node_begins_where_its_version_says() {
        assert_eq!(
            made(&json!({"driver": "ipmi"}), 10).unwrap().provision_state,
            ProvisionState::Available
        );
        assert_eq!(
            made(&json!({"driver": "ipmi"}), 11).unwrap().provision_state,
            ProvisionState::Enroll
        );
    }

    #[test]
    fn every_problem_of_a_body_is_named_at_once() {
        let text = made(&json!({"nam": "x", "id": 1, "name": "a b", "driver": "agent_ipmitool", "properties": 5}), 110)
            .unwrap_err()
            .to_string();
        for part in ["'nam', 'id'", "'a b'", "'ipmi'", "properties must be an object"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            made(&json!({}), 110)
                .unwrap_err()
                .to_string()
                .contains("'driver' is a required property")
        );
    }

    #[test]
    fn a_field_newer_than_the_version_is_not_acceptable() {
        assert!(matches!(
            made(&json!({"driver": "ipmi", "owner": "x"}), 49),
            Err(ApiError::TooNew(_))
        ));
        assert!(made(&json!({"driver": "ipmi", "owner": "x"}), 50).is_ok());
    }

    #[test]
    fn what_may_be_deleted_depends_on_state_instance_protection_and_maintenance() {
        use ProvisionState as S;
        for (state, instance, maintenance, protected, allowed) in [
            (S::Available, false, false, false, true),
            (S::Enroll, false, false, false, true),
            (S::Active, false, false, false, false),
            (S::Active, true, true, false, true),
            (S::Available, true, false, false, false),
            (S::DeployFailed, false, false, false, false),
            (S::Available, false, true, true, false),
        ] {
            let mut node = blank(Uuid::nil(), state, Timestamp::UNIX_EPOCH);
            node.instance_uuid = instance.then(Uuid::nil);
            (node.maintenance, node.protected) = (maintenance, protected);
            assert_eq!(
                refuse_delete(&node).is_ok(),
                allowed,
                "{state:?} {instance} {maintenance} {protected}"
            );
        }
    }
}
