//! Performs the actions of a deploy on the real disk.
//!
//! The order of DESIGN 4: the image but for its boot area, the final table in memory, the config drive, and only then what
//! makes the disk bootable. A failure before the commit leaves a disk without a partition table.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ironwright_api::{
    Blame, Committed, Deploy, Evidence, Failure, PartitionImage, StepRecord, Written,
};

use super::run::Perform;
use super::{Action, RootDisk, bootable, members, partition};
use crate::boot::{self, Outcome, Plan};
use crate::configdrive::{self, ConfigDrive};
use crate::heartbeat::OrderDesk;
use crate::image::{self, Hold, Http, ImageError, Starter, StillStarts, Watch};
use crate::layout::{self, CommitError, Layout};
use crate::order::{Machine, blocking};
use crate::raid::Arrays;
use crate::report::chain;
use crate::sys::disk::{Access, BlockDevice, RealDisk, Slice};
use crate::sys::{Effect, System, partitions};

/// Performs the actions of one deploy.
#[derive(Debug)]
pub(super) struct Performer {
    /// The root disk, held for this deploy alone; none while extra steps have it.
    disk: Option<Arc<dyn BlockDevice>>,
    root: RootDisk,
    request: image::Request,
    /// Present: the image goes to a partition of its own.
    partition: Option<PartitionImage>,
    http: Http,
    drive: Option<Arc<ConfigDrive>>,
    desk: OrderDesk,
    layout: Option<Arc<Layout>>,
    system: Arc<System>,
    /// The machine's other disks.
    others: Vec<PathBuf>,
    /// The commit's proof, from this run or from an earlier attempt.
    committed: Option<Committed>,
    /// The arrays, where the root disk is one.
    arrays: Option<Arc<Arrays>>,
    uefi: bool,
}

impl Performer {
    /// Opens the root disk for itself alone. `done` are the steps of earlier attempts.
    pub(super) fn open(
        machine: &Machine,
        (order, done): (&Deploy, &[StepRecord]),
        (root, others): (RootDisk, Vec<PathBuf>),
        drive: Option<ConfigDrive>,
        desk: OrderDesk,
    ) -> Result<Self, Failure> {
        let disk = hold(machine.system(), &root).map_err(|failure| Failure {
            message: format!("nothing was changed: {}", failure.message),
            ..failure
        })?;
        let request = image::Request {
            urls: order.image.urls.clone(),
            checksum: order.image.checksum.clone(),
            disk_format: order.image.disk_format.clone(),
            readback: order.readback,
            hold: match order.image.partition {
                // Its first MiB is no partition table.
                Some(_) => Hold::Nothing,
                None => Hold::BootArea,
            },
            starters: Vec::new(),
        };
        Ok(Self {
            partition: order.image.partition,
            disk: Some(disk),
            root,
            request,
            http: machine.image_http(&order.image)?,
            drive: drive.map(Arc::new),
            desk,
            layout: None,
            system: machine.system().clone(),
            others,
            committed: done.iter().rev().find_map(|step| {
                if let Some(Evidence::Committed(proof)) = &step.evidence {
                    Some(proof.clone())
                } else {
                    None
                }
            }),
            arrays: None,
            uefi: false,
        })
    }

    /// The root disk is one of these, if any.
    pub(super) fn on_array(&mut self, arrays: Option<Arrays>, uefi: bool) {
        self.arrays = arrays.map(Arc::new);
        self.uefi = uefi;
    }

    /// Lets others open the root disk. The next action takes it again.
    pub(super) fn let_go(&mut self) {
        self.disk = None;
    }

    fn disk(&mut self) -> Result<Arc<dyn BlockDevice>, Failure> {
        let disk = match self.disk.take() {
            Some(disk) => disk,
            None => hold(&self.system, &self.root)?,
        };
        Ok(self.disk.insert(disk).clone())
    }

    /// Writes the image, and makes the final table in memory so that an image without one fails here.
    async fn write_image(&mut self) -> Result<Option<Evidence>, Failure> {
        let disk = self.disk()?;
        let drive_bytes = self.drive.as_ref().map(|drive| drive.bytes.len() as u64);
        let starters = self.starters().await?;
        let (mut written, layout) = match self.partition {
            Some(image) => self.partition_image(&disk, starters, &image, drive_bytes).await?,
            None => {
                let request = image::Request { starters, ..self.request.clone() };
                let outcome = self.image_to(disk.clone(), &request).await?;
                let layout =
                    bootable::plan(disk.as_ref(), &outcome.held, &outcome.written, drive_bytes)?;
                (outcome.written, layout)
            }
        };
        let layout = Arc::new(layout);
        if let Some(arrays) = self.arrays.clone() {
            let (layout, uefi) = (layout.clone(), self.uefi);
            let checked = move || {
                members::check(&arrays, &layout, uefi).map_err(|error| unbootable(error.failure()))
            };
            blocking(checked).await?;
        }
        let system = self.system.clone();
        let (planned, others) = (layout.clone(), self.others.clone());
        written.warnings =
            blocking(move || Ok(bootable::warnings(&system, disk.as_ref(), &planned, &others)))
                .await?;
        written.warnings.extend(self.root.warning.clone());
        for warning in &written.warnings {
            tracing::warn!("{warning}");
        }
        self.layout = Some(layout);
        written.serial.clone_from(&self.root.serial);
        Ok(Some(Evidence::Written(Box::new(written))))
    }

