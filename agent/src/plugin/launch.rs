//! Between the agent and a confined plugin: this binary once more, as a small launcher.
//!
//! Two stages, because a new PID namespace holds only the children of the process that made it. The first makes the namespaces
//! (mounts, processes, network, IPC, host name) and waits; the second is process 1 of them, builds the plugin's file system
//! and becomes the plugin. When either dies, the kernel kills every process of the plugin, also those in other process groups.
//! On a real machine the first stage meanwhile shows the plugin the declared devices that come and go ([`nodes`]): partitions
//! that it makes, arrays that it starts.

mod cgroup;
mod nodes;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{chdir, chroot};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde::{Deserialize, Serialize};

/// Exit status of a launcher that failed before the plugin ran; a shell's for "cannot be run" is 126.
pub(super) const NOT_STARTED: u8 = 125;
/// How the launcher's last words begin then.
pub(super) const UNSTARTED: &str = "the plugin was not started";
/// What its last words ask where the program itself could not be started.
pub(super) const NOT_IN_TREE: &str = "is its interpreter in the tree?";
/// What root keeps in a plugin (capabilities(7)): the disks' and controllers' ioctls, files whoever owns them, signals, locked
/// memory. Not: making device nodes, loading modules, the network, the clock, tracing, another root.
const KEPT: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::IPC_LOCK);
/// Device nodes that every program expects.
const ALWAYS: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// How often devices are looked for.
const LOOK: Duration = Duration::from_millis(25);
/// How often the plugin's end is looked for meanwhile: every call waits half of it.
const TICK: Duration = Duration::from_millis(3);

/// What the launcher is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    /// The tree that becomes `/`, read-only. Its parent folder is used for mounts that only this namespace sees.
    pub(super) tree: PathBuf,
    /// An empty folder, the mount point.
    pub(super) mount: PathBuf,
    /// Program, as a path in the tree, and arguments.
    pub(super) exec: Vec<String>,
    /// Device nodes or files that appear: where they are, and their name in the plugin's `/dev`.
    pub(super) devices: Vec<(PathBuf, PathBuf)>,
    /// MiB of `/tmp` and `/run` together.
    pub(super) files_mib: u64,
    /// Devices that may come and go; none outside of a real machine.
    #[serde(default)]
    pub(super) live: Option<Live>,
}

/// Which devices may appear to a running plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Live {
    /// Those that the manifest declares.
    pub(super) patterns: Vec<String>,
    /// Disks that are left alone, with their partitions.
    pub(super) withheld: Vec<String>,
}

impl Spec {
    /// Where the plugin's `/dev` is made: beside its mount point.
    fn dev(&self) -> PathBuf {
        self.mount.with_file_name("dev")
    }
}

/// What went wrong before the plugin ran.
#[derive(Debug, thiserror::Error)]
#[error("{op}")]
struct LaunchError {
    op: String,
    source: io::Error,
}

fn failed<E: Into<io::Error>>(op: impl Into<String>) -> impl FnOnce(E) -> LaunchError {
    let op = op.into();
    move |source| LaunchError { op, source: source.into() }
}

/// The launcher's main; `inner` is the second stage. Returns only where the plugin could not be started, or, in the first
/// stage, with the plugin's exit status.
#[must_use]
pub fn main(spec: &str, inner: bool) -> ExitCode {
    let parsed = serde_json::from_str::<Spec>(spec).map_err(failed("reading the launcher's order"));
    let done = parsed.and_then(|parsed| {
        if inner {
            become_plugin(&parsed).map(|never| match never {})
        } else {
            outer(spec, &parsed)
        }
    });
    done.unwrap_or_else(|error| {
        // The agent reads this as the plugin's last words.
        tracing::error!("{UNSTARTED}: {}", crate::report::chain(&error));
        ExitCode::from(NOT_STARTED)
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "plugins are one of the two places that start a program"
)]
fn outer(text: &str, spec: &Spec) -> Result<ExitCode, LaunchError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("asking to die with the agent"))?;
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(all).map_err(failed("making the plugin's namespaces"))?;
    let none = None::<&Path>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(failed("making mounts private"))?;
    build_dev(spec)?;
    let mut shown = spec.live.as_ref().map(|live| nodes::Shown::new(spec.dev(), live.clone()));
    if let Some(shown) = &mut shown {
        shown.look().map_err(failed("showing the declared devices"))?;
    }
    let group = limit(spec)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["plugin", "launch", "--inner", text])
        .spawn()
        .map_err(failed("starting the second stage"))?;
    let waiting = failed("waiting for the second stage");
    let status: ExitStatus = match shown {
        None => child.wait().map_err(waiting)?,
        Some(mut shown) => {
            let mut looked = Instant::now();
            loop {
                if let Some(status) =
                    child.try_wait().map_err(failed("waiting for the second stage"))?
                {
                    break status;
                }
                if looked.elapsed() >= LOOK {
                    if let Err(error) = shown.look() {
                        tracing::warn!("a device could not be shown to the plugin: {error}");
                    }
                    looked = Instant::now();
                }
                thread::sleep(TICK);
            }
        }
    };
    drop(group);
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Where the first stage leaves what does not limit the plugin: beside its mount point, where the plugin cannot write.
pub(super) fn unlimited(mount: &Path) -> PathBuf {
    mount.with_file_name("unlimited")
}

