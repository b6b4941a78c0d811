//! A virtual machine as a directory of files: whoever has the directory can power it, in any process of the run.
//!
//! ```text
//! machine.json   what it is (Spec)          console.log   its serial console since it was made
//! boot.json      boot device override       qemu.log      what QEMU itself said
//! disk0.img …    sparse disks               qemu.pid, qmp.sock   while it is on
//! vars.fd        UEFI variables             lock          one change of power at a time
//! ```

mod fault;
mod qemu;
mod qmp;

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use fault::{Then, WriteFault};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::host::Program;
use crate::serial::Console;

/// A Unix socket's path has 107 bytes; `qmp.sock` must fit.
const MAX_DIR_BYTES: usize = 98;

/// How long a killed QEMU may take to be gone.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// What a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Name, for people and for QEMU.
    pub name: String,
    /// BIOS or UEFI.
    pub firmware: Firmware,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// MAC address of its one network card.
    pub mac: String,
    /// The tap device behind that card; none: no network.
    pub tap: Option<String>,
    /// Disks; the first is the one the firmware boots.
    pub disks: Vec<DiskSpec>,
    /// SMBIOS serial number.
    pub serial: String,
    /// SMBIOS UUID.
    pub uuid: Uuid,
    /// What the firmware tries first when the BMC says nothing.
    pub default_boot: BootDevice,
    /// Local TCP port of the BMC's side of the in-band IPMI interface (KCS).
    pub kcs_port: Option<u16>,
    /// Local TCP port on which the serial console is offered to the BMC (serial over LAN).
    pub sol_port: Option<u16>,
    /// Further hardware, as QEMU's arguments.
    #[serde(default)]
    pub hardware: Vec<String>,
}

/// Firmware of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// `SeaBIOS`
    Bios,
    /// OVMF, without Secure Boot
    Uefi,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    /// `/dev/nvme0n1`
    Nvme,
    /// `/dev/vda`
    VirtioBlk,
    /// `/dev/sda` behind AHCI
    Sata,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// How it is attached.
    pub bus: Bus,
    /// Capacity, bytes.
    pub bytes: u64,
    /// Serial number; at most 20 characters reach the guest.
    pub serial: String,
    /// Logical sector size, bytes: 512 or 4096.
    pub sector_bytes: u32,
    /// Writes are held to so many bytes a second, so that a fault can be placed in the middle of them.
    #[serde(default)]
    pub write_limit: Option<u64>,
}

/// What the firmware boots, by `ipmi_sim`'s words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootDevice {
    /// No override.
    #[default]
    None,
    /// Network.
    Pxe,
    /// Hard disk.
    #[serde(rename = "default")]
    Disk,
    /// CD-ROM; the lab's machines have none, so the disk is booted.
    Cdrom,
    /// Firmware setup; the lab boots the disk.
    Bios,
}

/// The boot device override.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// What is booted.
    pub device: BootDevice,
    /// Whether it stays; otherwise the next boot uses it up.
    pub persistent: bool,
}

/// A machine in its directory.
#[derive(Debug, Clone)]
pub struct Machine {
    dir: PathBuf,
    spec: Spec,
}