    /// What starts the disk's old system beside the disk.
    async fn starters(&self) -> Result<Vec<Starter>, Failure> {
        let Some(arrays) = self.arrays.clone() else { return Ok(Vec::new()) };
        let esp = move |arrays: &Arrays| arrays.esp.as_ref().map(|esp| esp.members.clone());
        blocking(move || {
            Ok(members::starters(&arrays.root.members, &esp(&arrays).unwrap_or_default()))
        })
        .await
    }

    async fn image_to(
        &self,
        target: Arc<dyn BlockDevice>,
        request: &image::Request,
    ) -> Result<image::Outcome, Failure> {
        let watch = Arc::new(Follow { desk: self.desk.clone(), phase: Mutex::new("") });
        image::write(request, target, watch, &self.http)
            .await
            .map_err(|error| image_failure(&error))
    }

    /// Writes an image to a partition of its own, and what goes around it.
    async fn partition_image(
        &self,
        disk: &Arc<dyn BlockDevice>,
        starters: Vec<Starter>,
        image: &PartitionImage,
        drive_bytes: Option<u64>,
    ) -> Result<(Written, Layout), Failure> {
        let scheme = partition::scheme(image, disk.bytes(), disk.sector_bytes(), drive_bytes)
            .map_err(|error| partition::untouched(&error))?;
        // Before anything of the disk is taken away: the image is there, and is one.
        image::probe(&self.request, &self.http).await.map_err(|error| image_failure(&error))?;
        let clearing = disk.clone();
        blocking(move || {
            partition::clear(clearing.as_ref())?;
            image::clear_starters(&starters).map(drop).map_err(|error| still_starts(&error))
        })
        .await?;
        let root = Arc::new(Slice::new(disk.clone(), scheme.root));
        let outcome = self.image_to(root, &self.request).await.map_err(partition::cleared)?;
        let disk = disk.clone();
        let layout =
            blocking(move || partition::fill(&disk, &scheme).map(|()| scheme.layout)).await?;
        Ok((outcome.written, layout))
    }

    async fn write_configdrive(&mut self) -> Result<Option<Evidence>, Failure> {
        let layout = self.layout()?;
        let (Some(drive), Some(range)) = (self.drive.clone(), layout.config) else {
            return Err(out_of_order());
        };
        let disk = self.disk()?;
        blocking(move || {
            configdrive::write(disk.as_ref(), range, &drive)
                .map(|configured| Some(Evidence::Configured(configured)))
                .map_err(|error| disk_failure(&error))
        })
        .await
    }

    /// Brings what starts the system to every member of the array.
    async fn mirror_boot(&mut self) -> Result<Option<Evidence>, Failure> {
        let (disk, layout, uefi) = (self.disk()?, self.layout()?, self.uefi);
        let arrays = self.arrays.clone().ok_or_else(out_of_order)?;
        let (proof, left) = blocking(move || {
            members::mirror(&arrays, &layout, disk.as_ref(), uefi)
                .map_err(|error| unbootable(error.failure()))
        })
        .await?;
        self.layout = Some(Arc::new(left));
        Ok(Some(Evidence::Mirrored(proof)))
    }

    async fn commit(&mut self) -> Result<Option<Evidence>, Failure> {
        let (disk, layout) = (self.disk()?, self.layout()?);
        let committed = blocking(move || {
            layout::commit(disk.as_ref(), &layout).map_err(|error| commit_failure(&error))
        })
        .await?;
        self.committed = Some(committed.clone());
        Ok(Some(Evidence::Committed(committed)))
    }

    /// Tells the firmware. A firmware that takes no entry starts `\EFI\BOOT` all the same: that is logged, not failed.
    async fn boot_entry(&mut self) -> Result<Option<Evidence>, Failure> {
        let (disk, system, layout) = (self.disk()?, self.system.clone(), self.layout.clone());
        let arrays = self.arrays.clone();
        let outcome = blocking(move || {
            if let Some(arrays) = arrays {
                return Ok(members::tell_firmware(&system, &arrays));
            }
            let layout = match layout {
                Some(layout) => layout,
                // The commit was another process's: what it wrote is on the disk.
                None => committed_layout(disk.as_ref())?,
            };
            Ok(tell_firmware(&system, disk.as_ref(), &layout))
        })
        .await?;
        match outcome {
            Outcome::Written(entry) => {
                tracing::info!("boot entry: {entry}");
                let proof = self.committed.clone();
                Ok(proof.map(|proof| {
                    Evidence::Committed(Committed { boot_entry: Some(entry), ..proof })
                }))
            }
            Outcome::None(reason) => {
                tracing::warn!("no boot entry: {reason}");
                Ok(None)
            }
        }
    }

