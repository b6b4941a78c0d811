//! `/v1/shards`, and `/v1/events` that nobody here waits for.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::ApiError;
use super::request::Body;
use crate::app::App;
use crate::store::NodeFilter;

/// `GET /v1/shards`: how many nodes are in each.
///
/// # Errors
///
/// 500.
pub async fn list(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let mut counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for node in app.store.nodes(&NodeFilter::default()).await? {
        let shard = node.other.get("shard").and_then(Value::as_str).map(str::to_owned);
        *counts.entry(shard).or_default() += 1;
    }
    let shards: Vec<Value> =
        counts.into_iter().map(|(name, count)| json!({"name": name, "count": count})).collect();
    Ok(Json(json!({"shards": shards})))
}

/// `POST /v1/events`: 204. They are only logged, as in Ironic without a waiting network interface.
///
/// # Errors
///
/// 400 for the body.
pub async fn take(Body(body): Body) -> Result<StatusCode, ApiError> {
    let wrong = || {
        ApiError::Invalid(
            "The body must be {\"events\": [{\"event\": text, …}, …]} with at least one event."
                .into(),
        )
    };
    let events = body["events"].as_array().filter(|events| !events.is_empty()).ok_or_else(wrong)?;
    for event in events {
        let name = event["event"].as_str().ok_or_else(wrong)?;
        tracing::info!(event = name, "event {name} received");
    }
    Ok(StatusCode::NO_CONTENT)
}
