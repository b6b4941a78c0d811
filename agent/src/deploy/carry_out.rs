//! The whole way of a deploy order: look, fetch, plan, perform; and the extra steps around the image.

use ironwright_api::{BOOT_ENTRY_PRIORITY, Deploy, Failure, PlannedStep, StepRecord};
use serde_json::{Value, json};

use super::fetch;
use super::perform::Performer;
use super::run::run;
use super::{Action, Ground, Plan, Problem, RootDisk, committed, members, plan, refuse_early};
use crate::configdrive::{self, ConfigDrive, Form};
use crate::heartbeat::OrderDesk;
use crate::order::{Machine, blocking};
use crate::raid::{self, Arrays};
use crate::report::chain;
use crate::steps::{self, Choice, Job, Phase, before_image, run as work};

/// Sectors assumed while the config drive is checked and no disk is known yet.
const USUAL_SECTOR: u32 = 512;

/// Carries out `order`. `done` are the steps of earlier attempts and agent processes.
///
/// # Errors
/// The [`Failure`] to report; with an empty step nothing was changed.
pub async fn carry_out(
    machine: &Machine,
    order: &Deploy,
    done: &[StepRecord],
    desk: &OrderDesk,
) -> Result<(), Failure> {
    if order.steps.is_empty() {
        let (plan, mut performer) = ready(machine, order, done, desk).await?;
        return run(&plan.actions, desk, &mut performer).await;
    }
    let ground =
        work::Ground { machine, settings: &order.erase, root_device: &Value::Null, done, desk };
    let jobs = extra(&ground, order).await?;
    let (before, after): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(before_image);
    // The root disk may be made by these steps: only what does not hang on it can be refused before them.
    if !committed(done, raid::has_arrays(&machine.raid().config)) {
        refuse_early(order, prepare(machine.http(), order, USUAL_SECTOR).await.map(drop))?;
        ground.perform(&before).await?;
    }
    let (plan, mut performer) = ready(machine, order, done, desk).await?;
    let (entry, image): (Vec<Action>, Vec<Action>) =
        plan.actions.into_iter().partition(|action| *action == Action::BootEntry);
    let (between, last): (Vec<Job>, Vec<Job>) =
        after.into_iter().partition(|job| job.priority() > BOOT_ENTRY_PRIORITY);
    run(&image, desk, &mut performer).await?;
    // What comes now may open the disk itself; the firmware is told with it in hand again.
    performer.let_go();
    ground.perform(&between).await?;
    run(&entry, desk, &mut performer).await?;
    ground.perform(&last).await
}

/// The extra steps by priority, and the whole plan reported.
async fn extra(ground: &work::Ground<'_>, order: &Deploy) -> Result<Vec<Job>, Failure> {
    let choice = Choice::Among(&order.steps);
    let bundles = match steps::only_built_in(Phase::Deploy, choice) {
        true => &[][..],
        false => &order.plugins,
    };
    let plugins = ground.plugins(bundles).await?;
    let jobs = steps::plan(Phase::Deploy, choice, &steps::catalogue(Phase::Deploy, &plugins)?)?;
    let known = plugins.iter().map(|plugin| plugin.sha256.clone()).collect();
    drop(plugins);
    let mut planned = ground.planned(&jobs).await?;
    planned.push(PlannedStep {
        interface: "deploy".to_owned(),
        step: Action::WriteImage.name().to_owned(),
        priority: ironwright_api::WRITE_IMAGE_PRIORITY,
        abortable: true,
        actions: vec!["the image, the config drive, and the partition table last".to_owned()],
    });
    planned.sort_by_key(|step| std::cmp::Reverse(step.priority));
    ground.desk.planned(planned, known);
    Ok(jobs)
}

/// Everything but the writing: the plan, and the root disk opened for it.
pub(super) async fn ready(
    machine: &Machine,
    order: &Deploy,
    done: &[StepRecord],
    desk: &OrderDesk,
) -> Result<(Plan, Performer), Failure> {
    let arrays = machine.start_arrays().await?;
    let facts = machine.look_again().await?;
    // As in Ironic, the root volume comes before all hints.
    let root = arrays.as_ref().map(|arrays| json!({"name": arrays.root.device}));
    let disk = facts.root_disk(root.as_ref().unwrap_or(&order.root_device), &order.erase.skip);
    let sector_bytes = disk.as_ref().map_or(USUAL_SECTOR, |disk| disk.sector_bytes);
    let drive = prepare(machine.http(), order, sector_bytes).await;
    let (drive, drive_bytes) = match drive {
        Ok(drive) => {
            let bytes = drive.as_ref().map(|drive| drive.bytes.len() as u64);
            (drive, Ok(bytes))
        }
        Err(problem) => (None, Err(problem)),
    };
    let (uefi, looked_at) = (facts.uefi, arrays.clone());
    let ground = blocking(move || Ok(ground(disk, drive_bytes, uefi, looked_at.as_ref()))).await?;
    let plan = plan(order, ground, done)?;
    let steps: Vec<&str> = plan.actions.iter().map(|action| action.name()).collect();
    tracing::info!("deploy to {}: {}", plan.disk.path.display(), steps.join(", "));
    desk.check().map_err(|cancelled| super::run::stopped("anything was changed", cancelled))?;
    let others = facts.disks.iter().map(|disk| disk.path.clone());
    let others = others.filter(|path| *path != plan.disk.path).collect();
    let disks = (plan.disk.clone(), others);
    let mut performer = Performer::open(machine, (order, done), disks, drive, desk.clone())?;
    performer.on_array(arrays, facts.uefi);
    Ok((plan, performer))
}

/// What the plan is made from. The members of arrays are read: whether this machine can start from them at all.
fn ground(
    disk: Result<RootDisk, Problem>,
    drive_bytes: Result<Option<u64>, Problem>,
    uefi: bool,
    arrays: Option<&Arrays>,
) -> Ground {
    let fits = arrays.map_or(Ok(()), |arrays| members::fits_machine(arrays, uefi));
    let members = fits.map_err(|error| Problem::Members { why: chain(&error) });
    Ground { disk, drive_bytes, uefi, on_array: arrays.is_some(), members }
}

/// The config drive's file system in memory, so that nothing about it can fail later.
async fn prepare(
    http: &reqwest::Client,
    order: &Deploy,
    sector_bytes: u32,
) -> Result<Option<ConfigDrive>, Problem> {
    let refused = |error| Problem::ConfigDrive { why: chain(&error) };
    let fetched = match configdrive::validate(&order.configdrive).map_err(refused)? {
        Form::Url(url) => Some(fetch::config_drive(http, &url).await?),
        Form::Absent | Form::Object(_) | Form::Text(_) => None,
    };
    let (name, uuid) = (&order.node_name, order.node_uuid);
    configdrive::build(&order.configdrive, name, uuid, sector_bytes, fetched.as_deref())
        .map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raid::Array;

    #[test]
    fn a_machine_that_would_not_start_from_its_arrays_is_refused_before_anything_is_changed() {
        let why = || Problem::RootDisk { why: String::new() };
        let root = Array { uuid: String::new(), device: "/dev/md0".into(), members: Vec::new() };
        let arrays = Arrays { root, esp: None };
        let refused = ground(Err(why()), Ok(None), true, Some(&arrays));
        assert!(refused.on_array);
        let words = refused.members.unwrap_err().to_string();
        assert!(words.contains("built without EFI system partitions"), "{words}");
        let plain = ground(Err(why()), Ok(None), true, None);
        assert!(!plain.on_array && plain.members.is_ok());
    }
}
