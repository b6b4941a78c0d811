//! Where everything goes: partitions on each member disk, and the arrays of them. Pure.
//!
//! Each member disk has a boot partition of its own, because firmware reads disks and no arrays: an EFI system partition, or the
//! place for a BIOS boot loader. The EFI system partitions are a mirror too, with its label at the end (metadata 1.0), so
//! that the firmware sees a plain FAT file system on each and the deployed system keeps them equal.

use std::collections::BTreeMap;

use crate::config::{LogicalDisk, Size};
use crate::disks::Disk;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Where the first partition begins, bytes: as every partitioning tool does, and images with a BIOS boot loader count on it.
const FIRST: u64 = MIB;
/// End of the boot partition, bytes: Ironic's 551 MiB for UEFI, 8 MiB for BIOS.
const ESP_END: u64 = 551 * MIB;
const BIOS_END: u64 = 8 * MIB;
/// Kept free at a disk's end for the second partition table, bytes.
const TAIL: u64 = MIB;

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// EFI system partition.
    Esp,
    /// Place for a BIOS boot loader.
    Bios,
    /// A part of array `logical_disks[n]`.
    Member(usize),
}

/// One partition to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// From 1.
    pub(crate) number: usize,
    /// First byte.
    pub(crate) start: u64,
    /// First byte after it.
    pub(crate) end: u64,
    pub(crate) what: Use,
}

/// An array to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    /// Device node while it is made.
    pub(crate) device: String,
    pub(crate) name: String,
    /// mdadm's name of it.
    pub(crate) level: &'static str,
    /// mdadm's metadata version.
    pub(crate) metadata: &'static str,
    /// Device nodes.
    pub(crate) members: Vec<String>,
}

/// Everything to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// By disk.
    pub(crate) partitions: BTreeMap<String, Vec<Partition>>,
    /// One a logical disk, then the mirror of EFI system partitions.
    pub(crate) arrays: Vec<Array>,
}

/// Lays `wanted` out on `disks`.
///
/// # Errors
/// Everything that does not fit.
pub(crate) fn plan(
    wanted: &[LogicalDisk],
    disks: &[Disk],
    uefi: bool,
) -> Result<Layout, Vec<String>> {
    let mut problems = Vec::new();
    let mut members: Vec<Vec<&Disk>> = Vec::new();
    for (at, logical) in wanted.iter().enumerate() {
        let chosen = chosen(logical, disks);
        problems.extend(chosen.as_ref().err().map(|wrong| format!("logical_disks[{at}]: {wrong}")));
        members.push(chosen.unwrap_or_default());
    }
    let mut partitions = BTreeMap::new();
    for disk in disks.iter().filter(|disk| members.iter().any(|chosen| chosen.contains(disk))) {
        let uses: Vec<(usize, &LogicalDisk)> = wanted
            .iter()
            .enumerate()
            .filter(|(at, _)| members.get(*at).is_some_and(|chosen| chosen.contains(&disk)))
            .collect();
        match on_disk(disk, &uses, uefi) {
            Ok(parts) => drop(partitions.insert(disk.path.clone(), parts)),
            Err(wrong) => problems.push(wrong),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let arrays = arrays(wanted, disks, &partitions);
    Ok(Layout { partitions, arrays })
}

/// The member disks of one array.
fn chosen<'a>(logical: &LogicalDisk, disks: &'a [Disk]) -> Result<Vec<&'a Disk>, String> {
    let found: Vec<&Disk> = match &logical.disks {
        None => disks.iter().filter(|disk| disk.unfit.is_none()).collect(),
        Some(names) => {
            let mut found = Vec::new();
            for name in names {
                let disk = disks.iter().find(|disk| disk.path == *name);
                let disk =
                    disk.ok_or_else(|| format!("{name} is no disk that this plugin may use"))?;
                match disk.unfit {
                    Some(why) => return Err(format!("{name} cannot be a member: {why}")),
                    None if found.contains(&disk) => return Err(format!("{name} is chosen twice")),
                    None => found.push(disk),
                }
            }
            found
        }
    };
    let (level, fewest) = (logical.level.name(), logical.level.fewest());
    if found.len() < fewest {
        let names: Vec<&str> = found.iter().map(|disk| disk.path.as_str()).collect();
        return Err(format!(
            "RAID {level} needs {fewest} disks, there are {} ({})",
            found.len(),
            names.join(", ")
        ));
    }
    Ok(found)
}

/// The partitions of one disk: for booting, then one an array; what is to have the rest goes last.
fn on_disk(
    disk: &Disk,
    uses: &[(usize, &LogicalDisk)],
    uefi: bool,
) -> Result<Vec<Partition>, String> {
    let (what, end) = if uefi { (Use::Esp, ESP_END) } else { (Use::Bios, BIOS_END) };
    let mut parts = vec![Partition { number: 1, start: FIRST, end, what }];
    let limit = (disk.bytes / MIB * MIB).saturating_sub(TAIL);
    let mut at = end;
    let mut ordered: Vec<&(usize, &LogicalDisk)> = uses.iter().collect();
    ordered.sort_by_key(|(_, logical)| logical.size == Size::Max);
    for (index, logical) in ordered {
        let end = match logical.size {
            Size::Gib(gib) => at.saturating_add(gib.saturating_mul(GIB)),
            Size::Max => limit,
        };
        if end > limit || end < at.saturating_add(64 * MIB) {
            return Err(format!(
                "{} has {} MiB, logical_disks[{index}] does not fit in the {} MiB that are left",
                disk.path,
                disk.bytes / MIB,
                limit.saturating_sub(at) / MIB
            ));
        }
        parts.push(Partition {
            number: parts.len() + 1,
            start: at,
            end,
            what: Use::Member(*index),
        });
        at = end;
    }
    Ok(parts)
}

