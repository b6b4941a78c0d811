//! The whole way of a deploy order: look, fetch, plan, perform.

use ironwright_api::{Deploy, Failure, StepRecord};

use super::fetch;
use super::perform::Performer;
use super::run::run;
use super::{Ground, Problem, plan};
use crate::configdrive::{self, ConfigDrive, Form};
use crate::heartbeat::OrderDesk;
use crate::order::Machine;
use crate::report::chain;

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
    let facts = machine.look_again().await?;
    let disk = facts.root_disk(&order.root_device, &order.skip);
    let sector_bytes = disk.as_ref().map_or(USUAL_SECTOR, |disk| disk.sector_bytes);
    let drive = prepare(machine.http(), order, sector_bytes).await;
    let (drive, drive_bytes) = match drive {
        Ok(drive) => {
            let bytes = drive.as_ref().map(|drive| drive.bytes.len() as u64);
            (drive, Ok(bytes))
        }
        Err(problem) => (None, Err(problem)),
    };
    let plan = plan(order, Ground { disk, drive_bytes, uefi: facts.uefi }, done)?;
    let steps: Vec<&str> = plan.actions.iter().map(|action| action.name()).collect();
    tracing::info!("deploy to {}: {}", plan.disk.path.display(), steps.join(", "));
    desk.check().map_err(|cancelled| super::run::stopped("anything was changed", cancelled))?;
    let others = facts.disks.iter().map(|disk| disk.path.clone());
    let others = others.filter(|path| *path != plan.disk.path).collect();
    let mut performer =
        Performer::open(machine, (order, done), (plan.disk, others), drive, desk.clone())?;
    run(&plan.actions, desk, &mut performer).await
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
