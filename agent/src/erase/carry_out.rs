//! One erase step of an order: which disks, what will be done to each, then all of them, then the proofs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::StreamExt;
use ironwright_api::{Blame, EraseSettings, Erased, Evidence, Failure};

use super::disk::{NotErased, Task};
use super::overwrite::Follow;
use super::protect;
use crate::deploy::run::stopped;
use crate::heartbeat::OrderDesk;
use crate::order::{DiskFact, Facts, Machine, blocking};
use crate::report::chain;
use crate::steps::Erase;

/// What the step `erase` will do, one sentence a disk.
///
/// # Errors
/// The [`Failure`] to report: what is protected, or what the settings forbid. Nothing was changed.
pub async fn sentences(
    machine: &Machine,
    erase: Erase,
    settings: &EraseSettings,
    desk: &OrderDesk,
) -> Result<Vec<String>, Failure> {
    Ok(choose(machine, erase, settings, desk).await?.sentences())
}

/// Does the step `erase`, and proves it.
///
/// # Errors
/// The [`Failure`] to report. A disk that fails does not spare the others: all are tried, all failures are named.
pub async fn carry_out(
    machine: &Machine,
    erase: Erase,
    settings: &EraseSettings,
    desk: &OrderDesk,
) -> Result<Evidence, Failure> {
    let chosen = choose(machine, erase, settings, desk).await?;
    let disks = perform(machine, erase, chosen.tasks, settings, desk).await?;
    Ok(Evidence::Erased { disks })
}

/// The disks of a step.
struct Chosen {
    tasks: Vec<Task>,
    /// Why others are not among them.
    left_out: Vec<String>,
}

impl Chosen {
    fn sentences(&self) -> Vec<String> {
        self.tasks.iter().map(Task::sentence).chain(self.left_out.iter().cloned()).collect()
    }
}

/// All disks but those the settings leave out. What is protected, or what the settings forbid, is refused here, before anything
/// changes.
async fn choose(
    machine: &Machine,
    erase: Erase,
    settings: &EraseSettings,
    desk: &OrderDesk,
) -> Result<Chosen, Failure> {
    let facts = machine.look_again().await?;
    if facts.disks.is_empty() {
        return Err(refuse("the machine shows no disk", Blame::Hardware));
    }
    let skipped = skipped(&facts, settings)?;
    let blank: Vec<_> = facts.blank.iter().filter(|name| !skipped.contains(name)).collect();
    if let Some(name) = blank.first() {
        return Err(refuse(
            &format!(
                "{name} shows no capacity, so that nothing can be said of its data: it is dead, locked, being sanitized, or \
                 formatted in a way that the kernel cannot use. Mend it, take it out, or leave it out by its name"
            ),
            Blame::Hardware,
        ));
    }
    let (disks, left_out) = kept(&facts.disks, &skipped, settings.skip_read_only);
    let (system, settings) = (machine.system().clone(), settings.clone());
    let order_id = desk.order_id();
    // Questions to disks: a sleeping one takes its time.
    let tasks = blocking(move || {
        let survey = |disk| Task::survey(&system, disk, erase, order_id, &settings);
        Ok(disks.into_iter().map(survey).collect::<Vec<_>>())
    })
    .await?;
    let forbidden: Vec<String> = tasks.iter().filter_map(Task::forbidden).collect();
    if forbidden.is_empty() {
        return Ok(Chosen { tasks, left_out });
    }
    Err(refuse(&forbidden.join("; "), Blame::Order))
}

/// Device nodes that the order leaves alone.
pub(crate) fn skipped(facts: &Facts, settings: &EraseSettings) -> Result<Vec<String>, Failure> {
    let mut skipped = Vec::new();
    for hints in &settings.skip {
        let names = facts.matching(hints).map_err(|error| {
            refuse(&format!("skip_block_devices: {}", chain(&error)), Blame::Order)
        })?;
        skipped.extend(names);
    }
    Ok(skipped)
}

/// The disks that are not left out, and a sentence for each one that is. A second path to a disk that is left alone must not
/// reach it either.
fn kept(
    disks: &[DiskFact],
    skipped: &[String],
    skip_read_only: bool,
) -> (Vec<DiskFact>, Vec<String>) {
    let (mut kept, mut left_out) = (Vec::<DiskFact>::new(), Vec::new());
    for disk in disks {
        let name = &disk.identity.path;
        let same = |other: &&DiskFact| protect::same_disk(&disk.identity, &other.identity);
        let spared = disks.iter().filter(|disk| skipped.contains(&disk.identity.path)).find(same);
        let why = if skipped.contains(name) {
            "left alone (skip_block_devices)".to_owned()
        } else if disk.read_only && skip_read_only {
            "left alone: it is read-only".to_owned()
        } else if let Some(other) = spared {
            format!("left alone: another path to {}", other.identity.path)
        } else if let Some(other) = kept.iter().find(same) {
            format!("another path to {}: erased once, there", other.identity.path)
        } else {
            kept.push(disk.clone());
            continue;
        };
        tracing::info!("{name}: {why}");
        left_out.push(format!("{name}: {why}"));
    }
    (kept, left_out)
}

