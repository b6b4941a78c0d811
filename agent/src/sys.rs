//! The one door to the machine.
//!
//! Two ways in: [`System::machine`] only when PID 1 is our supervisor and `/` is our initrd; [`System::sandbox`]
//! everywhere else, where power, reboot, modules, links, EFI variables and `/etc` are recorded and not done.

pub mod bmc;
pub mod command;
pub mod disk;
pub(crate) mod ioctl;
pub mod link;
mod machine;
pub mod partitions;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where orders act: this machine, or a few named files on a developer's.
#[derive(Debug)]
pub struct System {
    root: PathBuf,
    sandbox: Option<Sandbox>,
}

#[derive(Debug)]
struct Sandbox {
    /// As canonical paths.
    disks: Vec<PathBuf>,
    recorded: Mutex<Vec<Effect>>,
}

/// What reaches beyond the named disks. Done in the ramdisk; recorded in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The firmware's boot entries are changed.
    BootEntry {
        /// The label of the entry.
        label: String,
    },
    /// Software arrays are started.
    StartArrays {
        /// Their UUIDs.
        uuids: Vec<String>,
    },
    /// What starts a system from the members of software arrays is taken away.
    ClearMembers {
        /// UUIDs of the arrays.
        uuids: Vec<String>,
    },
    /// Boot entries are removed from the firmware.
    RemoveBootEntries {
        /// The #### of their `Boot####`.
        numbers: Vec<u16>,
    },
    /// The firmware's persistent store is emptied.
    ErasePstore,
    /// The machine goes off.
    PowerOff,
    /// The machine starts anew.
    Reboot,
    /// The machine leaves every network.
    LockDown,
    /// The account of the machine's owner is made, and an SSH server lets it in.
    Rescue,
}

/// Why the machine is not handed over.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// This is not our ramdisk.
    #[error(
        "this is not an Ironwright ramdisk (PID 1 is not the supervisor, or / is not its initrd); name the disks or files \
         that may be used with --disk PATH"
    )]
    NotRamdisk,
    /// A sandbox without disks.
    #[error("outside the ramdisk at least one disk or file must be named with --disk PATH")]
    NoDisks,
    /// A named disk is not there.
    #[error("cannot use {} as a disk", path.display())]
    Disk {
        /// As named.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something else than the named disks was to be opened.
    #[error("{} is not among the disks named with --disk, and only those are opened outside the ramdisk", path.display())]
    NotNamed {
        /// What was to be opened.
        path: PathBuf,
    },
}

impl System {
    /// The machine itself. Decided by what runs, never by a flag or the environment.
    ///
    /// # Errors
    /// [`SystemError::NotRamdisk`].
    pub fn machine() -> Result<Self, SystemError> {
        if crate::supervisor::in_ramdisk() {
            Ok(Self { root: PathBuf::from("/"), sandbox: None })
        } else {
            Err(SystemError::NotRamdisk)
        }
    }

    /// Facts are read below `root`; only `disks` are ever opened.
    ///
    /// # Errors
    /// [`SystemError::NoDisks`], [`SystemError::Disk`].
    pub fn sandbox(root: &Path, disks: &[PathBuf]) -> Result<Self, SystemError> {
        if disks.is_empty() {
            return Err(SystemError::NoDisks);
        }
        let disks = disks.iter().map(|path| canonical(path)).collect::<Result<_, _>>()?;
        let sandbox = Sandbox { disks, recorded: Mutex::default() };
        Ok(Self { root: root.to_path_buf(), sandbox: Some(sandbox) })
    }

    /// Where facts are read.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The named disks of a sandbox; `None` on the machine, where all of its disks count.
    #[must_use]
    pub fn named_disks(&self) -> Option<&[PathBuf]> {
        self.sandbox.as_ref().map(|sandbox| sandbox.disks.as_slice())
    }

    /// The path under which `path` may be opened as a disk.
    ///
    /// # Errors
    /// [`SystemError::NotNamed`] in a sandbox, for everything that was not named.
    pub fn admit(&self, path: &Path) -> Result<PathBuf, SystemError> {
        let Some(sandbox) = &self.sandbox else { return Ok(path.to_path_buf()) };
        let path = canonical(path)?;
        if sandbox.disks.contains(&path) { Ok(path) } else { Err(SystemError::NotNamed { path }) }
    }

    /// Whether `effect` may be done; in a sandbox it is recorded instead.
    #[must_use]
    pub fn may(&self, effect: Effect) -> bool {
        let Some(sandbox) = &self.sandbox else { return true };
        tracing::info!("not in the ramdisk: recorded and not done: {effect:?}");
        sandbox.recorded.lock().unwrap_or_else(PoisonError::into_inner).push(effect);
        false
    }

    /// What a sandbox recorded.
    #[must_use]
    pub fn recorded(&self) -> Vec<Effect> {
        self.sandbox.as_ref().map_or_else(Vec::new, |sandbox| {
            sandbox.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
        })
    }
}

fn canonical(path: &Path) -> Result<PathBuf, SystemError> {
    path.canonicalize().map_err(|source| SystemError::Disk { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_developers_machine_is_never_handed_over() {
        assert!(matches!(System::machine(), Err(SystemError::NotRamdisk)));
    }

    #[test]
    fn a_sandbox_admits_the_named_files_under_any_spelling_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, other, link) =
            (dir.path().join("disk"), dir.path().join("other"), dir.path().join("link"));
        for file in [&disk, &other] {
            std::fs::write(file, b"").unwrap();
        }
        std::os::unix::fs::symlink(&disk, &link).unwrap();
        let sandbox = System::sandbox(dir.path(), std::slice::from_ref(&link)).unwrap();
        assert_eq!(sandbox.admit(&disk).unwrap(), disk.canonicalize().unwrap());
        assert_eq!(sandbox.admit(&link).unwrap(), disk.canonicalize().unwrap());
        assert!(matches!(sandbox.admit(&other), Err(SystemError::NotNamed { .. })));
        // A link that is turned later does not widen what was named.
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert!(sandbox.admit(&link).is_err());
        assert!(matches!(System::sandbox(dir.path(), &[]), Err(SystemError::NoDisks)));
        assert!(System::sandbox(dir.path(), &[dir.path().join("missing")]).is_err());
    }

    #[test]
    fn a_sandbox_records_what_reaches_beyond_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let sandbox = System::sandbox(Path::new("/"), &[file.path().to_path_buf()]).unwrap();
        let effect = Effect::BootEntry { label: "debian".to_owned() };
        assert!(!sandbox.may(effect.clone()));
        assert_eq!(sandbox.recorded(), [effect]);
    }
}
