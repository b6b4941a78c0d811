//! Whether the machine has a trusted platform module. Ours; Ironic does not ask.

use serde::Serialize;

use super::tree::Tree;

/// What is known of the TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Tpm {
    /// Whether there is one: the kernel drives it, or the firmware announces it.
    present: bool,
    /// `1.2` or `2.0`, where it is known.
    version: Option<&'static str>,
    /// Whether the kernel drives it.
    driver: bool,
}

/// Asks /sys/class/tpm, and the firmware's tables where no driver was bound.
pub(super) fn collect(tree: &Tree) -> Tpm {
    let driver = !tree.names("sys/class/tpm").is_empty();
    let announced = |table: &str| tree.exists(format!("sys/firmware/acpi/tables/{table}"));
    // TPM2: TCG ACPI specification for 2.0; TCPA: the one for 1.2.
    let (second, first) = (announced("TPM2"), announced("TCPA"));
    let version = match tree.number::<u8>("sys/class/tpm/tpm0/tpm_version_major") {
        Some(2) => Some("2.0"),
        Some(1) => Some("1.2"),
        Some(_) | None if second => Some("2.0"),
        Some(_) | None if first => Some("1.2"),
        Some(_) | None => None,
    };
    Tpm { present: driver || second || first, version, driver }
}
