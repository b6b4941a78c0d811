//! What is known of the machine when an order begins: the inventory, and the disks that orders may touch.

use std::path::{Path, PathBuf};

use ironwright_api::DiskIdentity;
use serde_json::Value;

use crate::deploy::{Problem, RootDisk};
use crate::inventory::{self, Disk};
use crate::layout::Range;
use crate::report::chain;
use crate::root_device::{self, RootDeviceError};
use crate::sys::disk::{Access, BlockDevice, RealDisk};
use crate::sys::{System, partitions};

/// Sector size assumed where the kernel does not say.
const USUAL_SECTOR: u32 = 512;

/// One disk that orders may touch.
#[derive(Debug, Clone)]
pub struct DiskFact {
    /// Device node or file.
    pub path: PathBuf,
    /// Serial number, empty when it has none.
    pub serial: String,
    /// Whether the kernel refuses writes.
    pub read_only: bool,
    /// The partitions the kernel knows.
    pub partitions: Vec<Range>,
    /// For certificates.
    pub identity: DiskIdentity,
}

/// The facts of one moment.
#[derive(Debug, Clone)]
pub struct Facts {
    /// As sent to the coordinator.
    pub inventory: Value,
    /// Hardware addresses, for the lookup.
    pub macs: Vec<String>,
    /// Whether the firmware is UEFI.
    pub uefi: bool,
    /// The disks that orders may touch.
    pub disks: Vec<DiskFact>,
    /// Names of disks that show no capacity, and may hold data all the same.
    pub blank: Vec<String>,
    candidates: Vec<Disk>,
    blanks: Vec<Disk>,
}

impl Facts {
    /// Looks at the machine. In a sandbox only the named disks and files are its disks.
    #[must_use]
    pub fn collect(system: &System) -> Self {
        let mut inventory = inventory::collect(system.root());
        if let Some(named) = system.named_disks() {
            let known = std::mem::take(&mut inventory.disks);
            inventory.blank.clear();
            inventory.disks = named.iter().filter_map(|path| named_disk(path, &known)).collect();
        }
        let disks = inventory.disks.iter().map(|disk| fact(system.root(), disk)).collect();
        let printed = serde_json::to_value(&inventory).unwrap_or_else(|error| {
            tracing::error!("the inventory cannot be printed: {error}");
            Value::Null
        });
        Self {
            inventory: printed,
            macs: inventory::macs(&inventory),
            uefi: inventory.boot.current_boot_mode == "uefi",
            disks,
            blank: inventory.blank.iter().map(|disk| disk.name.clone()).collect(),
            candidates: inventory.disks,
            blanks: inventory.blank,
        }
    }

    /// Names of the disks that `hints` match.
    ///
    /// # Errors
    /// [`RootDeviceError`].
    pub fn matching(&self, hints: &Value) -> Result<Vec<String>, RootDeviceError> {
        let mut found = root_device::matching(hints, &self.candidates)?;
        found.extend(root_device::matching(hints, &self.blanks)?);
        Ok(found.iter().map(|disk| disk.name.clone()).collect())
    }

    /// The one disk that `hints` choose, among those that no hints of `skip` match.
    ///
    /// # Errors
    /// [`Problem::RootDisk`].
    pub fn root_disk(&self, hints: &Value, skip: &[Value]) -> Result<RootDisk, Problem> {
        let none = |error| Problem::RootDisk { why: chain(&error) };
        let mut skipped = Vec::new();
        for hints in skip {
            skipped.extend(self.matching(hints).map_err(none)?);
        }
        let left = self.candidates.iter().filter(|disk| !skipped.contains(&disk.name));
        let left: Vec<Disk> = left.cloned().collect();
        let disk = root_device::select(hints, &left).map_err(none)?;
        if disk.read_only {
            let why = format!("{} is read-only", disk.name);
            return Err(Problem::RootDisk { why });
        }
        Ok(RootDisk {
            path: PathBuf::from(&disk.name),
            serial: disk.serial.clone().unwrap_or_default(),
            bytes: disk.size,
            sector_bytes: disk.logical_sectors.unwrap_or(USUAL_SECTOR),
        })
    }
}

/// A named device as the kernel knows it, or a named file as a disk.
fn named_disk(path: &Path, known: &[Disk]) -> Option<Disk> {
    let name = path.to_string_lossy().into_owned();
    if let Some(disk) = known.iter().find(|disk| disk.name == name) {
        return Some(disk.clone());
    }
    match RealDisk::open(path, Access::Read) {
        Ok(disk) => Some(Disk {
            name,
            size: disk.bytes(),
            logical_sectors: Some(disk.sector_bytes()),
            ..Disk::default()
        }),
        Err(error) => {
            tracing::warn!("{}", chain(&error));
            None
        }
    }
}

fn identity(disk: &Disk) -> DiskIdentity {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    DiskIdentity {
        path: disk.name.clone(),
        model: text(&disk.model),
        vendor: text(&disk.vendor),
        serial: text(&disk.serial),
        wwn: text(&disk.wwn),
        transport: text(&disk.tran),
        bytes: disk.size,
        sector_bytes: disk.logical_sectors.unwrap_or(USUAL_SECTOR),
        rotational: disk.rotational,
    }
}

fn fact(root: &Path, disk: &Disk) -> DiskFact {
    let path = PathBuf::from(&disk.name);
    DiskFact {
        serial: disk.serial.clone().unwrap_or_default(),
        read_only: disk.read_only,
        partitions: partitions::of(root, &path),
        identity: identity(disk),
        path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_shows_its_named_files_as_the_only_disks() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        std::fs::File::create(&file).unwrap().set_len(8 << 30).unwrap();
        let system = System::sandbox(Path::new("/"), std::slice::from_ref(&file)).unwrap();
        let facts = Facts::collect(&system);
        let name = file.canonicalize().unwrap();
        assert_eq!(facts.disks.len(), 1);
        assert_eq!(facts.disks[0].path, name);
        assert_eq!(facts.inventory["disks"][0]["size"], 8u64 << 30);
        let disk = facts.root_disk(&Value::Null, &[]).unwrap();
        assert_eq!((disk.path, disk.bytes, disk.sector_bytes), (name, 8 << 30, 512));
    }

    #[test]
    fn hints_that_match_nothing_are_a_problem_with_the_reason() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let system = System::sandbox(Path::new("/"), &[file.path().to_path_buf()]).unwrap();
        let hints = serde_json::json!({"serial": "s== NOBODY"});
        let problem = Facts::collect(&system).root_disk(&hints, &[]).unwrap_err();
        assert!(matches!(problem, Problem::RootDisk { .. }), "{problem}");
    }
}
