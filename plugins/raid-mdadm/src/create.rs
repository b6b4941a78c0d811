//! Building arrays: partitions on every member disk, the arrays of them, and what their labels say afterwards.

use std::path::Path;

use ironwright_plugin::{Context, Problem};
use serde_json::{Value, json};

use crate::config::{self, LogicalDisk};
use crate::disks::{self, Disk};
use crate::layout::{self, Array, Layout, Partition, Use};
use crate::{members, tool};

const CORRECT: &str = "correct the target_raid_config, or the disks that it is for";

/// What was ordered.
#[derive(Debug)]
pub(crate) struct Order {
    wanted: Vec<LogicalDisk>,
    disks: Vec<Disk>,
    layout: Layout,
    delete_existing: bool,
}

/// Reads and checks an order. `key` is the argument with the configuration.
///
/// # Errors
/// Everything that is wrong with it, and what is in the way.
pub(crate) fn order(
    root: &Path,
    args: &Value,
    devices: &[String],
    (key, delete_by_default): (&str, bool),
) -> Result<Order, Problem> {
    let flag =
        |name: &str, default: bool| args.get(name).and_then(Value::as_bool).unwrap_or(default);
    let config =
        args.get(key).filter(|config| config.as_object().is_some_and(|config| !config.is_empty()));
    let config = config.ok_or_else(|| {
        tool::order(
            format!("there is no {key}"),
            "set the node's target_raid_config, or give the argument",
        )
    })?;
    let refused =
        |problems: Vec<String>| tool::order(format!("{key}: {}", problems.join("; ")), CORRECT);
    let mut wanted = config::parse(config).map_err(refused)?;
    let (roots, others) = (flag("create_root_volume", true), flag("create_nonroot_volumes", true));
    wanted.retain(|disk| if disk.root { roots } else { others });
    if wanted.is_empty() {
        return Err(tool::order("no logical disk is left to create", CORRECT));
    }
    let all = disks::among(root, devices);
    let layout = layout::plan(&wanted, &all, disks::is_uefi(root)).map_err(refused)?;
    let disks: Vec<Disk> =
        all.into_iter().filter(|disk| layout.partitions.contains_key(&disk.path)).collect();
    let order = Order {
        wanted,
        disks,
        layout,
        delete_existing: flag("delete_existing", delete_by_default),
    };
    in_the_way(&order)?;
    Ok(order)
}

/// What is on the disks and is not to be deleted.
fn in_the_way(order: &Order) -> Result<(), Problem> {
    if let Some(holder) = members::foreign_holder(&order.disks) {
        return Err(tool::order(holder, "stop what is built on the disk, or choose others"));
    }
    if order.delete_existing {
        return Ok(());
    }
    let remedy = "order delete_configuration first, or create_configuration with delete_existing, if it may go";
    let used: Vec<&str> = order
        .disks
        .iter()
        .filter(|disk| !disk.partitions.is_empty())
        .map(|disk| disk.path.as_str())
        .collect();
    if !used.is_empty() {
        return Err(tool::order(
            format!("Partitions detected on devices {}", used.join(", ")),
            remedy,
        ));
    }
    let arrays = members::arrays(&order.disks)?;
    match arrays.values().next() {
        Some(array) => Err(tool::order(
            format!("{} is a member of the array {}", array.members.join(", "), array.name),
            remedy,
        )),
        None => Ok(()),
    }
}

