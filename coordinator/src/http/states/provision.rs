//! `PUT /v1/nodes/{id}/states/provision`.

mod body;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use ironwright_api::CleanStep;
use serde_json::Value;

pub(in crate::http) use body::one_step;
use body::{Asked, request};

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
use crate::node::{Node, pretend};
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
    let request = match runbook {
        Some(ident) => Request { steps: runbook_steps(&app, &node, &ident).await?, ..request },
        None => request,
    };
    if matches!(request.verb, Verb::Active | Verb::Rebuild) {
        refuse_deploy(&app, &node, &request).await?;
    }
    if request.verb == Verb::Rescue {
        refuse_rescue(&app, &node).await?;
    }
    actions::provision(&app, &ident, request).await?;
    Ok(accepted(&base, &node))
}

/// The steps of a runbook, in their order. Ironic: the node must have the trait that the runbook is named after.
async fn runbook_steps(app: &App, node: &Node, ident: &str) -> Result<Vec<CleanStep>, ApiError> {
    let runbook = records::find(&RUNBOOK, app, ident).await?;
    let traits = node.other.get("traits").and_then(Value::as_array);
    let name = runbook.name.as_deref().unwrap_or_default();
    if !traits.is_some_and(|traits| traits.iter().any(|one| one.as_str() == Some(name))) {
        return Err(ApiError::Invalid(format!(
            "Runbook {name} cannot be used for node {}: the node does not have the trait {name}.",
            node.uuid
        )));
    }
    let mut steps: Vec<Value> =
        runbook.fields.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    steps.sort_by_key(|step| step["order"].as_u64().unwrap_or(u64::MAX));
    let plain = steps.iter_mut().map(|step| {
        if let Some(step) = step.as_object_mut() {
            step.remove("order");
        }
        one_step(step, false).map_err(ApiError::Invalid)
    });
    plain.collect()
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
    let mut problems = local(app, &asked).await?.problems(&FOR_DEPLOY);
    problems.extend(template_problem(app, &asked).await?);
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

/// A deploy template that is chosen by a trait, and that nobody would run: better refused than left out.
async fn template_problem(app: &App, node: &Node) -> Result<Option<String>, ApiError> {
    if pretend::is_pretended(node, "deploy") {
        return Ok(None);
    }
    let traits = node.instance_info.get("traits").and_then(Value::as_array).into_iter().flatten();
    for name in traits.filter_map(Value::as_str) {
        if app.store.record(RecordKind::DeployTemplate, name).await?.is_some() {
            return Ok(Some(format!(
                "instance_info.traits names the deploy template {name}, and its steps cannot be run by deploy interface direct yet; take the trait out."
            )));
        }
    }
    Ok(None)
}
