//! Which device nodes a plugin may open: what its manifest declares, and nothing else.

use std::fs::{self, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ironwright_plugin::Manifest;

use super::process::Device;

/// Why a disk cannot be given to a plugin.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It is not there.
    #[error("cannot use {} as a device of the plugin", path.display())]
    Missing {
        /// As named.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The manifest does not declare it.
    #[error("the plugin's manifest does not declare {} (devices: {})", path.display(), declared.join(", "))]
    NotDeclared {
        /// As named.
        path: PathBuf,
        /// What it declares.
        declared: Vec<String>,
    },
}

/// The disks or files named by a developer. A file stands for any device, as `/dev/fileN` where the plugin is confined.
///
/// # Errors
/// [`DeviceError`].
pub fn named(manifest: &Manifest, paths: &[PathBuf]) -> Result<Vec<Device>, DeviceError> {
    let device = |(number, path): (usize, &PathBuf)| {
        let missing = |source| DeviceError::Missing { path: path.clone(), source };
        let path = path.canonicalize().map_err(missing)?;
        let Ok(name) = path.strip_prefix("/dev") else {
            return Ok(Device { name: PathBuf::from(format!("file{number}")), path });
        };
        if declares(&manifest.devices, &path) {
            return Ok(Device { name: name.to_path_buf(), path });
        }
        Err(DeviceError::NotDeclared { declared: manifest.devices.clone(), path })
    };
    paths.iter().enumerate().map(device).collect()
}

/// The machine's device nodes that the manifest declares, without the `withheld` disks and their partitions: in the ramdisk only.
#[must_use]
pub fn declared(manifest: &Manifest, withheld: &[String]) -> Vec<Device> {
    let device = |(name, _): (PathBuf, Node)| Device { path: Path::new("/dev").join(&name), name };
    present(&manifest.devices, withheld).into_iter().map(device).collect()
}

/// What a device node is: enough to make another one like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    /// Block or character.
    pub(super) kind: FileType,
    /// Its number.
    pub(super) number: u64,
}

/// The device nodes that fit `patterns`, by their names below `/dev`, sorted.
pub(super) fn present(patterns: &[String], withheld: &[String]) -> Vec<(PathBuf, Node)> {
    let mut found = Vec::new();
    // Two levels: /dev/nvme0n1 and /dev/mapper/x.
    for path in nodes(Path::new("/dev")) {
        let below = if path.is_dir() { nodes(&path) } else { vec![path] };
        found.extend(below.into_iter().filter(|path| declares(patterns, path)));
    }
    found.retain(|path| !withheld.iter().any(|disk| is_of(path, disk)));
    found.sort();
    let device = |path: PathBuf| {
        let name = path.strip_prefix("/dev").ok()?.to_path_buf();
        let meta = fs::metadata(&path).ok()?;
        let kind = meta.file_type();
        let is_device = kind.is_block_device() || kind.is_char_device();
        is_device.then_some((name, Node { kind, number: meta.rdev() }))
    };
    found.into_iter().filter_map(device).collect()
}

/// Whether `node` is `disk` or one of its partitions, as the kernel names them: sda1, nvme0n1p1.
fn is_of(node: &Path, disk: &str) -> bool {
    let Some(rest) = node.to_str().and_then(|node| node.strip_prefix(disk)) else { return false };
    rest.strip_prefix('p').unwrap_or(rest).bytes().all(|byte| byte.is_ascii_digit())
}

fn nodes(dir: &Path) -> Vec<PathBuf> {
    // A folder that is gone has no nodes.
    fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

fn declares(patterns: &[String], path: &Path) -> bool {
    path.to_str().is_some_and(|path| patterns.iter().any(|pattern| fits(pattern, path)))
}

/// `*` stands for any characters but `/`.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    let free = text.find('/').unwrap_or(text.len());
    text.char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .take_while(|at| *at <= free)
        .any(|at| text.get(at..).is_some_and(|text| fits(rest, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_but_a_slash() {
        for (pattern, text, expected) in [
            ("/dev/nvme*", "/dev/nvme0n1", true),
            ("/dev/nvme*n1", "/dev/nvme0n1", true),
            ("/dev/nvme*n1", "/dev/nvme0n2", false),
            ("/dev/*", "/dev/mapper/x", false),
            ("/dev/mapper/*", "/dev/mapper/x", true),
            ("/dev/sda", "/dev/sda1", false),
            ("/dev/*", "/etc/passwd", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_disk_left_alone_is_withheld_with_its_partitions_and_no_other_one_is() {
        for (node, disk, expected) in [
            ("/dev/sda", "/dev/sda", true),
            ("/dev/sda1", "/dev/sda", true),
            ("/dev/nvme0n1p2", "/dev/nvme0n1", true),
            ("/dev/sdab", "/dev/sda", false),
            ("/dev/sdb", "/dev/sda", false),
            ("/dev/nvme0", "/dev/nvme0n1", false),
        ] {
            assert_eq!(is_of(Path::new(node), disk), expected, "{node} {disk}");
        }
    }

    #[test]
    fn devices_are_found_by_their_patterns_with_their_numbers() {
        let found = present(&["/dev/nul*".to_owned()], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0.as_path(), found[0].1.number), (Path::new("null"), 0x103));
        assert_eq!(present(&["/dev/nul*".to_owned()], &["/dev/null".to_owned()]), []);
    }
}