/// Puts this process, and so the plugin, into a control group, and leaves beside the mount point what that does not limit. Our
/// ramdisk's kernel has control groups: without one nothing runs there.
fn limit(spec: &Spec) -> Result<Option<cgroup::Group>, LaunchError> {
    let group = cgroup::Group::enter(&spec.mount.with_file_name("cgroup"));
    let (group, lacks) = match group {
        Ok(group) => {
            let lacks = group.lacks().map(str::to_owned);
            (Some(group), lacks)
        }
        Err(error) if crate::supervisor::in_ramdisk() => return Err(error),
        Err(error) => {
            let why = crate::report::chain(&error);
            (None, Some(format!("the plugin's processes and memory were not limited: {why}")))
        }
    };
    if let Some(lacks) = &lacks {
        tracing::warn!("{lacks}");
    }
    let path = unlimited(&spec.mount);
    fs::write(&path, lacks.unwrap_or_default())
        .map_err(failed(format!("writing {}", path.display())))?;
    Ok(group)
}

/// The plugin's `/dev`, which only the first stage can write to once the plugin has it.
fn build_dev(spec: &Spec) -> Result<(), LaunchError> {
    let dev = spec.dev();
    DirBuilder::new().recursive(true).create(&dev).map_err(failed("making a folder for /dev"))?;
    special("tmpfs", &dev, MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "size=256k,mode=0755")?;
    let always = ALWAYS.map(|name| (Path::new("/dev").join(name), PathBuf::from(name)));
    // Live devices are nodes of their own: what is bound could not go away again.
    let bound = if spec.live.is_some() { &[][..] } else { &spec.devices };
    for (from, name) in always.iter().chain(bound) {
        let to = dev.join(name);
        if let Some(parent) = to.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(failed("making a folder in /dev"))?;
        }
        File::create(&to).map_err(failed(format!("making {}", to.display())))?;
        bind(from, &to)?;
    }
    Ok(())
}

/// Nothing comes back from here but an error.
enum Never {}

#[expect(
    clippy::disallowed_methods,
    reason = "plugins are one of the two places that start a program"
)]
fn become_plugin(spec: &Spec) -> Result<Never, LaunchError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("asking to die with the launcher"))?;
    build_root(spec)?;
    enter(&spec.mount)?;
    drop_capabilities()?;
    prctl::set_no_new_privs().map_err(failed("giving up new privileges"))?;
    let (program, args) = spec
        .exec
        .split_first()
        .map_or(("", [].as_slice()), |(program, args)| (program.as_str(), args));
    let error = Command::new(Path::new("/").join(program)).args(args).exec();
    Err(failed(format!("starting {program} of the plugin's tree ({NOT_IN_TREE})"))(error))
}

/// Takes effect when the program starts: root then gets no more than the bounding set (capabilities(7)).
fn drop_capabilities() -> Result<(), LaunchError> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(Errno::INVAL) => return Ok(()),
            Err(error) => return Err(failed(format!("giving up capability {bit}"))(error)),
        }
    }
    Ok(())
}

fn build_root(spec: &Spec) -> Result<(), LaunchError> {
    let none = None::<&Path>;
    let root = spec.mount.as_path();
    bind(&spec.tree, root)?;
    let read_only = MsFlags::MS_BIND
        | MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOSUID;
    mount(none, root, none, read_only, none)
        .map_err(failed("making the plugin's tree read-only"))?;
    let quiet = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let half = (spec.files_mib * 1024 / 2).max(64);
    for name in ["tmp", "run"] {
        special(
            "tmpfs",
            &root.join(name),
            MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
            &format!("size={half}k,mode=0700"),
        )?;
    }
    special("proc", &root.join("proc"), quiet | MsFlags::MS_RDONLY, "")?;
    special("sysfs", &root.join("sys"), quiet | MsFlags::MS_RDONLY, "")?;
    let dev = root.join("dev");
    mount(Some(&spec.dev()), &dev, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .map_err(failed("showing /dev"))?;
    // This mount of it only: the first stage has another one.
    let strict = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let closed = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | strict;
    mount(none, &dev, none, closed, none).map_err(failed("closing /dev"))
}

fn bind(from: &Path, to: &Path) -> Result<(), LaunchError> {
    let none = None::<&Path>;
    mount(Some(from), to, none, MsFlags::MS_BIND, none)
        .map_err(failed(format!("showing {} to the plugin", from.display())))
}

fn special(kind: &str, to: &Path, flags: MsFlags, options: &str) -> Result<(), LaunchError> {
    mount(Some(kind), to, Some(kind), flags, Some(options))
        .map_err(failed(format!("mounting {}", to.display())))
}

/// Makes `root` the root. An initramfs cannot be exchanged by `pivot_root` (pivot_root(2)), so it is covered, as
/// `switch_root` does.
fn enter(root: &Path) -> Result<(), LaunchError> {
    let none = None::<&Path>;
    chdir(root).map_err(failed("entering the plugin's tree"))?;
    mount(Some("."), "/", none, MsFlags::MS_MOVE, none)
        .map_err(failed("making the plugin's tree the root"))?;
    chroot(".").map_err(failed("making the plugin's tree the root"))?;
    chdir("/").map_err(failed("making the plugin's tree the root"))
}

/// The folders that [`build_root`] mounts on; an unpacked tree gets those that it lacks.
pub(super) fn make_mount_points(tree: &Path) -> io::Result<()> {
    for name in ["dev", "proc", "sys", "tmp", "run"] {
        match fs::symlink_metadata(tree.join(name)) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                return Err(io::Error::other(format!(
                    "{name} in the plugin's tree is not a folder"
                )));
            }
            Err(_) => DirBuilder::new().mode(0o755).create(tree.join(name))?,
        }
    }
    Ok(())
}
