//! Facts beyond the inventory, by the names of Ironic's inspection collectors, and ours.
//!
//! A collector that Ironic knows and this machine cannot answer gives nothing: that is data, not a failure.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::tree::Tree;
use super::{Disk, decode, details, health, lldp, numa, pci, tpm, usb};

/// Ironic's collectors that are answered here; `default` and `logs` are whose asks.
pub const NAMES: [&str; 6] =
    ["pci-devices", "usb-devices", "numa-topology", "dmi-decode", "lldp", "extra-hardware"];

/// What one collector says, by the keys of the posted document; none: no such collector.
///
/// `lldp` listens for at most `patience`; the others only read files. `extra-hardware` has nothing to say: it needs a Python
/// package and its benchmarks.
#[must_use]
pub fn collect(name: &str, root: &Path, patience: Duration) -> Option<Map<String, Value>> {
    let tree = Tree::new(root);
    let mut said = Map::new();
    match name {
        "pci-devices" => say(&mut said, "pci_devices", Some(pci::collect(&tree))),
        "usb-devices" => say(&mut said, "usb_devices", Some(usb::collect(&tree))),
        "numa-topology" => say(&mut said, "numa_topology", numa::collect(&tree)),
        "dmi-decode" => say(&mut said, "dmi", decode::collect(&tree)),
        "lldp" => switches(&tree, patience, &mut said),
        "extra-hardware" => {}
        _ => return None,
    }
    Some(said)
}

/// What is quickly known beyond the inventory.
#[must_use]
pub fn quick(root: &Path, disks: &[Disk], blank: &[Disk]) -> Map<String, Value> {
    let mut said = Map::new();
    for name in ["pci-devices", "usb-devices", "numa-topology", "dmi-decode"] {
        said.extend(collect(name, root, Duration::ZERO).unwrap_or_default());
    }
    say(&mut said, "tpm", Some(tpm::collect(&Tree::new(root))));
    say(&mut said, "disk_details", Some(details::collect(disks, blank)));
    said
}

/// How the disks say that they are; each is asked through its own door.
#[must_use]
pub fn disk_health(disks: &[Disk]) -> Map<String, Value> {
    let mut said = Map::new();
    say(&mut said, "disk_health", Some(health::collect(disks)));
    said
}

fn switches(tree: &Tree, patience: Duration, said: &mut Map<String, Value>) {
    // A captured machine has no switches.
    let heard = tree.is_this_machine().then(|| lldp::listen(tree, patience)).flatten();
    if let Some(heard) = heard {
        said.insert("lldp_raw".to_owned(), heard.raw());
        said.insert("parsed_lldp".to_owned(), heard.parsed());
    }
}

fn say(said: &mut Map<String, Value>, key: &str, fact: Option<impl Serialize>) {
    match fact.map(serde_json::to_value) {
        Some(Ok(value)) => {
            said.insert(key.to_owned(), value);
        }
        Some(Err(error)) => tracing::error!("{key} cannot be printed: {error}"),
        None => {}
    }
}
