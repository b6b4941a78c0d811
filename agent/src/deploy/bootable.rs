//! What a whole-disk image needs beyond its bytes: a partition table for this disk, written last and read back.

use std::sync::Arc;

use ironwright_api::{Blame, Committed, Failure, Written};

use super::identifiers;
use super::perform::{UNBOOTABLE, commit_failure};
use crate::image::{Held, Outcome};
use crate::layout::{self, CommitError, Layout};
use crate::order::blocking;
use crate::report::chain;
use crate::sys::disk::{Access, BlockDevice, RealDisk};
use crate::sys::{System, partitions};

/// The final partition table for `disk`, in memory: the image's own, moved to this disk's end, with room for a config drive.
/// Refuses tables for other sectors, damaged ones, and images without a partition.
pub(super) fn plan(
    disk: &dyn BlockDevice,
    held: &Held,
    written: &Written,
    drive_bytes: Option<u64>,
) -> Result<Layout, Failure> {
    layout::plan(
        &held.head,
        held.tail_offset,
        &held.tail,
        written.virtual_bytes,
        disk.bytes(),
        disk.sector_bytes(),
        drive_bytes,
    )
    .map_err(|error| Failure {
        step: String::new(),
        message: format!("{}; {UNBOOTABLE}", chain(&error)),
        remedy: "deploy an image that fits this disk".to_owned(),
        blame: Blame::Order,
    })
}

/// Other disks of the machine that share identifiers with what is about to be committed, one sentence each. A disk that
/// cannot be read is no reason to fail a deploy: it is logged.
pub(super) fn warnings(
    system: &System,
    disk: &dyn BlockDevice,
    layout: &Layout,
    others: &[std::path::PathBuf],
) -> Vec<String> {
    let written = disk.path().display().to_string();
    let own = match identifiers::of(disk, layout) {
        Ok(own) => own,
        Err(error) => {
            tracing::warn!("identifiers on {written} were not compared: {}", chain(&error));
            return Vec::new();
        }
    };
    let mut warnings = Vec::new();
    for path in others {
        let looked = system.admit(path).map_err(|error| chain(&error)).and_then(|path| {
            let other = RealDisk::open(path, Access::Read).map_err(|error| chain(&error))?;
            let Ok(table) = partitions::table(&other).map_err(|error| chain(&error))? else {
                return Ok(None);
            };
            let theirs = identifiers::of(&other, &table).map_err(|error| chain(&error))?;
            Ok(identifiers::shared(&written, &own, &other.path().display().to_string(), &theirs))
        });
        match looked {
            Ok(sentence) => warnings.extend(sentence),
            Err(why) => {
                tracing::warn!("identifiers on {} were not compared: {why}", path.display());
            }
        }
    }
    warnings
}

/// Makes a disk bootable that [`crate::image::write()`] filled with its boot area held back: as a deploy does, without a
/// config drive.
///
/// # Errors
/// [`NotBootable`]
pub async fn make_bootable(
    disk: Arc<dyn BlockDevice>,
    outcome: &Outcome,
) -> Result<Committed, NotBootable> {
    let cleared = |failure| NotBootable { failure, cleared: true };
    let layout = plan(disk.as_ref(), &outcome.held, &outcome.written, None).map_err(cleared)?;
    let commit = move || Ok(layout::commit(disk.as_ref(), &layout));
    blocking(commit).await.map_err(cleared)?.map_err(|error| NotBootable {
        failure: commit_failure(&error),
        cleared: !matches!(error, CommitError::Unclean { .. }),
    })
}

/// Why a disk did not become bootable.
#[derive(Debug)]
pub struct NotBootable {
    /// What to report.
    pub failure: Failure,
    /// Whether the disk has no partition table; else it may have one.
    pub cleared: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::testing::TestImage;
    use crate::sys::partitions;

    fn outcome(image: &TestImage) -> Outcome {
        let mib = 1 << 20;
        let tail_offset = image.bytes.len() - mib;
        let held = Held {
            head: image.bytes[..mib].to_vec(),
            tail_offset: tail_offset as u64,
            tail: image.bytes[tail_offset..].to_vec(),
        };
        let mut written = super::super::tests::proof("");
        written.virtual_bytes = image.bytes.len() as u64;
        Outcome { written, held }
    }

    #[tokio::test]
    async fn a_bootable_write_moves_the_table_to_the_disk_s_end() {
        let image = TestImage::cloud(512, 8);
        let disk = Arc::new(image.written(12 << 20));
        let committed = make_bootable(disk.clone(), &outcome(&image)).await.unwrap();
        assert_eq!((committed.table.as_str(), committed.partitions), ("gpt", 2));
        assert!(disk.contents()[(12 << 20) - 512..].starts_with(b"EFI PART"));
        assert!(partitions::table(disk.as_ref()).unwrap().is_ok());
    }

    #[tokio::test]
    async fn an_image_for_other_sectors_is_refused_and_the_disk_has_no_table() {
        let image = TestImage::cloud(4096, 8);
        let mut outcome = outcome(&image);
        outcome.written.virtual_bytes = image.bytes.len() as u64;
        let disk = Arc::new(TestImage::cloud(512, 8).written(12 << 20));
        let NotBootable { failure, cleared } =
            make_bootable(disk.clone(), &outcome).await.unwrap_err();
        assert!(cleared);
        assert!(failure.message.contains("4096-byte sectors"), "{}", failure.message);
        assert!(disk.contents()[..1 << 20].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn another_named_disk_with_the_same_image_is_warned_about() {
        let folder = tempfile::tempdir().unwrap();
        let image = TestImage::cloud(512, 8);
        let paths = ["root", "other", "blank"].map(|name| folder.path().join(name));
        for path in &paths[..2] {
            std::fs::write(path, &image.bytes).unwrap();
        }
        std::fs::write(&paths[2], vec![0; 8 << 20]).unwrap();
        let system = System::sandbox(folder.path(), &paths).unwrap();
        let disk = RealDisk::open(system.admit(&paths[0]).unwrap(), Access::Read).unwrap();
        let layout = partitions::table(&disk).unwrap().unwrap();
        let warnings = warnings(&system, &disk, &layout, &paths[1..]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("other has the same"), "{warnings:?}");
    }
}