impl Order {
    /// One sentence for each disk that is lost and each array that comes.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for (disk, parts) in &self.layout.partitions {
            let parts: Vec<String> = parts.iter().map(described).collect();
            sentences.push(format!(
                "{disk}: everything on it is lost; new partitions: {}",
                parts.join(", ")
            ));
        }
        for array in &self.layout.arrays {
            let Array { device, name, level, members, .. } = array;
            sentences.push(format!("{device} {name}: RAID {level} of {}", members.join(", ")));
        }
        sentences
    }

    /// Builds it and returns Ironic's `raid_config`.
    ///
    /// # Errors
    /// Whatever a tool or a disk refused, or labels that do not say what was asked for.
    pub(crate) fn perform(&self, root: &Path, context: &Context) -> Result<Value, Problem> {
        let steps = (self.disks.len() + self.layout.arrays.len()) as u64;
        if self.delete_existing {
            members::delete(root, &self.disks.iter().collect::<Vec<_>>(), context)?;
        }
        // mdadm keeps its lock and its map there.
        std::fs::create_dir_all("/run/mdadm").ok();
        for (at, disk) in self.disks.iter().enumerate() {
            context.progress(at as u64, Some(steps), &format!("partitioning {}", disk.path));
            partition(disk, self.layout.partitions.get(&disk.path).map_or(&[], Vec::as_slice))?;
        }
        let mut made = Vec::new();
        for (at, array) in self.layout.arrays.iter().enumerate() {
            let done = (self.disks.len() + at) as u64;
            context.progress(
                done,
                Some(steps),
                &format!("creating {} ({})", array.device, array.name),
            );
            made.push(create(array)?);
        }
        Ok(self.raid_config(&made))
    }

    fn raid_config(&self, uuids: &[String]) -> Value {
        let logical = |(wanted, (array, uuid)): (&LogicalDisk, (&Array, &String))| {
            let mut shown = wanted.asked.clone();
            shown["volume_name"] = json!(array.name);
            shown["uuid"] = json!(uuid);
            shown["members"] = json!(array.members);
            shown
        };
        let arrays = self.layout.arrays.iter().zip(uuids);
        let logical: Vec<Value> = self.wanted.iter().zip(arrays.clone()).map(logical).collect();
        let esp = arrays.clone().find(|(array, _)| array.name == "esp").map(|(_, uuid)| uuid);
        match esp {
            Some(uuid) => json!({"logical_disks": logical, "esp": {"uuid": uuid}}),
            None => json!({ "logical_disks": logical }),
        }
    }
}

fn described(part: &Partition) -> String {
    let mib = (part.end - part.start) >> 20;
    match part.what {
        Use::Esp => format!("EFI system {mib} MiB"),
        Use::Bios => format!("BIOS boot {mib} MiB"),
        Use::Member(at) => format!("array {at} {mib} MiB"),
    }
}

fn partition(disk: &Disk, parts: &[Partition]) -> Result<(), Problem> {
    tool::wipe_ends(&disk.path)?;
    let mut args = vec!["--clear".to_owned(), "--set-alignment=1".to_owned()];
    for part in parts {
        let (number, code, name) = match part.what {
            Use::Esp => (part.number, "ef00", "esp"),
            Use::Bios => (part.number, "ef02", "bios"),
            Use::Member(_) => (part.number, "fd00", "raid"),
        };
        let (first, last) = (part.start / disk.sector_bytes, part.end / disk.sector_bytes - 1);
        args.push(format!("--new={number}:{first}:{last}"));
        args.push(format!("--typecode={number}:{code}"));
        args.push(format!("--change-name={number}:{name}"));
    }
    args.push(disk.path.clone());
    tool::run("sgdisk", &args.iter().map(String::as_str).collect::<Vec<_>>())?;
    let nodes: Vec<String> = parts.iter().map(|part| disk.partition(part.number)).collect();
    tool::wait_for(&nodes)?;
    // What an earlier system left there must not be taken for a file system or an array.
    nodes.iter().try_for_each(|node| tool::wipe_ends(node))
}

