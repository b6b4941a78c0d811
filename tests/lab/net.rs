//! The provisioning network of a run: one bridge, a tap per machine, one address per BMC. All inside the run's namespace.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::host::{HostError, Program};

/// The bridge that all machines hang on.
pub const BRIDGE: &str = "br0";

/// Our own address on the bridge: coordinator, image server, DHCP and TFTP.
pub const HOST: Ipv4Addr = Ipv4Addr::new(172, 22, 0, 1);

/// First and last address handed out by DHCP.
pub const DHCP_RANGE: (Ipv4Addr, Ipv4Addr) =
    (Ipv4Addr::new(172, 22, 0, 50), Ipv4Addr::new(172, 22, 0, 199));

/// Router-advertised prefix. iPXE waits 13 seconds for an advertisement before its first request when there is none.
pub const IPV6_PREFIX: &str = "fd00:77::";

/// The UDP port of IPMI over LAN.
pub const IPMI_PORT: u16 = 623;

/// Machines one run can have: BMC addresses go from .201 to .254.
pub const MAX_MACHINES: u8 = 54;

/// The tap device of machine `index`.
#[must_use]
pub fn tap(index: u8) -> String {
    format!("tap{index}")
}

/// The MAC address of machine `index`, in QEMU's own range.
#[must_use]
pub fn mac(index: u8) -> String {
    format!("52:54:00:22:00:{index:02x}")
}

/// Where the BMC of machine `index` listens.
#[must_use]
pub fn bmc(index: u8) -> SocketAddrV4 {
    let [a, b, c, _] = HOST.octets();
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, 201_u8.saturating_add(index)), IPMI_PORT)
}

/// Makes the network for `machines` machines.
///
/// # Errors
///
/// [`HostError`] of `ip`.
pub fn up(machines: u8) -> Result<(), HostError> {
    Program::new("ip").args(["-batch", "-"]).input(commands(machines)).text().map(drop)
}

/// Takes the network cable out of machine `index`.
///
/// # Errors
///
/// [`HostError`] of `ip`.
pub fn unplug(index: u8) -> Result<(), HostError> {
    crate::host::run("ip", &["link", "set", &tap(index), "nomaster"]).map(drop)
}

/// Puts it back.
///
/// # Errors
///
/// [`HostError`] of `ip`.
pub fn plug(index: u8) -> Result<(), HostError> {
    crate::host::run("ip", &["link", "set", &tap(index), "master", BRIDGE]).map(drop)
}

/// The `ip -batch` script. `group_fwd_mask` lets LLDP frames pass the bridge.
fn commands(machines: u8) -> String {
    let mut script = format!(
        "link add {BRIDGE} address 02:00:00:22:00:01 type bridge forward_delay 0 group_fwd_mask 0x4000\n\
         addr add {HOST}/24 dev {BRIDGE}\n\
         addr add {IPV6_PREFIX}1/64 dev {BRIDGE} nodad\n\
         link set {BRIDGE} up\n"
    );
    for index in 0..machines {
        let (tap, bmc) = (tap(index), bmc(index));
        let lines = [
            format!("tuntap add dev {tap} mode tap"),
            format!("link set {tap} master {BRIDGE} up"),
            format!("addr add {}/24 dev {BRIDGE}", bmc.ip()),
        ];
        for line in lines {
            _ = writeln!(script, "{line}");
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_has_a_tap_and_a_bmc_address_outside_the_dhcp_range() {
        let script = commands(2);
        assert!(script.contains("tuntap add dev tap1 mode tap\nlink set tap1 master br0 up\n"));
        assert!(script.contains("addr add 172.22.0.202/24 dev br0\n"));
        assert!(bmc(0).ip() > &DHCP_RANGE.1);
        assert_eq!(bmc(MAX_MACHINES - 1).ip().octets()[3], 254);
    }

    #[test]
    fn mac_addresses_differ_and_are_lower_case() {
        assert_eq!(mac(10), "52:54:00:22:00:0a");
        assert_ne!(mac(1), mac(2));
    }
}
