//! Lookup: a ramdisk presents its addresses and its nonce, and gets its node and token.

use ironwright_api::{LookupConfig, LookupNode, LookupReply, Native, PROTOCOL};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AgentError, Peer, secret};
use crate::app::{App, Change, Severity};
use crate::node::Node;

/// What Ironic tells its agents; ours beat far more often.
const HEARTBEAT_TIMEOUT_S: u64 = 300;

/// What Ironic answers instead of a token that was handed out before.
const HANDED_OUT: &str = "******";

/// What a lookup presents.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    /// MAC addresses.
    pub addresses: Vec<String>,
    /// The node, if the agent knows it.
    pub node_uuid: Option<Uuid>,
    /// The nonce of the boot script.
    pub nonce: Option<String>,
    /// The agent's boot identifier.
    pub boot_id: Option<Uuid>,
}

/// Answers a lookup. The first one to present the nonce binds it to its boot identifier; the same boot may ask again until
/// its first heartbeat; everyone else is refused and recorded.
///
/// # Errors
///
/// [`AgentError::NotFound`] as for an unknown node where no ramdisk is expected, [`AgentError::Forbidden`] for a stranger.
pub async fn lookup(app: &App, lookup: &Lookup, peer: Peer) -> Result<LookupReply, AgentError> {
    super::transport(app, peer)?;
    let uuid = find(app, lookup).await?;
    let now = app.clock.now();
    let granted = app
        .change(&uuid.to_string(), |node| {
            let token = grant(node, lookup, peer)?;
            if let (Some(_), Some(work)) = (&token, &mut node.work) {
                work.boot.moments.entry("lookup".to_owned()).or_insert(now);
                return Ok(Change::Write(token));
            }
            Ok(Change::Keep(token))
        })
        .await;
    let (node, token) = match granted {
        Ok(Some(granted)) => granted,
        Ok(None) => return Err(not_found(lookup)),
        Err(error) => {
            super::record_refusal(app, uuid, &error, peer).await;
            return Err(error);
        }
    };
    if token.is_some() {
        let sentence = format!("the agent looked the node up from {}", peer.address);
        app.note(uuid, Severity::Info, "boot", sentence).await;
    }
    Ok(reply(app, &node, token))
}

/// The node, if it exists and may be looked up now.
pub(super) async fn find(app: &App, lookup: &Lookup) -> Result<Uuid, AgentError> {
    if lookup.addresses.is_empty() && lookup.node_uuid.is_none() {
        return Err(AgentError::Invalid("a lookup needs addresses or node_uuid".to_owned()));
    }
    let addresses: Vec<String> = lookup
        .addresses
        .iter()
        .map(|address| address.trim().to_ascii_lowercase().replace('-', ":"))
        .collect();
    let found = match lookup.node_uuid {
        Some(uuid) => Some(uuid),
        None => app.store.node_by_addresses(&addresses).await?,
    };
    let Some(uuid) = found else { return Err(not_found(lookup)) };
    match app.store.node(&uuid.to_string()).await? {
        Some(node) if node.provision_state.allows_lookup() && node.work.is_some() => Ok(uuid),
        Some(_) | None => Err(not_found(lookup)),
    }
}

pub(super) fn not_found(lookup: &Lookup) -> AgentError {
    AgentError::NotFound(match lookup.node_uuid {
        Some(uuid) => uuid.to_string(),
        None => format!("with addresses {}", lookup.addresses.join(",")),
    })
}

/// Decides on the token: a fresh one, or none because this boot's agent already used its own.
pub(super) fn grant(
    node: &mut Node,
    lookup: &Lookup,
    peer: Peer,
) -> Result<Option<String>, AgentError> {
    let allowed = node.provision_state.allows_lookup();
    let Some(work) = node.work.as_mut().filter(|_| allowed) else { return Err(not_found(lookup)) };
    let (Some(nonce), Some(boot_id)) = (&lookup.nonce, lookup.boot_id) else {
        return Err(AgentError::Forbidden(
            "the lookup lacks the nonce of the boot script or the boot identifier; boot the machine through the \
             coordinator's boot script"
                .to_owned(),
        ));
    };
    let boot = &mut work.boot;
    if !secret::is(nonce, boot.nonce_sha256.as_deref()) {
        return Err(AgentError::Forbidden(
            "the nonce is not the one of the boot that is expected; a newer boot script was issued, or none".to_owned(),
        ));
    }
    match boot.boot_id {
        None => {}
        Some(taker) if taker == boot_id && boot.last_heartbeat.is_some() => return Ok(None),
        Some(taker) if taker == boot_id => {}
        Some(_) => {
            return Err(AgentError::Forbidden(format!(
                "the nonce was taken before by another boot, from {}",
                boot.address.as_deref().unwrap_or("an unknown address")
            )));
        }
    }
    let token = secret::token();
    boot.boot_id = Some(boot_id);
    boot.token_sha256 = Some(secret::sha256(&token));
    boot.address = Some(peer.address.to_string());
    boot.acknowledged = 0;
    Ok(Some(token))
}

/// The agent gets everything it needs in its order, so `instance_info` and `driver_internal_info`, which hold secrets, stay
/// here. No token: it was handed out before.
pub(super) fn reply(app: &App, node: &Node, token: Option<String>) -> LookupReply {
    LookupReply {
        node: LookupNode {
            uuid: node.uuid,
            properties: Value::Object(node.properties.clone()),
            instance_info: json!({}),
            driver_internal_info: json!({}),
            links: json!([]),
        },
        config: LookupConfig {
            heartbeat_timeout: HEARTBEAT_TIMEOUT_S,
            agent_token: Some(token.unwrap_or_else(|| HANDED_OUT.to_owned())),
            agent_token_required: true,
            ironwright: Some(Native {
                protocol: PROTOCOL,
                heartbeat_interval_ms: app.settings.heartbeat_interval_ms(),
            }),
        },
    }
}
