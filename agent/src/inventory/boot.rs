//! How this machine was booted.

use serde::Serialize;

use super::tree::Tree;

/// Ironic's `boot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// `uefi` or `bios`.
    pub current_boot_mode: &'static str,
    /// `BOOTIF` of the kernel command line as it stands there: the hardware type and the address, dashed.
    pub pxe_interface: Option<String>,
}

/// Asks /sys/firmware and the kernel command line.
pub(super) fn collect(tree: &Tree) -> Boot {
    let cmdline = tree.text("proc/cmdline").unwrap_or_default();
    let bootif = cmdline.split_ascii_whitespace().find_map(|word| word.strip_prefix("BOOTIF="));
    Boot {
        current_boot_mode: if tree.exists("sys/firmware/efi") { "uefi" } else { "bios" },
        pxe_interface: bootif.map(str::to_owned),
    }
}
