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
    /// What starts from it, to be zeroed, first what the firmware itself reads; what lies behind the device's end is left out.
    pub ranges: Vec<Range>,
    /// Why something else of it may start as well: the ranges are zeroed, and clearing fails all the same.
    pub doubt: Option<String>,
}

/// How often the starters are gone over: once to clear them, once to see them clear, and once more where bytes came back.
const ROUNDS: usize = 3;

/// Devices that may still start a system, each with the reason.
#[derive(Debug, Default, thiserror::Error)]
#[error("what starts a system may still be on {}", listed(.0))]
pub struct StillStarts(Vec<(String, String)>);

impl StillStarts {
    /// What to do about it.
    pub const REMEDY: &str = "replace or erase these disks before the machine starts from its disks, then build the arrays again \
                              with raid.create_configuration";

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in more devices: name and reason.
    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = (String, String)>) {
        self.0.extend(more);
    }

    fn push(&mut self, starter: &Starter, why: String) {
        self.0.push((starter.device.display().to_string(), why));
    }
}

fn listed(devices: &[(String, String)]) -> String {
    let one = |(device, why): &(String, String)| format!("{device} ({why})");
    devices.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Clears each of `starters`, whatever becomes of the others, and looks that it is clear. Returns those that were not.
///
/// # Errors
/// [`StillStarts`]
pub(crate) fn clear(starters: &[Starter]) -> Result<Vec<PathBuf>, StillStarts> {
    let (cleared, failed) = sweep(starters);
    if failed.is_empty() { Ok(cleared) } else { Err(failed) }
}

/// The same: those that were not clear, and those that may still start something.
pub(crate) fn sweep(starters: &[Starter]) -> (Vec<PathBuf>, StillStarts) {
    rounds(starters, Starter::clear)
}

/// Clears until a whole round after the last flush finds all clear: an array that holds the devices may be syncing, and bring
/// what it read of one, before that was cleared, to another one that was cleared and looked at already.
fn rounds(
    starters: &[Starter],
    mut clear: impl FnMut(&Starter) -> Result<bool, String>,
) -> (Vec<PathBuf>, StillStarts) {
    let (mut cleared, mut failed) = (Vec::new(), StillStarts::default());
    let mut left: Vec<&Starter> = starters.iter().collect();
    let mut full: Vec<&Starter> = Vec::new();
    for _ in 0..ROUNDS {
        full.clear();
        left.retain(|starter| match clear(starter) {
            Ok(had) => {
                full.extend(had.then_some(*starter));
                true
            }
            Err(why) => {
                failed.push(starter, why);
                false
            }
        });
        if full.is_empty() {
            return (cleared, failed);
        }
        let new = full.iter().map(|starter| &starter.device);
        let new: Vec<PathBuf> = new.filter(|device| !cleared.contains(*device)).cloned().collect();
        cleared.extend(new);
    }
    for starter in full {
        failed.push(starter, "it was cleared, and its old bytes come back".to_owned());
    }
    (cleared, failed)
}

/// Those of `starters` from which firmware would start something, or which cannot be read, for the given reason; nothing is changed.
pub(crate) fn left_alone(starters: &[Starter], why: &str) -> StillStarts {
    let mut left = StillStarts::default();
    for starter in starters.iter().filter(|starter| !starter.starts_nothing()) {
        left.push(starter, format!("left alone: {why}"));
    }
    left
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
        let mut had = false;
        for range in self.ranges.iter().map(|range| inside(disk, range)) {
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

    /// Whether what the firmware itself reads of it is zero.
    fn starts_nothing(&self) -> bool {
        let looked = RealDisk::open(&self.device, Access::Read).and_then(|disk| {
            self.ranges.first().map_or(Ok(()), |range| zero(&disk, inside(&disk, range)))
        });
        looked.is_ok()
    }
}

/// What of a range the device has.
fn inside(disk: &dyn BlockDevice, range: &Range) -> Range {
    Range { bytes: range.bytes.min(disk.bytes().saturating_sub(range.offset)), ..*range }
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
    fn bytes_that_a_resync_brings_back_are_found_and_cleared_again() {
        for (times, endless) in [(1, false), (usize::MAX, true)] {
            let folder = tempfile::tempdir().unwrap();
            let [first, second] = ["a", "b"].map(|name| folder.path().join(name));
            for member in [&first, &second] {
                fs::write(member, vec![7; 8192]).unwrap();
            }
            let mut left = times;
            // The array read of the first member before that was cleared, and writes to the second one afterwards.
            let (cleared, failed) = rounds(&[starter(&first), starter(&second)], |starter| {
                let had = starter.clear();
                if starter.device == second && left > 0 {
                    left -= 1;
                    fs::write(&second, vec![7; 8192]).unwrap();
                }
                had
            });
            assert_eq!(cleared, [first, second.clone()]);
            assert_eq!(!failed.is_empty(), endless, "{failed}");
            assert_eq!(fs::read(&second).unwrap()[0] == 7, endless);
            assert_eq!(failed.to_string().contains("/b (it was cleared, and"), endless, "{failed}");
        }
    }

    #[test]
    fn what_is_left_alone_is_named_where_firmware_would_start_from_it_and_keeps_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("full"), vec![7; 8192]).unwrap();
        let mut without_code = vec![7; 8192];
        without_code[..440].fill(0);
        fs::write(path("inert"), &without_code).unwrap();
        let starters = ["full", "inert", "gone"].map(|name| starter(path(name)));
        let words = left_alone(&starters, "nobody knows").to_string();
        for part in ["/full (left alone: nobody knows)", "/gone (left alone: nobody knows)"] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(!words.contains("/inert"), "{words}");
        assert_eq!(fs::read(path("full")).unwrap(), vec![7; 8192]);
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
