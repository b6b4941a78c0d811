//! The three machines, and the switch that two of the third one's cards hang on.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lab::Firmware;
use lab::lab::MachineSpec;
use lab::machine::{Bus, DiskSpec, Machine};
use serde_json::Value;

/// The further cards of the third machine: QEMU's device, MAC address, and the UDP port to which its frames are sent; those
/// that it sends go to the next one.
const CARDS: [(&str, &str, u16); 2] =
    [("e1000e", "52:54:00:33:00:01", 9401), ("igb", "52:54:00:33:00:02", 9403)];

pub(super) fn machines() -> Vec<MachineSpec> {
    let disk = |bus, serial: &str, gib: u64| DiskSpec {
        bus,
        bytes: gib << 30,
        serial: serial.to_owned(),
        sector_bytes: 512,
        write_limit: None,
    };
    let mut first = MachineSpec::new(Firmware::Bios);
    first.disks = vec![disk(Bus::VirtioBlk, "LAB-VIRTIO", 4), disk(Bus::Sata, "LAB-SATA", 1)];
    let second = MachineSpec::new(Firmware::Uefi);
    let mut third = MachineSpec::new(Firmware::Bios);
    let nodes = "-smp 2 -object memory-backend-ram,id=m0,size=512M -object memory-backend-ram,id=m1,size=512M \
        -numa node,nodeid=0,cpus=0,memdev=m0 -numa node,nodeid=1,cpus=1,memdev=m1 -device qemu-xhci -device usb-tablet";
    third.hardware = nodes.split_whitespace().map(str::to_owned).collect();
    for (index, (card, mac, port)) in CARDS.into_iter().enumerate() {
        let (id, back) = (index + 1, port + 1);
        third.hardware.extend([
            "-netdev".to_owned(),
            format!(
                "dgram,id=cable{id},local.type=inet,local.host=127.0.0.1,local.port={port},\
                 remote.type=inet,remote.host=127.0.0.1,remote.port={back}"
            ),
            "-device".to_owned(),
            format!("{card},netdev=cable{id},id=card{id},mac={mac}"),
            "-smbios".to_owned(),
            format!("type=41,designation=LAN {id},instance={id},kind=ethernet,pcidev=card{id}"),
        ]);
    }
    vec![first, second, third]
}

/// Takes memory out of a machine that is off: it is found at its next start.
pub(super) fn loses_memory(machine: &Machine) {
    let file = machine.file("machine.json");
    let mut spec: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    spec["memory_mib"] = Value::from(768);
    std::fs::write(file, spec.to_string()).unwrap();
}

/// Sends an LLDP frame into each cable twice a second, until it is dropped.
pub(super) struct Switches {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Switches {
    pub(super) fn start() -> Self {
        let sockets = CARDS.map(|(_, _, port)| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port + 1)).unwrap();
            socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            socket
        });
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                for (port, socket) in (1..).zip(&sockets) {
                    // Nobody is at the other end while the machine is off.
                    socket.send(&frame(port)).ok();
                }
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Switches {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// What port `number` of the switch says of itself (802.1AB): chassis, port, time to live, name, and its VLAN.
fn frame(number: u8) -> Vec<u8> {
    let element = |kind: u8, value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap();
        [&(u16::from(kind) << 9 | length).to_be_bytes(), value].concat()
    };
    let port = format!("\u{5}Ethernet1/{number}");
    [
        b"\x01\x80\xc2\0\0\x0e\x02\0\0\0\0\x99\x88\xcc".to_vec(),
        element(1, b"\x04\x02\0\0\0\0\x99"),
        element(2, port.as_bytes()),
        element(3, &[0, 120]),
        element(5, b"tor-lab"),
        element(127, &[0x00, 0x80, 0xc2, 1, 0, 100 + number]),
        vec![0; 2],
    ]
    .concat()
}

/// Each card heard its own port of the switch, stands where the firmware says, and belongs to two NUMA nodes' machine.
pub(super) fn has_neighbours(found: &Value) {
    let cards = found["inventory"]["interfaces"].as_array().unwrap();
    for (number, (driver, mac, _)) in (1..).zip(CARDS) {
        let card = cards.iter().find(|card| card["mac_address"] == mac).unwrap();
        assert_eq!(card["driver"], driver);
        assert_eq!(card["has_carrier"], true, "{card}");
        assert_eq!(card["biosdevname"], format!("em{number}"));
        let name = card["name"].as_str().unwrap();
        let heard = &found["plugin_data"]["parsed_lldp"][name];
        assert_eq!(heard["switch_system_name"], "tor-lab", "{found}");
        assert_eq!(heard["switch_port_id"], format!("Ethernet1/{number}"));
        assert_eq!(heard["switch_port_untagged_vlan_id"], 100 + number);
        assert_eq!(found["plugin_data"]["lldp_raw"][name][0][0], 1);
        println!("lldp: {name} {heard}");
    }
    let numa = &found["plugin_data"]["numa_topology"];
    assert_eq!(numa["ram"].as_array().unwrap().len(), 2, "{numa}");
    assert_eq!(numa["cpus"].as_array().unwrap().len(), 2, "{numa}");
    let usb = found["plugin_data"]["usb_devices"].to_string();
    assert!(usb.contains("QEMU USB Tablet"), "{usb}");
}
