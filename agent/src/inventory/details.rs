//! What is known of disks beyond Ironic's shape. Ours.

use serde::Serialize;

use super::Disk;

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Detail<'a> {
    /// Device node.
    name: &'a str,
    serial: Option<&'a str>,
    removable: bool,
    read_only: bool,
    /// Arrays and maps on it or on its partitions.
    holders: &'a [String],
    /// Other names by which a root device hint `serial` finds it.
    other_serials: &'a [String],
    /// Whether it shows its capacity.
    has_capacity: bool,
}

/// The disks that can be used, then those that show no capacity.
pub(super) fn collect<'a>(disks: &'a [Disk], blank: &'a [Disk]) -> Vec<Detail<'a>> {
    let detail = |disk: &'a Disk| Detail {
        name: &disk.name,
        serial: disk.serial.as_deref(),
        removable: disk.removable,
        read_only: disk.read_only,
        holders: &disk.holders,
        other_serials: &disk.other_serials,
        has_capacity: disk.size > 0,
    };
    disks.iter().chain(blank).map(detail).collect()
}
