//! Disks, from /sys/block: what Ironic's agent asks lsblk and udev, without either.

use serde::Serialize;

use super::by_path;
use super::tree::{Tree, clean};

/// The kernel counts in these, whatever the disk's own sectors are, bytes (`include/linux/blk_types.h`, `SECTOR_SHIFT`).
const KERNEL_SECTOR: u64 = 512;

/// Name prefixes of block devices that are no disks.
const NOT_DISKS: [&str; 7] = ["ram", "zram", "loop", "fd", "sr", "mtdblock", "nbd"];

/// One of Ironic's `disks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Device node.
    pub name: String,
    /// Model.
    pub model: Option<String>,
    /// Capacity, bytes.
    pub size: u64,
    /// Whether it spins.
    pub rotational: bool,
    /// World wide name: `0x` and 16 digits for SCSI and ATA, `eui.…` for NVMe.
    pub wwn: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Vendor; `ATA` for all ATA disks.
    pub vendor: Option<String>,
    /// World wide name with all its digits.
    pub wwn_with_extension: Option<String>,
    /// What is longer than 16 digits in it.
    pub wwn_vendor_extension: Option<String>,
    /// SCSI address, `host:channel:target:lun`.
    pub hctl: Option<String>,
    /// Name by the place it is plugged into.
    pub by_path: Option<String>,
    /// Logical sector, bytes.
    pub logical_sectors: Option<u32>,
    /// Physical sector, bytes.
    pub physical_sectors: Option<u32>,
    /// Transport: `nvme`, `sata`, `sas`, `usb`, `virtio` …
    pub tran: Option<String>,
    /// Whether the medium can be taken out. Not in Ironic's shape.
    #[serde(skip)]
    pub removable: bool,
    /// Whether the kernel refuses writes. Not in Ironic's shape.
    #[serde(skip)]
    pub read_only: bool,
    /// Serial numbers by which udev would call it besides: root device hints may name them. Not in Ironic's shape.
    #[serde(skip)]
    pub other_serials: Vec<String>,
    /// What is built on it: arrays and maps, by their device nodes. Not in Ironic's shape.
    #[serde(skip)]
    pub holders: Vec<String>,
}

/// All disks, multipath maps and RAID arrays; none of the parts behind them that must not be used alone.
pub(super) fn collect(tree: &Tree) -> Vec<Disk> {
    tree.names("sys/block")
        .iter()
        .filter_map(|name| disk(tree, name))
        .filter(|disk| disk.size > 0)
        .collect()
}

/// Disks without a capacity that should have one: dead, locked, in the middle of a sanitize, or formatted in a way that the kernel
/// cannot use. They keep their data while they look like nothing. Readers without a medium are not among them.
pub(super) fn blank(tree: &Tree) -> Vec<Disk> {
    let has_device = |disk: &Disk| {
        let name = disk.name.trim_start_matches("/dev/").replace('/', "!");
        tree.real(format!("sys/block/{name}/device")).is_some()
    };
    let disks = tree.names("sys/block");
    let disks = disks.iter().filter_map(|name| disk(tree, name));
    disks.filter(|disk| disk.size == 0 && !disk.removable && has_device(disk)).collect()
}

fn disk(tree: &Tree, name: &str) -> Option<Disk> {
    let base = format!("sys/block/{name}");
    let at = |file: &str| format!("{base}/{file}");
    let size = tree.number::<u64>(at("size"))?.checked_mul(KERNEL_SECTOR)?;
    // A hidden device is one path of a multipath NVMe namespace.
    let usable = !tree.flag(at("hidden")) && !NOT_DISKS.iter().any(|no| is_kind(name, no));
    if !usable || is_foreign_map(tree, name) || is_path_of_map(tree, &base) {
        return None;
    }
    let (wwn, extension) = wwn(tree, &base);
    let real = tree.real(&base);
    Some(Disk {
        name: format!("/dev/{}", name.replace('!', "/")),
        model: tree.text(at("device/model")),
        size,
        rotational: tree.flag(at("queue/rotational")),
        wwn_with_extension: wwn
            .as_ref()
            .map(|wwn| format!("{wwn}{}", extension.as_deref().unwrap_or_default())),
        wwn,
        serial: serial(tree, &base),
        vendor: tree.text(at("device/vendor")),
        wwn_vendor_extension: extension.map(|digits| format!("0x{digits}")),
        hctl: tree.link_name(at("device")).filter(|name| by_path::is_hctl(name)),
        by_path: real.as_deref().and_then(|real| by_path::compute(tree, real)),
        logical_sectors: tree.number(at("queue/logical_block_size")),
        physical_sectors: tree.number(at("queue/physical_block_size")),
        tran: real.as_deref().and_then(by_path::transport).map(str::to_owned),
        removable: tree.flag(at("removable")),
        read_only: tree.flag(at("ro")),
        other_serials: other_serials(tree, &base),
        holders: holders(tree, &base),
    })
}

