//! A real Ironic conductor deploys a machine of the lab with our ramdisk: its BMC by `ipmitool`, its boot by Ironic's own iPXE
//! scripts, its disk by our agent in Ironic mode. Our coordinator is not there.

use std::fs;
use std::time::{Duration, Instant};

use lab::Firmware;
use lab::bmc::{PASSWORD, USERNAME};
use lab::host::{Program, Service};
use lab::image_server::ImageServer;
use lab::ironic::{Ironic, Settings};
use lab::lab::{MachineSpec, Rack};
use lab::runs::{self, Inputs};
use lab::{net, serial};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{DEPLOY, HOSTNAME, sha256};

/// Where machines fetch what Ironic puts into its `httpboot`.
const BOOT_PORT: u16 = 8089;
/// The port of Ironic's API.
const API_PORT: u16 = 6385;

/// A web server for the files that Ironic leaves for iPXE.
fn web_server(folder: &std::path::Path, log: &std::path::Path) -> Service {
    Program::new("python3")
        .args(["-m", "http.server", &BOOT_PORT.to_string(), "--bind", &net::HOST.to_string()])
        .arg("--directory")
        .arg(folder)
        .service(log)
        .unwrap()
}

fn node(rack: &Rack, kernel: &str, ramdisk: &str) -> Value {
    json!({
        "name": "n0", "driver": "ipmi", "boot_interface": "ipxe", "deploy_interface": "direct",
        "automated_clean": false,
        "driver_info": {
            "ipmi_address": rack.bmcs[0].address().ip().to_string(),
            "ipmi_username": USERNAME, "ipmi_password": PASSWORD, "ipmi_cipher_suite": "3",
            "deploy_kernel": kernel, "deploy_ramdisk": ramdisk,
            "kernel_append_params": "console=ttyS0",
        },
        "properties": {"capabilities": "boot_mode:bios", "cpu_arch": "x86_64"},
    })
}

/// Waits until the node rests in `state`.
async fn rests(ironic: &Ironic, node: Uuid, state: &str) {
    let mut last = String::new();
    let waited = ironic.api.wait_for_state(node, state, DEPLOY, |node, _| {
        if node.provision_state != last {
            last.clone_from(&node.provision_state);
            println!("state: {last}");
        }
    });
    if let Err(error) = waited.await {
        panic!("{error:#}\n{}", ironic.tail());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_real_conductor_deploys_a_machine_with_our_ramdisk() {
    let (dir, inputs) = (runs::dir_of_this_run().unwrap(), Inputs::of_this_run().unwrap());
    let boot_url = format!("http://{}:{BOOT_PORT}", net::HOST);
    let machines = [MachineSpec::new(Firmware::Bios)];
    let rack = Rack::start(&dir, &machines, &format!("{boot_url}/boot.ipxe")).await.unwrap();
    let images = ImageServer::start((net::HOST, 8088)).await.unwrap();
    let folder = dir.join("ironic");
    fs::create_dir(&folder).unwrap();
    let settings = Settings {
        address: net::HOST.into(),
        port: API_PORT,
        http_url: boot_url,
        // The simulated BMC needs no rest between two commands.
        more: "[ipmi]\nmin_command_interval = 1\ncommand_retry_timeout = 30\n".to_owned(),
    };
    let ironic = Ironic::start(&folder, &settings).await.unwrap();
    let _web = web_server(&folder.join("httpboot"), &dir.join("httpboot.log"));
    let (kernel, ramdisk) =
        (images.add(&inputs.kernel).unwrap(), images.add(&inputs.ramdisk).unwrap());
    let created = ironic.api.create_node(&node(&rack, &kernel, &ramdisk)).await.unwrap();
    let node = created.uuid;
    ironic.api.create_port(node, &rack.machines[0].spec().mac).await.unwrap();
    for (verb, state) in [("manage", "manageable"), ("provide", "available")] {
        ironic.api.provision(node, verb, &json!({})).await.unwrap();
        rests(&ironic, node, state).await;
    }

    let image = inputs.image_small.unwrap();
    let fields = [
        ("/instance_info/image_source", json!(images.add(&image).unwrap())),
        ("/instance_info/image_os_hash_algo", json!("sha256")),
        ("/instance_info/image_os_hash_value", json!(sha256(&image))),
    ];
    ironic.api.set(node, &fields).await.unwrap();
    let marker = format!("MARK-{}", Uuid::new_v4().simple());
    let script = format!("#!/bin/sh\necho {marker} on $(hostname) > /dev/ttyS0\n");
    let meta_data = json!({"hostname": HOSTNAME, "name": HOSTNAME});
    let drive = json!({"configdrive": {"meta_data": meta_data, "user_data": script}});
    let start = Instant::now();
    ironic.api.provision(node, "active", &drive).await.unwrap();
    rests(&ironic, node, "active").await;
    println!("order to active: {:.1} s", start.elapsed().as_secs_f64());
    let console: serial::Console = rack.machines[0].console();
    let words = format!("{marker} on {HOSTNAME}");
    let said = console.wait_for(&words, Duration::from_secs(180)).await.unwrap();
    println!("console: {}", said.trim());
    println!("order to the system's own words: {:.1} s", start.elapsed().as_secs_f64());
}
