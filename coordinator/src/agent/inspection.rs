//! Inspection by a ramdisk that posts what it found once, as Ironic's agent does, instead of sending it with heartbeats.

use ironwright_api::{Blame, Failure, LookupReply, Work};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{AgentError, Lookup, Peer, lookup, secret};
use crate::app::{App, Change, Severity};
use crate::inventory;
use crate::node::{Node, Object, Outcome, ProvisionState};
use crate::store::StoreError;

/// Longest text of a ramdisk's error that is kept, characters.
const ERROR_MAX: usize = 4000;

/// What a ramdisk posts.
#[derive(Debug)]
pub struct Inspection {
    /// Who it says it is. Without a boot identifier (Ironic's agent has none) the nonce alone names the boot.
    pub lookup: Lookup,
    /// What it found.
    pub found: Found,
}

/// A posted inventory that has the shape it must have.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// MAC addresses of its interfaces.
    pub addresses: Vec<String>,
    /// What is kept: `inventory` and whatever else the collectors said, without `error` and `logs`.
    document: Object,
    /// The ramdisk's own word that it went wrong.
    error: Option<String>,
}

impl Found {
    /// Checks the body of the request. The rules are Ironic's: at least one interface, a MAC address in each, BMC addresses
    /// as text or null.
    ///
    /// # Errors
    ///
    /// Every problem, each naming its field.
    pub fn read(body: Value) -> Result<Self, Vec<String>> {
        let Value::Object(mut document) = body else {
            return Err(vec!["The body must be an object with the key 'inventory'.".to_owned()]);
        };
        // The archive of logs is the largest part and nobody reads it here.
        document.remove("logs");
        let mut problems = Vec::new();
        let error = match document.remove("error") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text).filter(|text| !text.is_empty()),
            Some(_) => {
                problems.push("error must be text or null.".to_owned());
                None
            }
        };
        let inventory = document.get("inventory").and_then(Value::as_object);
        if inventory.is_none() {
            problems.push("inventory is missing or no object.".to_owned());
        }
        for key in ["bmc_address", "bmc_v6address"] {
            let value = inventory.and_then(|inventory| inventory.get(key));
            if value.is_some_and(|value| !value.is_string() && !value.is_null()) {
                problems.push(format!("inventory.{key} must be text or null."));
            }
        }
        let interfaces = inventory.and_then(|inventory| inventory.get("interfaces"));
        let interfaces = interfaces.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if inventory.is_some() && interfaces.is_empty() {
            problems
                .push("inventory.interfaces must be a list with at least one entry.".to_owned());
        }
        let mut addresses = Vec::new();
        for (at, interface) in interfaces.iter().enumerate() {
            match interface.get("mac_address").and_then(Value::as_str) {
                Some(address) => addresses.push(address.trim().to_lowercase().replace('-', ":")),
                None => {
                    problems.push(format!("inventory.interfaces[{at}].mac_address must be text."));
                }
            }
        }
        if problems.is_empty() { Ok(Self { addresses, document, error }) } else { Err(problems) }
    }

    /// How the inspection ended.
    fn outcome(&self) -> Outcome {
        let failed = |message: String, remedy: &str| {
            Outcome::Failed(Failure {
                step: "inspection".to_owned(),
                message,
                remedy: remedy.to_owned(),
                blame: Blame::Environment,
            })
        };
        if let Some(error) = &self.error {
            let error: String = error.chars().take(ERROR_MAX).collect();
            let message = format!("the inspection ramdisk reported: {error}");
            return failed(message, "Look at the machine's console, then inspect again.");
        }
        if !self.has_usable_interface() {
            return failed(
                "no valid network interfaces were found: each is the loopback or has a loopback address".to_owned(),
                "Check the ramdisk's network drivers, then inspect again.",
            );
        }
        Outcome::Finished
    }

    /// Ironic's rule: the loopback, by name or by address, is no interface.
    fn has_usable_interface(&self) -> bool {
        let interfaces = self.document.get("inventory").and_then(|found| found.get("interfaces"));
        let loops = |interface: &Value| {
            let text = |key| interface.get(key).and_then(Value::as_str).unwrap_or_default();
            let v6 = text("ipv6_address").split('%').next().unwrap_or_default();
            text("name") == "lo" || text("ipv4_address").starts_with("127.") || v6 == "::1"
        };
        interfaces.and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| !loops(one)))
    }
}

