//! `OpenIPMI`'s `ipmi_sim` 2.0: an IPMI 1.5 and 2.0 BMC written by others (suites 0 to 3 and more, no 17; SOL, SDR, SEL, FRU).
//!
//! What it does not say by itself: any error in the command file stops it before `mc_enable`, and then it never opens its
//! port, silently; numbers in the command file need `0x`; without a `chassis_control` program it refuses boot devices; that
//! program is called synchronously and inherits every descriptor; boot device flags other than the device are dropped.

use std::fs::Permissions;
use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::{PASSWORD, USERNAME, is_taken};
use crate::host::{Program, Service, run};
use crate::machine::Machine;
use crate::net;

/// The simulated controller: one board with a watchdog and a temperature sensor, a SEL with one record, a FRU.
const COMMANDS: &str = "\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
sensor_add 0x20 0 0 35 0x6f event-only
sensor_set_event_support 0x20 0 0 enable scanning per-state 000000000001111 000000000000000 000000000001111 000000000000000
sensor_add 0x20 0 1 0x01 0x01
sensor_set_value 0x20 0 1 0x60 0
sensor_set_threshold 0x20 0 1 settable 111000 0xa0 0x90 0x70 00 00 00
sensor_set_event_support 0x20 0 1 enable scanning per-state 000111111000000 000111111000000 000111111000000 000111111000000
mc_add_fru_data 0x20 0 64 data 1 0 0 0 0 0 0 255
sel_add 0x20 2 0 0 0 0 0x20 0 4 1 1 1 0x57 0 0
mc_enable 0x20
";

/// The sensor records that `sdrcomp` compiles.
const SDRS: &str = include_str!("node.sdrs");

const NAME: &str = "bmc";

pub(super) fn start(
    dir: &Path,
    machine: &Machine,
    address: SocketAddrV4,
) -> anyhow::Result<Service> {
    let state = dir.join("state");
    let records = state.join("ipmi_sim").join(NAME);
    std::fs::create_dir_all(&records).with_context(|| format!("making {}", records.display()))?;
    let file = |name: &str| dir.join(name).display().to_string();
    std::fs::write(file("node.sdrs"), SDRS)?;
    run(
        "sdrcomp",
        &["-o", &records.join("sdr.20.main").display().to_string(), &file("node.sdrs")],
    )?;
    std::fs::write(file("node.emu"), COMMANDS)?;
    let lab = crate::inside::lab_binary()?;
    let machine_dir = machine.file("");
    for path in [dir, &lab, &machine_dir] {
        ensure!(
            !path.to_string_lossy().contains([' ', '"', '\'']),
            "{}: ipmi_sim's settings allow no spaces or quotes in paths",
            path.display()
        );
    }
    script(&dir.join("chassis"), &chassis_script(&lab, &machine_dir))?;
    script(&dir.join("lan"), &lan_script(address, &machine.spec().mac))?;
    std::fs::write(file("lan.conf"), settings(dir, machine, address))?;
    let service = Program::new("ipmi_sim")
        .args(["-n", "-c", &file("lan.conf"), "-f", &file("node.emu"), "-s"])
        .arg(&state)
        .service(&dir.join("ipmi_sim.log"))?;
    Ok(service)
}