impl Machine {
    /// Makes a machine: sparse disks, fresh UEFI variables, powered off.
    ///
    /// # Errors
    ///
    /// When the directory's path is too long or cannot be written, or the hardware asked for cannot exist.
    pub fn create(dir: &Path, spec: Spec) -> anyhow::Result<Self> {
        let length = dir.as_os_str().len();
        ensure!(
            length <= MAX_DIR_BYTES,
            "{}: {length} bytes, a machine's path has at most {MAX_DIR_BYTES}",
            dir.display()
        );
        for disk in &spec.disks {
            let possible = matches!(
                (disk.bus, disk.sector_bytes),
                (_, 512) | (Bus::Nvme | Bus::VirtioBlk, 4096)
            );
            ensure!(
                possible,
                "QEMU has no {:?} disk with sectors of {} bytes",
                disk.bus,
                disk.sector_bytes
            );
        }
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let machine = Self { dir: dir.to_owned(), spec };
        for (index, disk) in machine.spec.disks.iter().enumerate() {
            let path = machine.disk(index);
            let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
            file.set_len(disk.bytes).with_context(|| format!("sizing {}", path.display()))?;
        }
        if machine.spec.firmware == Firmware::Uefi {
            std::fs::copy(qemu::OVMF_VARS, machine.file("vars.fd"))
                .with_context(|| format!("copying {} (package ovmf)", qemu::OVMF_VARS))?;
        }
        std::fs::write(machine.file("console.log"), "")?;
        std::fs::write(machine.file("machine.json"), serde_json::to_vec_pretty(&machine.spec)?)?;
        machine.set_boot(Boot::default())?;
        Ok(machine)
    }

