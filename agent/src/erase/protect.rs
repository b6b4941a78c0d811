//! Disks that must not be erased: those in use, and those that others use over the same wires.
//!
//! The kernel refuses to open a disk that is mounted, swapped to, or held (`O_EXCL`); this says by whom, before anything begins,
//! and knows what the kernel does not: other hosts' file systems. Hidden NVMe paths and the paths of a multipath map are no
//! disks to begin with (`inventory`).

mod cluster;

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use ironwright_api::DiskIdentity;

pub use cluster::cluster;

use crate::sys::disk::{find_mount, partitions};

/// Who uses `disk` on this machine, read below `root`; or why it is no whole disk. Nothing for files that nobody has made a disk of.
#[must_use]
pub fn in_use(root: &Path, disk: &Path) -> Option<String> {
    let Some(name) = kernel_name(root, disk) else { return behind_a_loop_device(root, disk) };
    let folder = root.join("sys/block").join(&name);
    if root.join("sys/class/block").join(&name).join("partition").exists() {
        return Some(
            "it is a partition, and what erases a disk would reach all of the disk: name the whole disk"
                .to_owned(),
        );
    }
    if !folder.is_dir() {
        return Some("the kernel shows no such disk in /sys/block".to_owned());
    }
    let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let mut numbers = partitions(&folder);
    numbers.extend(std::fs::read_to_string(folder.join("dev")).map(|dev| dev.trim().to_owned()));
    if let Some(place) = find_mount(&text("proc/self/mountinfo"), &numbers) {
        return Some(format!("it is mounted on {}; unmount it", place.display()));
    }
    let nodes: Vec<String> =
        part_names(&folder).into_iter().chain([name]).map(|name| format!("/dev/{name}")).collect();
    let is_ours = |node: &str| nodes.iter().any(|ours| ours == node);
    // proc(5), /proc/swaps: the first field, after a line of headings.
    let swaps = text("proc/swaps");
    let swap = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    if let Some(node) = swap.into_iter().find(|node| is_ours(node)) {
        return Some(format!("{node} is swapped to; switch that off (swapoff)"));
    }
    let command_line = text("proc/cmdline");
    let mut roots = command_line.split_whitespace().filter_map(|word| word.strip_prefix("root="));
    if roots.any(is_ours) {
        return Some(
            "this system was booted from it (root= of the kernel command line)".to_owned(),
        );
    }
    let holder = holders(&folder);
    holder.map(|holder| format!("it is a part of {holder}; stop that (RAID, LVM, dm-crypt) first"))
}

