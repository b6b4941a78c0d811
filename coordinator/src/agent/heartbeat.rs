//! Heartbeat: the agent's reports come in, its order goes out.

use ironwright_api::{Beat, Event, Evidence, Heartbeat, HeartbeatReply, Order, Report, Work};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{AgentError, Peer, reports, secret};
use crate::app::{App, Change, Severity};
use crate::certificate::{self, Kept, SigningKey};
use crate::inventory;
use crate::node::{Node, Outcome, Phase, WorkRecord, order, validate};
use crate::plugins::Plugins;

/// Takes a heartbeat: stores what is new before it acknowledges it, and answers with the order until that is finished.
///
/// The record is written only when something changed; progress and the time of the heartbeat are kept in memory.
///
/// # Errors
///
/// [`AgentError::Token`] for anything but the agent of the living boot.
pub async fn heartbeat(
    app: &App,
    node: Uuid,
    heartbeat: Heartbeat,
    peer: Peer,
) -> Result<HeartbeatReply, AgentError> {
    super::transport(app, peer)?;
    let Heartbeat { agent_token, agent_version, ironwright, callback_url: _ } = heartbeat;
    let Some(mut beat) = ironwright else {
        return Err(AgentError::Invalid(
            "this coordinator serves only Ironwright agents".to_owned(),
        ));
    };
    let inventory = beat.inventory.take();
    beat.reports.sort_by_key(|report| report.seq);
    let now = app.clock.now();
    keep_certificates(app, node, &agent_token, &beat, now).await?;
    let keeper = app.countersigner.as_deref();
    if app.live.pulse(node).is_none() {
        look_for_plugins(app).await;
    }
    let taken = app
        .change(&node.to_string(), |node| {
            authenticate(node, &agent_token, beat.boot_id)?;
            offer_plugins(node, &app.plugins);
            Ok(take(node, &beat, &agent_version, keeper, now))
        })
        .await;
    let (record, notes) = match taken {
        Ok(Some(taken)) => taken,
        Ok(None) => return Err(AgentError::NotFound(node.to_string())),
        Err(error) => {
            let known = app.live.known(node, beat.boot_id);
            if secret::is(&agent_token, known.as_deref()) {
                tracing::info!(%node, "node {node}: a late word of an agent whose work is over");
            } else {
                super::record_refusal(app, node, &error, peer).await;
            }
            return Err(error);
        }
    };
    app.live.know(node, beat.boot_id, secret::sha256(&agent_token));
    if let Some(inventory) = inventory {
        app.store.put_inventory(node, &inventory).await?;
        inventory::keep(app, &record, beat.boot_id, &inventory).await?;
    }
    app.live.beat(node, now, beat.progress.clone(), !notes.is_empty());
    for sentence in notes {
        app.note(node, Severity::Info, "agent", sentence).await;
    }
    let ended = |work: &WorkRecord| {
        work.outcome.is_some() || work.is_awake_for_nothing() || work.abort && work.is_abortable()
    };
    if record.work.as_ref().is_some_and(ended) {
        app.waker.wake(node);
    }
    refuse_other_key(app, &record, &beat, now).await;
    Ok(reply(&record, &beat))
}

/// Looks at the folder of plugins now: an agent begins to speak, and what was put there while its machine booted is meant too.
async fn look_for_plugins(app: &App) {
    let plugins = app.plugins.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || plugins.look()).await {
        tracing::error!("looking at the plugins ended badly: {error}");
    }
}

/// Adds to an order, before its agent gets it and nothing of it has begun, the plugins that came meanwhile. None is taken out: what
/// one that is gone would have done must not be left out without a word. Later the order keeps them: a step must not go on with
/// another version of its plugin.
fn offer_plugins(node: &mut Node, plugins: &Plugins) {
    let Some(work) = node.work.as_mut() else { return };
    if work.phase != Phase::AwaitAgent || !work.steps.is_empty() {
        return;
    }
    order::offer(&mut work.order.work, plugins.bundles());
}

/// Keeps the certificates of a heartbeat before it is acknowledged: an agent forgets what is.
async fn keep_certificates(
    app: &App,
    node: Uuid,
    token: &str,
    beat: &Beat,
    now: Timestamp,
) -> Result<(), AgentError> {
    let erased = |report: &Report| {
        matches!(
            &report.event,
            Event::StepEnded { evidence: Some(Evidence::Erased { .. }), .. }
                | Event::Attested { .. }
        )
    };
    if !beat.reports.iter().any(erased) {
        return Ok(());
    }
    let Some(mut node) = app.store.node(&node.to_string()).await? else { return Ok(()) };
    if authenticate(&node, token, beat.boot_id).is_err() {
        // Refused, and recorded, where the heartbeat itself is.
        return Ok(());
    }
    register(&mut node, beat);
    let accepted = reports::certificates(&node, &beat.reports, app.countersigner.as_deref());
    let kept: Vec<Kept> = accepted.into_iter().map(|signed| Kept::new(signed, now)).collect();
    if !kept.is_empty() {
        app.store.keep_certificates(&kept).await?;
    }
    Ok(())
}

