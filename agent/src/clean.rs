//! The whole way of a clean or service order: plugins, plan, say it, then step after step, each with its proof.

use ironwright_api::{Clean, Failure, PluginBundle, Service, StepRecord};
use serde_json::Value;

use crate::heartbeat::OrderDesk;
use crate::order::Machine;
use crate::steps::run::Ground;
use crate::steps::{self, Choice, Phase};

/// Carries out a clean order. Steps that ended in an earlier attempt are not repeated.
///
/// # Errors
/// The [`Failure`] to report. Whatever can be refused is refused before anything changes.
pub async fn carry_out(
    machine: &Machine,
    clean: &Clean,
    done: &[StepRecord],
    desk: &OrderDesk,
) -> Result<(), Failure> {
    let choice = match &clean.automated {
        Some(automated) => Choice::Priorities(automated),
        None => Choice::Named(&clean.steps),
    };
    let ground = Ground { machine, settings: &clean.erase, root_device: &Value::Null, done, desk };
    run(ground, Phase::Clean, choice, &clean.plugins).await
}

/// Carries out a service order, as [`carry_out`].
///
/// # Errors
/// The [`Failure`] to report. Whatever can be refused is refused before anything changes.
pub async fn service(
    machine: &Machine,
    service: &Service,
    done: &[StepRecord],
    desk: &OrderDesk,
) -> Result<(), Failure> {
    let Service { steps, erase: settings, plugins, root_device } = service;
    let ground = Ground { machine, settings, root_device, done, desk };
    run(ground, Phase::Service, Choice::Named(steps), plugins).await
}

async fn run(
    ground: Ground<'_>,
    phase: Phase,
    choice: Choice<'_>,
    bundles: &[PluginBundle],
) -> Result<(), Failure> {
    let bundles = if steps::only_built_in(phase, choice) { &[] } else { bundles };
    let plugins = ground.plugins(bundles).await?;
    let jobs = steps::plan(phase, choice, &steps::catalogue(phase, &plugins)?)?;
    let known = plugins.iter().map(|plugin| plugin.sha256.clone()).collect();
    // What no step needs goes: unpacked trees are memory.
    drop(plugins);
    ground.desk.planned(ground.planned(&jobs).await?, known);
    ground.perform(&jobs).await
}
