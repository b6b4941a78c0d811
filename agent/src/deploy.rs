//! From an order and what is known of the machine to a list of actions; pure.
//!
//! Everything that can be refused is refused here, all problems at once, before a byte of any disk changes.
//! [`run`] performs a plan; [`carry_out()`] is the whole way from an order to its end.

mod bootable;
mod carry_out;
mod fetch;
pub mod firmware;
mod give_up;
pub(crate) mod identifiers;
pub mod image_info;
pub mod image_step;
mod loader;
mod members;
mod partition;
mod perform;
mod problem;
pub mod run;

use std::path::PathBuf;

use ironwright_api::{ChecksumAlgorithm, Deploy, Evidence, StepRecord};
use url::Url;

pub use bootable::{NotBootable, make_bootable};
pub use carry_out::carry_out;
pub use give_up::give_up;
pub use problem::{PlanError, Problem};

/// One action of a deploy, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The image goes to the disk, all but its boot area.
    WriteImage,
    /// The config drive goes to where its partition will be.
    WriteConfigDrive,
    /// What starts the system goes to every member of the array that it is on.
    MirrorBoot,
    /// The partition table goes to the disk, LBA 0 last.
    Commit,
    /// The firmware learns of the new system.
    BootEntry,
}

impl Action {
    /// Its step name; part of the protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteImage => "write_image",
            Self::WriteConfigDrive => "write_configdrive",
            Self::MirrorBoot => "mirror_boot",
            Self::Commit => "commit",
            Self::BootEntry => "boot_entry",
        }
    }
}

/// The disk a deploy goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootDisk {
    /// Device node or file.
    pub path: PathBuf,
    /// Serial number, empty when it has none.
    pub serial: String,
    /// Capacity, bytes.
    pub bytes: u64,
    /// Logical sector size, bytes.
    pub sector_bytes: u32,
    /// That other disks would have done as well.
    pub warning: Option<String>,
}

/// What is known of the machine and the order before anything is planned.
#[derive(Debug)]
pub struct Ground {
    /// The one disk the hints choose, or why there is none.
    pub disk: Result<RootDisk, Problem>,
    /// Bytes of the config drive's file system (`None`: none ordered), or why it cannot be made.
    pub drive_bytes: Result<Option<u64>, Problem>,
    /// Whether this machine booted by UEFI.
    pub uefi: bool,
    /// Whether the disk is an array, which firmware cannot read.
    pub on_array: bool,
    /// Whether this machine can start from the members of its arrays.
    pub members: Result<(), Problem>,
}

/// What will be done.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// To which disk.
    pub disk: RootDisk,
    /// In this order.
    pub actions: Vec<Action>,
}

/// Plans a deploy. `done` are the steps of earlier attempts and earlier agent processes: once the partition table was
/// committed only what comes after it is left; anything less begins again with the image, because nothing but the commit
/// makes a disk bootable.
///
/// # Errors
/// [`PlanError`] with every problem found.
pub fn plan(order: &Deploy, ground: Ground, done: &[StepRecord]) -> Result<Plan, PlanError> {
    let committed = committed(done, ground.on_array);
    let mut problems = Vec::new();
    let disk = ground.disk.map_err(|problem| problems.push(problem)).ok();
    let drive_bytes = ground.drive_bytes.map_err(|problem| problems.push(problem)).ok().flatten();
    if committed {
        // Only the firmware is left to be told: what the order says of image and config drive matters no more.
        problems.retain(|problem| matches!(problem, Problem::RootDisk { .. }));
        problems.extend(disk.as_ref().and_then(|disk| moved(disk, done)));
    } else {
        problems.extend(image_problems(order));
        problems.extend(ground.members.err());
        problems.extend(disk.as_ref().and_then(|disk| no_room(disk, drive_bytes)));
        problems.extend(partition_problem(order, disk.as_ref(), drive_bytes, ground.uefi));
    }
    let Some(disk) = disk.filter(|_| problems.is_empty()) else {
        return Err(PlanError { problems });
    };
    let mut actions = Vec::new();
    if !committed {
        actions.push(Action::WriteImage);
        actions.extend(drive_bytes.map(|_| Action::WriteConfigDrive));
        // Nothing that can fail may come after the commit: a deploy that failed must not have left a system that starts.
        actions.extend(ground.on_array.then_some(Action::MirrorBoot));
        actions.push(Action::Commit);
    }
    // A BIOS starts what LBA 0 holds: there is nothing to tell it.
    actions.extend(ground.uefi.then_some(Action::BootEntry));
    Ok(Plan { disk, actions })
}

