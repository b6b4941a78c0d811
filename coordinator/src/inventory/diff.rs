//! What became different between two inventories, in words. Pure.
//!
//! Only what is a fact about the hardware is compared: not names that the kernel gives out anew, not addresses, not frequencies
//! of the moment. What one of the two does not say at all (an older agent, a collector that was not asked) is no difference.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// How something became different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It was there and is not.
    Vanished,
    /// It was not there and is.
    Appeared,
    /// It is there, otherwise than before.
    Changed,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind of part.
    pub part: &'static str,
    /// How.
    pub change: Kind,
    /// One sentence part: `memory module DIMM_B3 (16 GB, Micron, serial S-3) vanished`.
    pub words: String,
}

/// A part as it is compared.
struct Part {
    label: String,
    /// What may change of it, with its name.
    facts: Vec<(&'static str, String)>,
}

/// The parts of one kind by what they are recognised by; none where the inventory does not speak of them.
type Parts = Option<BTreeMap<String, Part>>;

/// How one kind of part is read out of a stored inventory.
type Reader = fn(&Value) -> Parts;

/// Every kind of part.
const KINDS: [(&str, Reader); 7] = [
    ("memory module", memory_modules),
    ("disk", disks),
    ("network card", network_cards),
    ("PCI function", pci_functions),
    ("USB device", usb_devices),
    ("switch port", switch_ports),
    ("disk health", disk_health),
];

/// Facts of the whole machine: their place in the document, and their words.
const FACTS: [(&str, &str); 9] = [
    ("/cpu/model_name", "processor"),
    ("/cpu/count", "number of logical processors"),
    ("/cpu/socket_count", "number of processors"),
    ("/memory/physical_mb", "memory (MiB)"),
    ("/system_vendor/product_name", "product name"),
    ("/system_vendor/serial_number", "machine's serial number"),
    ("/system_vendor/firmware/version", "firmware version"),
    ("/boot/current_boot_mode", "boot mode"),
    ("/bmc_address", "BMC address"),
];

/// Every difference from `old` to `new`, as stored: Ironic's inventory, or a document with it under `inventory`.
#[must_use]
pub fn diff(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    for (place, words) in FACTS {
        let fact = |document| inventory(document).pointer(place).filter(|value| !value.is_null());
        if let (Some(old), Some(new)) = (fact(old), fact(new))
            && old != new
        {
            let words = format!("{words} changed from {} to {}", plain(old), plain(new));
            changes.push(Change { part: "machine", change: Kind::Changed, words });
        }
    }
    for (part, read) in KINDS {
        if let (Some(old), Some(new)) = (read(old), read(new)) {
            compare(part, &old, &new, &mut changes);
        }
    }
    changes
}

fn compare(
    part: &'static str,
    old: &BTreeMap<String, Part>,
    new: &BTreeMap<String, Part>,
    changes: &mut Vec<Change>,
) {
    let mut say = |change, words| changes.push(Change { part, change, words });
    // Switches and disks that said nothing this time have not vanished.
    let stays = !matches!(part, "switch port" | "disk health");
    for (_, gone) in old.iter().filter(|(key, _)| stays && !new.contains_key(*key)) {
        say(Kind::Vanished, format!("{part} {} vanished", gone.label));
    }
    for (key, now) in new {
        let Some(before) = old.get(key) else {
            if stays {
                say(Kind::Appeared, format!("{part} {} appeared", now.label));
            }
            continue;
        };
        for ((name, was), (_, is)) in before.facts.iter().zip(&now.facts) {
            if was != is && !was.is_empty() && !is.is_empty() {
                say(
                    Kind::Changed,
                    format!("{part} {}: {name} changed from {was} to {is}", now.label),
                );
            }
        }
    }
}

/// Ironic's inventory in either form.
fn inventory(document: &Value) -> &Value {
    document.get("inventory").unwrap_or(document)
}

/// A value for people.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The text or number under `key`; empty where there is none.
fn text(value: &Value, key: &str) -> String {
    value.get(key).filter(|value| !value.is_null()).map(plain).unwrap_or_default()
}

/// `name (what, what)`, without what is not known.
fn label(name: &str, what: &[String]) -> String {
    let known: Vec<&str> =
        what.iter().map(|one| one.trim()).filter(|one| !one.is_empty()).collect();
    if known.is_empty() { name.to_owned() } else { format!("{name} ({})", known.join(", ")) }
}

fn with(prefix: &str, value: String) -> String {
    if value.is_empty() { value } else { format!("{prefix}{value}") }
}

/// Parts of a list, each with its key; two of the same key are told apart by their number.
fn parts(list: Option<&Value>, read: impl Fn(&Value) -> Option<(String, Part)>) -> Parts {
    let mut found = BTreeMap::new();
    for (mut key, part) in list?.as_array()?.iter().filter_map(read) {
        while found.contains_key(&key) {
            key.push('+');
        }
        found.insert(key, part);
    }
    Some(found)
}

/// Recognised by their slot, so that a module that was replaced is told.
fn memory_modules(document: &Value) -> Parts {
    parts(document.pointer("/dmi/memory/devices"), |module| {
        let (slot, bank, size) =
            (text(module, "Locator"), text(module, "Bank Locator"), text(module, "Size"));
        if size.is_empty() || size == "No Module Installed" {
            return None;
        }
        let (maker, serial) = (text(module, "Manufacturer"), text(module, "Serial Number"));
        let facts = vec![("size", size.clone()), ("serial number", serial.clone())];
        let label = label(&slot, &[size, maker, with("serial ", serial)]);
        Some((format!("{bank} {slot}"), Part { label, facts }))
    })
}

/// Recognised by what does not change with the cable: serial number, else world wide name, else their place.
fn disks(document: &Value) -> Parts {
    parts(inventory(document).get("disks"), |disk| {
        let (serial, model) = (text(disk, "serial"), text(disk, "model"));
        let keys = [serial.clone(), text(disk, "wwn"), text(disk, "by_path"), text(disk, "name")];
        let key = keys.into_iter().find(|key| !key.is_empty())?;
        let size = text(disk, "size");
        let facts = vec![
            ("size (bytes)", size),
            ("sector size", text(disk, "logical_sectors")),
            ("place", text(disk, "by_path")),
        ];
        let label = label(&text(disk, "name"), &[model, with("serial ", serial)]);
        Some((key, Part { label, facts }))
    })
}

fn network_cards(document: &Value) -> Parts {
    parts(inventory(document).get("interfaces"), |card| {
        let mac = text(card, "mac_address");
        let facts = vec![
            ("carrier", text(card, "has_carrier")),
            ("speed (Mbit/s)", text(card, "speed_mbps")),
            ("PCI address", text(card, "pci_address")),
        ];
        let label = label(&text(card, "name"), &[mac.clone(), text(card, "driver")]);
        (!mac.is_empty()).then_some((mac, Part { label, facts }))
    })
}

fn pci_functions(document: &Value) -> Parts {
    parts(document.get("pci_devices"), |function| {
        let bus = text(function, "bus");
        let identity = format!("{}:{}", text(function, "vendor_id"), text(function, "product_id"));
        let label = label(&bus, &[identity.clone(), with("class ", text(function, "class"))]);
        let facts = vec![("identity", identity), ("revision", text(function, "revision"))];
        (!bus.is_empty()).then_some((bus, Part { label, facts }))
    })
}

/// Their numbers are given out anew with every boot: recognised by their names.
fn usb_devices(document: &Value) -> Parts {
    parts(document.get("usb_devices"), |device| {
        let (vendor, product) = (text(device, "vendor"), text(device, "product"));
        let label = label(&product, std::slice::from_ref(&vendor));
        Some((format!("{vendor} {product}"), Part { label, facts: Vec::new() }))
    })
}

/// The neighbour of each card. A switch that was silent this time has not vanished: only what both heard is compared.
fn switch_ports(document: &Value) -> Parts {
    let heard = document.get("parsed_lldp")?.as_object()?;
    let card = |(name, said): (&String, &Value)| {
        let names = ["switch_system_name", "switch_chassis_id", "switch_port_id"];
        let known = names.map(|key| text(said, key)).into_iter().filter(|name| !name.is_empty());
        let facts = vec![("neighbour", known.collect::<Vec<_>>().join(" "))];
        (name.clone(), Part { label: format!("of {name}"), facts })
    };
    Some(heard.iter().map(card).collect())
}

fn disk_health(document: &Value) -> Parts {
    parts(document.get("disk_health"), |disk| {
        let (serial, name) = (text(disk, "serial"), text(disk, "name"));
        let well = disk.get("passed").and_then(Value::as_bool)?;
        let facts = vec![
            ("verdict", if well { "well" } else { "failing" }.to_owned()),
            ("media errors", text(disk, "media_errors")),
        ];
        let label = label(&name, &[with("serial ", serial.clone())]);
        Some((if serial.is_empty() { name } else { serial }, Part { label, facts }))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine() -> Value {
        let module = |slot: &str, size: &str, serial: &str| json!({"Locator": slot, "Bank Locator": "P0", "Size": size, "Manufacturer": "Micron", "Serial Number": serial});
        json!({
            "inventory": {
                "cpu": {"model_name": "EPYC", "count": 64, "frequency": "3000.0"},
                "memory": {"total": 1, "physical_mb": 32768},
                "disks": [{"name": "/dev/sda", "serial": "D1", "size": 100, "by_path": "p1"}, {"name": "/dev/sdb", "serial": "D2", "size": 100}],
                "interfaces": [{"name": "eth0", "mac_address": "52:54:00:00:00:01", "has_carrier": true, "driver": "igb"}],
                "system_vendor": {"firmware": {"version": "1.0"}},
            },
            "dmi": {"memory": {"devices": [module("DIMM_B3", "16 GB", "S-3"), module("DIMM_B4", "16 GB", "S-4"), module("DIMM_B5", "No Module Installed", "")]}},
            "usb_devices": [{"vendor": "QEMU", "product": "Tablet", "handle": "USB:1:2"}],
            "parsed_lldp": {"eth0": {"switch_system_name": "tor-1", "switch_port_id": "Ethernet1/7"}},
            "disk_health": [{"name": "/dev/nvme0n1", "serial": "N1", "passed": true, "media_errors": 0}],
        })
    }

    fn words(old: &Value, new: &Value) -> Vec<String> {
        diff(old, new).into_iter().map(|change| change.words).collect()
    }

    #[test]
    fn a_module_that_vanished_and_what_else_is_different_is_said_in_words() {
        let mut new = machine();
        new["dmi"]["memory"]["devices"][0] =
            json!({"Locator": "DIMM_B3", "Size": "No Module Installed"});
        new["dmi"]["memory"]["devices"][1]["Serial Number"] = json!("S-9");
        new["inventory"]["memory"]["physical_mb"] = json!(16384);
        new["inventory"]["disks"][1] =
            json!({"name": "/dev/sdb", "serial": "D7", "model": "NEW", "size": 200});
        new["inventory"]["interfaces"][0]["has_carrier"] = json!(false);
        new["inventory"]["system_vendor"]["firmware"]["version"] = json!("1.1");
        new["parsed_lldp"]["eth0"]["switch_port_id"] = json!("Ethernet1/8");
        new["disk_health"][0]["passed"] = json!(false);
        assert_eq!(
            words(&machine(), &new),
            [
                "memory (MiB) changed from 32768 to 16384",
                "firmware version changed from 1.0 to 1.1",
                "memory module DIMM_B3 (16 GB, Micron, serial S-3) vanished",
                "memory module DIMM_B4 (16 GB, Micron, serial S-9): serial number changed from S-4 to S-9",
                "disk /dev/sdb (serial D2) vanished",
                "disk /dev/sdb (NEW, serial D7) appeared",
                "network card eth0 (52:54:00:00:00:01, igb): carrier changed from true to false",
                "switch port of eth0: neighbour changed from tor-1 Ethernet1/7 to tor-1 Ethernet1/8",
                "disk health /dev/nvme0n1 (serial N1): verdict changed from well to failing",
            ]
        );
    }

    #[test]
    fn what_the_kernel_names_anew_and_what_was_not_asked_is_no_difference() {
        let mut new = machine();
        new["inventory"]["disks"].as_array_mut().unwrap().swap(0, 1);
        new["inventory"]["disks"][0]["name"] = json!("/dev/sda");
        new["inventory"]["disks"][1]["name"] = json!("/dev/sdb");
        new["inventory"]["cpu"]["frequency"] = json!("1200.0");
        new["inventory"]["memory"]["total"] = json!(2);
        new["usb_devices"][0]["handle"] = json!("USB:1:9");
        assert_eq!(words(&machine(), &new), [""; 0]);
        let old_agent = machine()["inventory"].clone();
        assert_eq!(words(&old_agent, &new), [""; 0]);
        assert_eq!(words(&new, &old_agent), [""; 0]);
        assert_eq!(words(&Value::Null, &json!([1])), [""; 0]);
    }
}
