//! Who made the machine, from the kernel's view of SMBIOS.

use serde::Serialize;

use super::tree::Tree;

/// Ironic's `system_vendor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemVendor {
    /// Product.
    pub product_name: Option<String>,
    /// Its serial number.
    pub serial_number: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// System firmware.
    pub firmware: Firmware,
}

/// System firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// Vendor.
    pub vendor: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Build date as the vendor writes it.
    pub build_date: Option<String>,
}

/// Asks /sys/class/dmi/id.
pub(super) fn collect(tree: &Tree) -> SystemVendor {
    let id = |name: &str| tree.text(format!("sys/class/dmi/id/{name}"));
    SystemVendor {
        product_name: id("product_name"),
        serial_number: id("product_serial"),
        manufacturer: id("sys_vendor"),
        firmware: Firmware {
            vendor: id("bios_vendor"),
            version: id("bios_version"),
            build_date: id("bios_date"),
        },
    }
}
