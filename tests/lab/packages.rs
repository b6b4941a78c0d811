//! The Debian packages the lab needs: which are missing, and installing them once.
//!
//! Nothing under `/etc/apt` is changed. Where a package must come from backports, a private apt configuration in the
//! cache is used; its addresses are derived from the machine's own sources ([`sources`]).

pub mod sources;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use crate::artifacts::command::{CommandError, Program};
use sources::{Sources, SourcesError};

/// Package lists older than this are fetched again before something is installed.
const LISTS_FRESH: Duration = Duration::from_secs(24 * 3600);

/// The program of a package is wanted in this version line: QEMU 10 (bookworm itself has 7.2, which conflicts with a
/// newer qemu-utils and lacks the igb NIC).
const FROM_BACKPORTS: [&str; 3] = ["qemu-system-x86", "qemu-utils", "qemu-block-extra"];

/// A group of packages that some part of the lab needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Virtual machines, their BMCs and their network.
    Lab,
    /// Building the ramdisk.
    Ramdisk,
    /// Building operating system images.
    Images,
    /// All of the above.
    All,
    /// What the benchmarks compare with; not needed for anything else.
    Bench,
}

impl Set {
    /// The packages of the set, by name.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let lab = [
            "qemu-system-x86",
            "qemu-utils",
            "ovmf",
            "ipxe",
            "openipmi",
            "ipmitool",
            "freeipmi-tools",
            "dnsmasq-base",
            "iproute2",
            "curl",
            "python3-venv",
            "shellcheck",
            // Ask in the tests what the agent says by itself; the SSH client is dropbear's.
            "dmidecode",
            "pciutils",
            "dropbear-bin",
        ];
        let ramdisk = ["kmod", "cpio", "zstd", "xz-utils"];
        let images = [
            "qemu-utils",
            "mmdebstrap",
            "gdisk",
            "dosfstools",
            "mtools",
            "e2fsprogs",
            "grub-common",
            "grub-pc-bin",
            "grub-efi-amd64-bin",
            "genisoimage",
            "busybox-static",
            "kmod",
            "cpio",
        ];
        let mut names = match self {
            Self::Lab => lab.to_vec(),
            Self::Ramdisk => ramdisk.to_vec(),
            Self::Images => images.to_vec(),
            Self::All => [lab.as_slice(), &ramdisk, &images].concat(),
            Self::Bench => [
                images.as_slice(),
                &["nginx-light", "curl", "openssl", "python3", "python3-venv", "qemu-block-extra"],
            ]
            .concat(),
        };
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Why a package is not there.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The machine's package sources cannot be used.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// A file of the cache cannot be written or read.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// apt said yes and did not do it.
    #[error("apt-get reported success but these packages are still missing: {0}")]
    StillMissing(String),
    /// The kernel's meta package names no kernel.
    #[error("{meta} depends on no kernel package; is `main` among the machine's package sources?")]
    NoKernel {
        /// The meta package.
        meta: &'static str,
    },
}

impl PackageError {
    /// For `map_err`: the error of `path`.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Where everything the lab downloads or builds is kept: `$IRONWRIGHT_LAB_CACHE`, else under `$XDG_CACHE_HOME`, else
/// under `~/.cache`.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("IRONWRIGHT_LAB_CACHE").unwrap_or_else(|| {
        set("XDG_CACHE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(|| PathBuf::from("/var/cache"))
            .join("ironwright-lab")
    })
}

/// Installs what is missing of `set`, and says so. Costs one `dpkg-query` when nothing is.
///
/// # Errors
/// [`PackageError`]; apt's own words are in it.
pub fn ensure(set: Set) -> Result<(), PackageError> {
    let names = set.names();
    let wanted = missing(&names)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    crate::artifacts::say(&format!("installing Debian packages: {}", wanted.join(" ")));
    let apt = Apt::prepare()?;
    let (newer, plain): (Vec<&str>, Vec<&str>) =
        wanted.iter().partition(|name| FROM_BACKPORTS.contains(*name));
    apt.install(&newer, apt.sources.backports())?;
    apt.install(&plain, None)?;
    let left = missing(&names)?;
    if !left.is_empty() {
        return Err(PackageError::StillMissing(left.join(" ")));
    }
    let seconds = started.elapsed().as_secs_f32();
    crate::artifacts::say(&format!("installed {} packages in {seconds:.1} s", wanted.len()));
    Ok(())
}