    fn layout(&self) -> Result<Arc<Layout>, Failure> {
        self.layout.clone().ok_or_else(out_of_order)
    }
}

impl Perform for Performer {
    async fn perform(&mut self, action: Action) -> Result<Option<Evidence>, Failure> {
        match action {
            Action::WriteImage => self.write_image().await,
            Action::WriteConfigDrive => self.write_configdrive().await,
            Action::MirrorBoot => self.mirror_boot().await,
            Action::Commit => self.commit().await,
            Action::BootEntry => self.boot_entry().await,
        }
    }
}

/// Opens the root disk for this deploy alone.
pub(super) fn hold(system: &System, root: &RootDisk) -> Result<Arc<dyn BlockDevice>, Failure> {
    let opened = system
        .admit(&root.path)
        .map_err(|error| chain(&error))
        .and_then(|path| RealDisk::open(path, Access::Write).map_err(|error| chain(&error)));
    let disk = opened.map_err(|why| Failure {
        step: String::new(),
        message: why,
        remedy: "check the disk, and that nothing on the machine holds it".to_owned(),
        blame: Blame::Hardware,
    })?;
    Ok(Arc::new(disk))
}

pub(super) fn committed_layout(disk: &dyn BlockDevice) -> Result<Arc<Layout>, Failure> {
    let why = match partitions::table(disk) {
        Ok(Ok(layout)) => return Ok(Arc::new(layout)),
        Ok(Err(error)) => chain(&error),
        Err(error) => chain(&error),
    };
    Err(Failure {
        step: String::new(),
        message: format!(
            "the disk that was committed before has no good partition table now: {why}"
        ),
        remedy: "check the disk, then deploy anew".to_owned(),
        blame: Blame::Hardware,
    })
}

pub(super) fn tell_firmware(system: &System, disk: &dyn BlockDevice, layout: &Layout) -> Outcome {
    let plan = boot::plan(system.root(), disk, layout);
    if let Plan::Entry(entry) = &plan
        && !system.may(Effect::BootEntry { label: entry.to_string() })
    {
        return Outcome::None("recorded only: this is not the ramdisk".to_owned());
    }
    boot::perform(system.root(), &plan)
}

/// What the operator must know of the disk after a failure between start and commit.
pub(super) const UNBOOTABLE: &str = "the disk has no partition table";

fn image_failure(error: &ImageError) -> Failure {
    Failure {
        step: String::new(),
        message: chain(error),
        remedy: error.remedy(),
        blame: error.blame(),
    }
}

pub(super) fn disk_failure(error: &dyn std::error::Error) -> Failure {
    Failure {
        step: String::new(),
        message: format!("{}; {UNBOOTABLE}", chain(error)),
        remedy: "check the disk, its cable and controller, and replace what is broken".to_owned(),
        blame: Blame::Hardware,
    }
}

/// A failure in the commit: the disk was cleared again, unless the error says that it could not be.
pub(super) fn commit_failure(error: &CommitError) -> Failure {
    let failure = disk_failure(error);
    match error {
        CommitError::Unclean { .. } => Failure { message: chain(error), ..failure },
        CommitError::WrongDisk { .. } | CommitError::Disk { .. } | CommitError::Differs { .. } => {
            failure
        }
    }
}

fn still_starts(error: &StillStarts) -> Failure {
    unbootable(Failure {
        step: String::new(),
        message: chain(error),
        remedy: StillStarts::REMEDY.to_owned(),
        blame: Blame::Hardware,
    })
}

/// A failure before the commit.
fn unbootable(failure: Failure) -> Failure {
    Failure { message: format!("{}; {UNBOOTABLE}", failure.message), ..failure }
}

/// The plan always puts the image first; a plan that does not is a defect.
fn out_of_order() -> Failure {
    Failure {
        step: String::new(),
        message: "the plan has an action before the one it depends on".to_owned(),
        remedy: "this is a defect of the agent: report it with the order".to_owned(),
        blame: Blame::Internal,
    }
}

/// Carries the progress of an image to the heartbeat and a cancellation to the image.
#[derive(Debug)]
struct Follow {
    desk: OrderDesk,
    phase: Mutex<&'static str>,
}

impl Watch for Follow {
    fn progress(&self, phase: &'static str, bytes: u64, total: Option<u64>) {
        let mut known = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != phase {
            tracing::info!("write_image: {phase}");
            *known = phase;
        }
        self.desk.progress(bytes, total);
    }

    fn cancelled(&self) -> bool {
        self.desk.is_cancelled()
    }
}

#[cfg(test)]
mod tests;
