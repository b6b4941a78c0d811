//! Facts about this machine in Ironic's shape. A missing fact is data, not a failure.
//!
//! [`collect`] asks every fact module once. Each reads files below a root folder, so a captured tree is a test. No tool is
//! started and no network is used; a BMC's own address needs an ioctl on `/dev/ipmi0` and is not collected here.

mod boot;
mod by_path;
mod cpu;
mod disk;
mod dmi;
mod memory;
mod nic;
mod tree;

use std::path::Path;

use serde::Serialize;

pub use boot::Boot;
pub use cpu::Cpu;
pub use disk::Disk;
pub use dmi::{Firmware, SystemVendor};
pub use memory::Memory;
pub use nic::Interface;

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
    /// IPv4 address of the BMC; never known here.
    pub bmc_address: Option<String>,
    /// IPv6 address of the BMC; never known here.
    pub bmc_v6address: Option<String>,
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
        bmc_address: None,
        bmc_v6address: None,
        system_vendor: dmi::collect(&tree),
        boot: boot::collect(&tree),
        hostname: tree.text("proc/sys/kernel/hostname"),
    }
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
