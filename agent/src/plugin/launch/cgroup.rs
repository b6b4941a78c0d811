//! How many processes a plugin may have, and how much memory: a control group of its own (cgroups(7)).
//!
//! Version 2 where it has the controllers, which the ramdisk's kernel does; else version 1's, for processes only, on machines that
//! still use it: what is then not limited is said ([`Group::lacks`]).

use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, umount2};

use super::{LaunchError, failed, special};

/// Most processes and threads: a tool has a few, an interpreter with threads some dozens.
const PROCESSES: u32 = 512;
/// Groups whose launcher was killed are found by this.
const NAME: &str = "ironwright-plugin-";
/// Names that are tried before no group is made: each of them would be one that a killed launcher left.
const NAMES: u32 = 64;

/// The group that this process, and so every child of it, is in until the value is dropped.
#[derive(Debug)]
pub(super) struct Group {
    root: PathBuf,
    folder: PathBuf,
    memory: bool,
}

impl Group {
    /// Makes the group; `root` is a folder for a mount that only this mount namespace sees.
    ///
    /// # Errors
    /// Where this kernel or this machine's set-up gives none.
    pub(super) fn enter(root: &Path) -> Result<Self, LaunchError> {
        DirBuilder::new().recursive(true).create(root).map_err(failed("making a folder"))?;
        let quiet = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        special("cgroup2", root, quiet, "")?;
        if let Some(controllers) = controllers(root) {
            let wanted: Vec<&str> = ["pids", "memory"]
                .into_iter()
                .filter(|name| controllers.split_whitespace().any(|known| known == *name))
                .collect();
            if wanted.contains(&"pids") {
                for name in &wanted {
                    write(&root.join("cgroup.subtree_control"), &format!("+{name}"))?;
                }
                return Self::make(root, wanted.contains(&"memory"));
            }
        }
        umount2(root, MntFlags::MNT_DETACH).map_err(failed("leaving cgroup version 2"))?;
        special("cgroup", root, quiet, "pids")?;
        Self::make(root, false)
    }

    fn make(root: &Path, memory: bool) -> Result<Self, LaunchError> {
        for old in fs::read_dir(root).into_iter().flatten().flatten() {
            // One that still has processes cannot be removed, and is somebody's.
            if old.file_name().to_str().is_some_and(is_left) {
                fs::remove_dir(old.path()).ok();
            }
        }
        let folder = new_folder(root)?;
        let group = Self { root: root.to_path_buf(), folder, memory };
        write(&group.folder.join("pids.max"), &PROCESSES.to_string())?;
        if memory {
            let half = memory_bytes().map_err(failed("reading the machine's memory"))? / 2;
            write(&group.folder.join("memory.max"), &half.to_string())?;
        }
        // 0 is who writes it.
        write(&group.folder.join("cgroup.procs"), "0")?;
        Ok(group)
    }

    /// What this group does not limit, one sentence.
    pub(super) fn lacks(&self) -> Option<&'static str> {
        (!self.memory).then_some(
            "the plugin's memory was not limited: this kernel has no memory controller in cgroup version 2",
        )
    }
}

/// Whether this is the group of a launcher that is no more: that of one that lives may be empty because it is new.
fn is_left(name: &str) -> bool {
    let number = name.strip_prefix(NAME).map(|rest| rest.split('-').next().unwrap_or_default());
    number.is_some_and(|number| {
        number == std::process::id().to_string() || !Path::new("/proc").join(number).exists()
    })
}

/// A group of this process's own. Numbers of processes come again, and a group whose launcher was killed may still hold a process
/// that the kernel has not ended yet: then another name is taken.
fn new_folder(root: &Path) -> Result<PathBuf, LaunchError> {
    let own = format!("{NAME}{}", std::process::id());
    let more = (1..NAMES).map(|number| format!("{own}-{number}"));
    let mut taken = root.join(&own);
    for name in std::iter::once(own.clone()).chain(more) {
        taken = root.join(name);
        match fs::create_dir(&taken) {
            Ok(()) => return Ok(taken),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(format!("making {}", taken.display()))(error)),
        }
    }
    let full = io::Error::other(format!("{NAMES} groups of that name are there already"));
    Err(failed(format!("making {}", taken.display()))(full))
}

impl Drop for Group {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next launcher.
        fs::write(self.root.join("cgroup.procs"), "0").ok();
        fs::remove_dir(&self.folder).ok();
    }
}

/// What version 2 limits on this machine; none where it is not used.
fn controllers(root: &Path) -> Option<String> {
    fs::read_to_string(root.join("cgroup.controllers")).ok()
}

fn write(path: &Path, text: &str) -> Result<(), LaunchError> {
    fs::write(path, text).map_err(failed(format!("writing {text} to {}", path.display())))
}

/// The machine's memory, bytes (proc_meminfo(5)).
fn memory_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_known() {
        assert!(memory_bytes().unwrap() > 64 << 20);
    }

    #[test]
    fn a_group_that_a_killed_launcher_left_is_removed_or_passed_by_and_never_gone_without() {
        let root = tempfile::tempdir().unwrap();
        let named = |end: &str| root.path().join(format!("{NAME}{}{end}", std::process::id()));
        fs::create_dir(named("")).unwrap();
        // Here a file stands for what keeps the kernel from removing a group: a process in it.
        fs::create_dir(named("-1")).unwrap();
        fs::write(named("-1").join("held"), "").unwrap();
        // Another launcher's, which lives, and something that is none of ours.
        let others =
            [format!("{NAME}1"), "user.slice".to_owned()].map(|name| root.path().join(name));
        others.iter().for_each(|path| fs::create_dir(path).unwrap());
        let first = Group::make(root.path(), true).unwrap();
        assert!(others.iter().all(|path| path.exists()));
        assert_eq!((&first.folder, first.lacks()), (&named(""), None));
        let second = Group::make(root.path(), false).unwrap();
        assert_eq!(second.folder, named("-2"));
        assert!(second.lacks().unwrap().starts_with("the plugin's memory was not limited"));
        assert_eq!(fs::read_to_string(named("-2").join("pids.max")).unwrap(), "512");
        assert_eq!(fs::read_to_string(named("-2").join("cgroup.procs")).unwrap(), "0");
        for number in 3..NAMES {
            fs::create_dir(named(&format!("-{number}"))).unwrap();
            fs::write(named(&format!("-{number}")).join("held"), "").unwrap();
        }
        let error = Group::make(root.path(), false).unwrap_err();
        assert_eq!(error.source.to_string(), "64 groups of that name are there already");
    }
}
