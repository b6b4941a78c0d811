//! Network interfaces, from /sys/class/net and /proc/net.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::by_path::is_pci_address;
use super::smbios;
use super::tree::Tree;
use crate::sys::link;

/// One of Ironic's `interfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The kernel's name.
    pub name: String,
    /// Permanent hardware address, lower case.
    pub mac_address: Option<String>,
    /// First IPv4 address.
    pub ipv4_address: Option<String>,
    /// First IPv6 address; a link-local one with its zone (`fe80::1%eth0`).
    pub ipv6_address: Option<String>,
    /// Whether the link is up.
    pub has_carrier: bool,
    /// Always null: what the switches say is in `lldp_raw`.
    pub lldp: Option<String>,
    /// Vendor identifier, hexadecimal.
    pub vendor: Option<String>,
    /// Product identifier, hexadecimal.
    pub product: Option<String>,
    /// InfiniBand client identifier; not collected.
    pub client_id: Option<String>,
    /// Name by the firmware's label: `em1` for the first card on the board.
    pub biosdevname: Option<String>,
    /// Link speed, Mbit/s.
    pub speed_mbps: Option<u32>,
    /// PCI address.
    pub pci_address: Option<String>,
    /// Kernel driver.
    pub driver: Option<String>,
}

/// All interfaces with a device behind them, VLANs and bonds.
pub(super) fn collect(tree: &Tree) -> Vec<Interface> {
    let table = smbios::table(tree);
    let onboard = onboard(&table);
    let names = tree.names("sys/class/net").into_iter();
    names.filter_map(|name| interface(tree, &onboard, name)).collect()
}

/// Type of an onboard device (SMBIOS 3.7, 7.42), and its kind Ethernet with the bit that says it is enabled.
const ONBOARD: u8 = 41;
const ENABLED_ETHERNET: u8 = 0x80 | 5;

/// The PCI functions of network cards on the board, with their number.
fn onboard(table: &[u8]) -> BTreeMap<String, u8> {
    let devices = smbios::structures(table).into_iter().filter(|one| one.kind == ONBOARD);
    devices
        .filter(|device| device.byte(5) == Some(ENABLED_ETHERNET))
        .filter_map(|device| {
            let (segment, bus, place) = (device.word(7)?, device.byte(9)?, device.byte(10)?);
            let address = format!("{segment:04x}:{bus:02x}:{:02x}.{}", place >> 3, place & 7);
            Some((address, device.byte(6)?))
        })
        .collect()
}

fn interface(tree: &Tree, onboard: &BTreeMap<String, u8>, name: String) -> Option<Interface> {
    let base = format!("sys/class/net/{name}");
    let at = |file: &str| format!("{base}/{file}");
    let vlan = tree.exists(format!("proc/net/vlan/{name}"));
    if !tree.exists(at("device")) && !vlan && !tree.exists(at("bonding")) {
        return None;
    }
    // A bond gives its members its own address, and an address can be set: the one the card was made with counts.
    let mac = tree
        .is_this_machine()
        .then(|| link::permanent_mac(&name))
        .flatten()
        .or_else(|| tree.text(at("bonding_slave/perm_hwaddr")))
        .or_else(|| tree.text(at("address")));
    let mac = mac.map(|mac| mac.to_ascii_lowercase());
    // Ironic's agent leaves out addresses under fa: hypervisors make them up for taps.
    if mac.as_ref().is_some_and(|mac| mac.starts_with("fa:")) {
        return None;
    }
    let pci_address = pci_address(tree, &at("device"));
    let number = pci_address.as_ref().and_then(|address| onboard.get(address));
    Some(Interface {
        mac_address: mac,
        ipv4_address: ipv4(tree, &name),
        ipv6_address: ipv6(tree, &name),
        // Reading fails while the interface is down.
        has_carrier: tree.flag(at("carrier")),
        lldp: None,
        vendor: tree.text(at("device/vendor")),
        product: tree.text(at("device/device")),
        client_id: None,
        biosdevname: number.map(|number| format!("em{number}")),
        // -1 and "unknown" (4294967295 in older kernels) are not speeds.
        speed_mbps: tree.number(at("speed")).filter(|speed| (1..u32::MAX).contains(speed)),
        pci_address,
        driver: tree.link_name(at("device/driver")),
        name,
    })
}

/// The PCI function a device is or sits on.
fn pci_address(tree: &Tree, device: &str) -> Option<String> {
    let path = tree.real(device)?;
    let parts = path.components().rev().map(|part| part.as_os_str().to_string_lossy());
    parts.into_iter().find(|part| is_pci_address(part)).map(std::borrow::Cow::into_owned)
}

/// The local address inside a network that is routed straight to this interface.
fn ipv4(tree: &Tree, name: &str) -> Option<String> {
    let routes = tree.text("proc/net/route")?;
    let trie = tree.text("proc/net/fib_trie")?;
    let mut candidate = None;
    let mut local = Vec::new();
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            candidate = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            local.extend(candidate);
        }
    }
    let networks = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [interface, destination, gateway, _, _, _, _, mask, ..] = *fields else { return None };
        // The kernel prints these in network order read as a native number: little-endian on what we run on.
        let hex = |text| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
        let (destination, mask) = (hex(destination)?, hex(mask)?);
        (interface == name && hex(gateway)? == 0 && mask != 0).then_some((destination, mask))
    });
    networks
        .flat_map(|(net, mask)| local.iter().find(|ip| ip.to_bits() & mask == net))
        .map(Ipv4Addr::to_string)
        .next()
}

/// The first address of `/proc/net/if_inet6`: global ones (scope 00) before others.
fn ipv6(tree: &Tree, name: &str) -> Option<String> {
    let table = tree.text("proc/net/if_inet6")?;
    let mut addresses: Vec<(&str, Ipv6Addr)> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [address, _, _, scope, _, interface] = *fields else { return None };
            let address = u128::from_str_radix(address, 16).ok()?;
            (interface == name).then_some((scope, Ipv6Addr::from_bits(address)))
        })
        .collect();
    addresses.sort_by_key(|(scope, _)| *scope);
    let (scope, address) = addresses.first()?;
    Some(if *scope == "20" { format!("{address}%{name}") } else { address.to_string() })
}
