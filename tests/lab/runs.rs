//! The directories of runs: one each under the cache, named by what runs and the process that owns it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::artifacts;
use crate::packages::cache_dir;

/// Names the run's directory to everything inside.
pub const RUN_DIR: &str = "IRONWRIGHT_LAB_RUN";

/// Longest name of a run, so that the paths of control sockets stay short.
const NAME_BYTES: usize = 24;

/// What a run boots and deploys; built outside, read inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inputs {
    /// Kernel of the ramdisk.
    pub kernel: PathBuf,
    /// The ramdisk.
    pub ramdisk: PathBuf,
    /// What makes it a rescue system.
    pub rescue: PathBuf,
    /// The coordinator's binary.
    pub coordinator: PathBuf,
    /// A small operating system image (qcow2), if one was built.
    pub image_small: Option<PathBuf>,
    /// A full one with cloud-init (qcow2), if one was built.
    pub image_full: Option<PathBuf>,
    /// A small one that boots from a software mirror (qcow2), if one was built.
    #[serde(default)]
    pub image_raid: Option<PathBuf>,
    /// Signed plugins, as far as they were built.
    #[serde(default)]
    pub plugins: Vec<Bundle>,
}

/// A plugin's bundle, signed with a key that was made for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The plugin's folder in the sources.
    pub name: String,
    /// The bundle.
    pub file: PathBuf,
    /// The public key.
    pub key: PathBuf,
}

impl Inputs {
    /// Builds everything but the images, or takes it from the cache.
    ///
    /// # Errors
    ///
    /// What building says.
    pub fn build() -> anyhow::Result<Self> {
        let ramdisk = artifacts::ramdisk().context("building the ramdisk")?;
        let rescue = artifacts::rescue().context("building the rescue archive")?;
        let coordinator = artifacts::coordinator().context("building the coordinator")?;
        let (kernel, ramdisk) = (ramdisk.vmlinuz, ramdisk.initrd);
        Ok(Self {
            kernel,
            ramdisk,
            rescue,
            coordinator,
            image_small: None,
            image_full: None,
            image_raid: None,
            plugins: Vec::new(),
        })
    }

    /// Reads what the outer process built for this run.
    ///
    /// # Errors
    ///
    /// Outside of a run, or in one that was given nothing.
    pub fn of_this_run() -> anyhow::Result<Self> {
        let file = dir_of_this_run()?.join("inputs.json");
        let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The plugin of this folder.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<&Bundle> {
        self.plugins.iter().find(|bundle| bundle.name == name)
    }

    /// Leaves them in a run's directory.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written.
    pub fn leave_in(&self, run: &Path) -> anyhow::Result<()> {
        let file = run.join("inputs.json");
        std::fs::write(&file, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("writing {}", file.display()))
    }
}

/// The directory of the run this process lives in.
///
/// # Errors
///
/// Outside of a run.
pub fn dir_of_this_run() -> anyhow::Result<PathBuf> {
    crate::inside::confirm()?;
    std::env::var_os(RUN_DIR).map(PathBuf::from).with_context(|| format!("{RUN_DIR} is not set"))
}

/// Makes the directory of a new run, and removes those whose owners are gone.
///
/// # Errors
///
/// When the cache cannot be written.
pub fn create(name: &str) -> anyhow::Result<PathBuf> {
    create_under(&cache_dir().join("runs"), name)
}

fn create_under(runs: &Path, name: &str) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(runs).with_context(|| format!("making {}", runs.display()))?;
    for entry in std::fs::read_dir(runs)?.flatten() {
        if owner(&entry.file_name()).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        {
            // What a run through sudo left belongs to root; the next run as root removes it.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
    let name: String = name
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() { char } else { '-' })
        .take(NAME_BYTES)
        .collect();
    for attempt in 0..10_000 {
        let dir = runs.join(format!("{name}-{attempt}-{}", std::process::id()));
        match std::fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("making {}", dir.display())),
        }
    }
    anyhow::bail!("{} is full of runs named {name}", runs.display())
}

/// The process that owns a run's directory, from its name.
fn owner(name: &OsStr) -> Option<u32> {
    name.to_str()?.rsplit_once('-')?.1.parse().ok()
}

/// Removes what is large in a finished run's directory: its disks. Logs stay until the next run.
pub fn drop_disks(run: &Path) {
    let Ok(entries) = std::fs::read_dir(run) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            drop_disks(&path);
        } else if path.extension() == Some(OsStr::new("img")) {
            drop(std::fs::remove_file(&path));
        }
    }
}

/// The logs of a run, by name and content.
#[must_use]
pub fn logs(run: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(run) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(logs(&path));
        } else if path.extension() == Some(OsStr::new("log")) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_dead_are_removed_and_of_the_living_kept() {
        let runs = tempfile::tempdir().unwrap();
        let dead = runs.path().join("demo-0-4194305");
        std::fs::create_dir(&dead).unwrap();
        let first = create_under(runs.path(), "deploy: a thing").unwrap();
        let second = create_under(runs.path(), "deploy: a thing").unwrap();
        assert!(!dead.exists(), "process ids end at 2^22");
        assert!(first.exists() && second.exists() && first != second);
        assert!(first.file_name().unwrap().to_str().unwrap().starts_with("deploy--a-thing-0-"));
    }

    #[test]
    fn disks_go_and_logs_stay() {
        let run = tempfile::tempdir().unwrap();
        let machine = run.path().join("machines/0");
        std::fs::create_dir_all(&machine).unwrap();
        for name in ["disk0.img", "console.log"] {
            std::fs::write(machine.join(name), "").unwrap();
        }
        drop_disks(run.path());
        assert!(!machine.join("disk0.img").exists());
        assert_eq!(logs(run.path()), [machine.join("console.log")]);
    }
}