fn arrays(
    wanted: &[LogicalDisk],
    disks: &[Disk],
    partitions: &BTreeMap<String, Vec<Partition>>,
) -> Vec<Array> {
    let nodes = |what: Use| -> Vec<String> {
        let node = |disk: &Disk| {
            let part = partitions.get(&disk.path)?.iter().find(|part| part.what == what)?;
            Some(disk.partition(part.number))
        };
        disks.iter().filter_map(node).collect()
    };
    let mut arrays: Vec<Array> = wanted
        .iter()
        .enumerate()
        .map(|(at, logical)| Array {
            device: format!("/dev/md{at}"),
            name: logical.name.clone().unwrap_or_else(|| format!("md{at}")),
            level: logical.level.name(),
            metadata: "1.2",
            members: nodes(Use::Member(at)),
        })
        .collect();
    let esps = nodes(Use::Esp);
    if esps.len() > 1 {
        arrays.push(Array {
            device: "/dev/md127".to_owned(),
            name: "esp".to_owned(),
            level: "1",
            metadata: "1.0",
            members: esps,
        });
    }
    arrays
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::parse;

    fn disk(path: &str, gib: u64) -> Disk {
        Disk {
            path: path.to_owned(),
            bytes: gib << 30,
            sector_bytes: 512,
            partitions: Vec::new(),
            holder: None,
            unfit: None,
        }
    }

    fn wanted(disks: &serde_json::Value) -> Vec<LogicalDisk> {
        parse(&json!({ "logical_disks": disks })).unwrap()
    }

    #[test]
    fn two_arrays_share_the_disks_and_the_rest_goes_last() {
        let wanted = wanted(&json!([
            {"size_gb": "MAX", "raid_level": "1", "controller": "software", "volume_name": "root"},
            {"size_gb": 4, "raid_level": "5", "controller": "software"},
        ]));
        let disks = [disk("/dev/sda", 10), disk("/dev/sdb", 12), disk("/dev/nvme0n1", 10)];
        let layout = plan(&wanted, &disks, true).unwrap();
        let parts = &layout.partitions["/dev/sda"];
        assert_eq!(parts[0], Partition { number: 1, start: MIB, end: 551 * MIB, what: Use::Esp });
        assert_eq!((parts[1].what, parts[1].end - parts[1].start), (Use::Member(1), 4 * GIB));
        assert_eq!((parts[2].what, parts[2].end), (Use::Member(0), 10 * GIB - MIB));
        let names: Vec<(&str, &str, &str)> = layout
            .arrays
            .iter()
            .map(|array| (array.device.as_str(), array.name.as_str(), array.level))
            .collect();
        assert_eq!(
            names,
            [("/dev/md0", "root", "1"), ("/dev/md1", "md1", "5"), ("/dev/md127", "esp", "1")]
        );
        assert_eq!(layout.arrays[0].members, ["/dev/sda3", "/dev/sdb3", "/dev/nvme0n1p3"]);
        assert_eq!(layout.arrays[2].metadata, "1.0", "the firmware must see its file system");
    }

    #[test]
    fn a_bios_machine_has_room_for_its_boot_loader_and_no_esp() {
        let wanted =
            wanted(&json!([{"size_gb": "MAX", "raid_level": "1", "controller": "software"}]));
        let layout = plan(&wanted, &[disk("/dev/vda", 2), disk("/dev/vdb", 2)], false).unwrap();
        let parts = &layout.partitions["/dev/vdb"];
        assert_eq!((parts[0].what, parts[0].end, parts[1].start), (Use::Bios, 8 * MIB, 8 * MIB));
        assert_eq!(layout.arrays.len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let one =
            |level: &str| json!({"size_gb": 20, "raid_level": level, "controller": "software"});
        let mut removable = disk("/dev/sdc", 50);
        removable.unfit = Some("it is removable");
        let disks = [disk("/dev/sda", 10), disk("/dev/sdb", 50), removable];
        let problems = plan(&wanted(&json!([one("1")])), &disks, false).unwrap_err();
        assert!(
            problems[0].starts_with("/dev/sda has 10240 MiB, logical_disks[0] does not fit"),
            "{problems:?}"
        );
        let problems = plan(&wanted(&json!([one("1"), one("6")])), &disks, false).unwrap_err();
        assert!(
            problems[0].contains("RAID 6 needs 4 disks, there are 2 (/dev/sda, /dev/sdb)"),
            "{problems:?}"
        );
        let mut named = one("1");
        named["physical_disks"] = json!([{"name": "/dev/sdb"}, {"name": "/dev/sdc"}]);
        let problems = plan(&wanted(&json!([named])), &disks, false).unwrap_err();
        assert!(
            problems[0].contains("/dev/sdc cannot be a member: it is removable"),
            "{problems:?}"
        );
    }
}
