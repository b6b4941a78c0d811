//! The partitions of a disk: those that the kernel knows (`/sys/block`), and the table on the disk itself.

use std::path::{Path, PathBuf};

use crate::layout::{self, Layout, LayoutError, MIB, Range};
use crate::sys::disk::{BlockDevice, DiskError};

/// `/sys` counts in units of 512 bytes whatever the sector size (Linux `Documentation/ABI/stable/sysfs-block`).
const UNIT: u64 = 512;

/// The partitions of `disk` that the kernel knows, below `root`. None for files.
#[must_use]
pub fn of(root: &Path, disk: &Path) -> Vec<Range> {
    let Some(folder) = folder(root, disk) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut partitions: Vec<Range> =
        entries.filter_map(|entry| partition(&entry.ok()?.path())).collect();
    partitions.sort_by_key(|range| range.offset);
    partitions
}

/// The table on `disk` as it is now, read as if the disk were an image of itself.
///
/// # Errors
/// [`DiskError`] when the disk cannot be read; the inner error when there is no good table.
pub fn table(disk: &dyn BlockDevice) -> Result<Result<Layout, LayoutError>, DiskError> {
    let bytes = disk.bytes();
    let edge = MIB.min(bytes);
    let tail_offset = bytes - edge;
    let mut head = vec![0; usize::try_from(edge).unwrap_or(0)];
    let mut tail = head.clone();
    disk.read_at(0, &mut head)?;
    disk.read_at(tail_offset, &mut tail)?;
    Ok(layout::plan(&head, tail_offset, &tail, bytes, bytes, disk.sector_bytes(), None))
}

/// `/sys/block/NAME`; `!` stands for `/` in names such as `cciss/c0d0`.
fn folder(root: &Path, disk: &Path) -> Option<PathBuf> {
    let name = disk.strip_prefix("/dev").ok()?.to_str()?.replace('/', "!");
    let folder = root.join("sys/block").join(name);
    folder.is_dir().then_some(folder)
}

fn partition(folder: &Path) -> Option<Range> {
    number(&folder.join("partition"))?;
    let offset = number(&folder.join("start"))?.checked_mul(UNIT)?;
    let bytes = number(&folder.join("size"))?.checked_mul(UNIT)?;
    Some(Range { offset, bytes })
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read_in_bytes_and_other_folders_are_not_partitions() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join("sys/block").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("sda/queue/start", "7\n");
        for (file, text) in [("partition", "2\n"), ("start", "4096\n"), ("size", "8\n")] {
            write(&format!("sda/sda2/{file}"), text);
        }
        for (file, text) in [("partition", "1\n"), ("start", "2048\n"), ("size", "2048\n")] {
            write(&format!("sda/sda1/{file}"), text);
        }
        for file in ["partition", "start", "size"] {
            write(&format!("cciss!c0d0/cciss!c0d0p1/{file}"), "1\n");
        }
        let disk = Path::new("/dev/sda");
        assert_eq!(
            of(root.path(), disk),
            [Range { offset: 1 << 20, bytes: 1 << 20 }, Range { offset: 2 << 20, bytes: 4096 }]
        );
        let nested = of(root.path(), Path::new("/dev/cciss/c0d0"));
        assert_eq!(nested, [Range { offset: 512, bytes: 512 }]);
        assert!(of(root.path(), Path::new("/tmp/file")).is_empty());
    }
}