/// Remembers the first key that a heartbeat of this boot names; true when it did.
fn register(node: &mut Node, beat: &Beat) -> bool {
    let (Some(work), Some(key)) = (&mut node.work, &beat.erase_key) else { return false };
    let registers = work.boot.erase_key.is_none() && certificate::is_key(key);
    if registers {
        work.boot.erase_key = Some(key.clone());
    }
    registers
}

/// Notes, not too often, that an agent names another key than the one it named first. The first one stays: what the other
/// signs is refused.
async fn refuse_other_key(app: &App, node: &Node, beat: &Beat, now: Timestamp) {
    let registered = node.work.as_ref().and_then(|work| work.boot.erase_key.as_ref());
    let other = beat.erase_key.as_ref().filter(|key| Some(*key) != registered);
    if let Some(key) = other
        && app.live.may_record_refusal(node.uuid, now)
    {
        let key: String = key.chars().take(64).collect();
        let sentence = format!(
            "refused the key {key} for certificates: this boot's is {}",
            registered.map_or("none, and this has not the form of one", String::as_str)
        );
        app.note(node.uuid, Severity::Error, "agent", sentence).await;
    }
}

/// Whether the sender is the agent that took this boot's nonce.
fn authenticate(node: &Node, token: &str, boot_id: Uuid) -> Result<(), AgentError> {
    let boot = node.work.as_ref().map(|work| &work.boot).ok_or(AgentError::Token)?;
    let known = secret::is(token, boot.token_sha256.as_deref());
    if known && boot.boot_id == Some(boot_id) { Ok(()) } else { Err(AgentError::Token) }
}

/// Brings what is new into the record; returns sentences for the history.
fn take(
    node: &mut Node,
    beat: &Beat,
    agent_version: &str,
    keeper: Option<&SigningKey>,
    now: Timestamp,
) -> Change<Vec<String>> {
    let mut notes = Vec::new();
    let registered = register(node, beat);
    if let Some(key) = beat.erase_key.as_ref().filter(|_| registered) {
        notes.push(format!("certificates of this boot are signed with key {key}"));
    }
    let Some(work) = &mut node.work else { return Change::Keep(notes) };
    let before = (work.phase, work.boot.acknowledged, work.boot.last_heartbeat.is_some());
    if work.boot.last_heartbeat.is_none() {
        work.boot.last_heartbeat = Some(now);
        work.boot.moments.entry("heartbeat".to_owned()).or_insert(now);
        notes.push(format!("first heartbeat of agent {agent_version}"));
        node.driver_internal_info.insert("agent_version".to_owned(), Value::from(agent_version));
    }
    let timed = beat.timing.is_some() && work.boot.timing.is_none();
    if timed {
        work.boot.timing.clone_from(&beat.timing);
    }
    if work.phase == Phase::AwaitAgent {
        work.phase = Phase::Working;
        work.since = now;
    }
    let after = (work.phase, work.boot.last_heartbeat.is_some());
    let arrays = node.other.get("raid_config").cloned();
    reports::store(node, &beat.reports, keeper, &mut notes);
    reports::raid::stamp(node, arrays.as_ref(), now);
    let acknowledged = node.work.as_ref().map_or(0, |work| work.boot.acknowledged);
    if timed || registered || before != (after.0, acknowledged, after.1) {
        if let Some(work) = &mut node.work {
            work.boot.last_heartbeat = Some(now);
            work.progress.clone_from(&beat.progress);
        }
        Change::Write(notes)
    } else {
        Change::Keep(notes)
    }
}

fn reply(node: &Node, beat: &Beat) -> HeartbeatReply {
    let Some(work) = &node.work else { return HeartbeatReply::default() };
    let doing = beat.progress.as_ref().and_then(|progress| progress.order_id);
    let stop = work.phase == Phase::Abandon
        || matches!(work.outcome, Some(Outcome::Failed(_)))
        || doing.is_some_and(|order| order != work.order.order_id);
    HeartbeatReply {
        order: due_order(node),
        acknowledged: work.boot.acknowledged,
        cancel: doing.filter(|_| stop),
    }
}

/// The order as it is sent: with the steps of earlier attempts and the config drive.
fn due_order(node: &Node) -> Option<Order> {
    let work = node.work.as_ref()?;
    let due = work.phase == Phase::Working
        && work.outcome.is_none()
        && node.provision_state.is_waiting()
        && !work.is_awake_for_nothing();
    let mut order = work.order.clone();
    order.steps.clone_from(&work.steps);
    order.raid = order::raid(node).map(Box::new);
    if let Work::Deploy(deploy) = &mut order.work {
        deploy.image.access = validate::access(node).ok().flatten();
        deploy.configdrive = node.instance_info.get("configdrive").cloned().unwrap_or(Value::Null);
    }
    due.then_some(order)
}
