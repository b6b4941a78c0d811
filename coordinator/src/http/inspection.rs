//! `POST /v1/continue_inspection`: an inspection ramdisk says what it found.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use ironwright_api::{BOOT_ID_HEADER, NONCE_HEADER};
use serde_json::{Value, json};

use super::error::ApiError;
use super::lookup::{Remote, Secure};
use super::representation::plain;
use super::request::{Body, Query};
use super::version::{MIN, Version};
use crate::agent::{self, Found, Inspection, Lookup, Peer};
use crate::app::App;

/// The first version whose answer is that of a lookup. Ironic's agent sends no version, and so means [`MIN`]; the versions
/// between do not have this path.
const LIKE_LOOKUP: u16 = 84;

/// `POST /v1/continue_inspection[?node_uuid=UUID]`: 202. At most 16 MiB (Ironic's limit).
///
/// The one-time nonce of the boot script is in the header that a lookup has it in, or in the query, where the boot script
/// puts it for ramdisks that only know their callback URL.
///
/// # Errors
///
/// 400 for the body, 403 without this boot's nonce, 404 where no node with these addresses is being inspected, 406 for
/// `node_uuid` before 1.84, 409 while the machine is still being started.
pub async fn post(
    State(app): State<App>,
    Extension(Secure(secure)): Extension<Secure>,
    Remote(address): Remote,
    version: Version,
    headers: HeaderMap,
    query: Query,
    Body(body): Body<16384>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if version != MIN && version.0 < LIKE_LOOKUP {
        return Err(ApiError::NoSuchPath);
    }
    query.only(&[("node_uuid", LIKE_LOOKUP), ("nonce", 1)], version)?;
    let found = Found::read(body).map_err(|problems| ApiError::problems(&problems))?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let nonce = header(NONCE_HEADER).or_else(|| query.get("nonce"));
    let lookup = Lookup {
        addresses: found.addresses.clone(),
        node_uuid: query.parsed("node_uuid")?,
        nonce: nonce.map(str::to_owned),
        boot_id: header(BOOT_ID_HEADER).and_then(|boot| boot.parse().ok()),
    };
    let posted = Inspection { lookup, found };
    let reply = agent::inspection(&app, posted, Peer { address, secure }).await?;
    let reply = if version == MIN { json!({"uuid": reply.node.uuid}) } else { plain(reply) };
    Ok((StatusCode::ACCEPTED, Json(reply)))
}
