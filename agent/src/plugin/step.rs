//! One plugin's step of an order: what it would do, and doing it.

use std::path::{Path, PathBuf};

use ironwright_api::{
    Blame, EraseSettings, Evidence, Failure, PluginOutcome, PluginProgress, PluginResult,
    StepRecord,
};
use ironwright_plugin::{Failed, Manifest, Outcome, Progress, Safety, Verdict, Who};
use serde_json::Value;

use super::supply::Loaded;
use super::{Device, Planned, Plugin, Watch, device};
use crate::erase::carry_out::skipped;
use crate::heartbeat::OrderDesk;
use crate::order::{Machine, blocking};
use crate::steps::PluginStep;

/// Refuses a step that an earlier attempt, or an earlier agent process, began and did not end: whether the hardware may be
/// touched again is not for a program to guess.
///
/// # Errors
/// The [`Failure`] to report.
pub fn never_twice(step: &PluginStep, done: &[StepRecord]) -> Result<(), Failure> {
    let begun = done.iter().find(|record| record.step == step.info.name && !record.ended);
    match begun {
        Some(record) if step.info.safety != Safety::ReadOnly => Err(Failure {
            step: step.info.name.clone(),
            message: format!(
                "the plugin's step {} was begun in attempt {} and its end is not known; it is not begun again by itself",
                step.info.key(),
                record.attempt
            ),
            remedy: "check the hardware it is for, then order the step again".to_owned(),
            blame: Blame::Hardware,
        }),
        Some(_) | None => Ok(()),
    }
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
    let planned = ask(machine, step, settings, desk, |plugin, step, follow| {
        plugin.plan(&step.info.key(), &step.args, follow)
    });
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

/// Runs it.
///
/// # Errors
/// The [`Failure`] to report.
pub async fn perform(
    machine: &Machine,
    step: &PluginStep,
    settings: &EraseSettings,
    desk: &OrderDesk,
) -> Result<Evidence, Failure> {
    let run = ask(machine, step, settings, desk, |plugin, step, follow| {
        plugin.run(&step.info.key(), &step.args, Value::Null, 0, follow)
    });
    let verdict = run.await?;
    let outcome = match verdict.outcome {
        Outcome::Changed => PluginOutcome::Changed,
        Outcome::Unchanged => PluginOutcome::Unchanged,
        Outcome::Reboot { .. } => return Err(no_reboot(step, &verdict.message)),
        Outcome::Failed(_) => return Err(failed(step, verdict)),
    };
    let Loaded { sha256, key_id, .. } = &*step.plugin;
    let manifest = step.plugin.manifest();
    Ok(Evidence::Plugin(Box::new(PluginResult {
        plugin: manifest.name.clone(),
        version: manifest.version.clone(),
        sha256: sha256.clone(),
        key_id: key_id.clone(),
        outcome,
        message: verdict.message,
        data: verdict.data,
    })))
}

/// Asks the plugin with the devices that it may have now.
async fn ask<T: Send + 'static>(
    machine: &Machine,
    step: &PluginStep,
    settings: &EraseSettings,
    desk: &OrderDesk,
    question: fn(&Plugin, &PluginStep, &Follow) -> Result<T, super::CallError>,
) -> Result<T, Failure> {
    let facts = machine.look_again().await?;
    let withheld = skipped(&facts, settings)?;
    let named = machine.system().named_disks().map(<[PathBuf]>::to_vec);
    let (step, follow) = (step.clone(), Follow { desk: desk.clone(), key: step.info.key() });
    blocking(move || {
        let devices = devices(step.plugin.manifest(), named.as_deref(), &withheld);
        let plugin = Plugin { devices, ..step.plugin.plugin.clone() };
        question(&plugin, &step, &follow)
            .map_err(|error| error.failure(&step.plugin.to_string(), &step.info.name))
    })
    .await
}

/// What the manifest declares, without the disks that the order leaves alone. In a sandbox only of the disks that were named.
fn devices(manifest: &Manifest, named: Option<&[PathBuf]>, withheld: &[String]) -> Vec<Device> {
    let found = match named {
        None => device::declared(manifest),
        Some(disks) => {
            let one =
                |disk: &&PathBuf| device::named(manifest, std::slice::from_ref(*disk)).is_ok();
            let disks: Vec<PathBuf> = disks.iter().filter(one).cloned().collect();
            device::named(manifest, &disks).unwrap_or_default()
        }
    };
    let is_kept = |device: &Device| !withheld.iter().any(|disk| is_of(&device.path, disk));
    found.into_iter().filter(is_kept).collect()
}

/// Whether `node` is `disk` or one of its partitions, as the kernel names them: sda1, nvme0n1p1.
fn is_of(node: &Path, disk: &str) -> bool {
    let Some(rest) = node.to_str().and_then(|node| node.strip_prefix(disk)) else { return false };
    rest.strip_prefix('p').unwrap_or(rest).bytes().all(|byte| byte.is_ascii_digit())
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
    let message = format!("plugin {plugin}: {message}");
    Failure { step: step.to_owned(), message, remedy: failed.remedy, blame }
}

fn no_reboot(step: &PluginStep, message: &str) -> Failure {
    Failure {
        step: step.info.name.clone(),
        message: format!(
            "plugin {}: it did a part of the step and asks for a restart of the machine to go on ({message}); orders cannot do \
             that yet, so the step is not finished",
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
    use super::*;

    #[test]
    fn a_disk_left_alone_is_withheld_with_its_partitions_and_no_other_one_is() {
        for (node, disk, expected) in [
            ("/dev/sda", "/dev/sda", true),
            ("/dev/sda1", "/dev/sda", true),
            ("/dev/nvme0n1p2", "/dev/nvme0n1", true),
            ("/dev/sdab", "/dev/sda", false),
            ("/dev/sdb", "/dev/sda", false),
            ("/dev/nvme0", "/dev/nvme0n1", false),
        ] {
            assert_eq!(is_of(Path::new(node), disk), expected, "{node} {disk}");
        }
    }
}
