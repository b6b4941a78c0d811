//! NUMA nodes: their memory, cores and network cards, as Ironic's collector `numa-topology` names them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tree::Tree;

/// Ironic's `numa_topology`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Topology {
    ram: Vec<Ram>,
    cpus: Vec<Core>,
    nics: Vec<Nic>,
}

/// The memory of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Ram {
    numa_node: u32,
    size_kb: u64,
}

/// One core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Core {
    /// The core's number in its package.
    cpu: u32,
    numa_node: u32,
    /// The processors that are threads of it.
    thread_siblings: Vec<u32>,
}

/// One network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Nic {
    name: String,
    /// -1: the kernel does not know.
    numa_node: i32,
}

/// Asks /sys/devices/system/node; none where the kernel has no nodes.
pub(super) fn collect(tree: &Tree) -> Option<Topology> {
    const NODES: &str = "sys/devices/system/node";
    let names = tree.names(NODES);
    let mut nodes: Vec<u32> = names.iter().filter_map(|name| numbered(name, "node")).collect();
    nodes.sort_unstable();
    if nodes.is_empty() {
        return None;
    }
    let ram = nodes.iter().filter_map(|node| {
        let meminfo = tree.text(format!("{NODES}/node{node}/meminfo"))?;
        let size_kb = meminfo.lines().find_map(|line| {
            let (_, value) = line.split_once("MemTotal:")?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        })?;
        Some(Ram { numa_node: *node, size_kb })
    });
    let mut cores: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for node in &nodes {
        let folder = format!("{NODES}/node{node}");
        for thread in tree.names(&folder).iter().filter_map(|name| numbered(name, "cpu")) {
            let core = tree.number(format!("{folder}/cpu{thread}/topology/core_id"));
            if let Some(core) = core {
                cores.entry((*node, core)).or_default().push(thread);
            }
        }
    }
    let cpus = cores.into_iter().map(|((numa_node, cpu), mut thread_siblings)| {
        thread_siblings.sort_unstable();
        Core { cpu, numa_node, thread_siblings }
    });
    let nics = tree.names("sys/class/net").into_iter().filter_map(|name| {
        let numa_node = nic_node(tree, &name)?;
        Some(Nic { name, numa_node })
    });
    Some(Topology { ram: ram.collect(), cpus: cpus.collect(), nics: nics.collect() })
}

/// The node of a card's device, or of what the device sits on: a virtio card's PCI function knows, the card does not.
fn nic_node(tree: &Tree, name: &str) -> Option<i32> {
    let device = tree.real(format!("sys/class/net/{name}/device"))?;
    device.ancestors().find_map(|folder| tree.number(folder.join("numa_node")))
}

/// The number behind `prefix`.
fn numbered(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.parse().ok()
}
