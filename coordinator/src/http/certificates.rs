//! `/v1/nodes/{id}/certificates` and `/v1/certificate-key`: proofs of erased disks, and who countersigns them. Ours, not
//! Ironic's.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::ApiError;
use super::nodes::limit;
use super::representation::{links, plain, time};
use super::request::{Base, Query};
use super::version::Version;
use crate::app::App;
use crate::certificate::Kept;

const PARAMETERS: [(&str, u16); 2] = [("marker", 1), ("limit", 1)];

/// Most certificates in one answer.
const PAGE: usize = 100;

/// `GET …/certificates`, newest first, at most 100 at once; `next` leads on.
///
/// # Errors
///
/// 400 for the query, 404.
pub async fn list(
    State(app): State<App>,
    version: Version,
    Base(base): Base,
    query: Query,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    query.only(&PARAMETERS, version)?;
    let (marker, limit) = (query.parsed::<Uuid>("marker")?, limit(&query)?.min(PAGE));
    let node = node(&app, &ident).await?;
    if let Some(marker) = marker {
        let found = app.store.certificate(node, marker).await?;
        found.ok_or_else(|| missing(&marker.to_string()))?;
    }
    let kept = app.store.certificates(node, marker, limit).await?;
    let shown: Vec<Value> = kept.iter().map(|kept| shown(kept, &base)).collect();
    let mut body = json!({"certificates": shown});
    if let Some(last) = kept.last().filter(|_| kept.len() == limit) {
        let next = query.with_marker(limit, &last.id.to_string());
        body["next"] = Value::from(format!("{base}/v1/nodes/{node}/certificates?{next}"));
    }
    Ok(Json(body))
}

/// `GET …/certificates/{id}`: whole, as `ironwright-coordinator verify-certificate` reads it.
///
/// # Errors
///
/// 404.
pub async fn show(
    State(app): State<App>,
    Path((ident, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let node = node(&app, &ident).await?;
    let uuid = Uuid::try_parse(&id).map_err(|_| missing(&id))?;
    let kept = app.store.certificate(node, uuid).await?.ok_or_else(|| missing(&id))?;
    Ok(Json(plain(kept)))
}

/// `GET /v1/certificate-key`: the public key that countersigns.
///
/// # Errors
///
/// 404 where there is none.
pub async fn key(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let key = app.countersigner.as_deref().ok_or(ApiError::NoSuchPath)?;
    Ok(Json(json!({"algorithm": "ed25519", "public_key": key.public()})))
}

/// The node's identifier. A deleted node has one still: its certificates are kept.
async fn node(app: &App, ident: &str) -> Result<Uuid, ApiError> {
    if let Some(node) = app.store.node(ident).await? {
        return Ok(node.uuid);
    }
    let unknown = || ApiError::NodeNotFound(ident.to_owned());
    let uuid = Uuid::try_parse(ident).map_err(|_| unknown())?;
    let kept = app.store.certificates(uuid, None, 1).await?;
    if kept.is_empty() { Err(unknown()) } else { Ok(uuid) }
}

fn missing(id: &str) -> ApiError {
    ApiError::NotFound { what: "Certificate", ident: id.to_owned() }
}

fn shown(kept: &Kept, base: &str) -> Value {
    let certificate = &kept.signed.certificate;
    let disk = &certificate.disk;
    json!({
        "id": kept.id,
        "received_at": time(kept.received_at),
        "order_id": certificate.order_id,
        "step": certificate.step,
        "disk": {"path": disk.path, "serial": disk.serial, "wwn": disk.wwn, "model": disk.model, "bytes": disk.bytes},
        "method": plain(certificate.method),
        "category": plain(certificate.category),
        "result": plain(&certificate.result),
        "ended": certificate.ended,
        "links": links(base, &format!("nodes/{}/certificates/{}", certificate.node_uuid, kept.id)),
    })
}
