//! The boot script's question: what may the machine with this address boot?

use serde::Deserialize;
use uuid::Uuid;

use super::{AgentError, BootDecision, secret};
use crate::app::{App, Change, Severity, chain};
use crate::node::{Node, Phase, WorkRecord};

/// Decides what the machine with this MAC address boots, and issues the nonce if it is the ramdisk.
///
/// A nonce that nobody took is replaced, so a machine that asks twice boots with the newer one. Once an agent took it, the
/// answer is the local disk: whoever asks then is not the boot that is expected.
///
/// # Errors
///
/// [`AgentError::Store`]; an unknown address is not an error but boots its local disk.
pub async fn expect_boot(app: &App, mac: &str) -> Result<BootDecision, AgentError> {
    let address = mac.to_ascii_lowercase().replace('-', ":");
    let Some(uuid) = app.store.node_by_addresses(&[address]).await? else {
        return Ok(BootDecision::LocalDisk);
    };
    let now = app.clock.now();
    let issued = app
        .change(&uuid.to_string(), |node| -> Result<_, AgentError> {
            let Some(work) = expected(node) else { return Ok(Change::Keep(None)) };
            let nonce = secret::nonce();
            work.boot.nonce_sha256 = Some(secret::sha256(&nonce));
            work.boot.moments.entry("script".to_owned()).or_insert(now);
            Ok(Change::Write(Some(nonce)))
        })
        .await?;
    match issued {
        Some((node, Some(nonce))) => {
            app.note(
                uuid,
                Severity::Info,
                "boot",
                "the machine fetched its boot script".to_owned(),
            )
            .await;
            Ok(BootDecision::Ramdisk { node: Box::new(node), nonce })
        }
        Some((_, None)) | None => Ok(BootDecision::LocalDisk),
    }
}

/// The work whose boot is expected and not yet bound to an agent.
fn expected(node: &mut Node) -> Option<&mut WorkRecord> {
    let work = node.work.as_mut()?;
    let powered = work.boot.moments.contains_key("power_on");
    let awaits = match work.phase {
        Phase::StartRamdisk => powered,
        Phase::AwaitAgent => true,
        Phase::Between | Phase::Working | Phase::Finish | Phase::Abandon => false,
    };
    (awaits && work.boot.boot_id.is_none()).then_some(work)
}

/// Records that the expected boot reached a named moment (`kernel`, `ramdisk`); the first time counts.
pub async fn moment(app: &App, node: Uuid, name: &'static str) {
    let now = app.clock.now();
    let recorded = app
        .change(&node.to_string(), |node| -> Result<_, AgentError> {
            match expected(node) {
                Some(work) if !work.boot.moments.contains_key(name) => {
                    work.boot.moments.insert(name.to_owned(), now);
                    Ok(Change::Write(()))
                }
                Some(_) | None => Ok(Change::Keep(())),
            }
        })
        .await;
    if let Err(error) = recorded {
        tracing::warn!(%node, "node {node}: cannot record the moment {name}: {}", chain(&error));
    }
}

/// The first words of a ramdisk: its network is up, its agent is yet to speak.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Beacon {
    /// The network card.
    pub card: String,
    /// Its address.
    pub address: String,
    /// Milliseconds since the kernel started.
    pub uptime_ms: u64,
}

/// Longest word of a beacon that is kept, characters.
const WORD_MAX: usize = 64;

/// Records that the boot which was given the nonce of this hash has a network. The first time counts; a stranger's word and a
/// late one change nothing. It comes over plain HTTP, and so nothing is decided by it.
///
/// # Errors
///
/// The store's.
pub async fn beacon(
    app: &App,
    node: Uuid,
    nonce_sha256: &str,
    beacon: &Beacon,
) -> Result<(), AgentError> {
    let now = app.clock.now();
    let first = app
        .change(&node.to_string(), |node| -> Result<_, AgentError> {
            let ours = |work: &&mut WorkRecord| {
                work.boot.nonce_sha256.as_deref() == Some(nonce_sha256)
                    && !work.boot.moments.contains_key("network")
            };
            match node.work.as_mut().filter(ours) {
                Some(work) => {
                    work.boot.moments.insert("network".to_owned(), now);
                    Ok(Change::Write(true))
                }
                None => Ok(Change::Keep(false)),
            }
        })
        .await?;
    if let Some((_, true)) = first {
        let seconds = beacon.uptime_ms / 1000;
        let sentence = format!(
            "the ramdisk's network is up: {} on {}, {seconds} s after its kernel started",
            word(&beacon.address),
            word(&beacon.card)
        );
        app.note(node, Severity::Info, "boot", sentence).await;
    }
    Ok(())
}

/// A word of an unproven sender, as it may stand in the history.
fn word(text: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || "._:/-%".contains(*c);
    text.chars().filter(plain).take(WORD_MAX).collect()
}