/// The kernel's name of a block device: by its number, whatever its node is called; else by the node's name below `/dev`.
fn kernel_name(root: &Path, disk: &Path) -> Option<String> {
    let number = std::fs::metadata(disk).ok().filter(|meta| meta.file_type().is_block_device());
    let linked = number.and_then(|meta| {
        let (major, minor) =
            (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
        std::fs::read_link(root.join(format!("sys/dev/block/{major}:{minor}"))).ok()
    });
    let linked = linked.and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
    linked.or_else(|| Some(disk.strip_prefix("/dev").ok()?.to_str()?.replace('/', "!")))
}

/// The loop device that shows a file as a disk.
fn behind_a_loop_device(root: &Path, file: &Path) -> Option<String> {
    let entries = std::fs::read_dir(root.join("sys/block")).ok()?.flatten();
    let found = entries.map(|entry| entry.path()).find(|folder| {
        let backing = std::fs::read_to_string(folder.join("loop/backing_file"));
        backing.is_ok_and(|backing| Path::new(backing.trim_end_matches('\n')) == file)
    })?;
    Some(format!(
        "it is behind /dev/{}; detach that (losetup -d)",
        found.file_name()?.to_string_lossy()
    ))
}

/// Names of a disk's partitions.
fn part_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let parts = entries.filter(|entry| entry.path().join("partition").exists());
    parts.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The first device above the disk or one of its partitions.
fn holders(folder: &Path) -> Option<String> {
    let parts = part_names(folder).into_iter().map(|name| folder.join(name));
    std::iter::once(folder.to_owned()).chain(parts).find_map(|folder| {
        let holder = std::fs::read_dir(folder.join("holders")).ok()?.flatten().next()?;
        Some(holder.file_name().to_string_lossy().into_owned())
    })
}

/// Whether two names are paths to one disk: all of world-wide name, serial number and size are known and equal. Only some of them
/// equal is not enough: there are makers who give one name to all, and a disk that is left out keeps its data.
#[must_use]
pub fn same_disk(one: &DiskIdentity, other: &DiskIdentity) -> bool {
    !one.wwn.is_empty()
        && !one.serial.is_empty()
        && (&one.wwn, &one.serial, one.bytes) == (&other.wwn, &other.serial, other.bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine with /dev/sda, which has two partitions.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("sys/block/sda");
        for (name, number) in [("sda1", "8:1"), ("sda2", "8:2")] {
            let part = disk.join(name);
            fs::create_dir_all(part.join("holders")).unwrap();
            fs::write(part.join("partition"), "1\n").unwrap();
            fs::write(part.join("dev"), format!("{number}\n")).unwrap();
        }
        fs::create_dir_all(disk.join("holders")).unwrap();
        fs::write(disk.join("dev"), "8:0\n").unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        root
    }

    fn found(root: &tempfile::TempDir) -> Option<String> {
        in_use(root.path(), Path::new("/dev/sda"))
    }

    #[test]
    fn a_disk_that_nobody_uses_is_free_and_a_file_is_no_disk() {
        let root = tree();
        assert_eq!(found(&root), None);
        assert_eq!(in_use(root.path(), Path::new("/tmp/disk")), None);
    }

    #[test]
    fn a_partition_and_a_file_behind_a_loop_device_are_no_disks_to_erase() {
        let root = tree();
        let part = root.path().join("sys/class/block/sda1");
        fs::create_dir_all(&part).unwrap();
        fs::write(part.join("partition"), "1\n").unwrap();
        let why = in_use(root.path(), Path::new("/dev/sda1")).unwrap();
        assert!(why.contains("it is a partition"), "{why}");
        let why = in_use(root.path(), Path::new("/dev/nosuch")).unwrap();
        assert!(why.contains("no such disk"), "{why}");
        let looped = root.path().join("sys/block/loop3/loop");
        fs::create_dir_all(&looped).unwrap();
        fs::write(looped.join("backing_file"), "/tmp/disk\n").unwrap();
        let why = in_use(root.path(), Path::new("/tmp/disk")).unwrap();
        assert!(why.contains("behind /dev/loop3"), "{why}");
    }

    #[test]
    fn whoever_uses_the_disk_or_a_part_of_it_is_named() {
        for (file, text, words) in [
            (
                "proc/self/mountinfo",
                "30 22 8:2 / /data rw - xfs /dev/sda2 rw\n",
                "mounted on /data",
            ),
            ("proc/self/mountinfo", "30 22 8:0 / /all rw - xfs /dev/sda rw\n", "mounted on /all"),
            (
                "proc/swaps",
                "Filename Type Size Used Priority\n/dev/sda1 partition 8 0 -2\n",
                "/dev/sda1 is swapped to",
            ),
            ("proc/cmdline", "quiet root=/dev/sda2 ro\n", "booted from it"),
            ("sys/block/sda/holders/dm-0", "", "part of dm-0"),
            ("sys/block/sda/sda2/holders/md127", "", "part of md127"),
        ] {
            let root = tree();
            fs::write(root.path().join(file), text).unwrap();
            let why = found(&root).unwrap();
            assert!(why.contains(words), "{why}");
        }
        for (file, text) in [
            ("proc/self/mountinfo", "30 22 8:20 / /data rw - xfs /dev/sdb2 rw\n"),
            ("proc/swaps", "Filename Type Size Used Priority\n/dev/sda12 partition 8 0 -2\n"),
            ("proc/cmdline", "root=/dev/sdb1\n"),
        ] {
            let root = tree();
            fs::write(root.path().join(file), text).unwrap();
            assert_eq!(found(&root), None, "{text}");
        }
    }

    #[test]
    fn only_disks_whose_every_identity_is_known_and_equal_are_one() {
        let disk = |wwn: &str, serial: &str, bytes| DiskIdentity {
            wwn: wwn.to_owned(),
            serial: serial.to_owned(),
            bytes,
            ..DiskIdentity::default()
        };
        let one = disk("0x5000", "S1", 10);
        assert!(same_disk(&one, &disk("0x5000", "S1", 10)));
        for other in [disk("0x5000", "S2", 10), disk("0x5000", "S1", 11), disk("0x5001", "S1", 10)]
        {
            assert!(!same_disk(&one, &other), "{other:?}");
        }
        assert!(!same_disk(&disk("0x5000", "", 10), &disk("0x5000", "", 10)));
        assert!(!same_disk(&disk("", "S1", 10), &disk("", "S1", 10)));
    }
}