/// What udev puts into `ID_SERIAL` and `ID_SERIAL_SHORT`, where that is not the serial number itself: model and serial number
/// of ATA and NVMe disks, the identifier of SCSI disks (with a 3 in front: type NAA).
fn other_serials(tree: &Tree, base: &str) -> Vec<String> {
    let joined = |text: &str| text.split_ascii_whitespace().collect::<Vec<_>>().join("_");
    let wwid = tree.text(format!("{base}/device/wwid")).unwrap_or_default();
    if let Some(digits) = wwid.strip_prefix("naa.") {
        return vec![digits.to_owned(), format!("3{digits}")];
    }
    if let Some(name) = wwid.strip_prefix("t10.ATA ") {
        return vec![joined(name)];
    }
    let model = tree.text(format!("{base}/device/model"));
    let (Some(model), Some(serial)) = (model, tree.text(format!("{base}/device/serial"))) else {
        return Vec::new();
    };
    let long = format!("{}_{}", joined(&model), joined(&serial));
    let namespace = tree.text(format!("{base}/nsid")).map(|nsid| format!("{long}_{nsid}"));
    std::iter::once(long).chain(namespace).collect()
}

/// Arrays and maps on the disk, and on its partitions.
fn holders(tree: &Tree, base: &str) -> Vec<String> {
    let own = tree.names(format!("{base}/holders"));
    let disk = base.rsplit('/').next().unwrap_or_default();
    let parts = tree.names(base).into_iter().filter(|name| name.starts_with(disk));
    let theirs = parts.flat_map(|part| tree.names(format!("{base}/{part}/holders")));
    let mut all: Vec<String> = own
        .into_iter()
        .chain(theirs)
        .map(|name| format!("/dev/{}", name.replace('!', "/")))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Whether `name` is `prefix` and a number, or another letter-free rest (`loop0`, `zram1`).
fn is_kind(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Whether a device-mapper device is something else than multipath (LVM, crypt).
fn is_foreign_map(tree: &Tree, name: &str) -> bool {
    is_kind(name, "dm-") && !is_multipath(tree, name)
}

fn is_multipath(tree: &Tree, name: &str) -> bool {
    let uuid = tree.text(format!("sys/block/{name}/dm/uuid"));
    uuid.is_some_and(|uuid| uuid.starts_with("mpath-"))
}

/// Whether a multipath map holds this disk.
fn is_path_of_map(tree: &Tree, base: &str) -> bool {
    tree.names(format!("{base}/holders")).iter().any(|holder| is_multipath(tree, holder))
}

/// Where the kinds of disks keep their serial number: NVMe and MMC, virtio, SCSI and ATA.
fn serial(tree: &Tree, base: &str) -> Option<String> {
    tree.text(format!("{base}/device/serial"))
        .or_else(|| tree.text(format!("{base}/serial")))
        .or_else(|| unit_serial(&tree.bytes(format!("{base}/device/vpd_pg80"))?))
}

/// The unit serial number page: four bytes of header, the length in the last two (SPC-4, 7.8.19).
fn unit_serial(page: &[u8]) -> Option<String> {
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    clean(page.get(4..4 + length)?)
}

/// World wide name and what is longer than 16 digits in it, as udev splits a NAA identifier of type 6.
fn wwn(tree: &Tree, base: &str) -> (Option<String>, Option<String>) {
    let scsi = tree.text(format!("{base}/device/wwid"));
    if let Some(digits) = scsi.as_deref().and_then(|wwid| wwid.strip_prefix("naa.")) {
        let (short, extension) = digits.split_at_checked(16).unwrap_or((digits, ""));
        let extension = (!extension.is_empty()).then(|| extension.to_owned());
        return (Some(format!("0x{short}")), extension);
    }
    // NVMe: the namespace's own identifier. Other SCSI designators (t10) are no world wide names.
    (tree.text(format!("{base}/wwid")).filter(|wwid| !wwid.starts_with("t10.")), None)
}