/// Makes an array, compares what it and its members say with what was asked, and stops it: it is assembled where it is needed.
fn create(array: &Array) -> Result<String, Problem> {
    let (level, name) = (format!("--level={}", array.level), format!("--name={}", array.name));
    let metadata = format!("--metadata={}", array.metadata);
    let count = format!("--raid-devices={}", array.members.len());
    let mut args = vec![
        "--create",
        &array.device,
        "--force",
        "--run",
        "--homehost=any",
        &metadata,
        &level,
        &name,
        &count,
    ];
    args.extend(array.members.iter().map(String::as_str));
    // mdadm looks at the array before it makes it, and the kernel removes one that nobody has open: held, it stays.
    let held = tool::hold(&array.device)?;
    tool::run("mdadm", &args)?;
    drop(held);
    // An earlier array of the same shape had its data in the same place: its partition table must not come back in this one.
    tool::wipe_ends(&array.device)?;
    let detail = tool::detail(&array.device)?;
    let said = |key: &str| detail.get(key).map_or("", String::as_str);
    let uuid = said("MD_UUID").to_owned();
    for (what, found, wanted) in [
        ("level", said("MD_LEVEL"), format!("raid{}", array.level)),
        ("number of members", said("MD_DEVICES"), array.members.len().to_string()),
    ] {
        if found != wanted {
            return Err(tool::hardware(format!(
                "{} has the {what} {found:?} and not {wanted:?}",
                array.device
            )));
        }
    }
    tool::run("mdadm", &["--stop", &array.device])?;
    for member in &array.members {
        let label = tool::examine(member)?.and_then(|label| label.get("MD_UUID").cloned());
        if label.as_ref() != Some(&uuid) {
            return Err(tool::hardware(format!(
                "{member} does not have the label of {} ({uuid})",
                array.device
            )));
        }
    }
    Ok(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disks::testing::add;

    fn machine() -> (tempfile::TempDir, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        add(root.path(), "vda", 4, &[]);
        add(root.path(), "vdb", 4, &["vdb1"]);
        (root, ["/dev/vda", "/dev/vdb", "/dev/vdb1"].map(str::to_owned).to_vec())
    }

    fn target() -> Value {
        json!({"logical_disks": [
            {"size_gb": "MAX", "raid_level": "1", "controller": "software", "volume_name": "root", "is_root_volume": true},
        ]})
    }

    const CREATE: (&str, bool) = ("target_raid_config", false);

    #[test]
    fn partitions_are_in_the_way_unless_they_may_go() {
        let (root, devices) = machine();
        let args = json!({"target_raid_config": target()});
        let (message, _) = order(root.path(), &args, &devices, CREATE).unwrap_err();
        assert_eq!(message, "Partitions detected on devices /dev/vdb");
        let args = json!({"target_raid_config": target(), "delete_existing": true});
        let sentences = order(root.path(), &args, &devices, CREATE).unwrap().sentences();
        assert_eq!(
            sentences,
            [
                "/dev/vda: everything on it is lost; new partitions: BIOS boot 7 MiB, array 0 4087 MiB",
                "/dev/vdb: everything on it is lost; new partitions: BIOS boot 7 MiB, array 0 4087 MiB",
                "/dev/md0 root: RAID 1 of /dev/vda2, /dev/vdb2",
            ]
        );
    }

    #[test]
    fn nothing_to_create_is_refused() {
        let (root, devices) = machine();
        for (args, words) in [
            (json!(null), "there is no target_raid_config"),
            (json!({"target_raid_config": {}}), "there is no target_raid_config"),
            (
                json!({"target_raid_config": target(), "create_root_volume": false}),
                "no logical disk is left",
            ),
            (json!({"target_raid_config": {"logical_disks": []}}), "there are 0 logical disks"),
        ] {
            let (message, _) = order(root.path(), &args, &devices, CREATE).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn the_result_is_ironics_raid_config_with_what_finds_the_arrays_again() {
        let (root, devices) = machine();
        let args = json!({"target_raid_config": target(), "delete_existing": true});
        let order = order(root.path(), &args, &devices, CREATE).unwrap();
        let result = order.raid_config(&["1:2:3:4".to_owned()]);
        let disk = &result["logical_disks"][0];
        assert_eq!((&disk["uuid"], &disk["raid_level"]), (&json!("1:2:3:4"), &json!("1")));
        assert_eq!(disk["members"], json!(["/dev/vda2", "/dev/vdb2"]));
        assert_eq!(result.get("esp"), None);
    }
}
