//! The whole way of a clean order: plan, say it, then every disk of every step, then the proofs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::StreamExt;
use ironwright_api::{Blame, Clean, EraseSettings, Erased, Evidence, Failure, StepRecord};

use super::disk::Task;
use super::overwrite::Follow;
use crate::deploy::run::stopped;
use crate::heartbeat::OrderDesk;
use crate::order::{Facts, Machine, blocking};
use crate::report::chain;
use crate::steps::{self, Kind, Step};

/// Carries out `clean`. Steps that ended in an earlier attempt are not repeated.
///
/// # Errors
/// The [`Failure`] to report. A disk that fails does not spare the others: all are tried, all failures are named.
pub async fn carry_out(
    machine: &Machine,
    clean: &Clean,
    done: &[StepRecord],
    desk: &OrderDesk,
) -> Result<(), Failure> {
    let steps = steps::plan(clean)?;
    let facts = machine.look_again().await?;
    let planned = |step: &Step| {
        let tasks = tasks(step, &facts, &clean.erase, desk)?;
        Ok(step.planned(tasks.iter().map(Task::sentence).collect()))
    };
    let planned = steps.iter().map(planned).collect::<Result<Vec<_>, Failure>>()?;
    desk.planned(planned);
    for step in steps {
        if done.iter().any(|record| record.step == step.name && record.ended) {
            continue;
        }
        desk.step_started(step.name).await.map_err(|error| stopped(step.name, error))?;
        let facts = machine.look_again().await?;
        let in_step = |failure| Failure { step: step.name.to_owned(), ..failure };
        let tasks = tasks(&step, &facts, &clean.erase, desk).map_err(in_step)?;
        let disks = perform(machine, tasks, &clean.erase, desk).await.map_err(in_step)?;
        desk.step_ended(step.name, Some(Evidence::Erased { disks }));
    }
    Ok(())
}

/// The disks of a step: all but those the settings leave out. What the settings forbid is refused here, before anything
/// changes.
fn tasks(
    step: &Step,
    facts: &Facts,
    settings: &EraseSettings,
    desk: &OrderDesk,
) -> Result<Vec<Task>, Failure> {
    let refuse = |message: String, blame| {
        Failure {
        step: String::new(),
        message: format!("nothing was changed: {message}"),
        remedy: "correct the node's skip_block_devices and the cleaning settings, and check the disks named".to_owned(),
        blame,
    }
    };
    let mut skipped = Vec::new();
    for hints in &settings.skip {
        let names = facts.matching(hints).map_err(|error| {
            refuse(format!("skip_block_devices: {}", chain(&error)), Blame::Order)
        })?;
        skipped.extend(names);
    }
    let kept = |disk: &&crate::order::DiskFact| {
        let left_out =
            skipped.contains(&disk.identity.path) || disk.read_only && settings.skip_read_only;
        if left_out {
            tracing::info!("{} is left alone by the settings", disk.path.display());
        }
        !left_out
    };
    let task = |disk: &crate::order::DiskFact| Task {
        disk: disk.clone(),
        kind: step.kind,
        step: step.name,
        order_id: desk.order_id(),
    };
    let tasks: Vec<Task> = facts.disks.iter().filter(kept).map(task).collect();
    if facts.disks.is_empty() {
        return Err(refuse("the machine shows no disk".to_owned(), Blame::Hardware));
    }
    let forbidden: Vec<String> = tasks.iter().filter_map(|task| task.forbidden(settings)).collect();
    if forbidden.is_empty() { Ok(tasks) } else { Err(refuse(forbidden.join("; "), Blame::Order)) }
}

/// Performs all tasks, as many at once as the settings allow.
async fn perform(
    machine: &Machine,
    tasks: Vec<Task>,
    settings: &EraseSettings,
    desk: &OrderDesk,
) -> Result<Vec<Erased>, Failure> {
    let count = tasks.len();
    let total: u64 = tasks.iter().map(work_bytes).sum();
    let done = Arc::new(AtomicU64::new(0));
    let at_once = usize::try_from(settings.concurrency.max(1)).unwrap_or(1);
    let run = |task: Task| {
        let (system, notary) = (machine.system().clone(), machine.notary().cloned());
        let eye = Eye {
            desk: desk.clone(),
            task,
            done: done.clone(),
            total,
            last: AtomicU64::new(0),
            phase_began: Instant::now(),
        };
        blocking(move || {
            if eye.desk.is_cancelled() {
                return Ok(Err("stopped before it began".to_owned()));
            }
            let result = eye.task.perform(&system, notary.as_ref(), &eye);
            let phase = if result.is_ok() { "done" } else { "failed" };
            eye.desk.disk_progress(eye.task.progress(phase, eye.task.disk.identity.bytes, None));
            Ok(result.map_err(|why| format!("{}: {why}", eye.task.disk.path.display())))
        })
    };
    let results: Vec<Result<Result<Erased, String>, Failure>> =
        futures_util::stream::iter(tasks).map(run).buffer_unordered(at_once).collect().await;
    let (mut erased, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        match result? {
            Ok(proof) => erased.push(proof),
            Err(why) => failures.push(why),
        }
    }
    desk.check().map_err(|error| stopped("every disk was erased", error))?;
    if failures.is_empty() {
        erased.sort_by(|one, other| one.device.cmp(&other.device));
        return Ok(erased);
    }
    Err(Failure {
        step: String::new(),
        message: format!(
            "{} of {count} disks were not erased: {}",
            failures.len(),
            failures.join("; ")
        ),
        remedy: "check, or take out, the disks named".to_owned(),
        blame: Blame::Hardware,
    })
}

/// Bytes to be written and read back.
fn work_bytes(task: &Task) -> u64 {
    match task.kind {
        Kind::EraseDevices => task.disk.identity.bytes.saturating_mul(2),
        Kind::EraseDevicesMetadata => 0,
    }
}

/// Follows one disk for the heartbeat.
struct Eye {
    desk: OrderDesk,
    task: Task,
    /// Bytes of all disks.
    done: Arc<AtomicU64>,
    total: u64,
    /// Bytes of this disk's present phase that are in `done` already.
    last: AtomicU64,
    phase_began: Instant,
}

impl Follow for Eye {
    fn go_on(&self, phase: &'static str, bytes: u64) -> bool {
        let last = self.last.swap(bytes, Ordering::Relaxed);
        let all = self.done.fetch_add(bytes.saturating_sub(last), Ordering::Relaxed)
            + bytes.saturating_sub(last);
        self.desk.progress(all, Some(self.total));
        // Both phases take about the same time; the first one's speed is all that is known.
        let whole = self.task.disk.identity.bytes;
        let left = whole.saturating_sub(bytes);
        let eta_s = (bytes > 0 && phase == "erase")
            .then(|| self.phase_began.elapsed().as_secs().saturating_mul(left) / bytes);
        self.desk.disk_progress(self.task.progress(phase, bytes, eta_s));
        !self.desk.is_cancelled()
    }
}
