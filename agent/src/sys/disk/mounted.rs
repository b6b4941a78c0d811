//! Whether a disk, or a part of it, is mounted.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

/// Where `path` (a block device) or one of its partitions is mounted; `None` for files.
pub(super) fn mount_point(path: &Path) -> io::Result<Option<PathBuf>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.file_type().is_block_device() {
        return Ok(None);
    }
    let device = format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev()));
    let mut devices = partitions(&Path::new("/sys/dev/block").join(&device));
    devices.push(device);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(find_mount(&mounts, &devices))
}

/// `major:minor` of the partitions under a disk's sysfs folder. A disk without the folder has none.
pub(crate) fn partitions(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let partitions = entries.filter(|entry| entry.path().join("partition").exists());
    let numbers =
        partitions.filter_map(|entry| std::fs::read_to_string(entry.path().join("dev")).ok());
    numbers.map(|text| text.trim().to_owned()).collect()
}

/// The first mount of one of `devices` (proc(5), mountinfo: third field `major:minor`, fifth the mount point).
pub(crate) fn find_mount(mountinfo: &str, devices: &[String]) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let device = fields.nth(2)?;
        let target = fields.nth(1)?;
        devices.iter().any(|wanted| wanted == device).then(|| PathBuf::from(target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_partition_counts_for_its_disk() {
        let mountinfo = "22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
                         30 22 8:17 / /mnt/data rw - xfs /dev/sdb1 rw\n";
        for (devices, expected) in [
            (vec!["8:16".to_owned(), "8:17".to_owned()], Some("/mnt/data")),
            (vec!["8:16".to_owned()], None),
            (vec!["254:0".to_owned()], Some("/")),
        ] {
            assert_eq!(find_mount(mountinfo, &devices), expected.map(PathBuf::from), "{devices:?}");
        }
    }
}
