//! The hardware types and their interfaces: what may be asked for and what a node gets by default.

use super::Node;

/// One kind of interface of one hardware type: its field's stem and the classes offered, the default first.
pub type Offer = (&'static str, &'static [&'static str]);

/// A hardware type.
#[derive(Debug)]
pub struct HardwareType {
    /// Its name, the node's `driver`.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Its interfaces by kind, in Ironic's alphabetical order.
    pub offers: &'static [Offer],
    /// Its `driver_info` keys with what they mean.
    pub properties: &'static [(&'static str, &'static str)],
}

/// The hardware types this coordinator drives.
pub const HARDWARE_TYPES: [HardwareType; 2] = [
    HardwareType {
        name: "fake-hardware",
        summary: "A machine that exists only here, for tests and training: its fake interfaces change nothing but the record.",
        offers: &[
            ("bios", &["fake", "no-bios"]),
            ("boot", &["fake", "ipxe", "pxe"]),
            ("console", &["fake", "no-console"]),
            ("deploy", &["fake", "direct"]),
            ("firmware", &["fake", "no-firmware"]),
            ("inspect", &["fake", "agent", "no-inspect"]),
            ("management", &["fake", "noop"]),
            ("network", &["noop"]),
            ("power", &["fake"]),
            ("raid", &["fake", "agent", "no-raid"]),
            ("rescue", &["fake", "agent", "no-rescue"]),
            ("storage", &["fake", "noop"]),
            ("vendor", &["fake", "no-vendor"]),
        ],
        properties: BOOT_PROPERTIES,
    },
    HardwareType {
        name: "ipmi",
        summary: "A machine with a BMC that speaks IPMI 2.0 over LAN.",
        offers: &[
            ("bios", &["no-bios"]),
            ("boot", &["ipxe", "pxe"]),
            ("console", &["no-console"]),
            ("deploy", &["direct"]),
            ("firmware", &["no-firmware"]),
            ("inspect", &["agent", "no-inspect"]),
            ("management", &["ipmitool"]),
            ("network", &["noop"]),
            ("power", &["ipmitool"]),
            ("raid", &["no-raid", "agent"]),
            ("rescue", &["no-rescue", "agent"]),
            ("storage", &["noop"]),
            ("vendor", &["ipmitool", "no-vendor"]),
        ],
        properties: IPMI_PROPERTIES,
    },
];

const BOOT_PROPERTIES: &[(&str, &str)] = &[
    (
        "deploy_kernel",
        "http URL of the kernel of the ramdisk. Optional: the coordinator's own is used.",
    ),
    ("deploy_ramdisk", "http URL of the ramdisk. Optional: the coordinator's own is used."),
    (
        "kernel_append_params",
        "Further kernel parameters of the ramdisk; %default% stands for the coordinator's.",
    ),
];

const IPMI_PROPERTIES: &[(&str, &str)] = &[
    ("ipmi_address", "IP address or host name of the BMC. Required."),
    ("ipmi_username", "User name on the BMC. Required; an empty text is the anonymous user."),
    ("ipmi_password", "Password of that user. Required."),
    ("ipmi_port", "UDP port of the BMC's RMCP+ service. Optional, default 623."),
    (
        "ipmi_priv_level",
        "Privilege of the session: ADMINISTRATOR (default), OPERATOR, USER, CALLBACK. Optional.",
    ),
    ("ipmi_cipher_suite", "Cipher suite, 17 or 3. Optional: 17 is tried first, then 3."),
    ("ipmi_hex_kg_key", "The BMC key Kg, hexadecimal. Optional."),
    BOOT_PROPERTIES[0],
    BOOT_PROPERTIES[1],
    BOOT_PROPERTIES[2],
    (
        "rescue_kernel",
        "http URL of the kernel of the rescue system. Optional: that of the ramdisk is used.",
    ),
    (
        "rescue_ramdisk",
        "http URL of a whole rescue system. Optional: the ramdisk with the coordinator's own rescue archive is used.",
    ),
];

/// The kinds of interface, as in the node's `*_interface` fields.
pub const KINDS: [&str; 13] = [
    "bios",
    "boot",
    "console",
    "deploy",
    "firmware",
    "inspect",
    "management",
    "network",
    "power",
    "raid",
    "rescue",
    "storage",
    "vendor",
];

/// The classic drivers of Ironic before hardware types, with what replaced each.
const CLASSIC: [(&str, &str); 8] = [
    ("agent_ipmitool", "ipmi"),
    ("agent_ipmitool_socat", "ipmi"),
    ("pxe_ipmitool", "ipmi"),
    ("pxe_ipmitool_socat", "ipmi"),
    ("agent_ipminative", "ipmi"),
    ("pxe_ipminative", "ipmi"),
    ("fake", "fake-hardware"),
    ("fake_agent", "fake-hardware"),
];

/// The hardware type of this name.
#[must_use]
pub fn hardware_type(name: &str) -> Option<&'static HardwareType> {
    HARDWARE_TYPES.iter().find(|kind| kind.name == name)
}

/// The class of this kind that the node has: the one chosen, else its hardware type's default.
#[must_use]
pub fn class_of<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let field =
        KINDS.iter().find(|known| **known == kind).map(|kind| format!("{kind}_interface"))?;
    let chosen = node.other.get(&field).and_then(serde_json::Value::as_str);
    chosen.or_else(|| hardware_type(&node.driver)?.default_class(kind))
}

/// Why `driver` is not one, in words that name what to use.
#[must_use]
pub fn unknown_driver(driver: &str) -> String {
    let names: Vec<&str> = HARDWARE_TYPES.iter().map(|kind| kind.name).collect();
    match CLASSIC.iter().find(|(classic, _)| *classic == driver) {
        Some((_, instead)) => format!(
            "Driver '{driver}' is a classic driver; hardware types replaced the classic drivers. Use the driver '{instead}'."
        ),
        None => format!(
            "No valid host was found. Reason: no conductor supports driver '{driver}'. Available drivers: {}.",
            names.join(", ")
        ),
    }
}

impl HardwareType {
    /// The classes offered for this kind, the default first.
    #[must_use]
    pub fn classes(&self, kind: &str) -> &'static [&'static str] {
        self.offers.iter().find(|offer| offer.0 == kind).map_or(&[], |offer| offer.1)
    }

    /// The class a node gets that names none.
    #[must_use]
    pub fn default_class(&self, kind: &str) -> Option<&'static str> {
        self.classes(kind).first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hardware_type_offers_every_kind() {
        for hardware in &HARDWARE_TYPES {
            for kind in KINDS {
                assert!(hardware.default_class(kind).is_some(), "{} {kind}", hardware.name);
            }
        }
    }

    #[test]
    fn a_classic_driver_is_refused_by_naming_what_replaced_it() {
        let text = unknown_driver("agent_ipmitool");
        assert!(text.contains("Use the driver 'ipmi'") && text.contains("classic"), "{text}");
        assert!(unknown_driver("ilo").contains("fake-hardware, ipmi"));
    }
}
