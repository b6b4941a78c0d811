//! Field by field: the agent's inventory beside what the machine's own tools say.

use std::collections::BTreeMap;

use serde_json::Value;

/// Runs a command on the machine.
type Ask<'a> = &'a dyn Fn(&str) -> String;

/// Compares everything; `other_memory`: the machine's memory was changed since.
pub(super) fn everything(found: &Value, other_memory: bool, ask: Ask<'_>) {
    let inventory = &found["inventory"];
    let mut fields = disks(&inventory["disks"], ask);
    fields += cards(&inventory["interfaces"], ask);
    fields += vendor(&inventory["system_vendor"], ask);
    fields += bmc(inventory, ask);
    fields += pci(&found["plugin_data"]["pci_devices"], ask);
    fields += processor(&inventory["cpu"], ask);
    if !other_memory {
        fields += memory(found, ask);
    }
    println!("{fields} fields agree");
}

/// Compares where the tool knows something; how many fields that were.
fn agree(what: &str, ours: &Value, theirs: &Value) -> usize {
    if theirs.is_null() || theirs == "" {
        return 0;
    }
    let text = |value: &Value| {
        value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned())
    };
    assert_eq!(text(ours), text(theirs), "{what}");
    1
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn disks(ours: &Value, ask: Ask<'_>) -> usize {
    let columns = "NAME,TYPE,SIZE,ROTA,MODEL,SERIAL,VENDOR,WWN,LOG-SEC,PHY-SEC,TRAN,HCTL";
    let theirs = json(&ask(&format!("/tools/lsblk -J -b -d -o {columns}")));
    let theirs =
        theirs["blockdevices"].as_array().unwrap().iter().filter(|disk| disk["type"] == "disk");
    let theirs: Vec<&Value> = theirs.filter(|disk| disk["size"] != 0).collect();
    let ours = ours.as_array().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{ours:?} {theirs:?}");
    let mut fields = 0;
    for disk in theirs {
        let name = format!("/dev/{}", disk["name"].as_str().unwrap());
        let our = ours.iter().find(|our| our["name"] == name.as_str()).unwrap();
        for (key, theirs) in [
            ("size", "size"),
            ("rotational", "rota"),
            ("model", "model"),
            ("serial", "serial"),
            ("wwn", "wwn"),
            ("logical_sectors", "log-sec"),
            ("physical_sectors", "phy-sec"),
            ("tran", "tran"),
            ("hctl", "hctl"),
        ] {
            fields += agree(&format!("{name} {key}"), &our[key], &disk[theirs]);
        }
    }
    fields
}

fn cards(ours: &Value, ask: Ask<'_>) -> usize {
    let theirs = json(&ask("/tools/ip -j address"));
    let mut fields = 0;
    let ours = ours.as_array().unwrap();
    let theirs = theirs.as_array().unwrap().iter().filter(|card| card["link_type"] == "ether");
    for card in theirs {
        let mac = card["address"].as_str().unwrap();
        let our =
            ours.iter().find(|our| our["mac_address"] == mac).unwrap_or_else(|| panic!("no {mac}"));
        fields += 1;
        let addresses = card["addr_info"].as_array().unwrap();
        if let Some(address) = addresses.iter().find(|one| one["family"] == "inet") {
            fields += agree("ipv4_address", &our["ipv4_address"], &address["local"]);
        }
        let up = card["flags"].as_array().unwrap().iter().any(|flag| flag == "LOWER_UP");
        fields += agree("has_carrier", &our["has_carrier"], &Value::from(up));
    }
    fields
}

fn vendor(ours: &Value, ask: Ask<'_>) -> usize {
    let said = |key: &str| Value::from(ask(&format!("/tools/dmidecode -s {key}")).trim());
    [
        ("/manufacturer", "system-manufacturer"),
        ("/product_name", "system-product-name"),
        ("/serial_number", "system-serial-number"),
        ("/firmware/vendor", "bios-vendor"),
        ("/firmware/version", "bios-version"),
        ("/firmware/build_date", "bios-release-date"),
    ]
    .into_iter()
    .map(|(place, key)| agree(place, ours.pointer(place).unwrap(), &said(key)))
    .sum()
}

/// `Key : value` lines.
fn lines(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

fn bmc(ours: &Value, ask: Ask<'_>) -> usize {
    let theirs = lines(&ask("/tools/ipmitool lan print 1"));
    let said = |key: &str| Value::from(theirs[key].as_str());
    agree("bmc_address", &ours["bmc_address"], &said("IP Address"))
        + agree("bmc_mac", &ours["bmc_mac"], &said("MAC Address"))
}

fn pci(ours: &Value, ask: Ask<'_>) -> usize {
    let ours = ours.as_array().unwrap();
    let theirs = ask("/tools/lspci -n -D");
    assert_eq!(ours.len(), theirs.lines().count(), "{theirs}");
    for line in theirs.lines() {
        // `0000:00:02.0 0200: 1af4:1000 (rev 01)`
        let words: Vec<&str> = line.split_whitespace().collect();
        let our = ours.iter().find(|our| our["bus"] == words[0]).unwrap();
        let text = |key: &str| our[key].as_str().unwrap();
        assert_eq!(format!("{}:{}", text("vendor_id"), text("product_id")), words[2], "{line}");
        assert!(text("class").starts_with(words[1].trim_end_matches(':')), "{line}");
    }
    2 * ours.len()
}

fn processor(ours: &Value, ask: Ask<'_>) -> usize {
    let info = ask("cat /proc/cpuinfo");
    let said = lines(&info);
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    let flags: Vec<&str> = said["flags"].split_whitespace().collect();
    assert_eq!(serde_json::to_value(flags).unwrap(), ours["flags"]);
    1 + agree("count", &ours["count"], &Value::from(count))
        + agree("model_name", &ours["model_name"], &Value::from(said["model name"].as_str()))
        + agree("architecture", &ours["architecture"], &Value::from(ask("uname -m").trim()))
}

fn memory(found: &Value, ask: Ask<'_>) -> usize {
    let said = ask("/tools/dmidecode -t 17");
    let sizes = said.lines().filter_map(|line| line.trim().strip_prefix("Size: "));
    let mib: u64 = sizes
        .filter_map(|size| match size.split_once(' ')? {
            (number, "MB") => number.parse::<u64>().ok(),
            (number, "GB") => number.parse::<u64>().ok().map(|gib| gib << 10),
            _ => None,
        })
        .sum();
    let total = lines(&ask("cat /proc/meminfo"))["MemTotal"]
        .trim_end_matches(" kB")
        .parse::<u64>()
        .unwrap();
    let module = &found["plugin_data"]["dmi"]["memory"]["devices"][0];
    let theirs = lines(&said);
    ["Size", "Locator", "Manufacturer", "Type", "Form Factor"]
        .into_iter()
        .map(|key| agree(key, &module[key], &Value::from(theirs[key].as_str())))
        .sum::<usize>()
        + agree("physical_mb", &found["inventory"]["memory"]["physical_mb"], &Value::from(mib))
        + agree("total", &found["inventory"]["memory"]["total"], &Value::from(total << 10))
}
