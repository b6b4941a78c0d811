//! A machine obeys its BMC, asked by an independent client.

use std::time::{Duration, Instant};

use lab::image_server::ImageServer;
use lab::lab::{MachineSpec, Rack};
use lab::{Firmware, net, runs};

const MARK: &str = "THE-SCRIPT-RUNS";

/// A rack with one machine, and an iPXE script on the network that only says that it runs.
async fn rack(firmware: Firmware) -> (Rack, ImageServer) {
    let dir = runs::dir_of_this_run().unwrap();
    let script = dir.join("boot.ipxe");
    let text = format!("#!ipxe\necho {MARK} on ${{platform}}\nsleep 600\n");
    std::fs::write(&script, text).unwrap();
    let server = tokio_server(&script).await;
    let rack = Rack::start(&dir, &[MachineSpec::new(firmware)], &server.1).await.unwrap();
    (rack, server.0)
}

async fn tokio_server(script: &std::path::Path) -> (ImageServer, String) {
    // The bridge's address does not exist before the rack does: listen on every address of the run.
    let server = ImageServer::start((std::net::Ipv4Addr::UNSPECIFIED, 8088)).await.unwrap();
    server.add(script).unwrap();
    (server, format!("http://{}:8088/boot.ipxe", net::HOST))
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
    machine.console().wait_for(&words, Duration::from_secs(90)).await.unwrap();
    println!("{platform}: power on to script in {:.1} s", start.elapsed().as_secs_f64());

    let mut console = machine.console();
    console.skip_to_end();
    bmc.ipmitool("chassis bootdev pxe").unwrap();
    bmc.ipmitool("chassis power reset").unwrap();
    console.wait_for(&words, Duration::from_secs(90)).await.unwrap();

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
