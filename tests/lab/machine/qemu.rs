//! A machine's description as QEMU's command line.
//!
//! `accel=tcg` always: a host may offer a KVM that starts and then hangs the guest, and QEMU's own fallback would choose it.
//! Developers with real KVM set `IRONWRIGHT_LAB_ACCEL=kvm`.

use std::path::Path;

use anyhow::bail;

use super::{Bus, DiskSpec, Firmware, Spec, WriteFault};

pub(super) const PROGRAM: &str = "qemu-system-x86_64";
pub(super) const PID_FILE: &str = "qemu.pid";
pub(super) const QMP_SOCKET: &str = "qmp.sock";
pub(super) const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";

/// Boot index of the network card before and after the disks, which have 10, 11, …
const NET_FIRST: u32 = 1;
const NET_LAST: u32 = 50;
const FIRST_DISK: usize = 10;

/// The boot index of the network card.
pub(super) fn net_index(net_first: bool) -> u32 {
    if net_first { NET_FIRST } else { NET_LAST }
}

/// The accelerator from `IRONWRIGHT_LAB_ACCEL`; `tcg` without it.
pub(super) fn accelerator() -> anyhow::Result<&'static str> {
    match std::env::var("IRONWRIGHT_LAB_ACCEL").as_deref() {
        Err(_) | Ok("" | "tcg") => Ok("tcg"),
        Ok("kvm") => Ok("kvm"),
        Ok(other) => bail!("IRONWRIGHT_LAB_ACCEL is {other:?}; it must be tcg or kvm"),
    }
}

/// The arguments that power `spec` on with its files in `dir`.
/// `faults`: of each disk, if any.
pub(super) fn arguments(
    spec: &Spec,
    dir: &Path,
    accel: &str,
    net_first: bool,
    faults: &[Option<WriteFault>],
) -> Vec<String> {
    let path = |name: &str| dir.join(name).display().to_string();
    let mut args = Arguments::default();
    args.add("-name", &spec.name);
    args.add("-machine", format!("q35,accel={accel},graphics=off"));
    args.add("-m", spec.memory_mib.to_string());
    args.add("-smp", "1");
    args.add("-display", "none");
    args.add("-monitor", "none");
    args.flag("-daemonize");
    args.add("-pidfile", path(PID_FILE));
    args.add("-qmp", format!("unix:{},server=on,wait=off", path(QMP_SOCKET)));
    // Without it getrandom() blocks the ramdisk for seconds.
    args.add("-device", "virtio-rng-pci");
    args.add(
        "-smbios",
        format!(
            "type=1,manufacturer=Ironwright,product=Lab,serial={},uuid={}",
            spec.serial, spec.uuid
        ),
    );
    if spec.firmware == Firmware::Uefi {
        args.add("-vga", "none");
        args.add("-drive", format!("if=pflash,format=raw,readonly=on,file={OVMF_CODE}"));
        args.add("-drive", format!("if=pflash,format=raw,file={}", path("vars.fd")));
    }
    args.network(spec, net_first);
    for (index, disk) in spec.disks.iter().enumerate() {
        if dir.join(pulled(index)).exists() {
            continue;
        }
        let fault = faults.get(index).copied().flatten();
        args.disk(index, disk, &path(&format!("disk{index}.img")), fault);
    }
    args.serial(spec.sol_port, &path("console.log"));
    args.in_band_bmc(spec.kcs_port);
    args.0.extend(spec.hardware.iter().cloned());
    args.0
}

/// The file that says that disk `index` was pulled out.
pub(super) fn pulled(index: usize) -> String {
    format!("disk{index}.pulled")
}

#[derive(Default)]
struct Arguments(Vec<String>);

