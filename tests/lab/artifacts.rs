//! What a lab run boots and deploys: the ramdisk, operating system images, the coordinator's binary. All of it is built
//! here from Debian packages and our own sources, and kept in the cache until an input changes.

mod cargo;
pub mod command;
pub mod plugin;
pub mod revision;
mod store;

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::packages::sources::{self, Sources, SourcesError};
use crate::packages::{self, PackageError, Set};
use command::{CommandError, Program};
use store::{Key, Store};

/// A kernel and its initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ramdisk {
    /// Debian's generic kernel.
    pub vmlinuz: PathBuf,
    /// Modules and agent.
    pub initrd: PathBuf,
    /// What is inside and how large it is, one `name value` a line, as `ramdisk/build` prints it.
    pub manifest: PathBuf,
}

/// Why something could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A program of the build failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A package is missing.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// The machine's package sources cannot be used.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// A file of the sources or the cache.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Cargo built something, but not this.
    #[error("cargo reported success but named no program {0}")]
    NoProgram(String),
    /// A build that ended well left something else than it should.
    #[error("{} is not {expected}; it was removed, build again", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        expected: &'static str,
    },
}

impl ArtifactError {
    /// For `map_err`: the error of `path`.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// The root of our sources.
pub(crate) fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Kernel and initrd of the ramdisk, with the agent of these sources inside.
///
/// # Errors
/// [`ArtifactError`].
pub fn ramdisk() -> Result<Ramdisk, ArtifactError> {
    packages::ensure(Set::Ramdisk)?;
    let agent = cargo::agent()?;
    let kernel = packages::kernel()?;
    let sources = workspace().join("ramdisk");
    let mut key = Key::new();
    for path in
        [&sources.join("build"), &sources.join("drivers.txt"), &sources.join("tools.txt"), &agent]
    {
        key.add_file(path)?;
    }
    key.add_folder_names(&kernel.join("lib/modules"))?;
    let store = Store::new("ramdisk");
    let folder = store.get(key, |partial| {
        let build = Program::new(sources.join("build"));
        build
            .arg("--out")
            .arg(partial)
            .arg("--agent")
            .arg(&agent)
            .arg("--kernel-dir")
            .arg(&kernel)
            .arg("--cache")
            .arg(store.folder().join("modules"))
            .run()?;
        // Linux Documentation/arch/x86/boot.rst: "HdrS" at 0x202. The initrd begins with an uncompressed cpio.
        expect_bytes(&partial.join("vmlinuz"), 0x202, b"HdrS", "a Linux kernel")?;
        expect_bytes(&partial.join("initrd"), 0, b"070701", "an initrd")
    })?;
    Ok(Ramdisk {
        vmlinuz: folder.join("vmlinuz"),
        initrd: folder.join("initrd"),
        manifest: folder.join("manifest.txt"),
    })
}

/// What makes the ramdisk a rescue system.
///
/// # Errors
/// [`ArtifactError`].
pub fn rescue() -> Result<PathBuf, ArtifactError> {
    packages::ensure(Set::Ramdisk)?;
    let script = workspace().join("ramdisk/rescue");
    let mut key = Key::new();
    key.add_file(&script)?;
    let folder = Store::new("rescue").get(key, |partial| {
        let names = Program::new(&script).arg("--packages").run()?;
        let unpacked = packages::unpacked("rescue", names.split_whitespace())?;
        let build = Program::new(&script);
        build.arg("--out").arg(partial).arg("--packages-dir").arg(&unpacked).run()?;
        // The magic number of zstd (RFC 8878, 3.1.1).
        expect_bytes(&partial.join("rescue"), 0, &[0x28, 0xb5, 0x2f, 0xfd], "an archive")
    })?;
    Ok(folder.join("rescue"))
}

/// Builds the ramdisk once more into `out`, from the same inputs and without anything kept from the build before.
///
/// # Errors
/// [`ArtifactError`].
pub fn ramdisk_again(out: &Path) -> Result<Ramdisk, ArtifactError> {
    Program::new(workspace().join("ramdisk/build"))
        .arg("--out")
        .arg(out)
        .arg("--agent")
        .arg(cargo::agent()?)
        .arg("--kernel-dir")
        .arg(packages::kernel()?)
        .run()?;
    let [vmlinuz, initrd, manifest] =
        ["vmlinuz", "initrd", "manifest.txt"].map(|name| out.join(name));
    Ok(Ramdisk { vmlinuz, initrd, manifest })
}

/// A Debian that boots fast on any disk and reads its config drive without cloud-init (qcow2). On the serial line it says
/// `IMAGE-READY hostname=… drive=… type=… root=… up=…`, then what its user data prints, then `IMAGE-DONE status=…`.
///
/// # Errors
/// [`ArtifactError`].
pub fn image_small() -> Result<PathBuf, ArtifactError> {
    packages::ensure(Set::Images)?;
    let kernel = packages::kernel()?;
    let mut key = Key::new();
    key.add_folder_names(&kernel.join("lib/modules"))?;
    image("small", &["small", "debian", "assemble", "initrd-init", "config-drive"], key, &[&kernel])
}

/// The small image, which boots from a mirror of the kernel's software RAID too: mdadm in it and in its initrd (qcow2).
///
/// # Errors
/// [`ArtifactError`].
pub fn image_raid() -> Result<PathBuf, ArtifactError> {
    packages::ensure(Set::Images)?;
    let kernel = packages::kernel()?;
    let mut key = Key::new();
    key.add_folder_names(&kernel.join("lib/modules"))?;
    let scripts = ["raid", "small", "debian", "assemble", "initrd-init", "config-drive"];
    image("raid", &scripts, key, &[&kernel])
}

/// The plugins that virtual machine tests use, bundled and signed.
///
/// # Errors
/// [`ArtifactError`].
pub fn plugins() -> Result<Vec<crate::runs::Bundle>, ArtifactError> {
    ["raid-mdadm", "examples/checksum"].into_iter().map(plugin::bundle).collect()
}

/// A plugin of ours in Rust, as it is in its bundle.
///
/// # Errors
/// [`ArtifactError`].
pub fn plugin_program(name: &str) -> Result<PathBuf, ArtifactError> {
    cargo::plugin(name)
}

/// A real cloud image: Debian with its cloud kernel and cloud-init (qcow2). Says `IMAGE-READY …` as the small one does, after its
/// user data ran.
///
/// # Errors
/// [`ArtifactError`].
pub fn image_full() -> Result<PathBuf, ArtifactError> {
    packages::ensure(Set::Images)?;
    image("full", &["full", "debian", "assemble"], Key::new(), &[])
}

/// The agent of these sources, as it is in the ramdisk.
///
/// # Errors
/// [`ArtifactError`].
pub fn agent() -> Result<PathBuf, ArtifactError> {
    cargo::agent()
}

/// An example of the plugins' SDK, as it would be in a bundle.
///
/// # Errors
/// [`ArtifactError`].
pub fn plugin_example(name: &'static str) -> Result<PathBuf, ArtifactError> {
    cargo::plugin_example(name)
}

/// An example of the agent, optimised.
///
/// # Errors
/// [`ArtifactError`].
pub fn agent_example(name: &'static str) -> Result<PathBuf, ArtifactError> {
    cargo::agent_example(name)
}

/// The coordinator of these sources, built by cargo for development.
///
/// # Errors
/// [`ArtifactError`].
pub fn coordinator() -> Result<PathBuf, ArtifactError> {
    cargo::coordinator()
}

/// The coordinator of these sources, optimised.
///
/// # Errors
/// [`ArtifactError`].
pub fn coordinator_release() -> Result<PathBuf, ArtifactError> {
    cargo::coordinator_release()
}

/// Runs script `name` of `tests/lab/images`, whose inputs are `scripts`, what is in `key`, and the Debian release.
fn image(
    name: &str,
    scripts: &[&str],
    mut key: Key,
    more: &[&Path],
) -> Result<PathBuf, ArtifactError> {
    let folder = workspace().join("tests/lab/images");
    for script in scripts {
        key.add_file(&folder.join(script))?;
    }
    let sources = Sources::of_this_machine()?;
    key.add(sources.release().as_bytes());
    let built = Store::new(&format!("image-{name}")).get(key, |partial| {
        let list = partial.join("sources.list");
        fs::write(&list, sources.release_list()).map_err(ArtifactError::file(&list))?;
        let options = partial.join("apt.conf");
        fs::write(&options, sources::transport_options()?)
            .map_err(ArtifactError::file(&options))?;
        let image = partial.join("image.qcow2");
        Program::as_root(folder.join(name))
            .args([&image, &list, &options])
            .arg(sources.release())
            .args(more)
            .run()?;
        expect_bytes(&image, 0, b"QFI\xfb", "a qcow2 image")
    })?;
    Ok(built.join("image.qcow2"))
}

/// Checks that `bytes` stand at `offset` of the file; removes it where they do not.
fn expect_bytes(
    path: &Path,
    offset: u64,
    bytes: &[u8],
    expected: &'static str,
) -> Result<(), ArtifactError> {
    use std::io::Seek as _;
    let mut file = fs::File::open(path).map_err(ArtifactError::file(path))?;
    let mut found = vec![0; bytes.len()];
    let read = file.seek(io::SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut found));
    if read.is_ok() && found == bytes {
        return Ok(());
    }
    fs::remove_file(path).map_err(ArtifactError::file(path))?;
    Err(ArtifactError::Unexpected { path: path.to_owned(), expected })
}