/// What stands against a partition image on this machine and disk.
fn partition_problem(
    order: &Deploy,
    disk: Option<&RootDisk>,
    drive_bytes: Option<u64>,
    uefi: bool,
) -> Option<Problem> {
    let image = order.image.partition.as_ref()?;
    if !uefi {
        return Some(Problem::PartitionBios);
    }
    let RootDisk { bytes, sector_bytes, .. } = disk?;
    let error = partition::scheme(image, *bytes, *sector_bytes, drive_bytes).err()?;
    Some(Problem::Partitions { why: error.to_string() })
}

/// Refuses what is wrong with the image and with the config drive, before steps that may make the root disk itself.
///
/// # Errors
/// [`PlanError`] with every problem found.
fn refuse_early(order: &Deploy, drive: Result<(), Problem>) -> Result<(), PlanError> {
    let mut problems = image_problems(order);
    problems.extend(drive.err());
    if problems.is_empty() { Ok(()) } else { Err(PlanError { problems }) }
}

/// Whether the last image begun was also committed; on an array, with what starts it on every member.
fn committed(done: &[StepRecord], on_array: bool) -> bool {
    let last = |action: Action, ended: bool| {
        done.iter().rposition(|step| step.step == action.name() && (step.ended || !ended))
    };
    let (image, commit) = (last(Action::WriteImage, false), last(Action::Commit, true));
    let mirrored = last(Action::MirrorBoot, true);
    commit.is_some() && commit > image && (!on_array || mirrored > image && mirrored < commit)
}

fn image_problems(order: &Deploy) -> Vec<Problem> {
    let mut problems = Vec::new();
    if order.image.urls.is_empty() {
        problems.push(Problem::NoImageUrl);
    }
    for url in &order.image.urls {
        if let Err(why) = http(url) {
            problems.push(Problem::ImageUrl { url: crate::image::public_url(url), why });
        }
    }
    let checksum = &order.image.checksum;
    if !checksum_is_good(checksum.algorithm, &checksum.value) {
        problems.push(Problem::Checksum {
            algorithm: checksum.algorithm.name(),
            digits: checksum.algorithm.hex_len(),
            found: checksum.value.chars().count(),
        });
    }
    problems
}

fn http(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(()),
        other => Err(format!("scheme is {other}")),
    }
}

fn checksum_is_good(algorithm: ChecksumAlgorithm, value: &str) -> bool {
    let hex = value.len() == algorithm.hex_len() && value.bytes().all(|b| b.is_ascii_hexdigit());
    hex || http(value).is_ok()
}

fn no_room(disk: &RootDisk, drive_bytes: Option<u64>) -> Option<Problem> {
    let drive_bytes = drive_bytes?;
    (drive_bytes >= disk.bytes).then_some(Problem::NoRoom { drive_bytes, disk_bytes: disk.bytes })
}

/// The image was committed to another disk than the hints choose now.
fn moved(disk: &RootDisk, done: &[StepRecord]) -> Option<Problem> {
    let written = done.iter().rev().find_map(|step| {
        if let Some(Evidence::Written(written)) = &step.evidence { Some(written) } else { None }
    })?;
    let differs = !written.serial.is_empty() && written.serial != disk.serial;
    differs.then(|| Problem::Moved {
        written: written.serial.clone(),
        chosen: disk.serial.clone(),
        path: disk.path.clone(),
    })
}

#[cfg(test)]
mod tests;
