//! The step `erase_pstore`: what kernels of earlier tenants left in the firmware's persistent store.

use std::fs;
use std::path::Path;

use ironwright_api::{Blame, Failure};
use nix::mount::{MsFlags, mount};

use crate::sys::{Effect, System};

/// Where the kernel shows it.
const PSTORE: &str = "sys/fs/pstore";

/// What the step would do.
#[must_use]
pub fn sentences(system: &System) -> Vec<String> {
    vec![match records(&system.root().join(PSTORE)) {
        None => "nothing: this kernel has no persistent store".to_owned(),
        Some(names) => {
            format!("what the persistent store holds goes ({} records now)", names.len())
        }
    }]
}

/// Removes every record, and looks that none is left.
///
/// # Errors
/// The [`Failure`] to report.
pub fn erase(system: &System) -> Result<(), Failure> {
    if !system.may(Effect::ErasePstore) {
        return Ok(());
    }
    let folder = system.root().join(PSTORE);
    if !folder.is_dir() {
        return Ok(());
    }
    let refuse = |why: String| Failure {
        step: String::new(),
        message: format!("the firmware's persistent store was not emptied: {why}"),
        remedy: "clear it in the firmware's setup, or leave this step out".to_owned(),
        blame: Blame::Hardware,
    };
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(Some("pstore"), &folder, Some("pstore"), safe, None::<&str>) {
        // EBUSY: it is mounted already.
        Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
        Err(error) => return Err(refuse(format!("it cannot be mounted: {error}"))),
    }
    for name in records(&folder).unwrap_or_default() {
        let removed = fs::remove_file(folder.join(&name));
        removed.map_err(|error| refuse(format!("{name}: {error}")))?;
    }
    match records(&folder).unwrap_or_default().first() {
        None => Ok(()),
        Some(name) => Err(refuse(format!("{name} is still there"))),
    }
}

fn records(folder: &Path) -> Option<Vec<String>> {
    let entries = fs::read_dir(folder).ok()?;
    Some(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_records_it_and_touches_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join(PSTORE);
        fs::create_dir_all(&store).unwrap();
        fs::write(store.join("dmesg-efi-1"), "old").unwrap();
        let disk = folder.path().join("disk");
        fs::write(&disk, b"").unwrap();
        let system = System::sandbox(folder.path(), &[disk]).unwrap();
        assert!(sentences(&system)[0].contains("(1 records now)"));
        erase(&system).unwrap();
        assert_eq!(system.recorded(), [Effect::ErasePstore]);
        assert!(store.join("dmesg-efi-1").exists());
    }
}
