//! One plugin's step of an order: what it would do, and doing it.

use std::path::{Path, PathBuf};

use ironwright_api::{
    Blame, EraseSettings, Evidence, Failure, NodeRaid, PluginOutcome, PluginProgress, PluginResult,
    StepRecord, is_on_disk,
};
use ironwright_plugin::{Failed, Manifest, Outcome, Progress, Safety, Verdict, Who};
use serde_json::Value;

use super::supply::Loaded;
use super::{Device, Planned, Plugin, Watch, device};
use crate::deploy::run::stopped;
use crate::erase::carry_out::skipped;
use crate::heartbeat::OrderDesk;
use crate::order::{Facts, Machine, blocking};
use crate::raid;
use crate::report::chain;
use crate::steps::PluginStep;

/// The argument that a node's record gives.
const TARGET: &str = "target_raid_config";

/// Refuses a step that an earlier attempt, or an earlier agent process, began and did not end: whether the hardware may be
/// touched again is not for a program to guess.
///
/// # Errors
/// The [`Failure`] to report.
pub fn never_twice(step: &PluginStep, done: &[StepRecord]) -> Result<(), Failure> {
    let begun = records(step, done).next_back().filter(|record| !record.ended);
    match begun {
        Some(record) if record.reboot.is_none() && step.info.safety != Safety::ReadOnly => {
            Err(Failure {
                step: step.info.name.clone(),
                message: format!(
                    "the plugin's step {} was begun in attempt {} and its end is not known; it is not begun again by itself",
                    step.info.key(),
                    record.attempt
                ),
                remedy: "check the hardware it is for, then order the step again".to_owned(),
                blame: Blame::Hardware,
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// What was reported of a step, oldest first.
fn records<'a>(
    step: &'a PluginStep,
    done: &'a [StepRecord],
) -> impl DoubleEndedIterator<Item = &'a StepRecord> {
    done.iter().filter(|record| record.step == step.info.name)
}

/// What the step saved when it asked for the last restart, and how many it has asked for.
fn saved(step: &PluginStep, done: &[StepRecord]) -> (Value, u32) {
    let restarts: Vec<_> =
        records(step, done).filter_map(|record| record.reboot.as_ref()).collect();
    let state = restarts.last().map_or(Value::Null, |reboot| reboot.state.clone());
    (state, u32::try_from(restarts.len()).unwrap_or(u32::MAX))
}

/// Which plugin it is, what it would do, and which others were passed over.
///
/// # Errors
/// The [`Failure`] to report; nothing was changed.
pub async fn sentences(
    machine: &Machine,
    step: &PluginStep,
    settings: &EraseSettings,
    desk: &OrderDesk,
) -> Result<Vec<String>, Failure> {
    let question = |plugin: &Plugin, step: &PluginStep, follow: &Follow| {
        plugin.plan(&step.info.key(), &step.args, follow)
    };
    let planned = ask(machine, step, settings, desk, question);
    let before = |failure: Failure| Failure {
        message: format!("nothing was changed: {}", failure.message),
        ..failure
    };
    let actions = match planned.await.map_err(before)? {
        Planned::Actions(actions) if actions.is_empty() => vec!["nothing would change".to_owned()],
        Planned::Actions(actions) => actions,
        Planned::Refused(verdict) => return Err(before(failed(step, verdict))),
    };
    let (plugin, key, safety) = (&step.plugin, &step.plugin.key_id, step.info.safety.name());
    let mut sentences = vec![format!("plugin {plugin}, signed by {key}, {safety}")];
    sentences.extend(step.passed_over.iter().cloned());
    sentences.extend(actions);
    Ok(sentences)
}

/// Runs it; a step that an earlier boot did a part of gets back what it saved. One that asks for a restart is reported, and
/// comes back only where the order is taken back meanwhile.
///
/// # Errors
/// The [`Failure`] to report.
pub async fn perform(
    machine: &Machine,
    step: &PluginStep,
    settings: &EraseSettings,
    done: &[StepRecord],
    desk: &OrderDesk,
) -> Result<Evidence, Failure> {
    let (state, restarts) = saved(step, done);
    let question = move |plugin: &Plugin, step: &PluginStep, follow: &Follow| {
        let verdict = plugin.run(&step.info.key(), &step.args, state, restarts, follow)?;
        Ok((verdict, plugin.unlimited()))
    };
    let (verdict, unlimited) = ask(machine, step, settings, desk, question).await?;
    let outcome = match verdict.outcome {
        Outcome::Changed => PluginOutcome::Changed,
        Outcome::Unchanged => PluginOutcome::Unchanged,
        Outcome::Reboot { .. } if !desk.may_restart() => {
            return Err(no_restart(step, &verdict.message));
        }
        Outcome::Reboot { state } => {
            let cancelled = desk.restart(&step.info.name, state, verdict.message).await;
            return Err(stopped(&format!("{} was done", step.info.name), cancelled));
        }
        Outcome::Failed(_) => return Err(failed(step, verdict)),
    };
    let mut data = verdict.data;
    note_arrays(machine, step, &mut data);
    let Loaded { sha256, key_id, .. } = &*step.plugin;
    let manifest = step.plugin.manifest();
    Ok(Evidence::Plugin(Box::new(PluginResult {
        plugin: manifest.name.clone(),
        version: manifest.version.clone(),
        sha256: sha256.clone(),
        key_id: key_id.clone(),
        outcome,
        message: verdict.message,
        data,
        warnings: unlimited.into_iter().collect(),
    })))
}

/// Asks the plugin with the devices that it may have now.
async fn ask<T: Send + 'static>(
    machine: &Machine,
    step: &PluginStep,
    settings: &EraseSettings,
    desk: &OrderDesk,
    question: impl FnOnce(&Plugin, &PluginStep, &Follow) -> Result<T, super::CallError> + Send + 'static,
) -> Result<T, Failure> {
    let facts = machine.look_again().await?;
    let withheld = skipped(&facts, settings)?;
    let step = &with_arrays(step, &machine.raid(), &facts, &withheld)?;
    let named = machine.system().named_disks().map(<[PathBuf]>::to_vec);
    let (step, follow) = (step.clone(), Follow { desk: desk.clone(), key: step.info.key() });
    blocking(move || {
        let devices = devices(step.plugin.manifest(), named.as_deref(), &withheld);
        // A sandbox has the disks that were named, and no others.
        let live = named.is_none().then_some(withheld);
        let plugin = Plugin { devices, live, ..step.plugin.plugin.clone() };
        question(&plugin, &step, &follow)
            .map_err(|error| error.failure(&step.plugin.to_string(), &step.info.name))
    })
    .await
}

/// A step of interface `raid` with what the node's record says: its `target_raid_config`, where the step takes that and nobody
/// gave another; and the names of disks where a configuration has hints for them.
fn with_arrays(
    step: &PluginStep,
    node: &NodeRaid,
    facts: &Facts,
    withheld: &[String],
) -> Result<PluginStep, Failure> {
    let mut step = step.clone();
    if step.info.interface != "raid" {
        return Ok(step);
    }
    let mut args = step.args.as_object().cloned().unwrap_or_default();
    let takes = step.info.argsinfo.contains_key(TARGET);
    if takes && !args.contains_key(TARGET) && !node.target.is_null() {
        args.insert(TARGET.to_owned(), node.target.clone());
    }
    let matching = |hints: &Value| {
        let mut names = facts.matching(hints).map_err(|error| chain(&error))?;
        names.retain(|name| !withheld.contains(name));
        Ok(names)
    };
    for key in [TARGET, "raid_config"] {
        let Some(config) = args.get_mut(key) else { continue };
        *config = raid::with_disks_named(config, matching).map_err(|why: String| Failure {
            step: String::new(),
            message: format!("{key}: {why}"),
            remedy: "correct the hints of physical_disks".to_owned(),
            blame: Blame::Order,
        })?;
    }
    if !args.is_empty() {
        step.args = Value::Object(args);
    }
    Ok(step)
}

/// Keeps what a step of interface `raid` built, for a deploy of the same order, and names the disks in it so that another boot
/// recognises them.
fn note_arrays(machine: &Machine, step: &PluginStep, data: &mut Value) {
    if step.info.interface != "raid" {
        return;
    }
    let facts = machine.facts();
    let disk_of = |member: &str| {
        facts.disks.iter().find(|disk| is_on_disk(member, &disk.path.to_string_lossy()))
    };
    raid::add_serials(data, |member| disk_of(member).map(|disk| disk.serial.clone()));
    let node = machine.raid();
    if data.get("logical_disks").is_some_and(Value::is_array) {
        machine.set_raid(NodeRaid { config: data.clone(), ..node });
    } else if step.info.name == "delete_configuration" {
        machine.set_raid(NodeRaid { config: Value::Null, ..node });
    }
}

/// What the manifest declares, without the disks that the order leaves alone. In a sandbox only of the disks that were named.
fn devices(manifest: &Manifest, named: Option<&[PathBuf]>, withheld: &[String]) -> Vec<Device> {
    let Some(disks) = named else { return device::declared(manifest, withheld) };
    let one = |disk: &&PathBuf| {
        let kept = !withheld.iter().any(|withheld| Path::new(withheld) == disk.as_path());
        kept && device::named(manifest, std::slice::from_ref(*disk)).is_ok()
    };
    let disks: Vec<PathBuf> = disks.iter().filter(one).cloned().collect();
    device::named(manifest, &disks).unwrap_or_default()
}

/// The plugin's own failure.
fn failed(step: &PluginStep, verdict: Verdict) -> Failure {
    let plugin = step.plugin.to_string();
    match verdict.outcome {
        Outcome::Failed(failed) => failure(&plugin, &step.info.name, &verdict.message, failed),
        Outcome::Changed | Outcome::Unchanged | Outcome::Reboot { .. } => {
            let failed = Failed {
                who: Who::Plugin,
                remedy: "the plugin's author must mend it: plan answers with a plan or a failure"
                    .to_owned(),
            };
            failure(&plugin, &step.info.name, "it answered plan with another result", failed)
        }
    }
}

/// A failure in a plugin's words, with who must act.
#[must_use]
pub fn failure(plugin: &str, step: &str, message: &str, failed: Failed) -> Failure {
    let blame = match failed.who {
        Who::Order => Blame::Order,
        Who::Environment => Blame::Environment,
        Who::Hardware => Blame::Hardware,
        Who::Plugin => Blame::Internal,
    };
    let remedy = if failed.remedy.trim().is_empty() {
        without_remedy(failed.who).to_owned()
    } else {
        failed.remedy
    };
    let message = format!("plugin {plugin}: {message}");
    Failure { step: step.to_owned(), message, remedy, blame }
}

/// What there is to do where the plugin does not say.
fn without_remedy(who: Who) -> &'static str {
    match who {
        Who::Order => {
            "correct the order, most likely the step's arguments; the plugin says no more"
        }
        Who::Environment => {
            "check what the message names, then order the step again; the plugin says no more"
        }
        Who::Hardware => {
            "check the hardware that the message names, then order the step again; the plugin says no more"
        }
        Who::Plugin => {
            "ask the plugin's author: it names neither who must act nor a remedy; its log may say more"
        }
    }
}

/// An Ironic conductor has no way to go on with a step after a restart.
fn no_restart(step: &PluginStep, message: &str) -> Failure {
    Failure {
        step: step.info.name.clone(),
        message: format!(
            "plugin {}: it did a part of the step and asks for a restart of the machine to go on ({message}); under an Ironic \
             conductor a step cannot go on after one, so it is not finished",
            step.plugin
        ),
        remedy: "restart the machine and order the step again, if its author says that it may be begun again"
            .to_owned(),
        blame: Blame::Order,
    }
}

/// Progress for the heartbeat, and cancelling from it.
struct Follow {
    desk: OrderDesk,
    key: String,
}

impl Watch for Follow {
    fn progress(&self, progress: &Progress) {
        let Progress { done, total, message } = progress.clone();
        let of = total.map_or_else(String::new, |total| format!(" of {total}"));
        tracing::info!("{}: {done}{of} {message}", self.key);
        self.desk.plugin_progress(PluginProgress { done, total, message });
    }

    fn cancelled(&self) -> bool {
        self.desk.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use ironwright_api::Reboot;
    use serde_json::json;

    use super::*;
    use crate::plugin::supply::tests::fake;

    fn step() -> PluginStep {
        let plugin = fake("a", "1", &["firmware.flash"]);
        let info = plugin.manifest().steps[0].clone();
        PluginStep { plugin, info, priority: 0, args: Value::Null, passed_over: Vec::new() }
    }

    fn record(name: &str, attempt: u32, state: Option<Value>) -> StepRecord {
        let reboot = state.map(|state| Reboot { state });
        StepRecord { step: name.to_owned(), attempt, ended: false, evidence: None, reboot }
    }

    #[test]
    fn a_fake_goes_on_after_the_restarts_it_asked_for_and_after_no_other() {
        let step = step();
        assert_eq!(saved(&step, &[]), (Value::Null, 0));
        let mut done = vec![
            record("flash", 1, Some(json!({"slot": 1}))),
            record("other", 1, Some(json!(7))),
            record("flash", 2, Some(json!({"slot": 2}))),
        ];
        assert_eq!(saved(&step, &done), (json!({"slot": 2}), 2));
        never_twice(&step, &done).unwrap();
        // The power failed while it went on.
        done.push(record("flash", 3, None));
        let failure = never_twice(&step, &done).unwrap_err();
        assert!(failure.message.contains("was begun in attempt 3"), "{failure:?}");
    }
}
