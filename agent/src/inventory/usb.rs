//! USB devices, as Ironic's collector `usb-devices` names them. Hubs of the machine itself are left out.

use serde::Serialize;

use super::tree::Tree;

/// One of Ironic's `usb_devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Device {
    /// As it calls itself, else its identifiers.
    product: String,
    /// As its maker calls itself, else its identifier.
    vendor: String,
    /// `USB:BUS:DEVICE`.
    handle: String,
}

/// Asks /sys/bus/usb.
pub(super) fn collect(tree: &Tree) -> Vec<Device> {
    let names = tree.names("sys/bus/usb/devices");
    // `usb1` is a root hub, `1-0:1.0` an interface of a device.
    let names = names.iter().filter(|name| !name.starts_with("usb") && !name.contains(':'));
    names.filter_map(|name| device(tree, name)).collect()
}

fn device(tree: &Tree, name: &str) -> Option<Device> {
    let text = |file: &str| tree.text(format!("sys/bus/usb/devices/{name}/{file}"));
    let number = |file: &str| text(file)?.parse::<u16>().ok();
    let (vendor, product) = (text("idVendor")?, text("idProduct")?);
    Some(Device {
        product: text("product").unwrap_or_else(|| format!("{vendor}:{product}")),
        vendor: text("manufacturer").unwrap_or(vendor),
        handle: format!("USB:{}:{}", number("busnum")?, number("devnum")?),
    })
}
