//! `GET /v1/lookup`: a ramdisk asks who it is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::{Extension, Json};
use ironwright_api::{BOOT_ID_HEADER, NONCE_HEADER};
use serde_json::Value;

use super::error::ApiError;
use super::representation::plain;
use super::request::Query;
use crate::agent::{self, Lookup, Peer};
use crate::app::App;

/// Longest list of addresses that is read; a machine has fewer.
const MOST_ADDRESSES: usize = 256;

/// Whether a listener speaks TLS; set for all its routes.
#[derive(Debug, Clone, Copy)]
pub struct Secure(pub bool);

/// The address of the other end.
#[derive(Debug, Clone, Copy)]
pub struct Remote(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for Remote {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let connection = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(
            connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |connection| connection.0.ip()),
        ))
    }
}

/// `GET /v1/lookup?addresses=MAC,…[&node_uuid=UUID]`.
///
/// # Errors
///
/// 400 for the query, 404 for unknown machines and for those that no ramdisk may ask about now.
pub async fn show(
    State(app): State<App>,
    Extension(Secure(secure)): Extension<Secure>,
    Remote(address): Remote,
    headers: HeaderMap,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let addresses: Vec<String> = query
        .get("addresses")
        .unwrap_or_default()
        .split(',')
        .map(|address| address.trim().to_lowercase().replace('-', ":"))
        .filter(|address| !address.is_empty())
        .take(MOST_ADDRESSES)
        .collect();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = Lookup {
        addresses,
        node_uuid: query.parsed("node_uuid")?,
        nonce: header(NONCE_HEADER).map(str::to_owned),
        boot_id: header(BOOT_ID_HEADER).and_then(|boot| boot.parse().ok()),
    };
    let reply = agent::lookup(&app, &asked, Peer { address, secure }).await?;
    Ok(Json(plain(reply)))
}
