//! Facts about this machine in Ironic's shape. A missing fact is data, not a failure.
//!
//! [`collect`] asks every quick fact module once. Each reads files below a root folder, so a captured tree is a test. No tool is
//! started. What takes time ([`bmc_addresses`], [`disk_health`], the switches) is asked beside the first heartbeat, not before it.

mod bmc;
mod boot;
mod by_path;
pub mod collectors;
mod cpu;
mod decode;
mod details;
mod disk;
mod dmi;
mod health;
mod lldp;
mod memory;
mod nic;
mod numa;
mod pci;
mod smbios;
mod tpm;
mod tree;
mod usb;

use std::path::Path;

use serde::Serialize;

pub use bmc::BmcAddresses;
pub use boot::Boot;
pub use collectors::{disk_health, quick};
pub use cpu::Cpu;
pub use disk::Disk;
pub use dmi::{Firmware, SystemVendor};
pub use lldp::LISTEN;
pub use memory::Memory;
pub use nic::Interface;

use crate::sys::bmc::InBand;
use tree::Tree;

/// What Ironic calls the inventory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inventory {
    /// Network interfaces with hardware behind them, VLANs and bonds; by name.
    pub interfaces: Vec<Interface>,
    /// Processors.
    pub cpu: Cpu,
    /// Disks that can be deployed to or erased; by name.
    pub disks: Vec<Disk>,
    /// Disks that show no capacity. Not in Ironic's shape.
    #[serde(skip)]
    pub blank: Vec<Disk>,
    /// Memory.
    pub memory: Memory,
    /// The BMC's addresses, once it was asked.
    #[serde(flatten)]
    pub bmc: BmcAddresses,
    /// Who made the machine.
    pub system_vendor: SystemVendor,
    /// How it was booted.
    pub boot: Boot,
    /// The kernel's host name.
    pub hostname: Option<String>,
}

/// Collects the facts of the machine whose files are below `root` (`/` for this one).
#[must_use]
pub fn collect(root: &Path) -> Inventory {
    let tree = Tree::new(root);
    Inventory {
        interfaces: nic::collect(&tree),
        cpu: cpu::collect(&tree),
        disks: disk::collect(&tree),
        blank: disk::blank(&tree),
        memory: memory::collect(&tree),
        bmc: BmcAddresses::default(),
        system_vendor: dmi::collect(&tree),
        boot: boot::collect(&tree),
        hostname: tree.text("proc/sys/kernel/hostname"),
    }
}

/// Asks the BMC of the machine for its own addresses; nothing is known where there is no BMC, or for a captured machine.
///
/// A BMC that does not answer costs two seconds.
#[must_use]
pub fn bmc_addresses(root: &Path) -> BmcAddresses {
    if !Tree::new(root).is_this_machine() {
        return BmcAddresses::default();
    }
    InBand::open(root).map(|mut bmc| bmc::collect(&mut bmc)).unwrap_or_default()
}

/// Hardware addresses to look a node up by: lower case, each once, interfaces with a link first.
#[must_use]
pub fn macs(inventory: &Inventory) -> Vec<String> {
    let mut interfaces: Vec<&Interface> = inventory.interfaces.iter().collect();
    interfaces.sort_by_key(|interface| !interface.has_carrier);
    let mut macs = Vec::new();
    for mac in interfaces.into_iter().filter_map(|interface| interface.mac_address.as_ref()) {
        if !macs.contains(mac) {
            macs.push(mac.clone());
        }
    }
    macs
}

#[cfg(test)]
mod tests;
