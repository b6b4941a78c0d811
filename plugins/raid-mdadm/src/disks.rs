//! The machine's disks as `/sys` shows them, read below a root folder so that tests bring their own.

use std::fs;
use std::path::{Path, PathBuf};

/// `/sys` counts in units of 512 bytes whatever the sector size (Linux `Documentation/ABI/stable/sysfs-block`).
const UNIT: u64 = 512;

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Device node.
    pub(crate) path: String,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Logical sector, bytes.
    pub(crate) sector_bytes: u64,
    /// Device nodes of its partitions, as the kernel knows them.
    pub(crate) partitions: Vec<String>,
    /// The first device that is built on it or on one of its partitions.
    pub(crate) holder: Option<String>,
    /// Why it cannot be a member.
    pub(crate) unfit: Option<&'static str>,
}

/// The whole disks among `devices`, sorted. Arrays are none.
pub(crate) fn among(root: &Path, devices: &[String]) -> Vec<Disk> {
    let mut disks: Vec<Disk> = devices.iter().filter_map(|path| disk(root, path)).collect();
    disks.sort_by(|one, other| one.path.cmp(&other.path));
    disks
}

fn disk(root: &Path, path: &str) -> Option<Disk> {
    let name = path.strip_prefix("/dev/")?;
    let folder = root.join("sys/block").join(name);
    if name.starts_with("md") || !folder.is_dir() {
        return None;
    }
    let number = |file: &str| text(&folder.join(file)).and_then(|text| text.parse::<u64>().ok());
    let bytes = number("size")?.saturating_mul(UNIT);
    let parts = parts(&folder);
    let unfit = [
        (bytes == 0, "it shows no capacity"),
        (number("ro") == Some(1), "it is read-only"),
        (number("removable") == Some(1), "it is removable"),
        (number("hidden") == Some(1), "it is a path of another disk"),
    ];
    let holder = std::iter::once(&folder).chain(&parts).find_map(|folder| {
        let holder = fs::read_dir(folder.join("holders")).ok()?.flatten().next()?;
        Some(holder.file_name().to_string_lossy().into_owned())
    });
    Some(Disk {
        path: path.to_owned(),
        bytes,
        sector_bytes: number("queue/logical_block_size").unwrap_or(UNIT),
        partitions: parts
            .iter()
            .filter_map(|part| Some(format!("/dev/{}", part.file_name()?.to_str()?)))
            .collect(),
        holder,
        unfit: unfit.into_iter().find(|(unfit, _)| *unfit).map(|(_, why)| why),
    })
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut parts: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.join("partition").exists()).collect();
    parts.sort();
    parts
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

impl Disk {
    /// The node of its partition `number`, as the kernel names it: sda1, nvme0n1p1.
    pub(crate) fn partition(&self, number: usize) -> String {
        let between = if self.path.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        format!("{}{between}{number}", self.path)
    }
}

/// Whether this machine was started by UEFI.
pub(crate) fn is_uefi(root: &Path) -> bool {
    root.join("sys/firmware/efi").is_dir()
}

/// A machine made of files, for tests.
#[cfg(test)]
pub(crate) mod testing {
    use std::fs;
    use std::path::Path;

    /// Adds a disk of `gib` GiB with these partitions.
    pub(crate) fn add(root: &Path, name: &str, gib: u64, partitions: &[&str]) {
        let folder = root.join("sys/block").join(name);
        fs::create_dir_all(folder.join("queue")).unwrap();
        fs::create_dir_all(folder.join("holders")).unwrap();
        fs::write(folder.join("size"), format!("{}\n", gib << 21)).unwrap();
        fs::write(folder.join("queue/logical_block_size"), "512\n").unwrap();
        for part in partitions {
            fs::create_dir_all(folder.join(part).join("holders")).unwrap();
            fs::write(folder.join(part).join("partition"), "1\n").unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_from_partitions_and_arrays_and_their_holder_is_named() {
        let root = tempfile::tempdir().unwrap();
        testing::add(root.path(), "sda", 10, &["sda1"]);
        testing::add(root.path(), "nvme0n1", 20, &[]);
        testing::add(root.path(), "md0", 5, &[]);
        fs::create_dir_all(root.path().join("sys/block/sda/sda1/holders/md0")).unwrap();
        fs::write(root.path().join("sys/block/nvme0n1/ro"), "1\n").unwrap();
        let devices = ["/dev/sda", "/dev/sda1", "/dev/md0", "/dev/nvme0n1"].map(str::to_owned);
        let disks = among(root.path(), &devices);
        assert_eq!(disks.len(), 2);
        assert_eq!(
            (disks[0].partition(2), disks[0].unfit),
            ("/dev/nvme0n1p2".to_owned(), Some("it is read-only"))
        );
        assert_eq!((disks[1].bytes, disks[1].partition(1)), (10 << 30, "/dev/sda1".to_owned()));
        assert_eq!(disks[1].holder.as_deref(), Some("md0"));
        assert_eq!(disks[1].partitions, ["/dev/sda1"]);
        assert!(!is_uefi(root.path()));
    }
}
