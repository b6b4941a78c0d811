//! The agent's own steps and those of plugins in one list.

use std::sync::Arc;

use ironwright_api::{Blame, Failure};
use serde_json::Value;

use super::built_in::is_built_in;
use super::{Job, Phase, PluginStep, built_in};
use crate::plugin::supply::Loaded;

/// The agent's own steps of `phase` and those of `plugins`. Of plugins with the same step the highest version is used.
///
/// A plugin's steps are in every phase's catalogue. Its priorities are for automated cleaning: elsewhere they run only when an
/// operator names them.
///
/// # Errors
/// The [`Failure`] to report, naming every plugin's step that would stand in another one's place; nothing was changed.
pub fn catalogue(phase: Phase, plugins: &[Arc<Loaded>]) -> Result<Vec<Job>, Failure> {
    let (jobs, problems) = all(phase, plugins);
    if problems.is_empty() {
        return Ok(jobs);
    }
    Err(Failure {
        step: String::new(),
        message: format!("nothing was changed: {}", problems.join("; ")),
        remedy: "take the plugin out of the coordinator's folder, or give its step another name"
            .to_owned(),
        blame: Blame::Order,
    })
}

/// As [`catalogue`], without the steps that would stand in another one's place; a sentence for each of those.
#[must_use]
pub fn all(phase: Phase, plugins: &[Arc<Loaded>]) -> (Vec<Job>, Vec<String>) {
    let mut steps: Vec<PluginStep> = Vec::new();
    let mut problems = Vec::new();
    let mut sorted: Vec<&Arc<Loaded>> = plugins.iter().collect();
    sorted.sort_by_key(|plugin| std::cmp::Reverse(plugin.rank()));
    for plugin in sorted {
        for info in &plugin.manifest().steps {
            // Starts and ends are reported by the step's name alone.
            if is_built_in(&info.name) {
                let problem = format!("its step {} has the name of a built-in one", info.key());
                problems.push(format!("plugin {plugin}: {problem}"));
                continue;
            }
            match steps.iter_mut().find(|known| known.info.name == info.name) {
                None => steps.push(PluginStep {
                    plugin: plugin.clone(),
                    info: info.clone(),
                    priority: if phase == Phase::Clean { info.priority } else { 0 },
                    args: Value::Null,
                    passed_over: Vec::new(),
                }),
                Some(known) if known.info.key() == info.key() => {
                    known.passed_over.push(format!(
                        "{plugin} has this step too and is passed over: {} is higher",
                        known.plugin
                    ));
                }
                Some(known) => problems.push(format!(
                    "plugin {plugin} has the step {}, plugin {} has {}",
                    info.key(),
                    known.plugin,
                    known.info.key()
                )),
            }
        }
    }
    let jobs = built_in(phase).into_iter().chain(steps.into_iter().map(Job::Plugin));
    (jobs.collect(), problems)
}
