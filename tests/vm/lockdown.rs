//! A conductor orders a machine off every network, and it stays off, also when its lease would have to be renewed.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use lab::Firmware;
use lab::image_server::ImageServer;
use lab::lab::{MachineSpec, Rack};
use lab::net;
use lab::runs::{self, Inputs};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use url::Url;

/// dnsmasq's shortest lease, minutes: the agent's helper renews it after one.
const LEASE_MINUTES: u32 = 2;
/// How long the machine must stay away: the first renewal, and both attempts of a lease that was given up.
const WATCHED: Duration = Duration::from_secs(150);
/// Where the conductor's API is.
const API: SocketAddr = SocketAddr::new(IpAddr::V4(net::HOST), 6385);
/// A port on which nobody listens: a machine on the network refuses it, one that is off says nothing.
const CLOSED: u16 = 9;
const TOKEN: &str = "fake-token-fake-token-fake-token-fake-token";

/// As much of a conductor as an agent needs until it takes commands: Ironic's own goes on after a lockdown at once.
async fn fake_conductor() -> mpsc::Receiver<Value> {
    let (heard, heartbeats) = mpsc::channel(16);
    let beat = |State(heard): State<mpsc::Sender<Value>>, Json(body): Json<Value>| async move {
        // Nobody counts heartbeats after the first.
        heard.try_send(body).ok();
        StatusCode::ACCEPTED
    };
    let node = json!({"uuid": "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f", "properties": {}, "instance_info": {}});
    let lookup = json!({"node": node, "config": {"heartbeat_timeout": 300, "agent_token": TOKEN}});
    let router = Router::new()
        .route("/", get(|| async { Json(json!({"default_version": {"version": "1.95"}})) }))
        .route("/v1/lookup", get(move || std::future::ready(Json(lookup.clone()))))
        .route("/v1/heartbeat/{node}", post(beat))
        .with_state(heard);
    let listener = tokio::net::TcpListener::bind(API).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    heartbeats
}

/// Whether a machine answers at this address.
fn is_on_the_network(address: IpAddr) -> bool {
    match TcpStream::connect_timeout(&SocketAddr::new(address, CLOSED), Duration::from_secs(2)) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    }
}

async fn command(heartbeat: &Value, name: &str) -> Value {
    let authority = heartbeat["agent_verify_ca"].as_str().unwrap();
    let authority = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
    // The provider of TLS is installed with the first client.
    drop(lab::api::http_client().unwrap());
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
    let callback = heartbeat["callback_url"].as_str().unwrap();
    let url = format!("{callback}/v1/commands/?wait=true&agent_token={TOKEN}");
    let body = json!({"name": name, "params": {}});
    client.post(url).json(&body).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a virtual machine: cargo lab test"]
async fn after_a_lockdown_the_network_stays_down_when_the_lease_ends() {
    let (dir, inputs) = (runs::dir_of_this_run().unwrap(), Inputs::of_this_run().unwrap());
    let boot_url = format!("http://{}:8088/boot.ipxe", net::HOST);
    let machines = [MachineSpec::new(Firmware::Bios)];
    let rack = Rack::start_leasing(&dir, &machines, &boot_url, LEASE_MINUTES).await.unwrap();
    let files = ImageServer::start((net::HOST, 8088)).await.unwrap();
    let (kernel, ramdisk) =
        (files.add(&inputs.kernel).unwrap(), files.add(&inputs.ramdisk).unwrap());
    let script = format!(
        "#!ipxe\nkernel {kernel} ipa-api-url=http://{API} console=ttyS0 initrd=initrd\ninitrd --name initrd {ramdisk}\nboot\n"
    );
    std::fs::write(dir.join("boot.ipxe"), script).unwrap();
    assert_eq!(files.add(&dir.join("boot.ipxe")).unwrap(), boot_url);
    let mut heartbeats = fake_conductor().await;

    let machine = &rack.machines[0];
    let once = lab::machine::Boot { device: lab::machine::BootDevice::Pxe, persistent: false };
    machine.set_boot(once).unwrap();
    machine.power_on().unwrap();
    let heartbeat = tokio::time::timeout(Duration::from_secs(180), heartbeats.recv()).await;
    let heartbeat = heartbeat.unwrap_or_else(|_| panic!("{}", machine.console().tail())).unwrap();
    let callback: Url = heartbeat["callback_url"].as_str().unwrap().parse().unwrap();
    let address: IpAddr = callback.host_str().unwrap().parse().unwrap();
    assert!(is_on_the_network(address), "{address} answers before the lockdown");

    let answer = command(&heartbeat, "system.lockdown").await;
    assert_eq!(answer["command_status"], "SUCCEEDED", "{answer}");
    let console = machine.console();
    console.wait_for("every network link is down", Duration::from_secs(20)).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        let seconds = begun.elapsed().as_secs();
        assert!(!is_on_the_network(address), "{address} is back after {seconds} s");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let said = console.find("no lease any more").unwrap_or_else(|| panic!("{}", console.tail()));
    println!("{address} was silent for {} s; the console: {}", WATCHED.as_secs(), said.trim());
}