fn refuse(message: &str, blame: Blame) -> Failure {
    Failure {
        step: String::new(),
        message: format!("nothing was changed: {message}"),
        remedy: "correct the node's skip_block_devices and the cleaning settings, and check the disks named".to_owned(),
        blame,
    }
}

/// Performs all tasks, as many at once as the settings allow.
async fn perform(
    machine: &Machine,
    erase: Erase,
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
            phase: Mutex::new(("", Instant::now())),
        };
        blocking(move || {
            let result = eye.task.perform(&system, notary.as_ref(), &eye);
            let phase = if result.is_ok() { "done" } else { "failed" };
            eye.desk.disk_progress(eye.task.progress(phase, eye.task.disk.identity.bytes, None));
            Ok(result.map_err(|failed| NotErased {
                why: format!("{}: {}", eye.task.disk.path.display(), failed.why),
                ..failed
            }))
        })
    };
    let results: Vec<Result<Result<Erased, NotErased>, Failure>> =
        futures_util::stream::iter(tasks).map(run).buffer_unordered(at_once).collect().await;
    let (mut erased, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        match result? {
            Ok(proof) => erased.push(proof),
            Err(failed) => failures.push(failed),
        }
    }
    erased.sort_by(|one, other| one.device.cmp(&other.device));
    let stop = desk.check();
    if failures.is_empty() && stop.is_ok() {
        return Ok(erased);
    }
    // The step has no evidence now; what its disks can show is shown all the same.
    let certificates = erased.into_iter().filter_map(|disk| disk.certificate);
    let certificates =
        certificates.chain(failures.iter_mut().filter_map(|failed| failed.certificate.take()));
    let certificates: Vec<_> = certificates.map(|signed| *signed).collect();
    if !certificates.is_empty() {
        desk.attested(erase.step(), certificates);
    }
    stop.map_err(|error| stopped("every disk was erased", error))?;
    let failures: Vec<String> = failures.into_iter().map(|failed| failed.why).collect();
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
        Erase::Devices => task.disk.identity.bytes.saturating_mul(2),
        Erase::Metadata | Erase::Express => 0,
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
    /// The phase, and since when.
    phase: Mutex<(&'static str, Instant)>,
}

impl Follow for Eye {
    fn go_on(&self, phase: &'static str, bytes: u64) -> bool {
        let last = self.last.swap(bytes, Ordering::Relaxed);
        let more = bytes.saturating_sub(last);
        let all = self.done.fetch_add(more, Ordering::Relaxed) + more;
        // A method that failed half-way is followed by another, from the beginning.
        self.desk.progress(all.min(self.total), Some(self.total));
        let began = {
            let mut known = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
            if known.0 != phase || bytes < last {
                *known = (phase, Instant::now());
            }
            known.1
        };
        let left = self.task.disk.identity.bytes.saturating_sub(bytes);
        let eta_s = (bytes > 0).then(|| {
            let eta = u128::from(began.elapsed().as_secs()) * u128::from(left) / u128::from(bytes);
            u64::try_from(eta).unwrap_or(u64::MAX)
        });
        self.desk.disk_progress(self.task.progress(phase, bytes, eta_s));
        !self.desk.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use ironwright_api::DiskIdentity;

    use super::*;

    fn disk(name: &str, wwn: &str, read_only: bool) -> DiskFact {
        let identity = DiskIdentity {
            path: name.to_owned(),
            wwn: wwn.to_owned(),
            serial: wwn.to_owned(),
            bytes: 1 << 30,
            ..DiskIdentity::default()
        };
        let (path, serial) = (name.into(), wwn.to_owned());
        DiskFact { path, serial, read_only, partitions: Vec::new(), identity }
    }

    #[test]
    fn a_disk_on_two_paths_is_erased_once_and_a_skipped_one_on_none() {
        let disks = [
            disk("/dev/sda", "0x1", false),
            disk("/dev/sdb", "0x2", false),
            disk("/dev/sdc", "0x1", false),
            disk("/dev/sdd", "0x2", false),
            disk("/dev/sde", "", false),
            disk("/dev/sdf", "", true),
        ];
        let (tasks, left_out) = kept(&disks, &["/dev/sdd".to_owned()], true);
        let names: Vec<&str> = tasks.iter().map(|disk| disk.identity.path.as_str()).collect();
        assert_eq!(names, ["/dev/sda", "/dev/sde"]);
        assert_eq!(
            left_out,
            [
                "/dev/sdb: left alone: another path to /dev/sdd",
                "/dev/sdc: another path to /dev/sda: erased once, there",
                "/dev/sdd: left alone (skip_block_devices)",
                "/dev/sdf: left alone: it is read-only",
            ]
        );
        assert_eq!(kept(&disks, &[], false).0.len(), 4);
    }
}