    /// Opens a machine made before.
    ///
    /// # Errors
    ///
    /// When there is none in `dir`.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let file = dir.join("machine.json");
        let text =
            std::fs::read(&file).with_context(|| format!("no machine: {}", file.display()))?;
        Ok(Self { dir: dir.to_owned(), spec: serde_json::from_slice(&text)? })
    }

    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its serial console.
    #[must_use]
    pub fn console(&self) -> Console {
        Console::new(&self.file("console.log"))
    }

    /// The file behind disk `index`.
    #[must_use]
    pub fn disk(&self, index: usize) -> PathBuf {
        self.file(&format!("disk{index}.img"))
    }

    /// A file of the machine's directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.pid().is_some()
    }

    /// Powers it on; nothing happens when it is on. Returns when the virtual CPU runs.
    ///
    /// # Errors
    ///
    /// What QEMU says.
    pub fn power_on(&self) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        if self.is_on() {
            return Ok(());
        }
        self.start()
    }

    /// Pulls a disk out, or puts it back in, from the next power-on.
    ///
    /// # Errors
    ///
    /// When the machine's directory cannot be written.
    pub fn pull(&self, disk: usize, out: bool) -> anyhow::Result<()> {
        let mark = self.file(&qemu::pulled(disk));
        match out {
            true => std::fs::write(&mark, "").context("pulling a disk"),
            false => std::fs::remove_file(&mark).context("putting a disk back"),
        }
    }

    /// Makes a write of a disk go wrong, once, after the next power-on.
    ///
    /// # Errors
    ///
    /// When the machine's directory cannot be written.
    pub fn arm(&self, disk: usize, fault: WriteFault) -> anyhow::Result<()> {
        fault::arm(&self.dir, disk, fault)
    }

    /// Whether it stands still because a write went wrong ([`fault::Then::Stop`]).
    #[must_use]
    pub fn is_stopped_by_a_write(&self) -> bool {
        let status =
            self.qmp().and_then(|mut qmp| qmp.execute("query-status", &serde_json::json!({})));
        status.is_ok_and(|status| status["status"] == "io-error")
    }

    /// Takes the power away: nothing the machine has not written yet is written.
    ///
    /// # Errors
    ///
    /// When the machine does not die within 10 seconds.
    pub fn power_off(&self) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        self.pid().map_or(Ok(()), |pid| self.stop(pid))
    }

    /// Presses the reset button; nothing happens when it is off. Returns when the virtual CPU runs again.
    ///
    /// QEMU begins anew: after its own reset `SeaBIOS` resets once more by itself, and no one can tell when it has read the
    /// boot order.
    ///
    /// # Errors
    ///
    /// What QEMU says.
    pub fn reset(&self) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let Some(pid) = self.pid() else { return Ok(()) };
        self.stop(pid)?;
        self.start()
    }

    /// Presses the power button: the operating system is asked to shut down.
    ///
    /// # Errors
    ///
    /// What QEMU says.
    pub fn soft_off(&self) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        if self.is_on() {
            self.qmp()?.execute("system_powerdown", &serde_json::json!({}))?;
        }
        Ok(())
    }

    /// Presses keys together on the machine's keyboard, by QEMU's names: `alt`, `sysrq`, `f`.
    ///
    /// # Errors
    ///
    /// What QEMU says.
    pub fn press(&self, keys: &[&str]) -> anyhow::Result<()> {
        let keys: Vec<_> =
            keys.iter().map(|key| serde_json::json!({ "type": "qcode", "data": key })).collect();
        self.qmp()?.execute("send-key", &serde_json::json!({ "keys": keys })).map(drop)
    }

    /// The boot device override.
    ///
    /// # Errors
    ///
    /// When the machine's files cannot be read.
    pub fn boot(&self) -> anyhow::Result<Boot> {
        let text = std::fs::read(self.file("boot.json")).context("reading boot.json")?;
        serde_json::from_slice(&text).context("reading boot.json")
    }

    /// Sets the boot device for the next boot, or for all. A running machine obeys from its next boot on.
    ///
    /// # Errors
    ///
    /// When the machine's files cannot be written.
    pub fn set_boot(&self, boot: Boot) -> anyhow::Result<()> {
        let (new, file) = (self.file("boot.json.new"), self.file("boot.json"));
        std::fs::write(&new, serde_json::to_vec(&boot)?)?;
        std::fs::rename(new, file).context("replacing boot.json")
    }

    /// Reads the override for a boot that starts now, uses it up when it is for one boot; whether the network comes first.
    fn take_boot(&self) -> anyhow::Result<bool> {
        let boot = self.boot()?;
        if !boot.persistent {
            self.set_boot(Boot::default())?;
        }
        Ok(net_first(boot.device, self.spec.default_boot))
    }

    fn start(&self) -> anyhow::Result<()> {
        let order = self.take_boot()?;
        let faults = (0..self.spec.disks.len())
            .map(|disk| fault::take(&self.dir, disk))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let args = qemu::arguments(&self.spec, &self.dir, qemu::accelerator()?, order, &faults);
        Program::new(qemu::PROGRAM).args(args).detached(&self.file("qemu.log"))?;
        // This boot has its order already; a reset from inside the machine must see what is left of the override.
        let next = net_first(self.boot()?.device, self.spec.default_boot);
        if next != order && self.spec.tap.is_some() {
            self.qmp()?.set_net_first(next)?;
        }
        Ok(())
    }

    fn stop(&self, pid: Pid) -> anyhow::Result<()> {
        match kill(pid, Signal::SIGKILL) {
            Ok(()) | Err(nix::Error::ESRCH) => {}
            Err(error) => bail!("killing QEMU, process {pid}: {error}"),
        }
        let end = Instant::now() + DEATH_LIMIT;
        while !has_let_go(pid) {
            ensure!(Instant::now() < end, "QEMU, process {pid}, survived SIGKILL for 10 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn qmp(&self) -> anyhow::Result<qmp::Qmp> {
        qmp::Qmp::connect(&self.file(qemu::QMP_SOCKET))
    }

    /// The QEMU process of this very directory, when it lives.
    fn pid(&self) -> Option<Pid> {
        let file = self.file(qemu::PID_FILE);
        let pid: i32 = std::fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        // A dead, not yet reaped process has an empty command line.
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = file.as_os_str().as_encoded_bytes();
        command.split(|byte| *byte == 0).any(|word| word == ours).then(|| Pid::from_raw(pid))
    }

    fn lock(&self) -> anyhow::Result<File> {
        let file = File::create(self.file("lock")).context("opening the machine's lock")?;
        loop {
            match file.lock() {
                Ok(()) => return Ok(file),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("locking the machine"),
            }
        }
    }
}

/// Whether a killed process has closed its files: one that has only lost its memory, or whose last thread is still ending, holds its
/// locks, and the next QEMU would not start.
fn has_let_go(pid: Pid) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let Ok(stat) = std::fs::read_to_string(process.join("stat")) else { return true };
    let threads = std::fs::read_dir(process.join("task")).map_or(0, Iterator::count);
    // The state follows the name, which is in brackets (proc_pid_stat(5)).
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    matches!(state, Some('Z' | 'X')) && threads <= 1
}

