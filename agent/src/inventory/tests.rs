use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// Unpacks a captured tree (format: testdata/server.tree.py).
fn unpacked(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for line in text.lines() {
        let mut fields = line.splitn(3, ' ');
        let (kind, path) = (fields.next().unwrap(), fields.next().unwrap());
        let (path, rest) = (dir.path().join(path), fields.next().unwrap_or_default());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match kind {
            "L" => symlink(rest, path).unwrap(),
            "F" => fs::write(path, unescaped(rest)).unwrap(),
            other => panic!("unknown kind {other:?}"),
        }
    }
    dir
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend(&piece.as_bytes()[2..]);
    }
    bytes
}

fn server() -> Inventory {
    collect(unpacked(include_str!("../../testdata/server.tree")).path())
}

#[test]
fn only_disks_that_can_be_used_are_listed() {
    let names: Vec<String> = server().disks.into_iter().map(|disk| disk.name).collect();
    assert_eq!(
        names,
        ["/dev/nvme0n1", "/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd", "/dev/sde", "/dev/vda"]
    );
}

#[test]
fn every_kind_of_disk_shows_its_identity() {
    let expected = [
        // name, serial, wwn, hctl, tran, by_path
        ("nvme0n1", "NVME0001", "eui.00a0b0c0d0e0f001", "", "nvme", "0000:00:04.0-nvme-1"),
        ("sda", "SATA01", "", "0:0:0:0", "sata", "0000:00:1f.2-ata-1.0"),
        ("sdb", "SCSI01", "0x5000c50000000001", "7:0:0:0", "", "0000:00:06.0-scsi-0:0:0:0"),
        ("sdc", "MEGA01", "0x6a1b2c3d4e5f6071", "8:2:0:0", "", "0000:00:07.0-scsi-0:2:0:0"),
        ("sdd", "SAS01", "0x5000c500a1b2c3d4", "9:0:0:0", "sas", "0000:00:08.0-sas-phy3-lun-0"),
        ("sde", "", "", "10:0:0:0", "usb", "0000:00:1d.7-usb-0:1:1.0-scsi-0:0:0:0"),
        ("vda", "VDA01", "", "", "virtio", "0000:00:05.0"),
    ];
    for (disk, (name, serial, wwn, hctl, tran, place)) in server().disks.iter().zip(expected) {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        assert_eq!(disk.name, format!("/dev/{name}"));
        assert_eq!(text(&disk.serial), serial, "{name}");
        assert_eq!(text(&disk.wwn), wwn, "{name}");
        assert_eq!(text(&disk.hctl), hctl, "{name}");
        assert_eq!(text(&disk.tran), tran, "{name}");
        assert_eq!(text(&disk.by_path), format!("/dev/disk/by-path/pci-{place}"));
    }
}

#[test]
fn a_disk_has_exactly_ironics_fields() {
    let disks = server().disks;
    assert_eq!(
        serde_json::to_value(&disks[1]).unwrap(),
        json!({
            "name": "/dev/sda", "model": "LABSATA", "size": 107_374_182_400_u64, "rotational": true, "wwn": null,
            "serial": "SATA01", "vendor": "ATA", "wwn_with_extension": null, "wwn_vendor_extension": null,
            "hctl": "0:0:0:0", "by_path": "/dev/disk/by-path/pci-0000:00:1f.2-ata-1.0", "logical_sectors": 512,
            "physical_sectors": 4096, "tran": "sata",
        })
    );
    assert_eq!(disks[0].logical_sectors, Some(4096));
    assert_eq!(disks[3].wwn_with_extension.as_deref(), Some("0x6a1b2c3d4e5f60718293a4b5c6d7e8f9"));
    assert_eq!(disks[3].wwn_vendor_extension.as_deref(), Some("0x8293a4b5c6d7e8f9"));
    assert!(disks[5].removable && !disks[1].removable);
}

#[test]
fn an_interface_has_exactly_ironics_fields() {
    let interfaces = serde_json::to_value(server().interfaces).unwrap();
    assert_eq!(
        interfaces[1],
        json!({
            "name": "eth0", "mac_address": "52:54:00:00:00:10", "ipv4_address": "192.0.2.10",
            "ipv6_address": "fd00::10", "has_carrier": true, "lldp": null, "vendor": "0x1af4", "product": "0x0001",
            "client_id": null, "biosdevname": null, "speed_mbps": null, "pci_address": "0000:00:02.0",
            "driver": "virtio_net",
        })
    );
    assert_eq!(interfaces[2]["ipv6_address"], "fe80::5054:ff:fe00:11a%eth1");
    assert_eq!(interfaces[2]["speed_mbps"], 1000);
}

#[test]
fn loopback_and_fa_addresses_are_left_out_and_bonds_are_not() {
    let names: Vec<String> = server().interfaces.into_iter().map(|nic| nic.name).collect();
    assert_eq!(names, ["bond0", "eth0", "eth1"]);
}

#[test]
fn lookup_addresses_are_lower_case_once_each_and_linked_ones_first() {
    assert_eq!(macs(&server()), ["52:54:00:00:01:1a", "52:54:00:00:00:10"]);
}

