//! What the supervisor leaves in `/run/ironwright` for the agent.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// `boot.json`: this boot's identity, and when its stages were done, in milliseconds since the kernel started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Boot {
    /// A version 4 UUID, new with every boot: the kernel's own `random/boot_id`.
    pub(super) boot_id: String,
    /// PID 1 started.
    pub(super) init_ms: u64,
    /// The modules of all devices were loaded; absent where that did not succeed in time.
    pub(super) modules_ms: Option<u64>,
    /// The first address was there; absent where there is none yet.
    pub(super) network_ms: Option<u64>,
}

/// Writes `name` in `folder` so that a reader sees all of it or nothing; nobody but root may read it.
///
/// # Errors
/// The kernel's answer.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    if !folder.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let partial = folder.join(format!(".{name}.partial"));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    fs::rename(partial, folder.join(name))
}

/// Writes `boot.json`.
///
/// # Errors
/// The kernel's answer.
pub(super) fn write_boot(folder: &Path, boot: &Boot) -> io::Result<()> {
    write(folder, "boot.json", &serde_json::to_string(boot)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_boot_record_is_private_complete_and_replaced_as_a_whole() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("ironwright");
        let mut boot = Boot {
            boot_id: "0b2f7a3e-52f4-4a71-9b0e-0a5f0c6d8f11".to_owned(),
            init_ms: 2510,
            modules_ms: Some(3900),
            network_ms: None,
        };
        write_boot(&folder, &boot).unwrap();
        boot.network_ms = Some(4200);
        write_boot(&folder, &boot).unwrap();

        let file = folder.join("boot.json");
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(
            text,
            r#"{"boot_id":"0b2f7a3e-52f4-4a71-9b0e-0a5f0c6d8f11","init_ms":2510,"modules_ms":3900,"network_ms":4200}"#
        );
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no partial file is left");
    }
}
