//! From `--dir` or `--bundle` to a plugin that can be asked.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use crate::cli::output::Trouble;
use crate::plugin::key::{TRUSTED, TrustedKeys};
use crate::plugin::{Confinement, Folder, Plugin, Scratch, bundle, device};
use crate::supervisor;

/// Where a plugin comes from.
#[derive(Debug, ClapArgs)]
#[group(skip)]
pub(super) struct Source {
    /// A plugin's folder: yours, run without a signature and not confined; refused in the ramdisk.
    #[arg(long, required_unless_present = "bundle", conflicts_with = "bundle")]
    dir: Option<PathBuf>,
    /// A signed bundle.
    #[arg(long)]
    bundle: Option<PathBuf>,
    /// Trusted public keys, files or folders; in the ramdisk only those that it was built with.
    #[arg(long, conflicts_with = "dir")]
    trust: Vec<PathBuf>,
    /// The sha256 that the bundle must have.
    #[arg(long, conflicts_with = "dir")]
    sha256: Option<String>,
}

impl Source {
    /// A folder, or a file as a bundle.
    pub(super) fn of(path: &Path, trust: &[PathBuf]) -> Self {
        let (dir, bundle) = match path.is_dir() {
            true => (Some(path.to_path_buf()), None),
            false => (None, Some(path.to_path_buf())),
        };
        Self { dir, bundle, trust: trust.to_vec(), sha256: None }
    }
}

/// A plugin, and what must live as long as it is used.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) plugin: Plugin,
    /// The key of its bundle.
    pub(super) signer: Option<String>,
    _scratch: Scratch,
}

impl Opened {
    pub(super) fn open(source: &Source, disks: &[PathBuf]) -> Result<Self, Trouble> {
        let scratch = Scratch::make().map_err(|error| {
            Trouble::new(&error, "check that the folder for temporary files can be written")
        })?;
        let (folder, signer) = match (&source.dir, &source.bundle) {
            (Some(dir), _) => (unsigned(dir)?, None),
            (None, Some(file)) => {
                let (folder, signer) = signed(source, file, &scratch)?;
                (folder, Some(signer))
            }
            (None, None) => return Err(Trouble::usage(&std::fmt::Error)),
        };
        let wrong = |error: device::DeviceError| {
            Trouble::new(
                &error,
                "name a disk that is there and that devices of the manifest declares",
            )
        };
        let all = supervisor::in_ramdisk() && disks.is_empty();
        let devices = match all {
            true => device::declared(folder.manifest(), &[]),
            false => device::named(folder.manifest(), disks).map_err(wrong)?,
        };
        let confinement = confinement(&scratch, signer.is_some())?;
        let live = all.then(Vec::new);
        let plugin = Plugin { folder, confinement, devices, live };
        Ok(Self { plugin, signer, _scratch: scratch })
    }
}

fn unsigned(dir: &Path) -> Result<Folder, Trouble> {
    if supervisor::in_ramdisk() {
        let error = std::io::Error::other(format!(
            "{} is not signed, and this is the ramdisk",
            dir.display()
        ));
        return Err(Trouble::new(
            &error,
            "make a bundle of it with `plugin bundle`, signed with a trusted key",
        ));
    }
    super::read(dir)
}

fn signed(source: &Source, file: &Path, scratch: &Scratch) -> Result<(Folder, String), Trouble> {
    // In the ramdisk the keys that came with it, whatever the command line says.
    let keys = match supervisor::in_ramdisk() {
        true => TrustedKeys::read(&[PathBuf::from(TRUSTED)]),
        false => TrustedKeys::read(&source.trust),
    };
    let keys = keys.map_err(|error| {
        Trouble::new(&error, "name the public keys of those you trust with --trust FILE.pub")
    })?;
    let refused = |error: bundle::BundleError| Trouble::new(&error, error.remedy());
    let bytes = bundle::read(file).map_err(refused)?;
    let verified = bundle::verify(&bytes, &keys, source.sha256.as_deref()).map_err(refused)?;
    let folder = verified.unpack(&scratch.tree()).map_err(refused)?;
    Ok((folder, verified.key_id))
}

/// Bundles are confined wherever the kernel lets us; a developer's own folder uses the developer's own interpreters.
fn confinement(scratch: &Scratch, bundle: bool) -> Result<Confinement, Trouble> {
    if !bundle {
        return Ok(Confinement::None);
    }
    if !nix::unistd::geteuid().is_root() {
        tracing::warn!(
            "not root: the plugin runs WITHOUT confinement, with all of your rights and files"
        );
        return Ok(Confinement::None);
    }
    let launcher = std::env::current_exe().map_err(|error| {
        Trouble::new(&error, "check that /proc is mounted and the agent's binary is still there")
    })?;
    Ok(Confinement::Tree { launcher, mount: scratch.mount() })
}
