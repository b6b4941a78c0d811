//! Software RAID on whole machines: built by the plugin with the real mdadm, deployed to and booted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use axum::http::Method;
use lab::Firmware;
use lab::machine::{Bus, DiskSpec};
use serde_json::{Value, json};

use crate::stage::Stage;

/// Bytes of each disk.
const DISK_BYTES: u64 = 2 << 30;

/// First bytes of an array's label, as it is on a disk (Linux `MD_SB_MAGIC`, little-endian).
const LABEL: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();

fn target() -> Value {
    json!({"logical_disks": [
        {"size_gb": "MAX", "raid_level": "1", "controller": "software", "volume_name": "root", "is_root_volume": true},
    ]})
}

/// A node in `available` with two equal disks, whose coordinator offers the RAID plugin.
async fn two_disks(firmware: Firmware) -> Stage {
    let stage = Stage::available(firmware, |lab| {
        let disk = |serial: &str| DiskSpec {
            bus: Bus::VirtioBlk,
            bytes: DISK_BYTES,
            serial: serial.to_owned(),
            sector_bytes: 512,
            write_limit: None,
        };
        lab.machines[0].disks = vec![disk("LAB-ONE"), disk("LAB-TWO")];
        lab.plugins = vec!["raid-mdadm"];
    })
    .await;
    stage.lab.offer("raid-mdadm").unwrap();
    // The coordinator looks every 5 s.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let raid = [("/raid_interface", json!("agent"))];
    stage.lab.api.set(stage.node, &raid).await.unwrap();
    stage
}

async fn get(stage: &Stage, path: &str) -> Value {
    let path = format!("/v1/nodes/{}{path}", stage.node);
    stage.lab.api.send(Method::GET, &path, None).await.unwrap()
}

/// Performs a clean step by hand; the node is left `manageable`.
async fn clean(stage: &Stage, step: &str) {
    let steps = json!({"clean_steps": [{"interface": "raid", "step": step}]});
    stage.lab.api.provision(stage.node, "clean", &steps).await.unwrap();
    stage.wait("manageable").await;
}

/// Labels of arrays on a machine's disk, from outside.
fn labels(stage: &Stage, disk: usize) -> usize {
    let file = File::open(stage.lab.rack.machines[0].disk(disk)).unwrap();
    let mut piece = vec![0; 4 << 20];
    let mut found = 0;
    for at in (0..DISK_BYTES).step_by(piece.len()) {
        file.read_exact_at(&mut piece, at).unwrap();
        found += piece.chunks_exact(4096).filter(|block| block[..4] == LABEL).count();
    }
    found
}

async fn deploy(stage: &Stage) {
    let image = stage.lab.inputs.image_raid.clone().expect("this run has no RAID image");
    stage.choose(&image).await;
    stage.deploy().await;
    stage.ends_well().await;
    let evidence = stage.lab.api.evidence(stage.node).await.unwrap().to_string();
    for part in ["/dev/md", "\"proof\":\"mirrored\"", "\"proven\":true"] {
        assert!(evidence.contains(part), "{part}: {evidence}");
    }
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_mirror_is_built_erased_rebuilt_and_deployed_to() {
    let stage = two_disks(Firmware::Uefi).await;
    let api = &stage.lab.api;
    let began = Instant::now();
    let say = |what: &str| println!("{:.1} s: {what}", began.elapsed().as_secs_f64());
    let path = format!("/v1/nodes/{}/states/raid", stage.node);
    api.send(Method::PUT, &path, Some(&target())).await.unwrap();
    api.provision(stage.node, "manage", &json!({})).await.unwrap();
    stage.wait("manageable").await;
    clean(&stage, "create_configuration").await;
    say("arrays built");
    let config = get(&stage, "").await["raid_config"].clone();
    let first = config["logical_disks"][0]["uuid"].as_str().unwrap().to_owned();
    assert_eq!(config["logical_disks"][0]["raid_level"], "1");
    assert!(config["last_updated"].is_string() && config["esp"]["uuid"].is_string(), "{config}");
    assert_eq!((labels(&stage, 0), labels(&stage, 1)), (2, 2), "the array's and the ESP mirror's");
    let plan = get(&stage, "/plan").await.to_string();
    assert!(plan.contains("everything on it is lost"), "{plan}");

    // Cleaning erases the disks, and with them the arrays: the node gets new ones.
    api.set(stage.node, &[("/automated_clean", json!(true))]).await.unwrap();
    api.provision(stage.node, "provide", &json!({})).await.unwrap();
    stage.wait("available").await;
    say("cleaned, arrays rebuilt");
    let config = get(&stage, "").await["raid_config"].clone();
    assert_ne!(config["logical_disks"][0]["uuid"], json!(first), "{config}");

    deploy(&stage).await;
    say("deployed");
}
