//! `GET /v1/nodes/{id}/progress`: the work in progress, as its agent last described it. Ours, not Ironic's.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::mask::mask;
use super::nodes::find;
use super::representation::{plain, time};
use crate::app::App;
use crate::node::{Node, WorkRecord};

/// `GET …/progress`.
///
/// # Errors
///
/// 404.
pub async fn show(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    Ok(Json(shown(&app, &node)))
}

fn shown(app: &App, node: &Node) -> Value {
    let pulse = app.live.pulse(node.uuid);
    let mut answer = json!({
        "node_uuid": node.uuid,
        "provision_state": node.provision_state,
        "target_provision_state": node.target_provision_state,
        "power_state": node.power_state,
        "last_error": node.last_error,
        "phase": null,
        "attempt": null,
        "since": null,
        "progress": null,
        "last_heartbeat": pulse.as_ref().map(|pulse| time(pulse.last_heartbeat)),
        "steps": [],
        "moments": {},
        "timing": null,
    });
    if let Some(work) = &node.work {
        let live = pulse.and_then(|pulse| pulse.progress);
        let latest = live
            .filter(|progress| progress.order_id.is_none_or(|order| order == work.order.order_id));
        describe(&mut answer, work);
        answer["progress"] = plain(latest.as_ref().or(work.progress.as_ref()));
    }
    mask(&answer)
}

fn describe(answer: &mut Value, work: &WorkRecord) {
    answer["phase"] = plain(work.phase);
    answer["attempt"] = json!(work.order.attempt);
    answer["order_id"] = json!(work.order.order_id);
    answer["ordered_at"] = json!(time(work.ordered_at));
    answer["since"] = json!(time(work.since));
    let steps = work
        .steps
        .iter()
        .map(|step| json!({"step": step.step, "attempt": step.attempt, "ended": step.ended}));
    answer["steps"] = steps.collect();
    let moments = work.boot.moments.iter().map(|(name, at)| (name.clone(), Value::from(time(*at))));
    answer["moments"] = Value::Object(moments.collect::<Map<_, _>>());
    answer["timing"] = plain(&work.boot.timing);
    if answer["last_heartbeat"].is_null() {
        answer["last_heartbeat"] = work.boot.last_heartbeat.map(time).into();
    }
}
