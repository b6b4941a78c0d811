//! What is known of the machine when an order begins: the inventory, and the disks that orders may touch.

use std::path::{Path, PathBuf};

use ironwright_api::DiskIdentity;
use serde_json::{Map, Value};

use crate::deploy::{Problem, RootDisk};
use crate::inventory::{self, BmcAddresses, Disk};
use crate::layout::Range;
use crate::report::chain;
use crate::root_device::{self, RootDeviceError};
use crate::sys::disk::{Access, BlockDevice, RealDisk};
use crate::sys::{System, partitions};

/// A JSON object.
pub type Object = Map<String, Value>;

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
    /// Ironic's inventory.
    pub inventory: Value,
    /// What else is quickly known, by the keys of an inspection.
    pub extras: Object,
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

/// Facts that take their time: the first heartbeat does not wait for them.
#[derive(Debug, Clone, Default)]
pub struct SlowFacts {
    /// The BMC's own addresses.
    pub bmc: BmcAddresses,
    /// What the disks say of their health and the switches of themselves, by the keys of an inspection.
    pub more: Object,
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
        let extras = inventory::quick(system.root(), &inventory.disks, &inventory.blank);
        let disks = inventory.disks.iter().map(|disk| fact(system.root(), disk)).collect();
        let printed = serde_json::to_value(&inventory).unwrap_or_else(|error| {
            tracing::error!("the inventory cannot be printed: {error}");
            Value::Null
        });
        Self {
            inventory: printed,
            extras,
            macs: inventory::macs(&inventory),
            uefi: inventory.boot.current_boot_mode == "uefi",
            disks,
            blank: inventory.blank.iter().map(|disk| disk.name.clone()).collect(),
            candidates: inventory.disks,
            blanks: inventory.blank,
        }
    }

    /// As sent to the coordinator: the inventory and what else is known, as in an inspection of Ironic's.
    #[must_use]
    pub fn document(&self, slow: &SlowFacts) -> Value {
        let mut inventory = self.inventory.clone();
        if let (Value::Object(inventory), Ok(Value::Object(addresses))) =
            (&mut inventory, serde_json::to_value(&slow.bmc))
        {
            inventory.extend(addresses);
        }
        let mut document = Object::new();
        document.insert("inventory".to_owned(), inventory);
        document.extend(self.extras.clone());
        document.extend(slow.more.clone());
        Value::Object(document)
    }

    /// Asks the disks how they are.
    #[must_use]
    pub fn disk_health(&self) -> Object {
        inventory::disk_health(&self.candidates)
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

    /// The disk that a deploy without hints would take, in Ironic's shape; null where there is none.
    #[must_use]
    pub fn default_root_disk(&self) -> Value {
        let disk = self.root_disk(&Value::Null, &[]).ok();
        let name = disk.map(|disk| disk.path.display().to_string());
        let disks = self.inventory["disks"].as_array().into_iter().flatten();
        disks
            .into_iter()
            .find(|disk| disk["name"].as_str() == name.as_deref())
            .cloned()
            .unwrap_or_default()
    }

    /// The disk that `hints` choose among those that no entry of `skip` matches (`skip_block_devices`).
    ///
    /// # Errors
    /// [`Problem::RootDisk`], also for an entry of `skip` that is no hint: a disk that must be left alone would not be.
    pub fn root_disk(&self, hints: &Value, skip: &[Value]) -> Result<RootDisk, Problem> {
        let problem = |error: &RootDeviceError| Problem::RootDisk { why: chain(error) };
        let mut skipped = Vec::new();
        for entry in skip {
            let found = root_device::matching(entry, &self.candidates).map_err(|error| {
                Problem::RootDisk { why: format!("skip_block_devices: {}", chain(&error)) }
            })?;
            skipped.extend(found.into_iter().map(|disk| disk.name.clone()));
        }
        let left: Vec<Disk> =
            self.candidates.iter().filter(|disk| !skipped.contains(&disk.name)).cloned().collect();
        let choice = root_device::select(hints, &left).map_err(|error| problem(&error))?;
        let disk = choice.disk;
        if disk.read_only {
            let why = format!("{} is read-only", disk.name);
            return Err(Problem::RootDisk { why });
        }
        Ok(RootDisk {
            path: PathBuf::from(&disk.name),
            serial: disk.serial.clone().unwrap_or_default(),
            bytes: disk.size,
            sector_bytes: disk.logical_sectors.unwrap_or(USUAL_SECTOR),
            warning: choice.warning,
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
    use serde_json::json;

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
        assert_eq!((disk.path, disk.bytes, disk.sector_bytes), (name.clone(), 8 << 30, 512));
        for skip in [json!({ "name": name }), json!({"colour": "red"})] {
            let problem = facts.root_disk(&Value::Null, std::slice::from_ref(&skip)).unwrap_err();
            assert!(matches!(problem, Problem::RootDisk { .. }), "{skip}: {problem}");
        }
    }

    #[test]
    fn hints_that_match_nothing_are_a_problem_with_the_reason() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let system = System::sandbox(Path::new("/"), &[file.path().to_path_buf()]).unwrap();
        let hints = json!({"serial": "s== NOBODY"});
        let problem = Facts::collect(&system).root_disk(&hints, &[]).unwrap_err();
        assert!(matches!(problem, Problem::RootDisk { .. }), "{problem}");
    }
}
