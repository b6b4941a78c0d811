//! PID 1: mounts, modules, network, and an agent that is always running.
//!
//! The agent's binary is `/init` of our ramdisk. PID 1 itself only mounts, starts programs and reaps them, because a panic
//! in it is a kernel panic; what meets the outside world runs in helper processes of the same binary, restarted like the
//! agent when they die:
//!
//! ```text
//! PID 1 (init) ─┬─ hardware: loads modules for devices, now and whenever one appears
//!               ├─ network:  links up, DHCP, renews the leases
//!               └─ ironwright-agent run, once the network is there
//! kernel ───────── /sbin/modprobe: what the kernel itself asks for (file systems, RAID levels)
//! ```
//!
//! Nothing here can run outside the ramdisk: every role is refused unless `/` is our unpacked initrd ([`in_ramdisk`]).

mod beacon;
mod child;
mod cmdline;
mod console;
mod dhcp;
mod hardware;
mod init;
mod lockdown;
mod modules;
mod netlink;
mod network;
mod record;
mod uevent;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use nix::sys::statfs;

pub(crate) use lockdown::lock_down;

/// Written into the initrd by `ramdisk/build`; holds the kernel's version.
const MARKER: &str = "/etc/ironwright/ramdisk";

/// Our folder in `/run`, mode 0700.
const RUN: &str = "/run/ironwright";

/// The archive of a rescue system leaves this, and a rescue that was let in this: PID 1 then keeps the SSH server running.
pub const RESCUE_SYSTEM: &str = "/etc/ironwright/rescue";
/// See [`RESCUE_SYSTEM`].
pub const RESCUE_OPEN: &str = "/run/ironwright/rescue";

/// The first argument of the helper processes. Not commands: refused unless PID 1 gives them.
const HARDWARE: &str = "supervisor-hardware";
const NETWORK: &str = "supervisor-network";

/// What this process is, in the ramdisk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// PID 1.
    Init,
    /// The helper that loads modules.
    Hardware,
    /// The helper that gets and keeps addresses.
    Network,
    /// Started by the kernel to load these modules, by name or alias.
    Modprobe(Vec<String>),
}

/// Whether this process is PID 1 of our ramdisk. The second stage of a plugin's launcher is a PID 1 too, of the plugin's own namespace.
#[must_use]
pub fn is_init() -> bool {
    let args: Vec<OsString> = std::env::args_os().collect();
    std::process::id() == 1 && !launches(&args) && root_is_initrd()
}

/// Whether a command line is that of a plugin's launcher.
fn launches(args: &[OsString]) -> bool {
    args.get(1).is_some_and(|arg| arg == "plugin") && args.get(2).is_some_and(|arg| arg == "launch")
}

/// Whether this machine runs our ramdisk: `/` is an unpacked initrd that `ramdisk/build` made, and PID 1 is this binary.
///
/// Everything that changes the machine asks this first; there is no flag and no variable that says otherwise.
#[must_use]
pub fn in_ramdisk() -> bool {
    let inode = |path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let us = inode("/proc/self/exe");
    root_is_initrd() && us.is_some() && us == inode("/proc/1/exe")
}

fn root_is_initrd() -> bool {
    // The kernel unpacks an initrd into ramfs or tmpfs. A container's root is neither; one that is lacks the marker.
    let in_memory = statfs::statfs("/").is_ok_and(|root| {
        let kind = root.filesystem_type();
        kind == statfs::TMPFS_MAGIC || kind.0 == RAMFS_MAGIC
    });
    in_memory && Path::new(MARKER).is_file()
}

/// `RAMFS_MAGIC` of Linux `include/uapi/linux/magic.h`; neither libc nor nix has it.
const RAMFS_MAGIC: libc::__fsword_t = 0x8584_58f6;

/// The part of the supervisor this process has to play; none outside our ramdisk, and none for the agent itself.
#[must_use]
pub fn role() -> Option<Role> {
    if is_init() {
        return Some(Role::Init);
    }
    let args: Vec<OsString> = std::env::args_os().collect();
    let role = requested(&args)?;
    let allowed = in_ramdisk()
        && match role {
            Role::Modprobe(_) => true,
            Role::Init | Role::Hardware | Role::Network => nix::unistd::getppid().as_raw() == 1,
        };
    allowed.then_some(role)
}

/// The role that a command line asks for. PID 1 is not asked for, it is.
fn requested(args: &[OsString]) -> Option<Role> {
    let name = Path::new(args.first()?).file_name()?;
    let rest: Vec<String> =
        args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if name == "modprobe" {
        let names = rest.into_iter().filter(|arg| !arg.starts_with('-')).collect();
        return Some(Role::Modprobe(names));
    }
    match rest.first()?.as_str() {
        HARDWARE => Some(Role::Hardware),
        NETWORK => Some(Role::Network),
        _ => None,
    }
}

/// Plays `role`. Only [`Role::Modprobe`] comes to an end.
#[must_use]
pub fn run(role: Role) -> ExitCode {
    match role {
        Role::Init => init::run(),
        Role::Hardware => hardware::run(),
        Role::Network => network::run(),
        Role::Modprobe(names) => hardware::modprobe(&names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_developers_machine_is_never_taken_for_the_ramdisk() {
        assert!(!is_init());
        assert!(!in_ramdisk());
        assert_eq!(role(), None);
    }

    #[test]
    fn the_launcher_of_a_plugin_is_not_taken_for_init_though_it_is_a_pid_1() {
        assert!(launches(&args(&["/proc/self/exe", "plugin", "launch", "--inner", "{}"])));
        assert!(!launches(&args(&["/init"])));
        assert!(!launches(&args(&["/init", "plugin", "list"])));
    }

    #[test]
    fn the_command_line_asks_for_a_role_by_its_first_argument_or_by_its_name() {
        for (words, expected) in [
            (&["/bin/ironwright-agent", "run"][..], None),
            (&["/bin/ironwright-agent"], None),
            (&["/init", "supervisor-hardware"], Some(Role::Hardware)),
            (&["/init", "supervisor-network"], Some(Role::Network)),
            (&["/init", "run", "supervisor-network"], None),
            (
                &["/sbin/modprobe", "-q", "--", "fs-vfat"],
                Some(Role::Modprobe(vec!["fs-vfat".to_owned()])),
            ),
            (&[], None),
        ] {
            assert_eq!(requested(&args(words)), expected, "{words:?}");
        }
    }
}
