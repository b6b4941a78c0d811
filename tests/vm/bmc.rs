//! A machine obeys its BMC, asked by an independent client.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use lab::image_server::ImageServer;
use lab::lab::{MachineSpec, Rack};
use lab::{Firmware, net, runs};

const MARK: &str = "THE-SCRIPT-RUNS";
const BOOT_LIMIT: Duration = Duration::from_secs(90);

/// A rack with one machine, and an iPXE script on its network that only says that it runs.
async fn rack(firmware: Firmware) -> (Rack, ImageServer) {
    let dir = runs::dir_of_this_run().unwrap();
    let script = dir.join("boot.ipxe");
    let text = format!("#!ipxe\necho {MARK} on ${{platform}}\nsleep 600\n");
    std::fs::write(&script, text).unwrap();
    // The bridge's address does not exist before the rack does: listen on every address of the run.
    let server = ImageServer::start((Ipv4Addr::UNSPECIFIED, 8088)).await.unwrap();
    server.add(&script).unwrap();
    let url = format!("http://{}:8088/boot.ipxe", net::HOST);
    let rack = Rack::start(&dir, &[MachineSpec::new(firmware)], &url).await.unwrap();
    (rack, server)
}

async fn boots_from_the_network(firmware: Firmware, platform: &str) {
    let (rack, _server) = rack(firmware).await;
    let (machine, bmc) = (&rack.machines[0], &rack.bmcs[0]);
    assert_eq!(bmc.ipmitool("chassis power status").unwrap(), "Chassis Power is off");

    bmc.ipmitool("chassis bootdev pxe").unwrap();
    assert!(bmc.ipmitool("chassis bootparam get 5").unwrap().contains("Force PXE"));
    let start = Instant::now();
    bmc.ipmitool("chassis power on").unwrap();
    assert_eq!(bmc.ipmitool("chassis power status").unwrap(), "Chassis Power is on");
    assert!(!bmc.ipmitool("chassis bootparam get 5").unwrap().contains("Force PXE"), "used up");
    let words = format!("{MARK} on {platform}");
    machine.console().wait_for(&words, BOOT_LIMIT).await.unwrap();
    println!("{platform}: power on to script in {:.1} s", start.elapsed().as_secs_f64());

    bmc.ipmitool("chassis power off").unwrap();
    assert_eq!(bmc.ipmitool("chassis power status").unwrap(), "Chassis Power is off");
    assert!(!machine.is_on());
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_bios_machine_boots_from_the_network_when_its_bmc_says_so() {
    boots_from_the_network(Firmware::Bios, "pcbios").await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_uefi_machine_boots_from_the_network_when_its_bmc_says_so() {
    boots_from_the_network(Firmware::Uefi, "efi").await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn the_boot_device_holds_for_one_reset_and_the_disk_comes_first_again() {
    let (rack, _server) = rack(Firmware::Bios).await;
    let (machine, bmc) = (&rack.machines[0], &rack.bmcs[0]);
    let mut console = machine.console();
    // A boot sector that says so: the firmware loads it only when the disk comes first.
    std::fs::write(machine.disk(0), boot_sector(b"THE-DISK-BOOTS\r\n")).unwrap();
    bmc.ipmitool("chassis power on").unwrap();
    console.wait_for("THE-DISK-BOOTS", BOOT_LIMIT).await.unwrap();

    console.skip_to_end();
    bmc.ipmitool("chassis bootdev pxe").unwrap();
    bmc.ipmitool("chassis power reset").unwrap();
    console.wait_for(MARK, BOOT_LIMIT).await.unwrap();

    console.skip_to_end();
    bmc.ipmitool("chassis power reset").unwrap();
    console.wait_for("THE-DISK-BOOTS", BOOT_LIMIT).await.unwrap();
    assert_eq!(console.find(MARK), None);
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_bmc_that_died_comes_back_while_its_machine_runs() {
    let (mut rack, _server) = rack(Firmware::Bios).await;
    let machine = rack.machines[0].clone();
    rack.bmcs[0].ipmitool("chassis power on").unwrap();
    rack.bmcs[0].kill();
    assert!(machine.is_on());
    assert!(rack.bmcs[0].ipmitool("chassis power status").is_err());
    rack.restart_bmc(0).await.unwrap();
    assert_eq!(rack.bmcs[0].ipmitool("chassis power status").unwrap(), "Chassis Power is on");
}

/// A disk of 4 MiB whose first sector prints `text` through the BIOS and halts.
fn boot_sector(text: &[u8]) -> Vec<u8> {
    // cld; ax = ds = 0; si = text; next: lodsb; if al == 0 halt; teletype al; loop; halt: hlt; jmp halt
    let code: [u8; 22] = [
        0xfc, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x16, 0x7c, 0xac, 0x08, 0xc0, 0x74, 0x06, 0xb4, 0x0e,
        0xcd, 0x10, 0xeb, 0xf5, 0xf4, 0xeb, 0xfd,
    ];
    let mut disk = vec![0; 4 << 20];
    disk[..code.len()].copy_from_slice(&code);
    disk[code.len()..code.len() + text.len()].copy_from_slice(text);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}
