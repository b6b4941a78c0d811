//! The helper that loads modules: for every device there is, then for every device that appears.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

use super::console::{complain, say};
use super::uevent::{Heard, Uevents};
use super::{cmdline, modules::Modules};

/// Loaded whether or not a device asks for them: SCSI disks are announced before their driver is looked for, and the
/// character devices of IPMI belong to no device at all.
const ALWAYS: [&str; 6] = ["sd_mod", "sr_mod", "sg", "ipmi_devintf", "ipmi_si", "ipmi_ssif"];

/// No message for this long means that the devices are there.
const QUIET: Duration = Duration::from_millis(150);

/// Longest time the first settling may take; devices that come later are still served.
const SETTLE: Duration = Duration::from_secs(15);

/// Loads modules for as long as the machine runs. Prints `ready` once the devices of the machine are served.
pub(super) fn run() -> ExitCode {
    let Some(mut modules) = complain("cannot read the modules", open()) else {
        // The machine may do without; PID 1 tries again.
        return ExitCode::FAILURE;
    };
    let Some(uevents) = complain("cannot hear of devices", Uevents::open()) else {
        return ExitCode::FAILURE;
    };
    for name in ALWAYS {
        load(&mut modules, name);
    }
    settle(&mut modules, &uevents);
    mount_efivarfs(&mut modules);
    say(&format!("{} modules loaded", modules.loaded()));
    complain("cannot report", writeln!(io::stdout(), "{}", super::child::READY));
    loop {
        match complain("cannot hear of devices", uevents.next(Duration::ZERO)) {
            Some(Heard::Device(alias)) => load(&mut modules, &alias),
            Some(Heard::Lost) => scan(&mut modules),
            Some(Heard::Other | Heard::Quiet) => {}
            None => return ExitCode::FAILURE,
        }
    }
}

/// The kernel's modprobe: loads `names`, says nothing, and answers like modprobe.
pub(super) fn modprobe(names: &[String]) -> ExitCode {
    let Ok(mut modules) = open() else { return ExitCode::FAILURE };
    let failed = names.iter().filter(|name| !modules.load(name).is_empty()).count();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn open() -> io::Result<Modules> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cmdline = fs::read_to_string("/proc/cmdline")?;
    let folder = PathBuf::from("/lib/modules").join(release.trim());
    Modules::open(&folder, cmdline::module_parameters(&cmdline))
}

fn load(modules: &mut Modules, wanted: &str) {
    for error in modules.load(wanted) {
        say(&error.to_string());
    }
}

/// Serves the devices there are, and those their drivers make, until nothing moves any more.
fn settle(modules: &mut Modules, uevents: &Uevents) {
    let end = Instant::now() + SETTLE;
    loop {
        let before = modules.loaded();
        scan(modules);
        let moved = drain(modules, uevents, end);
        if (!moved && modules.loaded() == before) || Instant::now() >= end {
            return;
        }
    }
}

/// Reads messages until there are none; whether there were any of devices.
fn drain(modules: &mut Modules, uevents: &Uevents, end: Instant) -> bool {
    let mut moved = false;
    while Instant::now() < end {
        match uevents.next(QUIET) {
            Ok(Heard::Device(alias)) => {
                load(modules, &alias);
                moved = true;
            }
            Ok(Heard::Other) => {}
            Ok(Heard::Lost) => moved = true,
            Ok(Heard::Quiet) => return moved,
            Err(error) => {
                say(&format!("cannot hear of devices: {error}"));
                thread::sleep(QUIET);
                return moved;
            }
        }
    }
    moved
}

fn scan(modules: &mut Modules) {
    let mut aliases = Vec::new();
    gather(Path::new("/sys/devices"), &mut aliases);
    aliases.sort_unstable();
    aliases.dedup();
    for alias in aliases {
        load(modules, &alias);
    }
}

/// The contents of every `modalias` file below `folder`. Links are not followed: they lead in circles.
fn gather(folder: &Path, aliases: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => gather(&entry.path(), aliases),
            Ok(kind) if kind.is_file() && entry.file_name() == "modalias" => {
                let alias = fs::read_to_string(entry.path()).unwrap_or_default();
                if !alias.trim().is_empty() {
                    aliases.push(alias.trim().to_owned());
                }
            }
            _ => {}
        }
    }
}

/// EFI variables, on machines that have them: the agent changes the boot order there.
fn mount_efivarfs(modules: &mut Modules) {
    let folder = Path::new("/sys/firmware/efi/efivars");
    if !folder.is_dir() {
        return;
    }
    load(modules, "efivarfs");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mounted = mount(Some("efivarfs"), folder, Some("efivarfs"), flags, None::<&str>);
    // A restarted helper finds it mounted.
    if mounted != Err(nix::errno::Errno::EBUSY) {
        complain("cannot mount the EFI variables", mounted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_below_the_root_is_asked_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("pci0000:00/0000:00:03.0/virtio0");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("modalias"), "virtio:d00000001v00001AF4\n").unwrap();
        fs::write(deep.parent().unwrap().join("modalias"), "pci:v00001AF4\n").unwrap();
        fs::write(deep.parent().unwrap().parent().unwrap().join("modalias"), "\n").unwrap();
        std::os::unix::fs::symlink(root.path(), deep.join("subsystem")).unwrap();
        let mut aliases = Vec::new();
        gather(root.path(), &mut aliases);
        aliases.sort();
        assert_eq!(aliases, ["pci:v00001AF4", "virtio:d00000001v00001AF4"]);
    }
}