/// Tells the person at the terminal what is being built.
#[expect(
    clippy::print_stderr,
    reason = "progress of a build belongs on the terminal, results on stdout"
)]
pub(crate) fn say(text: &str) {
    eprintln!("lab: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_what_it_should_be_is_refused_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.qcow2");
        fs::write(&path, b"QFI\xfb rest").unwrap();
        expect_bytes(&path, 0, b"QFI\xfb", "a qcow2 image").unwrap();
        for bad in [&b"QFI"[..], b"raw bytes", b""] {
            fs::write(&path, bad).unwrap();
            let error = expect_bytes(&path, 0, b"QFI\xfb", "a qcow2 image").unwrap_err();
            assert!(error.to_string().contains("is not a qcow2 image"), "{error}");
            assert!(!path.exists());
        }
    }

    #[test]
    #[ignore = "builds the agent, the ramdisk and both images, with root and Debian packages: cargo lab test"]
    fn everything_is_built_and_asking_again_is_quick() {
        let all = || {
            let ramdisk = ramdisk().unwrap();
            (ramdisk, image_small().unwrap(), image_full().unwrap())
        };
        let built = all();
        let again = std::time::Instant::now();
        assert_eq!(all(), built);
        assert!(again.elapsed().as_secs() < 5, "{:?}", again.elapsed());
        say(&fs::read_to_string(&built.0.manifest).unwrap());
    }
}
