//! What ends a boot: power, network, and secrets left for what the ramdisk starts next. Done in the ramdisk, recorded elsewhere.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

use nix::sys::reboot::{RebootMode, reboot};

use super::{Effect, System};
use crate::supervisor;

impl System {
    /// Turns the machine off or starts it anew; every disk must have been flushed. In a sandbox it is recorded.
    pub fn power(&self, effect: Effect) {
        let (mode, letter) = if effect == Effect::Reboot {
            (RebootMode::RB_AUTOBOOT, "b")
        } else {
            (RebootMode::RB_POWER_OFF, "o")
        };
        if !self.may(effect) {
            return;
        }
        nix::unistd::sync();
        // Comes back only with an error.
        let Err(error) = reboot(mode);
        tracing::error!("the kernel did not end this boot: {error}; asking it again");
        if let Err(error) = fs::write("/proc/sysrq-trigger", letter) {
            tracing::error!("the kernel does not end this boot: {error}");
        }
    }

    /// Takes every network link down, for the rest of this boot. In a sandbox it is recorded.
    pub fn lock_down(&self) {
        if self.may(Effect::LockDown) {
            supervisor::lock_down();
        }
    }

    /// Leaves `text` at `path` (below the root, no leading slash) for root alone. Only where [`System::may`] allowed it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn write_secret(&self, path: &str, text: &str) -> io::Result<()> {
        if self.named_disks().is_some() {
            return Err(io::Error::other("this is not the ramdisk"));
        }
        let path = self.root().join(path);
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_sandbox_stays_on_and_connected_and_keeps_its_etc() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let sandbox = System::sandbox(Path::new("/"), &[file.path().to_path_buf()]).unwrap();
        sandbox.power(Effect::PowerOff);
        sandbox.power(Effect::Reboot);
        sandbox.lock_down();
        assert_eq!(sandbox.recorded(), [Effect::PowerOff, Effect::Reboot, Effect::LockDown]);
        assert!(sandbox.write_secret("etc/.rescued", "").is_err());
        assert!(!Path::new("/etc/.rescued").exists());
    }
}
