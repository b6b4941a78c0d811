//! Firmware, processors and memory modules in the words of `dmidecode`, as Ironic's collector `dmi-decode` hands them on.

use serde_json::{Map, Value, json};

use super::memory::{MEMORY_DEVICE, module_mib};
use super::smbios::{self, Structure};
use super::tree::Tree;

/// Ironic's `dmi`; none where the firmware has no table.
pub(super) fn collect(tree: &Tree) -> Option<Value> {
    let table = smbios::table(tree);
    let all = smbios::structures(&table);
    if all.is_empty() {
        return None;
    }
    let of = |kind: u8| all.iter().filter(move |structure| structure.kind == kind);
    let bios = of(0).next().map_or_else(Map::new, bios);
    let cpus: Vec<Value> = of(4).map(cpu).collect();
    let mut memory = of(16).next().map_or_else(Map::new, array);
    let slots: u64 = of(16).filter_map(|array| array.word(0x0D)).map(u64::from).sum();
    if slots > 0 {
        memory.insert("Number Of Devices".to_owned(), Value::from(slots));
    }
    memory.insert("devices".to_owned(), of(MEMORY_DEVICE).map(device).collect());
    Some(json!({ "bios": bios, "cpu": cpus, "memory": memory }))
}

/// What a structure says, without what it does not know.
#[derive(Default)]
struct Words(Map<String, Value>);

impl Words {
    /// The words of `structure`, which begin with its handle as dmidecode writes it.
    fn of(structure: &Structure<'_>) -> Self {
        let (handle, kind, length) = (structure.handle(), structure.kind, structure.length());
        let mut words = Self::default();
        words.say(
            "Handle",
            Some(
                format!("Handle {handle:#06X}, DMI type {kind}, {length} bytes")
                    .replace("0X", "0x"),
            ),
        );
        words
    }

    fn say(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), Value::String(value));
        }
    }

    fn strings(&mut self, structure: &Structure<'_>, fields: &[(&str, usize)]) {
        for (key, at) in fields {
            self.say(key, structure.text(*at));
        }
    }
}

/// Type 0 (SMBIOS 3.7, 7.1).
fn bios(bios: &Structure<'_>) -> Map<String, Value> {
    let mut words = Words::of(bios);
    words.strings(bios, &[("Vendor", 4), ("Version", 5), ("Release Date", 8)]);
    words.say(
        "Address",
        bios.word(6).map(|segment| format!("{:#07X}", u32::from(segment) << 4).replace("0X", "0x")),
    );
    let rom = bios.byte(9).map(|size| match (size, bios.word(0x18)) {
        (0xFF, Some(size)) if size >> 14 == 0 => format!("{} MB", size & 0x3FFF),
        (0xFF, Some(size)) => format!("{} GB", size & 0x3FFF),
        (size, _) => format!("{} kB", (u32::from(size) + 1) * 64),
    });
    words.say("ROM Size", rom);
    let revision = |major: usize| {
        let (major, minor) = (bios.byte(major)?, bios.byte(major + 1)?);
        (major != 0xFF && minor != 0xFF).then(|| format!("{major}.{minor}"))
    };
    words.say("BIOS Revision", revision(0x14));
    words.say("Firmware Revision", revision(0x16));
    words.0
}

/// Type 4 (7.5).
fn cpu(cpu: &Structure<'_>) -> Value {
    let mut words = Words::of(cpu);
    let strings = [
        ("Socket Designation", 4),
        ("Manufacturer", 7),
        ("Version", 0x10),
        ("Serial Number", 0x20),
        ("Asset Tag", 0x21),
        ("Part Number", 0x22),
    ];
    words.strings(cpu, &strings);
    let id = cpu.quad(8).map(|id| {
        id.to_le_bytes().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ")
    });
    words.say("ID", id);
    for (key, at) in [("External Clock", 0x12), ("Max Speed", 0x14), ("Current Speed", 0x16)] {
        words.say(key, cpu.word(at).filter(|mhz| *mhz > 0).map(|mhz| format!("{mhz} MHz")));
    }
    // Bit 6: populated; bits 2:0, 1: enabled.
    words.say(
        "Status",
        cpu.byte(0x18).map(|status| match (status & 0x40 != 0, status & 7) {
            (false, _) => "Unpopulated".to_owned(),
            (true, 1) => "Populated, Enabled".to_owned(),
            (true, 2 | 3) => "Populated, Disabled".to_owned(),
            (true, _) => "Populated, Unknown".to_owned(),
        }),
    );
    // A byte of 0xFF says that the word of version 3.0 holds the number.
    for (key, byte, word) in
        [("Core Count", 0x23, 0x2A), ("Core Enabled", 0x24, 0x2C), ("Thread Count", 0x25, 0x2E)]
    {
        let count = cpu.byte(byte).map(u16::from);
        let count =
            count.map(|count| if count == 0xFF { cpu.word(word).unwrap_or(count) } else { count });
        words.say(key, count.filter(|count| *count > 0).map(|count| count.to_string()));
    }
    Value::Object(words.0)
}

/// Type 16 (7.17).
fn array(array: &Structure<'_>) -> Map<String, Value> {
    let mut words = Words::default();
    words.say(
        "Location",
        array
            .byte(4)
            .map(|place| word_of(place, &["Other", "Unknown", "System Board Or Motherboard"])),
    );
    words.say(
        "Use",
        array.byte(5).map(|purpose| {
            word_of(purpose, &["Other", "Unknown", "System Memory", "Video Memory", "Flash Memory"])
        }),
    );
    let kinds = ["Other", "Unknown", "None", "Parity", "Single-bit ECC", "Multi-bit ECC", "CRC"];
    words.say("Error Correction Type", array.byte(6).map(|kind| word_of(kind, &kinds)));
    // KiB; all but the sign bit set: the extended field has bytes.
    let kib = array.double(7).and_then(|kib| match kib {
        0x8000_0000 => array.quad(0x0F).map(|bytes| bytes >> 10),
        kib => Some(u64::from(kib)),
    });
    words.say("Maximum Capacity", kib.map(|kib| size(kib << 10)));
    words.0
}