/// Takes a posted inspection: it is stored as the node's inventory and ends the inspection, well or badly. The token rules
/// are those of a lookup; the first inventory of a boot counts, and the same boot may post again when the answer was lost.
///
/// # Errors
///
/// [`AgentError::NotFound`] where nobody is being inspected, [`AgentError::Forbidden`] for a stranger,
/// [`AgentError::Store`] with a conflict while the machine is still being started: it may try again.
pub async fn inspection(
    app: &App,
    mut inspection: Inspection,
    peer: Peer,
) -> Result<LookupReply, AgentError> {
    super::transport(app, peer)?;
    let Inspection { lookup: asked, found } = &mut inspection;
    if asked.boot_id.is_none() {
        asked.boot_id = asked.nonce.as_deref().map(boot_of);
    }
    let uuid = lookup::find(app, asked).await?;
    let now = app.clock.now();
    let granted = app
        .change(&uuid.to_string(), |node| {
            inspected(node, asked)?;
            let token = lookup::grant(node, asked, peer)?;
            let Some(work) = &mut node.work else { return Err(lookup::not_found(asked)) };
            if work.outcome.is_some() {
                return Ok(Change::Keep(None));
            }
            work.boot.moments.entry("inspection".to_owned()).or_insert(now);
            Ok(Change::Write(Some((work.order.order_id, work.order.attempt, token))))
        })
        .await;
    let (node, granted) = match granted {
        Ok(Some(granted)) => granted,
        Ok(None) => return Err(lookup::not_found(asked)),
        Err(error) => {
            super::record_refusal(app, uuid, &error, peer).await;
            return Err(error);
        }
    };
    let Some((order, attempt, token)) = granted else {
        return Ok(lookup::reply(app, &node, None));
    };
    // Stored before it counts: a ramdisk that got no answer posts again.
    let document = Value::Object(found.document.clone());
    app.store.put_inventory(uuid, &document).await?;
    let boot_id = node.work.as_ref().and_then(|work| work.boot.boot_id).unwrap_or_default();
    inventory::keep(app, &node, boot_id, &document).await?;
    let ended = app
        .change(&uuid.to_string(), |node| -> Result<_, AgentError> {
            let current = node.work.as_mut().filter(|work| {
                (work.order.order_id, work.order.attempt) == (order, attempt)
                    && work.outcome.is_none()
            });
            let Some(work) = current else { return Ok(Change::Keep(())) };
            work.outcome = Some(found.outcome());
            Ok(Change::Write(()))
        })
        .await?;
    let Some((node, ())) = ended else { return Err(lookup::not_found(asked)) };
    let sentence = format!("the inspection ramdisk posted its inventory from {}", peer.address);
    app.note(uuid, Severity::Info, "inspection", sentence).await;
    app.waker.wake(uuid);
    Ok(lookup::reply(app, &node, token))
}

/// Whether this node awaits an inventory now.
fn inspected(node: &Node, asked: &Lookup) -> Result<(), AgentError> {
    let inspects = node.work.as_ref().is_some_and(|work| matches!(work.order.work, Work::Inspect));
    if inspects && node.provision_state == ProvisionState::InspectWait {
        return Ok(());
    }
    if inspects && node.provision_state == ProvisionState::Inspecting {
        return Err(StoreError::Conflict(node.uuid).into());
    }
    Err(lookup::not_found(asked))
}

/// The boot that a nonce stands for where the ramdisk has no identifier of its own: always the same one.
fn boot_of(nonce: &str) -> Uuid {
    let mut bytes = [0; 16];
    let digest = Sha256::digest(secret::sha256(nonce).as_bytes());
    bytes.iter_mut().zip(digest).for_each(|(byte, from)| *byte = from);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inventory(interface: &Value) -> Value {
        json!({"inventory": {"interfaces": [interface], "bmc_address": null}})
    }

    #[test]
    fn a_body_without_what_ironic_needs_is_refused_with_every_field_named() {
        let problems = Found::read(json!({
            "inventory": {"interfaces": [{"mac_address": "aa:bb"}, {"name": "eth1"}], "bmc_address": 7}, "error": [],
        }));
        assert_eq!(
            problems.unwrap_err(),
            [
                "error must be text or null.",
                "inventory.bmc_address must be text or null.",
                "inventory.interfaces[1].mac_address must be text.",
            ]
        );
        for (body, part) in [
            (json!(null), "must be an object"),
            (json!([]), "must be an object"),
            (json!({}), "inventory is missing"),
            (json!({"inventory": []}), "inventory is missing"),
            (json!({"inventory": {}}), "at least one entry"),
            (json!({"inventory": {"interfaces": {}}}), "at least one entry"),
        ] {
            let problems = Found::read(body.clone()).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains(part), "{body}: {problems:?}");
        }
    }

    #[test]
    fn logs_are_dropped_addresses_are_normal_and_the_rest_is_kept() {
        let mut body = inventory(&json!({"name": "eth0", "mac_address": "52-54-00-AA-00-01"}));
        body["logs"] = json!("H4sI");
        body["error"] = json!(null);
        body["root_disk"] = json!({"name": "/dev/sda"});
        let found = Found::read(body).unwrap();
        assert_eq!(found.addresses, ["52:54:00:aa:00:01"]);
        let keys: Vec<&String> = found.document.keys().collect();
        assert_eq!(keys, ["inventory", "root_disk"]);
        assert_eq!(found.outcome(), Outcome::Finished);
    }

    #[test]
    fn an_error_of_the_ramdisk_or_nothing_but_loopback_fails_the_inspection() {
        let mac = "52:54:00:00:00:01";
        for (interface, error, good) in [
            (json!({"name": "eth0", "mac_address": mac, "ipv4_address": "10.0.0.2"}), None, true),
            (
                json!({"name": "eth0", "mac_address": mac, "ipv6_address": "fe80::1%eth0"}),
                None,
                true,
            ),
            (json!({"name": "lo", "mac_address": mac}), None, false),
            (json!({"name": "eth0", "mac_address": mac, "ipv4_address": "127.0.0.2"}), None, false),
            (json!({"name": "eth0", "mac_address": mac, "ipv6_address": "::1"}), None, false),
            (json!({"name": "eth0", "mac_address": mac}), Some("no disks"), false),
        ] {
            let mut body = inventory(&interface);
            body["error"] = json!(error);
            let outcome = Found::read(body).unwrap().outcome();
            assert_eq!(outcome == Outcome::Finished, good, "{interface} {outcome:?}");
        }
    }
}