#[test]
fn processor_memory_vendor_and_boot_are_in_ironics_shape() {
    let Value::Object(mut whole) = serde_json::to_value(server()).unwrap() else { panic!() };
    assert!(whole.remove("interfaces").is_some() && whole.remove("disks").is_some());
    assert_eq!(
        Value::Object(whole),
        json!({
            "cpu": {"model_name": "AMD EPYC 9354P 32-Core Processor", "frequency": "3249.998", "count": 4,
                    "architecture": "x86_64", "flags": ["fpu", "sse2", "svm"], "socket_count": 2},
            "memory": {"total": 2_079_375_360_u64, "physical_mb": 2048},
            "bmc_address": null, "bmc_v6address": null,
            "system_vendor": {"product_name": "Rack1000", "serial_number": "SN-0001", "manufacturer": "Acme",
                "firmware": {"vendor": "LabBIOS", "version": "1.2.3", "build_date": "02/29/2024"}},
            "boot": {"current_boot_mode": "uefi", "pxe_interface": "01-52-54-00-00-00-10"},
            "hostname": "localhost",
        })
    );
}

#[test]
fn the_highest_frequency_is_preferred() {
    let dir = unpacked("F sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq 3700000\\x0a");
    assert_eq!(collect(dir.path()).cpu.frequency.as_deref(), Some("3700.0000"));
}

#[test]
fn an_empty_root_gives_an_inventory_of_nulls() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = collect(dir.path());
    assert!(inventory.disks.is_empty() && inventory.interfaces.is_empty());
    assert_eq!(inventory.memory.total, None);
    assert_eq!(inventory.boot.current_boot_mode, "bios");
    assert!(collect(&dir.path().join("missing")).disks.is_empty());
}

#[test]
fn this_machine_can_be_asked_too() {
    let inventory = collect(Path::new("/"));
    assert!(inventory.cpu.count > 0 && inventory.memory.total > Some(0), "{inventory:?}");
}

#[test]
fn every_collector_says_what_ironics_says_by_the_same_keys() {
    let dir = unpacked(include_str!("../../testdata/server.tree"));
    let asked = |name: &str| collectors::collect(name, dir.path(), std::time::Duration::ZERO);
    let said = |name: &str| Value::Object(asked(name).unwrap());
    assert_eq!(
        said("pci-devices"),
        json!({ "pci_devices": [
            {"vendor_id": "1af4", "product_id": "1000", "class": "020000", "revision": "02", "bus": "0000:00:02.0", "numa_node_id": "0"},
            {"vendor_id": "8086", "product_id": "10d3", "class": "020000", "revision": "02", "bus": "0000:00:03.0", "numa_node_id": "1"},
        ]})
    );
    assert_eq!(
        said("usb-devices"),
        json!({ "usb_devices": [
            {"product": "QEMU USB Tablet", "vendor": "QEMU", "handle": "USB:1:2"},
            {"product": "0951:1666", "vendor": "0951", "handle": "USB:1:3"},
        ]})
    );
    let numa = said("numa-topology");
    assert_eq!(numa["numa_topology"]["ram"][1], json!({"numa_node": 1, "size_kb": 1_015_320}));
    assert_eq!(
        numa["numa_topology"]["cpus"],
        json!([
            {"cpu": 0, "numa_node": 0, "thread_siblings": [0, 1]},
            {"cpu": 0, "numa_node": 1, "thread_siblings": [2, 3]},
        ])
    );
    assert_eq!(
        numa["numa_topology"]["nics"],
        json!([{"name": "eth0", "numa_node": 0}, {"name": "eth1", "numa_node": 1}])
    );
    let dmi = said("dmi-decode");
    let devices = dmi["dmi"]["memory"]["devices"].as_array().unwrap();
    let modules: Vec<&Value> = devices.iter().map(|module| &module["Locator"]).collect();
    assert_eq!(modules, ["DIMM_A1", "DIMM_A2"]);
    assert_eq!(dmi["dmi"]["memory"]["Number Of Devices"], 4);
    assert_eq!(dmi["dmi"]["memory"]["Maximum Capacity"], "4 GB");
    assert_eq!(dmi["dmi"]["bios"]["ROM Size"], "16 MB");
    assert_eq!(dmi["dmi"]["cpu"][0]["Status"], "Populated, Enabled");
    // Captured machines have no switches; a package of benchmarks is not here.
    assert_eq!((said("lldp"), said("extra-hardware")), (json!({}), json!({})));
    assert_eq!(asked("nonsense"), None);
    assert!(collectors::NAMES.iter().all(|name| asked(name).is_some()));
}

#[test]
fn what_is_ours_stands_beside_ironics_keys() {
    let dir = unpacked(include_str!("../../testdata/server.tree"));
    let inventory = collect(dir.path());
    let said = quick(dir.path(), &inventory.disks, &inventory.blank);
    assert_eq!(said["tpm"], json!({"present": true, "version": "2.0", "driver": true}));
    let details = said["disk_details"].as_array().unwrap();
    let of = |name: &str| details.iter().find(|detail| detail["name"] == name).unwrap();
    assert_eq!(of("/dev/sdd")["holders"], json!(["/dev/md127"]));
    assert_eq!(of("/dev/sdf")["has_capacity"], false);
    for (disk, serials) in [
        ("/dev/sda", json!(["LABSATA_SATA01"])),
        ("/dev/sdb", json!(["5000c50000000001", "35000c50000000001"])),
        ("/dev/nvme0n1", json!(["QEMU_NVMe_Ctrl_NVME0001", "QEMU_NVMe_Ctrl_NVME0001_1"])),
        ("/dev/vda", json!([])),
    ] {
        assert_eq!(of(disk)["other_serials"], serials, "{disk}");
    }
}

#[test]
fn a_card_on_the_board_has_the_firmwares_number_and_a_captured_machine_no_bmc() {
    let interfaces = server().interfaces;
    let names: Vec<Option<&str>> =
        interfaces.iter().map(|nic| nic.biosdevname.as_deref()).collect();
    assert_eq!(names, [None, None, Some("em1")]);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(bmc_addresses(dir.path()), BmcAddresses::default());
}
