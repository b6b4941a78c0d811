//! The power status loop, with Ironic's semantics: a machine whose power differs from the record is driven back; one that
//! cannot be read or driven several times in a row goes to maintenance with the fault `power failure`; when its BMC answers
//! again, it comes back by itself.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Command;
use crate::app::{App, Change, Severity, chain};
use crate::node::{Node, PowerState, ProvisionState};
use crate::store::{NodeFilter, StoreError};

/// BMCs asked at once. A reading is five round trips; a dead BMC costs its time limit.
const READERS: usize = 64;
/// Nodes read from the store at once.
const PAGE: usize = 100;
/// The fault that this loop sets and clears.
const FAULT: &str = "power failure";

/// Failures in a row, by node. In memory: a restart gives every BMC a new chance.
type Counts = HashMap<Uuid, u32>;

/// Reads all nodes every `power.sync_interval` until `stop`.
pub async fn run(app: App, stop: CancellationToken) {
    let seconds = app.settings.power.sync_interval;
    if seconds == 0 {
        return stop.cancelled().await;
    }
    let mut counts = Counts::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            result = sweep(&app, &mut counts) => if let Err(error) = result {
                tracing::error!("the power status loop cannot read the nodes: {}", chain(&error));
            },
        }
    }
}

/// Reads every node once.
async fn sweep(app: &App, counts: &mut Counts) -> Result<(), StoreError> {
    let mut filter = NodeFilter { limit: PAGE, ..NodeFilter::default() };
    let mut tasks = JoinSet::new();
    let mut seen = Counts::new();
    loop {
        let page = app.store.nodes(&filter).await?;
        filter.marker = page.last().map(|node| node.uuid);
        for node in page.into_iter().filter(concerns) {
            if tasks.len() >= READERS
                && let Some(Ok((node, count))) = tasks.join_next().await
            {
                seen.insert(node, count);
            }
            let (app, count) = (app.clone(), counts.get(&node.uuid).copied().unwrap_or(0));
            tasks.spawn(async move { (node.uuid, check(&app, &node, count).await) });
        }
        if filter.marker.is_none() {
            break;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        if let Ok((node, count)) = ended {
            seen.insert(node, count);
        }
    }
    *counts = seen;
    Ok(())
}

/// Whether the loop looks at this node: nobody else drives it, and it is not in maintenance for another reason.
fn concerns(node: &Node) -> bool {
    let state = node.provision_state;
    let driven = state.is_busy()
        || state.is_waiting()
        || node.work.is_some()
        || node.power_request.is_some();
    let unmanaged = matches!(state, ProvisionState::Enroll | ProvisionState::AdoptFailed);
    let ours = node.fault.as_deref() == Some(FAULT);
    !driven && !unmanaged && (!node.maintenance || ours)
}

/// Looks at one node; returns its failures in a row.
async fn check(app: &App, node: &Node, count: u32) -> u32 {
    let read = match app.power.bmc(node) {
        Ok(bmc) => bmc.power_state().await,
        Err(error) => Err(error),
    };
    let result = match read {
        Ok(found) if node.maintenance => recover(app, node, found).await.map(|()| 0),
        Err(_) if node.maintenance => Ok(count),
        Ok(found) if node.power_state == Some(found) => Ok(0),
        Ok(found) => differs(app, node, found, count + 1).await,
        Err(error) => failed(app, node, None, &chain(&error), count + 1).await,
    };
    result.unwrap_or_else(|error| {
        tracing::error!(node = %node.uuid, "node {}: {}", node.uuid, chain(&error));
        count
    })
}

/// Writes `change` if the node still is as the loop wants it and its recorded power is what was compared.
async fn write(
    app: &App,
    node: &Node,
    mut change: impl FnMut(&mut Node),
) -> Result<bool, StoreError> {
    let before = (node.power_state, node.maintenance);
    let written = app
        .change(&node.uuid.to_string(), |node| -> Result<_, StoreError> {
            if !concerns(node) || (node.power_state, node.maintenance) != before {
                return Ok(Change::Keep(false));
            }
            change(node);
            Ok(Change::Write(true))
        })
        .await?;
    Ok(written.is_some_and(|(_, written)| written))
}

async fn recover(app: &App, node: &Node, found: PowerState) -> Result<(), StoreError> {
    let written = write(app, node, |node| {
        node.power_state = Some(found);
        node.maintenance = false;
        node.maintenance_reason = None;
        node.fault = None;
    })
    .await?;
    if written {
        let sentence =
            format!("the BMC answers again ({}); maintenance switched off", found.text());
        app.note(node.uuid, Severity::Info, "power", sentence).await;
    }
    Ok(())
}

async fn differs(app: &App, node: &Node, found: PowerState, count: u32) -> Result<u32, StoreError> {
    let keeps_power = node.other.get("disable_power_off").is_some_and(|value| value == true);
    let force = app.settings.power.force_power_state_during_sync;
    let command = match node.power_state.filter(|_| force) {
        Some(PowerState::On) => Command::On,
        Some(PowerState::Off) if !keeps_power => Command::Off,
        Some(PowerState::Off | PowerState::Error) | None => {
            write(app, node, |node| node.power_state = Some(found)).await?;
            return Ok(0);
        }
    };
    // An operator may have asked for something since the reading; then the record is right and the machine is theirs.
    match app.store.node(&node.uuid.to_string()).await? {
        Some(now) if concerns(&now) && now.power_state == node.power_state => {}
        Some(_) | None => return Ok(0),
    }
    let recorded = node.power_state.map_or("unknown", PowerState::text);
    let sentence =
        format!("the machine is {}, the record says {recorded}; driving it back", found.text());
    app.note(node.uuid, Severity::Info, "power", sentence).await;
    let driven = match app.power.bmc(node) {
        Ok(bmc) => bmc.perform(&[command]).await,
        Err(error) => Err(error),
    };
    let problem = match &driven {
        Ok(_) => {
            format!(
                "the machine was {}, the record said {recorded}; it was driven back",
                found.text()
            )
        }
        Err(error) => chain(error),
    };
    failed(app, node, Some(found), &problem, count).await
}

/// Counts a failure; after too many the node goes to maintenance.
async fn failed(
    app: &App,
    node: &Node,
    found: Option<PowerState>,
    problem: &str,
    count: u32,
) -> Result<u32, StoreError> {
    let most = app.settings.power.max_retries;
    if count <= most {
        tracing::info!(node = %node.uuid, "node {}: power failure {count} of {most}: {problem}", node.uuid);
        return Ok(count);
    }
    let reason =
        format!("During sync_power_state, max retries exceeded for node {}: {problem}.", node.uuid);
    let written = write(app, node, |node| {
        node.power_state = found.or(Some(PowerState::Error));
        node.maintenance = true;
        node.maintenance_reason = Some(reason.clone());
        node.last_error = Some(reason.clone());
        node.fault = Some(FAULT.to_owned());
    })
    .await?;
    if written {
        app.note(node.uuid, Severity::Error, "power", reason).await;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::node::tests::node_with;
    use crate::power::{Answer, Bmc, BmcError, BootDevice, Performed, Power};
    use crate::settings::Settings;
    use crate::store::memory::Memory;

    /// The real power (none: silent), whether commands have an effect, and what was sent.
    type Script = (Option<PowerState>, bool, Vec<Command>);

    #[derive(Debug, Clone)]
    struct Scripted(Arc<Mutex<Script>>);

    impl Bmc for Scripted {
        fn power_state(&self) -> Answer<'_, PowerState> {
            let power = self.0.lock().unwrap().0;
            Box::pin(async move {
                power.ok_or_else(|| BmcError::Client("BMC 192.0.2.7:623 did not answer".into()))
            })
        }
        fn perform<'a>(&'a self, commands: &'a [Command]) -> Answer<'a, Performed> {
            let mut script = self.0.lock().unwrap();
            script.2.extend(commands);
            if script.1 {
                script.0 = Some(if commands.contains(&Command::On) {
                    PowerState::On
                } else {
                    PowerState::Off
                });
            }
            Box::pin(async { Ok(Performed::default()) })
        }
        fn boot_device(&self) -> Answer<'_, (Option<BootDevice>, Option<bool>)> {
            Box::pin(async { Ok((None, None)) })
        }
    }

    impl Power for Scripted {
        fn bmc(&self, _node: &Node) -> Result<Arc<dyn Bmc>, BmcError> {
            Ok(Arc::new(self.clone()))
        }
    }

    /// A coordinator with one active node; `obeys`: whether power commands have an effect.
    async fn rig(
        record: Option<PowerState>,
        real: Option<PowerState>,
        obeys: bool,
    ) -> (App, Scripted, Uuid) {
        let bmc = Scripted(Arc::new(Mutex::new((real, obeys, Vec::new()))));
        let app = App::new(
            Arc::new(Memory::default()),
            Arc::new(Settings::default()),
            Arc::new(bmc.clone()),
        );
        let mut node = node_with(json!({}));
        (node.provision_state, node.power_state) = (ProvisionState::Active, record);
        app.store.create_node(&node).await.unwrap();
        (app, bmc, node.uuid)
    }

    async fn record(app: &App, node: Uuid) -> Node {
        app.store.node(&node.to_string()).await.unwrap().unwrap()
    }

    const ON: Option<PowerState> = Some(PowerState::On);
    const OFF: Option<PowerState> = Some(PowerState::Off);

    #[tokio::test]
    async fn an_unknown_power_is_recorded_and_a_different_one_driven_back() {
        let (app, bmc, node) = rig(None, ON, true).await;
        let mut counts = Counts::new();
        sweep(&app, &mut counts).await.unwrap();
        assert_eq!(record(&app, node).await.power_state, ON);
        bmc.0.lock().unwrap().0 = OFF;
        sweep(&app, &mut counts).await.unwrap();
        assert_eq!(counts[&node], 1);
        sweep(&app, &mut counts).await.unwrap();
        assert_eq!((counts[&node], bmc.0.lock().unwrap().2.clone()), (0, vec![Command::On]));
        assert!(!record(&app, node).await.maintenance);
    }

    #[tokio::test]
    async fn without_force_the_record_follows_the_machine() {
        let (mut app, bmc, node) = rig(ON, OFF, true).await;
        let mut settings = Settings::default();
        settings.power.force_power_state_during_sync = false;
        app.settings = Arc::new(settings);
        sweep(&app, &mut Counts::new()).await.unwrap();
        assert_eq!((record(&app, node).await.power_state, bmc.0.lock().unwrap().2.len()), (OFF, 0));
    }

    #[tokio::test]
    async fn a_silent_bmc_leads_to_maintenance_after_the_retries_and_back_when_it_answers() {
        let (app, bmc, node) = rig(ON, None, true).await;
        let mut counts = Counts::new();
        for sweeps in 1..=4 {
            assert!(!record(&app, node).await.maintenance, "before sweep {sweeps}");
            sweep(&app, &mut counts).await.unwrap();
        }
        let failed = record(&app, node).await;
        assert_eq!(
            (failed.maintenance, failed.fault.as_deref(), failed.power_state),
            (true, Some(FAULT), Some(PowerState::Error))
        );
        assert!(failed.maintenance_reason.unwrap().contains("192.0.2.7:623"));
        sweep(&app, &mut counts).await.unwrap();
        assert!(record(&app, node).await.maintenance);
        bmc.0.lock().unwrap().0 = OFF;
        sweep(&app, &mut counts).await.unwrap();
        let back = record(&app, node).await;
        assert_eq!((back.maintenance, back.fault, back.power_state), (false, None, OFF));
    }

    #[tokio::test]
    async fn a_machine_that_does_not_obey_goes_to_maintenance_with_its_real_power() {
        let (app, bmc, node) = rig(ON, OFF, false).await;
        let mut counts = Counts::new();
        for _ in 0..4 {
            sweep(&app, &mut counts).await.unwrap();
        }
        let node = record(&app, node).await;
        assert_eq!((node.maintenance, node.power_state), (true, OFF));
        assert_eq!(bmc.0.lock().unwrap().2.len(), 4);
    }

    #[tokio::test]
    async fn nodes_that_others_drive_or_that_people_maintain_are_left_alone() {
        for (state, maintenance) in [
            (ProvisionState::WaitCallBack, false),
            (ProvisionState::CleanWait, false),
            (ProvisionState::Deploying, false),
            (ProvisionState::Enroll, false),
            (ProvisionState::AdoptFailed, false),
            (ProvisionState::Active, true),
        ] {
            let (app, bmc, node) = rig(ON, OFF, true).await;
            let mut changed = record(&app, node).await;
            (changed.provision_state, changed.maintenance) = (state, maintenance);
            app.save(&changed).await.unwrap();
            sweep(&app, &mut Counts::new()).await.unwrap();
            assert!(bmc.0.lock().unwrap().2.is_empty(), "{state} {maintenance}");
        }
    }
}
