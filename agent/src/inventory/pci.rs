//! PCI functions, as Ironic's collector `pci-devices` names them.

use serde::Serialize;

use super::tree::Tree;

/// One of Ironic's `pci_devices`. Numbers are hexadecimal digits without `0x`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Function {
    vendor_id: String,
    product_id: String,
    class: String,
    revision: Option<String>,
    /// Its PCI address.
    bus: String,
    /// The NUMA node it is near to, as text; `-1`: the kernel does not know.
    numa_node_id: Option<String>,
}

/// Asks /sys/bus/pci.
pub(super) fn collect(tree: &Tree) -> Vec<Function> {
    tree.names("sys/bus/pci/devices").into_iter().filter_map(|bus| function(tree, bus)).collect()
}

fn function(tree: &Tree, bus: String) -> Option<Function> {
    let text = |name: &str| tree.text(format!("sys/bus/pci/devices/{bus}/{name}"));
    let digits = |name: &str| text(name)?.strip_prefix("0x").map(str::to_owned);
    Some(Function {
        vendor_id: digits("vendor")?,
        product_id: digits("device")?,
        class: digits("class")?,
        revision: digits("revision"),
        numa_node_id: text("numa_node"),
        bus,
    })
}
