//! What is on the disks now: arrays' labels, running arrays, and taking them away.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ironwright_plugin::{Context, Problem};
use serde_json::{Value, json};

use crate::disks::{self, Disk};
use crate::tool;

/// One array by the labels of its members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// mdadm's name of the level.
    pub(crate) level: String,
    /// Members it should have.
    pub(crate) devices: String,
    /// Its name.
    pub(crate) name: String,
    /// Device nodes of those that are here.
    pub(crate) members: Vec<String>,
}

/// The arrays whose members are on these disks, by UUID.
pub(crate) fn arrays(disks: &[Disk]) -> Result<BTreeMap<String, Found>, Problem> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for disk in disks.iter().filter(|disk| disk.bytes > 0) {
        for node in std::iter::once(&disk.path).chain(&disk.partitions) {
            let Some(label) = tool::examine(node)? else { continue };
            let text = |key: &str| label.get(key).cloned().unwrap_or_default();
            let array = found.entry(text("MD_UUID")).or_default();
            array.level = text("MD_LEVEL");
            array.devices = text("MD_DEVICES");
            array.name = text("MD_NAME");
            array.members.push(node.clone());
        }
    }
    Ok(found)
}

/// As evidence.
pub(crate) fn shown(arrays: &BTreeMap<String, Found>) -> Value {
    let one = |(uuid, found): (&String, &Found)| {
        json!({
            "uuid": uuid, "name": found.name, "level": found.level, "devices": found.devices, "members": found.members,
        })
    };
    Value::Array(arrays.iter().map(one).collect())
}

/// Why these disks cannot be taken: something else than an array is built on them.
pub(crate) fn foreign_holder(disks: &[Disk]) -> Option<String> {
    let foreign =
        |disk: &&Disk| disk.holder.as_ref().is_some_and(|holder| !holder.starts_with("md"));
    let disk = disks.iter().find(foreign)?;
    Some(format!("{} is a part of {}", disk.path, disk.holder.as_deref().unwrap_or_default()))
}

/// Stops every running array that has a member on these disks.
fn stop(root: &Path, disks: &[Disk]) -> Result<(), Problem> {
    let entries = fs::read_dir(root.join("sys/block")).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let slaves = fs::read_dir(entry.path().join("slaves")).into_iter().flatten().flatten();
        let ours = |slave: &str| {
            let node = format!("/dev/{slave}");
            disks.iter().any(|disk| disk.path == node || disk.partitions.contains(&node))
        };
        let mut slaves = slaves.map(|slave| slave.file_name().to_string_lossy().into_owned());
        if name.starts_with("md") && slaves.any(|slave| ours(&slave)) {
            tool::run("mdadm", &["--stop", &format!("/dev/{name}")])?;
        }
    }
    Ok(())
}

/// The disks that delete would wipe: those with a member of an array.
pub(crate) fn with_members<'a>(
    disks: &'a [Disk],
    arrays: &BTreeMap<String, Found>,
) -> Vec<&'a Disk> {
    let is_member = |node: &String| arrays.values().any(|array| array.members.contains(node));
    disks
        .iter()
        .filter(|disk| is_member(&disk.path) || disk.partitions.iter().any(is_member))
        .collect()
}

/// Stops arrays, removes their labels and the partition tables of `disks`, and looks that nothing of them is left.
pub(crate) fn delete(root: &Path, disks: &[&Disk], context: &Context) -> Result<(), Problem> {
    let owned: Vec<Disk> = disks.iter().map(|disk| (*disk).clone()).collect();
    stop(root, &owned)?;
    for (at, disk) in disks.iter().enumerate() {
        context.progress(at as u64, Some(disks.len() as u64), &format!("wiping {}", disk.path));
        for node in disk.partitions.iter().chain([&disk.path]) {
            if tool::examine(node)?.is_some() {
                tool::run("mdadm", &["--zero-superblock", node])?;
            }
            tool::wipe_ends(node)?;
        }
        tool::run("sgdisk", &["--zap-all", &disk.path])?;
    }
    let paths: Vec<String> = disks.iter().map(|disk| disk.path.clone()).collect();
    let now = disks::among(root, &paths);
    if let Some(disk) = now.iter().find(|disk| !disk.partitions.is_empty()) {
        return Err(tool::hardware(format!(
            "{} still has partitions after its table was removed: {}",
            disk.path,
            disk.partitions.join(", ")
        )));
    }
    for disk in &owned {
        if tool::examine(&disk.path)?.is_some() {
            return Err(tool::hardware(format!("{} still has an array's label", disk.path)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disks::testing::add;

    #[test]
    fn only_disks_with_a_member_are_wiped_and_other_holders_are_named() {
        let root = tempfile::tempdir().unwrap();
        for name in ["sda", "sdb", "sdc"] {
            add(root.path(), name, 10, &[&format!("{name}1")]);
        }
        fs::create_dir_all(root.path().join("sys/block/sdc/sdc1/holders/dm-0")).unwrap();
        let devices = ["/dev/sda", "/dev/sdb", "/dev/sdc"].map(str::to_owned);
        let disks = disks::among(root.path(), &devices);
        let mut arrays = BTreeMap::new();
        let members = vec!["/dev/sda1".to_owned()];
        arrays.insert("1:2:3:4".to_owned(), Found { members, ..Found::default() });
        let names: Vec<&str> =
            with_members(&disks, &arrays).iter().map(|disk| disk.path.as_str()).collect();
        assert_eq!(names, ["/dev/sda"]);
        assert_eq!(foreign_holder(&disks).unwrap(), "/dev/sdc is a part of dm-0");
        assert_eq!(foreign_holder(&disks[..2]), None);
        assert_eq!(shown(&arrays)[0]["uuid"], "1:2:3:4");
    }
}