impl Arguments {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }

    fn add(&mut self, flag: &str, value: impl Into<String>) {
        self.flag(flag);
        self.0.push(value.into());
    }

    fn network(&mut self, spec: &Spec, net_first: bool) {
        let Some(tap) = &spec.tap else { return self.add("-nic", "none") };
        self.add("-netdev", format!("tap,id=net0,ifname={tap},script=no,downscript=no"));
        let index = net_index(net_first);
        let card = format!("virtio-net-pci,netdev=net0,id=nic0,mac={},bootindex={index}", spec.mac);
        self.add("-device", card);
    }

    fn disk(&mut self, index: usize, disk: &DiskSpec, file: &str, fault: Option<WriteFault>) {
        let drive = format!("drive{index}");
        let source =
            fault.map_or_else(|| format!("file={file},format=raw"), |fault| fault.drive(file));
        self.add(
            "-drive",
            format!(
                "if=none,id={drive},{source},discard=unmap,cache=unsafe{}",
                disk.write_limit
                    .map(|limit| format!(",throttling.bps-write={limit}"))
                    .unwrap_or_default()
            ),
        );
        let device = match disk.bus {
            Bus::Nvme => "nvme".to_owned(),
            Bus::VirtioBlk => "virtio-blk-pci".to_owned(),
            Bus::Sata => format!("ide-hd,bus=ide.{index}"),
        };
        let sectors = match disk.sector_bytes {
            512 => String::new(),
            bytes => format!(",logical_block_size={bytes},physical_block_size={bytes}"),
        };
        let (serial, boot) = (&disk.serial, FIRST_DISK + index);
        self.add(
            "-device",
            format!(
                "{device},drive={drive},id=disk{index},serial={serial},bootindex={boot}{sectors}"
            ),
        );
    }

    /// The console always goes to the log; a BMC may listen too (serial over LAN).
    fn serial(&mut self, sol_port: Option<u16>, log: &str) {
        let back = sol_port.map_or_else(
            || "null".to_owned(),
            |port| format!("socket,host=127.0.0.1,port={port},server=on,wait=off"),
        );
        self.add("-chardev", format!("{back},id=console,logfile={log},logappend=on"));
        self.add("-serial", "chardev:console");
    }

    fn in_band_bmc(&mut self, kcs_port: Option<u16>) {
        let Some(port) = kcs_port else { return };
        self.add("-chardev", format!("socket,id=ipmi,host=127.0.0.1,port={port},reconnect=1"));
        self.add("-device", "ipmi-bmc-extern,id=bmc,chardev=ipmi");
        self.add("-device", "isa-ipmi-kcs,bmc=bmc");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::super::BootDevice;
    use super::*;

    pub(in super::super) fn spec() -> Spec {
        Spec {
            name: "node-1".into(),
            firmware: Firmware::Bios,
            memory_mib: 1024,
            mac: "52:54:00:22:00:00".into(),
            tap: Some("tap0".into()),
            disks: vec![DiskSpec {
                bus: Bus::Nvme,
                bytes: 4 << 30,
                serial: "DISK-1".into(),
                sector_bytes: 512,
                write_limit: None,
            }],
            serial: "SN-1".into(),
            uuid: Uuid::nil(),
            default_boot: BootDevice::Disk,
            kcs_port: None,
            sol_port: None,
            hardware: Vec::new(),
        }
    }

    fn line(spec: &Spec, net_first: bool) -> String {
        arguments(spec, Path::new("/m"), "tcg", net_first, &[]).join(" ")
    }

    #[test]
    fn emulation_is_named_and_never_a_fallback() {
        assert!(line(&spec(), true).contains("-machine q35,accel=tcg,graphics=off "));
    }

    #[test]
    fn the_boot_order_is_the_network_cards_boot_index() {
        assert!(line(&spec(), true).contains("mac=52:54:00:22:00:00,bootindex=1 "));
        assert!(line(&spec(), false).contains("mac=52:54:00:22:00:00,bootindex=50 "));
    }

    #[test]
    fn disks_carry_bus_serial_order_and_sector_size() {
        let mut spec = spec();
        spec.disks.push(DiskSpec {
            bus: Bus::VirtioBlk,
            bytes: 1,
            serial: "D2".into(),
            sector_bytes: 4096,
            write_limit: None,
        });
        let line = line(&spec, true);
        assert!(line.contains("nvme,drive=drive0,id=disk0,serial=DISK-1,bootindex=10 "), "{line}");
        assert!(line.contains(
            "virtio-blk-pci,drive=drive1,id=disk1,serial=D2,bootindex=11,logical_block_size=4096,physical_block_size=4096 "
        ), "{line}");
    }

    #[test]
    fn uefi_has_its_code_read_only_and_its_own_variables() {
        let spec = Spec { firmware: Firmware::Uefi, ..spec() };
        let line = line(&spec, true);
        assert!(line.contains("readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd "), "{line}");
        assert!(line.contains("if=pflash,format=raw,file=/m/vars.fd "), "{line}");
    }

    #[test]
    fn the_console_is_logged_with_and_without_a_bmc_listening() {
        assert!(line(&spec(), true).contains("-chardev null,id=console,logfile=/m/console.log,"));
        let spec = Spec { sol_port: Some(9001), kcs_port: Some(9000), ..spec() };
        let line = line(&spec, true);
        assert!(
            line.contains("socket,host=127.0.0.1,port=9001,server=on,wait=off,id=console,logfile=")
        );
        assert!(line.contains("port=9000,reconnect=1 -device ipmi-bmc-extern"), "{line}");
    }
}
