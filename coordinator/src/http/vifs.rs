//! `/v1/nodes/{id}/vifs`: attachments to virtual networks. The network interface is `noop`: they are recorded for those who
//! make the networks, and go with the instance.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::ApiError;
use super::nodes::{find, update};
use super::request::{Body, text};
use crate::app::App;
use crate::node::Node;

/// Longest identifier of a VIF, bytes.
const VIF_BYTES: usize = 255;

/// `GET …/vifs`.
///
/// # Errors
///
/// 404.
pub async fn list(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let ids = of(&find(&app, &ident).await?);
    let vifs: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
    Ok(Json(json!({"vifs": vifs})))
}

/// `POST …/vifs {"id": …}`: 204.
///
/// # Errors
///
/// 400, 404, 409 when it is attached already.
pub async fn attach(
    State(app): State<App>,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<StatusCode, ApiError> {
    let id = text(&body, "id")?;
    if !(1..=VIF_BYTES).contains(&id.len()) {
        return Err(ApiError::Invalid(format!(
            "Invalid value for id: it has {} bytes, a VIF's identifier has 1 to {VIF_BYTES}.",
            id.len()
        )));
    }
    change(&app, &ident, |node, mut ids| {
        if ids.iter().any(|known| known == id) {
            return Err(ApiError::Conflict(format!(
                "Unable to attach VIF because VIF {id} is already attached to node {}",
                node.uuid
            )));
        }
        ids.push(id.to_owned());
        Ok(ids)
    })
    .await
}

/// `DELETE …/vifs/{id}`: 204.
///
/// # Errors
///
/// 400 when it is not attached (as Ironic), 404.
pub async fn detach(
    State(app): State<App>,
    Path((ident, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    change(&app, &ident, |node, mut ids| {
        let at = ids.iter().position(|known| *known == id);
        let missing = || {
            ApiError::Invalid(format!(
                "Unable to detach VIF {id} from node {} because it is not attached to it.",
                node.uuid
            ))
        };
        ids.remove(at.ok_or_else(missing)?);
        Ok(ids)
    })
    .await
}

fn of(node: &Node) -> Vec<String> {
    let ids = node.driver_internal_info.get("vifs").and_then(Value::as_array).into_iter().flatten();
    ids.filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

async fn change(
    app: &App,
    ident: &str,
    decide: impl Fn(&Node, Vec<String>) -> Result<Vec<String>, ApiError>,
) -> Result<StatusCode, ApiError> {
    update(app, ident, |node| {
        let ids = decide(node, of(node))?;
        let mut changed = node.clone();
        changed.driver_internal_info.insert("vifs".to_owned(), json!(ids));
        Ok(changed)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
