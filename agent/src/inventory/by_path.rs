//! Where a disk is plugged in: its name under /dev/disk/by-path as udev's `path_id` would make it, and its transport.
//!
//! Known: NVMe, ATA, USB, directly attached SAS, virtio and other SCSI hosts, all behind PCI. Anything else has no name.

use std::path::Path;

use super::tree::Tree;

/// Name under /dev/disk/by-path for the device folder `real` (`sys/devices/…/block/sda`).
pub(super) fn compute(tree: &Tree, real: &Path) -> Option<String> {
    let parts = parts(real);
    let pci = parts.iter().rposition(|part| is_pci_address(part))?;
    let address = parts.get(pci)?;
    let behind = parts.get(pci + 1..)?;
    let place = place(tree, real, &parts, behind)?;
    Some(format!("/dev/disk/by-path/pci-{address}{place}"))
}

/// The part of the name behind the PCI address.
fn place(tree: &Tree, real: &Path, parts: &[String], behind: &[String]) -> Option<String> {
    if let Some(usb) = behind.iter().rfind(|part| is_usb_interface(part)) {
        let port = usb.split_once('-')?.1;
        let scsi = scsi(tree, parts)?;
        return Some(format!("-usb-0:{port}{scsi}"));
    }
    if let Some(ata) = behind.iter().find(|part| is_numbered(part, "ata")) {
        let port = tree.text(format!("sys/class/ata_port/{ata}/port_no"))?;
        return Some(format!("-ata-{port}.0"));
    }
    if let Some(device) = behind.iter().find(|part| part.starts_with("end_device-")) {
        if behind.iter().any(|part| part.starts_with("expander-")) {
            return None;
        }
        let phy = tree.text(format!("sys/class/sas_device/{device}/phy_identifier"))?;
        let lun = behind.iter().find(|part| is_hctl(part))?.rsplit(':').next()?.to_owned();
        return Some(format!("-sas-phy{phy}-lun-{lun}"));
    }
    if behind.iter().any(|part| part == "nvme") {
        let namespace = tree.text(real.join("nsid"))?;
        return Some(format!("-nvme-{namespace}"));
    }
    if behind.iter().any(|part| is_hctl(part)) {
        return scsi(tree, parts);
    }
    behind.iter().any(|part| is_numbered(part, "virtio")).then(String::new)
}

/// `-scsi-H:C:T:L`, where H counts the hosts of this controller only: their global numbers depend on probe order.
fn scsi(tree: &Tree, parts: &[String]) -> Option<String> {
    let hctl = parts.iter().rfind(|part| is_hctl(part))?;
    let host_at = parts.iter().rposition(|part| is_numbered(part, "host"))?;
    let number = |name: &str| name.strip_prefix("host")?.parse::<u32>().ok();
    let siblings = tree.names(parts.get(..host_at)?.join("/"));
    let own = number(parts.get(host_at)?)?;
    let first = siblings.iter().filter_map(|name| number(name)).min()?;
    let (_, rest) = hctl.split_once(':')?;
    Some(format!("-scsi-{}:{rest}", own.checked_sub(first)?))
}

/// Transport by lsblk's names.
pub(super) fn transport(real: &Path) -> Option<&'static str> {
    let parts = parts(real);
    let has = |test: fn(&str) -> bool| parts.iter().any(|part| test(part));
    let found = [
        ("usb", has(is_usb_interface)),
        ("nvme", has(|part| part == "nvme" || part == "nvme-subsystem")),
        ("sata", has(|part| is_numbered(part, "ata"))),
        ("sas", has(|part| part.starts_with("end_device-"))),
        ("iscsi", has(|part| is_numbered(part, "session"))),
        ("fc", has(|part| part.starts_with("rport-"))),
        ("mmc", has(|part| part == "mmc_host")),
        // virtio-scsi has SCSI addresses; lsblk gives it no transport.
        ("virtio", has(|part| is_numbered(part, "virtio")) && !has(is_hctl)),
    ];
    found.into_iter().find_map(|(name, is)| is.then_some(name))
}

/// Whether a folder is a PCI function: `0000:00:1f.2`.
pub(super) fn is_pci_address(part: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fields: Vec<&str> = part.split([':', '.']).collect();
    matches!(*fields, [domain, bus, device, function]
        if domain.len() >= 4 && bus.len() == 2 && device.len() == 2 && function.len() == 1
            && part.as_bytes().get(part.len() - 2) == Some(&b'.')
            && [domain, bus, device, function].into_iter().all(hex))
}

/// Whether a folder is a SCSI address: `0:0:0:0`.
pub(super) fn is_hctl(part: &str) -> bool {
    let fields: Vec<&str> = part.split(':').collect();
    fields.len() == 4
        && fields.iter().all(|field| !field.is_empty() && field.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a folder is a USB interface: `1-1.2:1.0`.
fn is_usb_interface(part: &str) -> bool {
    part.split_once('-').is_some_and(|(bus, rest)| {
        !bus.is_empty()
            && bus.bytes().all(|byte| byte.is_ascii_digit())
            && rest.contains(':')
            && rest.bytes().all(|byte| byte.is_ascii_digit() || b".:".contains(&byte))
    })
}

/// Whether a folder is `prefix` and a number.
fn is_numbered(part: &str, prefix: &str) -> bool {
    part.strip_prefix(prefix)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn parts(path: &Path) -> Vec<String> {
    path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
}