pub(super) async fn wait_until_it_listens(
    service: &mut Service,
    address: SocketAddrV4,
    limit: Duration,
) -> anyhow::Result<()> {
    let end = Instant::now() + limit;
    while !is_taken(address) {
        if let Some(status) = service.ended()? {
            bail!("ipmi_sim ended ({status}): {}", service.tail(5));
        }
        ensure!(
            Instant::now() < end,
            "ipmi_sim does not listen at {address} after {} s; its command file has an error: {}",
            limit.as_secs(),
            service.tail(5)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn settings(dir: &Path, machine: &Machine, address: SocketAddrV4) -> String {
    let (dir, spec) = (dir.display(), machine.spec());
    let guid = spec.uuid.simple();
    let (ip, port) = (address.ip(), address.port());
    let auths: String = ["callback", "user", "operator", "admin"]
        .map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n"))
        .concat();
    let kcs = spec
        .kcs_port
        .map_or_else(String::new, |port| format!("  serial 15 127.0.0.1 {port} codec VM\n"));
    let sol = spec.sol_port.map_or_else(String::new, |port| {
        format!("  sol \"tcp:127.0.0.1:{port}\" 115200 history=64000\n")
    });
    format!(
        "name \"{NAME}\"\n\
         set_working_mc 0x20\n\
         \x20 startlan 1\n\
         \x20   addr {ip} {port}\n\
         \x20   priv_limit admin\n\
         {auths}\
         \x20   guid {guid}\n\
         \x20   lan_config_program \"{dir}/lan\"\n\
         \x20 endlan\n\
         \x20 chassis_control \"{dir}/chassis\"\n\
         {kcs}{sol}\
         \x20 user 1 true \"\" \"\" user 10 none md2 md5 straight\n\
         \x20 user 2 true \"{USERNAME}\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n"
    )
}

/// Closes what it inherits from the simulator before QEMU does: QEMU would keep the BMC's own port open. `sh` cannot name
/// descriptors above 9, so it is bash; 255 is bash's own.
fn chassis_script(lab: &Path, machine: &Path) -> String {
    format!(
        "#!/bin/bash\n\
         for fd in /proc/$$/fd/*; do\n\
         \x20 fd=${{fd##*/}}\n\
         \x20 if [ \"$fd\" -gt 2 ] && [ \"$fd\" -ne 255 ]; then eval \"exec $fd>&-\"; fi\n\
         done\n\
         exec {} chassis {} \"$@\" 2>>{}/bmc.log\n",
        lab.display(),
        machine.display(),
        machine.display()
    )
}

/// Tells in-band callers (`ipmitool lan print` in the machine) the BMC's own address.
fn lan_script(address: SocketAddrV4, mac: &str) -> String {
    let (ip, gateway) = (address.ip(), net::HOST);
    // The BMC's card differs from the machine's in the locally administered bit pattern.
    let mac = mac.replacen("52:54:00", "52:54:01", 1);
    format!(
        "#!/bin/sh\n\
         [ \"$1\" = get ] || exit 0\n\
         shift\n\
         for name; do\n\
         \x20 case $name in\n\
         \x20   ip_addr) echo ip_addr:{ip};;\n\
         \x20   ip_addr_src) echo ip_addr_src:static;;\n\
         \x20   mac_addr) echo mac_addr:{mac};;\n\
         \x20   subnet_mask) echo subnet_mask:255.255.255.0;;\n\
         \x20   default_gw_ip_addr) echo default_gw_ip_addr:{gateway};;\n\
         \x20   *_mac_addr) echo $name:00:00:00:00:00:00;;\n\
         \x20   *_ip_addr) echo $name:0.0.0.0;;\n\
         \x20 esac\n\
         done\n"
    )
}

fn script(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_script_answers_in_the_simulators_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lan");
        script(&path, &lan_script(net::bmc(0), "52:54:00:22:00:00")).unwrap();
        let said = Program::new("sh")
            .arg(&path)
            .args(["get", "ip_addr", "mac_addr", "backup_gw_ip_addr", "backup_gw_mac_addr"])
            .text()
            .unwrap();
        assert_eq!(
            said,
            "ip_addr:172.22.0.201\nmac_addr:52:54:01:22:00:00\nbackup_gw_ip_addr:0.0.0.0\nbackup_gw_mac_addr:00:00:00:00:00:00\n"
        );
    }

    #[test]
    fn the_chassis_script_closes_what_it_inherited() {
        let text = chassis_script(Path::new("/bin/echo"), Path::new("/m"));
        assert!(text.ends_with("exec /bin/echo chassis /m \"$@\" 2>>/m/bmc.log\n"), "{text}");
        let closing = text.lines().take(5).collect::<Vec<_>>().join("\n");
        let probe = format!("exec 7</dev/null 12</dev/null\n{closing}\nls /proc/self/fd");
        let left = run("bash", &["-c", &probe]).unwrap();
        assert!(!left.lines().any(|fd| fd == "7" || fd == "12"), "{left}");
    }
}
