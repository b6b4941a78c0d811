//! The whole way of a clean order: plugins, plan, say it, then step after step, each with its proof.

use std::sync::Arc;

use ironwright_api::{Clean, EraseSettings, Evidence, Failure, StepRecord};

use crate::deploy::run::stopped;
use crate::erase;
use crate::heartbeat::OrderDesk;
use crate::order::Machine;
use crate::plugin::step;
use crate::plugin::supply::Loaded;
use crate::steps::{self, Job};

/// Carries out `clean`. Steps that ended in an earlier attempt are not repeated.
///
/// # Errors
/// The [`Failure`] to report. Whatever can be refused is refused before anything changes.
pub async fn carry_out(
    machine: &Machine,
    clean: &Clean,
    done: &[StepRecord],
    desk: &OrderDesk,
) -> Result<(), Failure> {
    let plugins = plugins(machine, clean).await?;
    let steps = steps::plan(clean, &steps::catalogue(&plugins)?)?;
    let known = plugins.iter().map(|plugin| plugin.sha256.clone()).collect();
    // What no step needs goes: unpacked trees are memory.
    drop(plugins);
    let ended = |job: &Job| done.iter().any(|record| record.step == job.name() && record.ended);
    let mut planned = Vec::new();
    for job in &steps {
        let actions = match ended(job) {
            // Its hardware may not be as it was.
            true if matches!(job, Job::Plugin(_)) => vec!["done in an earlier attempt".to_owned()],
            true | false => sentences(machine, job, &clean.erase, done, desk).await?,
        };
        planned.push(job.planned(actions));
    }
    desk.planned(planned, known);
    for job in steps.iter().filter(|job| !ended(job)) {
        let name = job.name();
        desk.step_started(name).await.map_err(|error| stopped(name, error))?;
        let evidence = perform(machine, job, &clean.erase, done, desk).await;
        let evidence = evidence.map_err(|failure| Failure { step: name.to_owned(), ..failure })?;
        desk.step_ended(name, Some(evidence));
    }
    Ok(())
}

/// The order's plugins; none where no step can be one of theirs.
async fn plugins(machine: &Machine, clean: &Clean) -> Result<Vec<Arc<Loaded>>, Failure> {
    let mut plugins = Vec::new();
    if steps::only_built_in(clean) {
        return Ok(plugins);
    }
    for bundle in &clean.plugins {
        plugins.push(Arc::new(machine.plugins().load(bundle).await?));
    }
    Ok(plugins)
}

async fn sentences(
    machine: &Machine,
    job: &Job,
    settings: &EraseSettings,
    done: &[StepRecord],
    desk: &OrderDesk,
) -> Result<Vec<String>, Failure> {
    match job {
        Job::Erase(step) => erase::sentences(machine, step, settings, desk).await,
        Job::Plugin(step) => {
            step::never_twice(step, done)?;
            step::sentences(machine, step, settings, desk).await
        }
    }
}

async fn perform(
    machine: &Machine,
    job: &Job,
    settings: &EraseSettings,
    done: &[StepRecord],
    desk: &OrderDesk,
) -> Result<Evidence, Failure> {
    match job {
        Job::Erase(step) => erase::carry_out(machine, step, settings, desk).await,
        Job::Plugin(step) => step::perform(machine, step, settings, done, desk).await,
    }
}
