//! The whole way of a clean order: plan, then every disk, then the proofs.

use std::sync::Arc;

use ironwright_api::{Blame, Clean, Erased, Evidence, Failure, StepRecord};

use super::{Step, metadata, plan};
use crate::deploy::run::stopped;
use crate::heartbeat::OrderDesk;
use crate::order::{DiskFact, Machine, blocking};
use crate::report::chain;
use crate::sys::System;
use crate::sys::disk::{Access, RealDisk};

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
    for step in plan(clean)? {
        if done.iter().any(|record| record.step == step.name() && record.ended) {
            continue;
        }
        desk.step_started(step.name()).await.map_err(|error| stopped(step.name(), error))?;
        let facts = machine.look_again().await?;
        let evidence = match step {
            Step::EraseDevicesMetadata => erase_all(machine.system(), &facts.disks, desk).await,
        };
        let step = step.name();
        match evidence {
            Ok(disks) => desk.step_ended(step, Some(Evidence::Erased { disks })),
            Err(failure) => return Err(Failure { step: step.to_owned(), ..failure }),
        }
    }
    Ok(())
}

async fn erase_all(
    system: &Arc<System>,
    disks: &[DiskFact],
    desk: &OrderDesk,
) -> Result<Vec<Erased>, Failure> {
    let (mut erased, mut failures) = (Vec::new(), Vec::new());
    for (index, disk) in disks.iter().enumerate() {
        desk.check().map_err(|error| stopped("the next disk was erased", error))?;
        let (system, disk) = (system.clone(), disk.clone());
        match blocking(move || Ok(erase(&system, &disk))).await? {
            Ok(proof) => erased.push(proof),
            Err(why) => failures.push(why),
        }
        desk.progress(index as u64 + 1, Some(disks.len() as u64));
    }
    if disks.is_empty() {
        failures.push("the machine shows no disk".to_owned());
    }
    if failures.is_empty() {
        return Ok(erased);
    }
    Err(Failure {
        step: String::new(),
        message: format!(
            "{} of {} disks were not erased: {}",
            failures.len(),
            disks.len(),
            failures.join("; ")
        ),
        remedy: "check, or take out, the disks named".to_owned(),
        blame: Blame::Hardware,
    })
}

/// Erases one disk, or says why not.
fn erase(system: &System, disk: &DiskFact) -> Result<Erased, String> {
    if disk.read_only {
        return Err(format!("{} is read-only", disk.path.display()));
    }
    let path = system.admit(&disk.path).map_err(|error| chain(&error))?;
    let opened = RealDisk::open(path, Access::Write).map_err(|error| chain(&error))?;
    metadata::erase(&opened, &disk.serial, &disk.partitions).map_err(|error| chain(&error))
}