/// The names of `names` that are not installed.
fn missing(names: &[&'static str]) -> Result<Vec<&'static str>, CommandError> {
    // dpkg-query exits 1 when it does not know a name; what it knows is still printed.
    let output = Program::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status} ${Package}\\n"])
        .args(names)
        .output()?;
    Ok(not_installed(names, &String::from_utf8_lossy(&output.stdout)))
}

fn not_installed(names: &[&'static str], status: &str) -> Vec<&'static str> {
    let installed: Vec<&str> =
        status.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    names.iter().copied().filter(|name| !installed.contains(name)).collect()
}

/// Debian's kernel with every server driver.
const KERNEL: &str = "linux-image-amd64";

/// Downloads and unpacks Debian's newest kernel, once; returns the folder that holds `boot/` and `lib/modules/`.
///
/// A kernel once in the cache is used until the cache is removed, so that builds stay comparable.
///
/// # Errors
/// [`PackageError`].
pub fn kernel() -> Result<PathBuf, PackageError> {
    let folder = cache_dir().join("kernel").join(KERNEL);
    if folder.join("lib/modules").is_dir() {
        return Ok(folder);
    }
    let apt = Apt::prepare()?;
    // Another process may have fetched it while this one waited for the lock.
    if folder.join("lib/modules").is_dir() {
        return Ok(folder);
    }
    let package = apt.kernel_package(KERNEL)?;
    apt.unpack(&[&package], &folder)?;
    Ok(folder)
}

/// Downloads and unpacks Debian packages without installing them; the newest each time.
///
/// # Errors
/// [`PackageError`].
pub fn unpacked<'a>(
    name: &str,
    packages: impl IntoIterator<Item = &'a str>,
) -> Result<PathBuf, PackageError> {
    let folder = cache_dir().join("packages").join(name);
    let packages: Vec<&str> = packages.into_iter().collect();
    let apt = Apt::prepare()?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(PackageError::file(&folder))?;
    }
    apt.unpack(&packages, &folder)?;
    Ok(folder)
}

/// An exclusive lock on a folder of the cache; freed on drop and when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<fs::File>,
}

impl Lock {
    /// Makes `folder` and waits until nobody else holds it.
    ///
    /// # Errors
    /// [`PackageError::File`].
    pub(crate) fn take(folder: &Path) -> Result<Self, PackageError> {
        fs::create_dir_all(folder).map_err(PackageError::file(folder))?;
        let path = folder.join("lock");
        let file = fs::File::create(&path).map_err(PackageError::file(&path))?;
        let locked = Flock::lock(file, FlockArg::LockExclusive);
        let file =
            locked.map_err(|(_, errno)| PackageError::File { path, source: errno.into() })?;
        Ok(Self { _file: file })
    }
}

/// apt-get with our private configuration.
#[derive(Debug)]
struct Apt {
    folder: PathBuf,
    sources: Sources,
    /// Held while the value lives: two labs share one cache.
    _lock: Lock,
}

impl Apt {
    /// Writes the configuration and fetches the package lists where they are absent or old.
    fn prepare() -> Result<Self, PackageError> {
        let folder = cache_dir().join("apt");
        let lock = Lock::take(&folder)?;
        for name in ["lists/partial", "archives/partial"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(PackageError::file(&path))?;
        }
        let apt = Self { sources: Sources::of_this_machine()?, folder, _lock: lock };
        let list = apt.folder.join("sources.list");
        let text = apt.sources.list();
        let same = fs::read_to_string(&list).is_ok_and(|old| old == text);
        if !same {
            fs::write(&list, text).map_err(PackageError::file(&list))?;
        }
        let stamp = apt.folder.join("updated");
        if !same || !fresh(&stamp) {
            apt.program("apt-get").arg("update").run()?;
            fs::write(&stamp, "").map_err(PackageError::file(&stamp))?;
        }
        Ok(apt)
    }