fn net_first(asked: BootDevice, default: BootDevice) -> bool {
    match asked {
        BootDevice::Pxe => true,
        BootDevice::None => default == BootDevice::Pxe,
        BootDevice::Disk | BootDevice::Cdrom | BootDevice::Bios => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(default_boot: BootDevice) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec { default_boot, ..qemu::tests::spec() };
        let machine = Machine::create(&dir.path().join("m"), spec).unwrap();
        (dir, machine)
    }

    #[test]
    fn a_machine_is_its_directory() {
        let (_dir, machine) = machine(BootDevice::Disk);
        let again = Machine::open(&machine.dir).unwrap();
        assert_eq!(again.spec(), machine.spec());
        assert!(!again.is_on());
        assert_eq!(std::fs::metadata(again.disk(0)).unwrap().len(), 4 << 30);
    }

    #[test]
    fn a_one_time_boot_device_is_used_up_and_a_persistent_one_stays() {
        let (_dir, machine) = machine(BootDevice::Disk);
        for (persistent, after) in [(false, BootDevice::None), (true, BootDevice::Pxe)] {
            machine.set_boot(Boot { device: BootDevice::Pxe, persistent }).unwrap();
            assert!(machine.take_boot().unwrap());
            assert_eq!(machine.boot().unwrap().device, after);
        }
    }

    #[test]
    fn without_an_override_the_default_decides() {
        for (default, expected) in [(BootDevice::Pxe, true), (BootDevice::Disk, false)] {
            assert_eq!(net_first(BootDevice::None, default), expected);
        }
        assert!(!net_first(BootDevice::Disk, BootDevice::Pxe));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process to be left unreaped")]
    fn a_process_has_let_go_when_it_has_ended_reaped_or_not() {
        let mut command = std::process::Command::new("sleep");
        let mut child = command.arg("60").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert!(!has_let_go(pid));
        child.kill().unwrap();
        let end = Instant::now() + DEATH_LIMIT;
        while !has_let_go(pid) {
            assert!(Instant::now() < end, "a zombie counts as ended");
        }
        child.wait().unwrap();
        assert!(has_let_go(pid));
    }

    #[test]
    fn a_pid_file_that_names_another_process_is_not_this_machine() {
        let (_dir, machine) = machine(BootDevice::Disk);
        std::fs::write(machine.file(qemu::PID_FILE), std::process::id().to_string()).unwrap();
        assert!(!machine.is_on());
        machine.power_off().unwrap();
    }

    #[test]
    fn a_pulled_disk_is_not_there_until_it_is_put_back() {
        let (_dir, machine) = machine(BootDevice::Disk);
        let disks = || {
            let args = qemu::arguments(machine.spec(), &machine.dir, "tcg", false, &[]);
            args.iter().filter(|arg| arg.contains("disk0.img")).count()
        };
        assert_eq!(disks(), 1);
        machine.pull(0, true).unwrap();
        assert_eq!(disks(), 0);
        machine.pull(0, false).unwrap();
        assert_eq!(disks(), 1);
    }

    #[test]
    fn impossible_hardware_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = qemu::tests::spec();
        spec.disks[0] = DiskSpec { bus: Bus::Sata, sector_bytes: 4096, ..spec.disks[0].clone() };
        let error = Machine::create(&dir.path().join("m"), spec).unwrap_err().to_string();
        assert!(error.contains("Sata") && error.contains("4096"), "{error}");
    }
}
