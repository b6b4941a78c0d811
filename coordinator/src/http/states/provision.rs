//! `PUT /v1/nodes/{id}/states/provision`.

mod body;
mod steps;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use ironwright_api::DeployStep;
use serde_json::Value;

use body::{Asked, request};
use steps::in_order;
pub(in crate::http) use steps::{deploy_step, one_step};

use super::accepted;
use crate::actions::{self, Request};
use crate::app::App;
use crate::http::error::ApiError;
use crate::http::nodes::find;
use crate::http::records;
use crate::http::records::resources::RUNBOOK;
use crate::http::request::{Base, Body};
use crate::http::validate::{local, reason, rescue_problem};
use crate::http::version::Version;
use crate::node::lifecycle::{Event, Verb, next};
use crate::node::validate::FOR_DEPLOY;
use crate::node::{Node, pretend, program};
use crate::store::RecordKind;

/// Stores the wish: 202. A config drive makes bodies large, hence 64 MiB (Ironic's limit).
///
/// # Errors
///
/// 400 for the body, for an action the state does not allow, in maintenance, and with everything that a deploy lacks; 404;
/// 406 for targets newer than the version; 409 while the node is driven.
pub async fn provision(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    Path(ident): Path<String>,
    Body(body): Body<65536>,
) -> Result<(StatusCode, HeaderMap), ApiError> {
    let Asked { request, runbook } = request(&body, version)?;
    let node = find(&app, &ident).await?;
    let mut request = match runbook {
        Some(ident) => with_runbook(&app, &node, &ident, request).await?,
        None => request,
    };
    if matches!(request.verb, Verb::Active | Verb::Rebuild) {
        request.deploy_steps = deploy_steps(&app, &node, &request.deploy_steps).await?;
        refuse_deploy(&app, &node, &request).await?;
    }
    if request.verb == Verb::Rescue {
        refuse_rescue(&app, &node).await?;
    }
    actions::provision(&app, &ident, request).await?;
    Ok(accepted(&base, &node))
}

/// The request with the steps of a runbook. Ironic: the node must have the trait that the runbook is named after.
async fn with_runbook(
    app: &App,
    node: &Node,
    ident: &str,
    request: Request,
) -> Result<Request, ApiError> {
    let runbook = records::find(&RUNBOOK, app, ident).await?;
    let traits = node.other.get("traits").and_then(Value::as_array);
    let name = runbook.name.as_deref().unwrap_or_default();
    if !traits.is_some_and(|traits| traits.iter().any(|one| one.as_str() == Some(name))) {
        return Err(ApiError::Invalid(format!(
            "Runbook {name} cannot be used for node {}: the node does not have the trait {name}.",
            node.uuid
        )));
    }
    let steps = runbook.fields.get("steps").and_then(Value::as_array).into_iter().flatten();
    let steps = steps.map(one_step).collect::<Result<_, _>>().map_err(ApiError::Invalid)?;
    let without = runbook.fields.get("disable_ramdisk") == Some(&Value::Bool(true));
    let without_ramdisk = request.without_ramdisk || without;
    Ok(Request { steps: in_order(steps), without_ramdisk, ..request })
}

/// The steps of a deploy: what the request says, and those of the templates that the instance's traits name.
async fn deploy_steps(
    app: &App,
    node: &Node,
    asked: &[DeployStep],
) -> Result<Vec<DeployStep>, ApiError> {
    let mut templates = Vec::new();
    let traits = node.instance_info.get("traits").and_then(Value::as_array).into_iter().flatten();
    for name in traits.filter_map(Value::as_str) {
        let Some(template) = app.store.record(RecordKind::DeployTemplate, name).await? else {
            continue;
        };
        let steps = template.fields.get("steps").and_then(Value::as_array).into_iter().flatten();
        for step in steps {
            templates.push(deploy_step(step).map_err(ApiError::Invalid)?);
        }
    }
    let steps = program::merged(templates, asked).map_err(|all| ApiError::problems(&all))?;
    let plain = program::in_order(&steps);
    match program::problems(&plain, false) {
        problems if problems.is_empty() || pretend::is_pretended(node, "deploy") => Ok(steps),
        problems => Err(ApiError::problems(&problems)),
    }
}

/// Everything in the record that would make the deploy fail. What the state or maintenance forbids comes first, and is the
/// action's own refusal.
async fn refuse_deploy(app: &App, node: &Node, request: &Request) -> Result<(), ApiError> {
    if node.maintenance
        || node.protected
        || next(node.provision_state, Event::Asked(request.verb)).is_err()
    {
        return Ok(());
    }
    let mut asked = node.clone();
    if let Some(drive) = &request.configdrive {
        asked.instance_info.insert("configdrive".to_owned(), drive.clone());
    }
    let problems = local(app, &asked).await?.problems(&FOR_DEPLOY);
    match reason(&problems) {
        None => Ok(()),
        Some(reason) => Err(ApiError::Invalid(format!(
            "Failed to validate deploy or power info for node {}. Error: {reason}",
            node.uuid
        ))),
    }
}

/// What a rescue system of ours cannot be booted without. What the state forbids is the action's own refusal.
async fn refuse_rescue(app: &App, node: &Node) -> Result<(), ApiError> {
    if next(node.provision_state, Event::Asked(Verb::Rescue)).is_err() {
        return Ok(());
    }
    match rescue_problem(app, node).await {
        None => Ok(()),
        Some(problem) => Err(ApiError::Invalid(format!(
            "Failed to validate rescue info for node {}. Error: {problem}",
            node.uuid
        ))),
    }
}