/// Type 17 (7.18).
fn device(device: &Structure<'_>) -> Value {
    let mut words = Words::of(device);
    let strings = [
        ("Locator", 0x10),
        ("Bank Locator", 0x11),
        ("Manufacturer", 0x17),
        ("Serial Number", 0x18),
        ("Asset Tag", 0x19),
        ("Part Number", 0x1A),
    ];
    words.strings(device, &strings);
    let bits = |at| device.word(at).filter(|bits| *bits != 0xFFFF && *bits != 0);
    words.say("Total Width", bits(8).map(|bits| format!("{bits} bits")));
    words.say("Data Width", bits(0x0A).map(|bits| format!("{bits} bits")));
    let mib = module_mib(device);
    let present = if mib > 0 { size(mib << 20) } else { "No Module Installed".to_owned() };
    words.say("Size", Some(present));
    let forms = [
        "Other",
        "Unknown",
        "SIMM",
        "SIP",
        "Chip",
        "DIP",
        "ZIP",
        "Proprietary Card",
        "DIMM",
        "TSOP",
        "Row Of Chips",
        "RIMM",
        "SODIMM",
        "SRIMM",
        "FB-DIMM",
        "Die",
    ];
    words.say("Form Factor", device.byte(0x0E).map(|form| word_of(form, &forms)));
    words.say("Type", device.byte(0x12).and_then(memory_type).map(str::to_owned));
    for (key, at, extended) in [("Speed", 0x15, 0x54), ("Configured Memory Speed", 0x20, 0x58)] {
        let rate = match device.word(at) {
            Some(0xFFFF) => device.double(extended),
            Some(0) | None => None,
            Some(rate) => Some(u32::from(rate)),
        };
        words.say(key, rate.map(|rate| format!("{rate} MT/s")));
    }
    words.say(
        "Rank",
        device
            .byte(0x1B)
            .map(|rank| rank & 0x0F)
            .filter(|rank| *rank > 0)
            .map(|rank| rank.to_string()),
    );
    Value::Object(words.0)
}

/// Memory types in use (table 78).
fn memory_type(kind: u8) -> Option<&'static str> {
    match kind {
        0x01 => Some("Other"),
        0x02 => Some("Unknown"),
        0x03 => Some("DRAM"),
        0x07 => Some("RAM"),
        0x0F => Some("SDRAM"),
        0x12 => Some("DDR"),
        0x13 => Some("DDR2"),
        0x18 => Some("DDR3"),
        0x1A => Some("DDR4"),
        0x1B => Some("LPDDR"),
        0x1E => Some("LPDDR4"),
        0x1F => Some("Logical non-volatile device"),
        0x20 => Some("HBM"),
        0x21 => Some("HBM2"),
        0x22 => Some("DDR5"),
        0x23 => Some("LPDDR5"),
        0x24 => Some("HBM3"),
        _ => None,
    }
}

/// The word for a value counted from 1.
fn word_of(value: u8, words: &[&str]) -> String {
    let word = usize::from(value).checked_sub(1).and_then(|at| words.get(at));
    word.map_or_else(|| format!("{value:#04x}"), |word| (*word).to_owned())
}

/// Bytes in the largest unit that divides them.
fn size(bytes: u64) -> String {
    let units = [("TB", 40), ("GB", 30), ("MB", 20), ("kB", 10)];
    let fits = units.into_iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    fits.map_or_else(
        || format!("{bytes} bytes"),
        |(unit, shift)| format!("{} {unit}", bytes >> shift),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_told_in_dmidecodes_words() {
        let mut module = vec![0_u8; 0x28];
        module[..4].copy_from_slice(&[17, 0x28, 0x00, 0x11]);
        module[0x08..0x0C].copy_from_slice(&[72, 0, 64, 0]);
        module[0x0C..0x0E].copy_from_slice(&16384_u16.to_le_bytes());
        (module[0x0E], module[0x10], module[0x11], module[0x12]) = (9, 1, 2, 0x1A);
        module[0x15..0x17].copy_from_slice(&3200_u16.to_le_bytes());
        (module[0x17], module[0x18], module[0x1B]) = (3, 4, 2);
        module.extend(b"DIMM_B3\0P0 CHANNEL B\0Micron\0S-0001\0\0");
        let all = smbios::structures(&module);
        assert_eq!(
            device(&all[0]),
            json!({
                "Handle": "Handle 0x1100, DMI type 17, 40 bytes", "Locator": "DIMM_B3", "Bank Locator": "P0 CHANNEL B",
                "Manufacturer": "Micron", "Serial Number": "S-0001", "Total Width": "72 bits", "Data Width": "64 bits",
                "Size": "16 GB", "Form Factor": "DIMM", "Type": "DDR4", "Speed": "3200 MT/s", "Rank": "2",
            })
        );
    }

    #[test]
    fn sizes_are_said_in_the_largest_unit_that_divides_them() {
        for (bytes, words) in [
            (16 << 30, "16 GB"),
            (1536 << 20, "1536 MB"),
            (64 << 10, "64 kB"),
            (100, "100 bytes"),
            (0, "0 bytes"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }
}