    fn options(&self) -> Vec<String> {
        let folder = self.folder.display();
        let mut options = Vec::new();
        for option in [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::Cache::archives={folder}/archives"),
            format!("Dir::Cache::pkgcache={folder}/pkgcache.bin"),
            format!("Dir::Cache::srcpkgcache={folder}/srcpkgcache.bin"),
            // apt's own unprivileged user cannot enter a home directory.
            "APT::Sandbox::User=root".to_owned(),
            "Dpkg::Use-Pty=0".to_owned(),
            // Somebody else's apt is waited for, seconds.
            "DPkg::Lock::Timeout=300".to_owned(),
        ] {
            options.extend(["-o".to_owned(), option]);
        }
        options
    }

    fn program(&self, name: &str) -> Program {
        Program::new(name).args(self.options())
    }

    fn install(&self, names: &[&str], suite: Option<&str>) -> Result<(), PackageError> {
        if names.is_empty() {
            return Ok(());
        }
        let program = Program::as_root("apt-get")
            .args(self.options())
            .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
            .args(suite.into_iter().flat_map(|suite| ["-t", suite]))
            .args(names)
            .env("DEBIAN_FRONTEND", "noninteractive");
        program.run()?;
        Ok(())
    }

    fn kernel_package(&self, meta: &'static str) -> Result<String, PackageError> {
        let text = self.program("apt-cache").args(["depends", meta]).run()?;
        kernel_in(&text).ok_or(PackageError::NoKernel { meta })
    }

    /// Downloads packages and unpacks them into a new `folder`.
    fn unpack(&self, packages: &[&str], folder: &Path) -> Result<(), PackageError> {
        crate::artifacts::say(&format!("downloading {}", packages.join(" ")));
        let partial = folder.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(PackageError::file(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(PackageError::file(&partial))?;
        for package in packages {
            self.download(package, &partial)?;
        }
        let files = fs::read_dir(&partial).map_err(PackageError::file(&partial))?;
        for file in files.filter_map(Result::ok).map(|entry| entry.path()) {
            if file.extension().is_some_and(|extension| extension == "deb") {
                Program::new("dpkg-deb").arg("-x").args([&file, &partial]).run()?;
                fs::remove_file(&file).map_err(PackageError::file(&file))?;
            }
        }
        fs::rename(&partial, folder).map_err(PackageError::file(folder))
    }

    fn download(&self, package: &str, into: &Path) -> Result<(), PackageError> {
        self.program("apt-get").args(["download", package]).folder(into).run()?;
        Ok(())
    }
}

fn fresh(stamp: &Path) -> bool {
    let changed = fs::metadata(stamp).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() < LISTS_FRESH)
}

/// The kernel that `apt-cache depends META` names.
fn kernel_in(depends: &str) -> Option<String> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| {
            name.starts_with("linux-image-") && name.contains(|c: char| c.is_ascii_digit())
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_that_are_fully_installed_count() {
        let status = "installed cpio\nconfig-files kmod\nunpacked zstd\n";
        assert_eq!(
            not_installed(&["cpio", "kmod", "zstd", "ovmf"], status),
            ["kmod", "zstd", "ovmf"]
        );
    }

    #[test]
    fn the_kernel_is_the_versioned_dependency_of_the_meta_package() {
        let text = "linux-image-amd64\n  Depends: initramfs-tools\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(kernel_in(text).as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(kernel_in("linux-image-amd64\n"), None);
    }

    #[test]
    fn every_set_is_part_of_the_whole() {
        let all = Set::All.names();
        for set in [Set::Lab, Set::Ramdisk, Set::Images] {
            assert!(set.names().iter().all(|name| all.contains(name)), "{set:?}");
        }
    }

    #[test]
    #[ignore = "installs Debian packages on this machine, with root or sudo: cargo lab test"]
    fn everything_is_installed_once_and_asking_again_is_quick() {
        ensure(Set::All).unwrap();
        let started = Instant::now();
        ensure(Set::All).unwrap();
        assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
    }
}
