//! What else starts the disk's old system: firmware reads the members of an array, and not the array.

use std::io;
use std::path::PathBuf;

use crate::layout::Range;
use crate::report::chain;
use crate::sys::disk::{Access, BlockDevice, DiskError, DiskOp, RealDisk, first_non_zero};

/// A device beside the written one that firmware starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starter {
    /// Device node or file. Others may hold it: an array, or partitions of it.
    pub device: PathBuf,
    /// What starts from it, to be zeroed; what lies behind the device's end is left out.
    pub ranges: Vec<Range>,
    /// Why something else of it may start as well: the ranges are zeroed, and clearing fails all the same.
    pub doubt: Option<String>,
}

/// Devices that may still start a system, each with the reason.
#[derive(Debug, thiserror::Error)]
#[error("what starts a system may still be on {}", listed(.0))]
pub struct StillStarts(Vec<(PathBuf, String)>);

impl StillStarts {
    /// What to do about it.
    pub const REMEDY: &str = "replace or erase these disks before the machine starts from its disks, then build the arrays again \
                              with raid.create_configuration";
}

fn listed(devices: &[(PathBuf, String)]) -> String {
    let one = |(device, why): &(PathBuf, String)| format!("{} ({why})", device.display());
    devices.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Clears each of `starters`, whatever becomes of the others, and looks that it is clear. Returns those that were not.
///
/// # Errors
/// [`StillStarts`]
pub(crate) fn clear(starters: &[Starter]) -> Result<Vec<PathBuf>, StillStarts> {
    let (mut cleared, mut failed) = (Vec::new(), Vec::new());
    for starter in starters {
        match starter.clear() {
            Ok(true) => cleared.push(starter.device.clone()),
            Ok(false) => {}
            Err(why) => failed.push((starter.device.clone(), why)),
        }
    }
    if failed.is_empty() { Ok(cleared) } else { Err(StillStarts(failed)) }
}

impl Starter {
    /// Whether there was something to clear.
    fn clear(&self) -> Result<bool, String> {
        let disk = RealDisk::open(&self.device, Access::WriteBeside);
        let had = disk.and_then(|disk| self.clear_on(&disk)).map_err(|error| chain(&error))?;
        self.doubt.clone().map_or(Ok(had), Err)
    }

    /// The same on an open device.
    pub(crate) fn clear_on(&self, disk: &dyn BlockDevice) -> Result<bool, DiskError> {
        let inside = |range: &Range| Range {
            bytes: range.bytes.min(disk.bytes().saturating_sub(range.offset)),
            ..*range
        };
        let mut had = false;
        for range in self.ranges.iter().map(inside) {
            if zero(disk, range).is_ok() {
                continue;
            }
            had = true;
            disk.zero(range.offset, range.bytes)?;
            disk.flush()?;
            zero(disk, range)?;
        }
        Ok(had)
    }
}

/// Looks whether a range is zero.
fn zero(disk: &dyn BlockDevice, range: Range) -> Result<(), DiskError> {
    let mut found = vec![0xff; usize::try_from(range.bytes).unwrap_or(0)];
    disk.read_at(range.offset, &mut found)?;
    let Some((place, byte)) = first_non_zero(&found) else { return Ok(()) };
    Err(DiskError {
        device: disk.path().to_path_buf(),
        op: DiskOp::Zero,
        offset: range.offset + place as u64,
        bytes: 1,
        source: io::Error::other(format!("it reads back as {byte:#04x}")),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::layout::testing::FakeDisk;

    fn starter(device: impl Into<PathBuf>) -> Starter {
        let ranges = vec![Range { offset: 0, bytes: 440 }, Range { offset: 4096, bytes: 1 << 20 }];
        Starter { device: device.into(), ranges, doubt: None }
    }

    #[test]
    fn every_device_is_cleared_and_those_that_are_not_are_all_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["held", "good", "doubtful"] {
            fs::write(path(name), vec![7; 8192]).unwrap();
        }
        let holder = fs::OpenOptions::new().write(true).open(path("held")).unwrap();
        holder.try_lock().unwrap();
        let doubt = Some("no good partition table".to_owned());
        let starters = [
            starter(path("held")),
            starter(path("missing")),
            Starter { doubt, ..starter(path("doubtful")) },
            starter(path("good")),
        ];
        let words = clear(&starters).unwrap_err().to_string();
        for part in [
            "/held (open of",
            "/missing (open of",
            "/doubtful (no good partition table)",
            "may still",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(!words.contains("/good"), "{words}");
        for name in ["good", "doubtful"] {
            let left = fs::read(path(name)).unwrap();
            assert!(left[..440].iter().chain(&left[4096..]).all(|byte| *byte == 0), "{name}");
            assert!(left[440..4096].iter().all(|byte| *byte == 7), "{name}");
        }
        holder.unlock().unwrap();
        assert_eq!(clear(&starters[..1]).unwrap(), [path("held")]);
        assert!(clear(&starters[..1]).unwrap().is_empty(), "it was clear");
    }

    #[test]
    fn a_device_that_keeps_its_bytes_is_no_cleared_one() {
        let mut disk = FakeDisk::of(vec![0xb0; 8192]);
        assert!(starter("").clear_on(&disk).unwrap());
        assert!(!starter("").clear_on(&disk).unwrap());
        disk.flip_at = Some(4100);
        let error = starter("").clear_on(&disk).unwrap_err();
        assert_eq!((error.offset, error.op), (4100, DiskOp::Zero));
        assert!(chain(&error).contains("reads back as 0xff"), "{}", chain(&error));
    }
}
