//! Cleaning on whole machines: what the certificates say is held against the disk files, read from outside.

use std::fs::File;
use std::os::unix::fs::FileExt;

use axum::http::Method;
use lab::machine::{Bus, DiskSpec};
use lab::{Firmware, host};
use serde_json::{Value, json};

use crate::stage::Stage;

/// What the last tenant left: in every sector, each with its number, so that no two are alike.
const PATTERN: &[u8; 16] = b"TENANT'S SECRET ";

/// Bytes of each disk.
const DISK_BYTES: u64 = 192 << 20;

/// A disk of every kind, in the order of the machine: bus, serial number, transport, and the method that QEMU's disk offers.
const BUSES: [(Bus, &str, &str, &str); 3] = [
    (Bus::Nvme, "LAB-NVME", "nvme", "nvme_format_user_data"),
    (Bus::Sata, "LAB-SATA", "sata", "overwrite"),
    (Bus::VirtioBlk, "LAB-VIRTIO", "virtio", "overwrite"),
];

/// A node in `available` whose disks are full of the pattern and which is cleaned from now on.
async fn used(disks: Vec<DiskSpec>) -> Stage {
    let count = disks.len();
    let stage = Stage::available(Firmware::Bios, |lab| {
        lab.cleaning.erase_devices_priority = 10;
        lab.machines[0].disks = disks;
    })
    .await;
    for index in 0..count {
        fill(&stage, index);
        assert_eq!(sectors_with_secrets(&stage, index), DISK_BYTES / 512);
    }
    stage.lab.api.set(stage.node, &[("/automated_clean", json!(true))]).await.unwrap();
    stage
}

fn disk(bus: Bus, serial: &str, write_limit: Option<u64>) -> DiskSpec {
    DiskSpec { bus, bytes: DISK_BYTES, serial: serial.to_owned(), sector_bytes: 512, write_limit }
}

fn fill(stage: &Stage, disk: usize) {
    let file = File::options().write(true).open(stage.lab.rack.machines[0].disk(disk)).unwrap();
    let mut piece = vec![0; 1 << 20];
    for at in (0..DISK_BYTES).step_by(piece.len()) {
        for (number, sector) in (0_u64..).zip(piece.chunks_exact_mut(512)) {
            let number = (at / 512 + number).to_le_bytes();
            sector.chunks_exact_mut(16).for_each(|words| words.copy_from_slice(PATTERN));
            sector[504..].copy_from_slice(&number);
        }
        file.write_all_at(&piece, at).unwrap();
    }
}

/// Sectors of a disk file that still hold any of the pattern.
fn sectors_with_secrets(stage: &Stage, disk: usize) -> u64 {
    let file = File::open(stage.lab.rack.machines[0].disk(disk)).unwrap();
    let mut piece = vec![0; 1 << 20];
    let mut found = 0;
    for at in (0..DISK_BYTES).step_by(piece.len()) {
        file.read_exact_at(&mut piece, at).unwrap();
        let holds = |sector: &[u8]| sector.windows(4).any(|words| words == &PATTERN[..4]);
        found += piece.chunks_exact(512).filter(|sector| holds(sector)).count() as u64;
    }
    found
}

async fn clean(stage: &Stage) {
    stage.lab.api.provision(stage.node, "manage", &json!({})).await.unwrap();
    stage.wait("manageable").await;
    stage.lab.api.provision(stage.node, "provide", &json!({})).await.unwrap();
}

async fn get(stage: &Stage, path: &str) -> Value {
    stage.lab.api.send(Method::GET, path, None).await.unwrap()
}

/// Every certificate, whole.
async fn certificates(stage: &Stage) -> Vec<Value> {
    let path = format!("/v1/nodes/{}/certificates", stage.node);
    let list = get(stage, &path).await;
    let mut all = Vec::new();
    for entry in list["certificates"].as_array().unwrap() {
        let id = entry["id"].as_str().unwrap();
        all.push(get(stage, &format!("{path}/{id}")).await);
    }
    all
}

/// Has the coordinator's own program judge a certificate, as an auditor would: from a file and the public key.
fn verify(stage: &Stage, certificate: &Value, key: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("certificate.json");
    std::fs::write(&file, serde_json::to_vec(certificate).unwrap()).unwrap();
    let program = stage.lab.inputs.coordinator.to_str().unwrap().to_owned();
    let words = ["verify-certificate", file.to_str().unwrap(), "--key", key];
    host::run(&program, &words).unwrap()
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_clean_leaves_nothing_on_nvme_sata_and_virtio_disks_and_certifies_each() {
    let disks = BUSES.map(|(bus, serial, ..)| disk(bus, serial, None));
    let stage = used(disks.to_vec()).await;
    clean(&stage).await;
    stage.wait("available").await;
    for index in 0..BUSES.len() {
        assert_eq!(sectors_with_secrets(&stage, index), 0, "disk {index}");
    }
    let certificates = certificates(&stage).await;
    let key = get(&stage, "/v1/certificate-key").await;
    let key = key["public_key"].as_str().unwrap();
    for (_, serial, transport, method) in BUSES {
        let of_disk = |signed: &&Value| {
            let certificate = &signed["certificate"];
            certificate["disk"]["serial"] == serial && certificate["step"] == "erase_devices"
        };
        let signed = certificates.iter().find(of_disk).expect(serial);
        let certificate = &signed["certificate"];
        assert_eq!(certificate["disk"]["transport"], transport, "{certificate}");
        assert_eq!(certificate["disk"]["bytes"], DISK_BYTES);
        assert_eq!(certificate["result"]["outcome"], "erased");
        assert_eq!(certificate["method"], method);
        let words = verify(&stage, signed, key);
        assert!(words.contains("VALID"), "{words}");
        println!(
            "{serial}: {} ({}), verified {}",
            certificate["method"], certificate["category"], certificate["verification"]["mode"]
        );
    }
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_power_cut_in_mid_overwrite_ends_in_a_whole_erase_or_not_at_all() {
    let stage = used(vec![disk(Bus::VirtioBlk, "LAB-VIRTIO", Some(16 << 20))]).await;
    clean(&stage).await;
    stage
        .wait_for_progress("a part of the overwrite", |now| {
            now.progress.as_ref().is_some_and(|now| {
                now.step.contains("erase_devices") && now.bytes >= DISK_BYTES / 4
            })
        })
        .await;
    stage.lab.rack.machines[0].power_off().unwrap();
    let left = sectors_with_secrets(&stage, 0);
    assert!(left > 0 && left < DISK_BYTES / 512, "not in the middle: {left} sectors are left");
    let node = stage.lab.api.node(stage.node).await.unwrap();
    assert_ne!(node.provision_state, "available", "{node:?}");
    let erased = |signed: &&Value| signed["certificate"]["step"] == "erase_devices";
    assert_eq!(certificates(&stage).await.iter().filter(erased).count(), 0);
    stage.wait("available").await;
    assert_eq!(sectors_with_secrets(&stage, 0), 0);
    let certificates = certificates(&stage).await;
    assert_eq!(certificates.iter().filter(erased).count(), 1);
    let history = stage.history().await;
    assert!(history.contains("booting again"), "{history}");
}
