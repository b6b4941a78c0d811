//! A folder of this call only: where a bundle is unpacked and the plugin's tree is mounted.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// In the ramdisk: memory, as all of it, and for root only.
const IN_RAMDISK: &str = "/run/ironwright";

/// Gone with this value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it, for its owner only, with the folders [`Scratch::tree`] and [`Scratch::mount`] in it.
    ///
    /// # Errors
    /// The system's answer.
    pub fn make() -> io::Result<Self> {
        let base = match crate::supervisor::in_ramdisk() {
            true => PathBuf::from(IN_RAMDISK),
            false => std::env::temp_dir(),
        };
        let path = base.join(format!("plugin-{}", uuid::Uuid::new_v4()));
        let folder = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        folder(&path)?;
        let scratch = Self(path);
        folder(&scratch.tree())?;
        folder(&scratch.mount())?;
        Ok(scratch)
    }

    /// An empty folder for a bundle's content.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.0.join("plugin")
    }

    /// An empty folder to mount on.
    #[must_use]
    pub fn mount(&self) -> PathBuf {
        self.0.join("root")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("{} is left behind: {error}", self.0.display());
        }
    }
}
