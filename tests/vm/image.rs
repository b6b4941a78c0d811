//! The image path on whole machines whose disk goes wrong at a chosen write (QEMU's blkdebug), and power cuts at each write of
//! the commit.

use std::time::Duration;

use lab::Firmware;
use lab::lab::LabSpec;
use lab::machine::{Bus, Then, WriteFault};

use crate::stage::Stage;

/// The lab's disks, sectors of 512 bytes (`LabSpec`).
async fn armed(then: Then, sector: impl FnOnce(u64) -> u64) -> Stage {
    // QEMU's NVMe disk cannot stop the machine, and Linux repeats a write that an NVMe disk failed.
    let tune = |lab: &mut LabSpec| lab.machines[0].disks[0].bus = Bus::VirtioBlk;
    let stage = Stage::available(Firmware::Bios, tune).await;
    let machine = &stage.lab.rack.machines[0];
    let sectors = std::fs::metadata(machine.disk(0)).unwrap().len() / 512;
    machine.arm(0, WriteFault { sector: sector(sectors), then }).unwrap();
    stage.choose(&stage.image()).await;
    stage.deploy().await;
    stage
}

/// Waits until the machine stands still before the armed write, looks at its disk, and cuts the power.
async fn cut_at(sector: impl FnOnce(u64) -> u64, bootable: bool) {
    let stage = armed(Then::Stop, sector).await;
    let machine = &stage.lab.rack.machines[0];
    let end = tokio::time::Instant::now() + Duration::from_secs(180);
    while !machine.is_stopped_by_a_write() {
        let node = stage.lab.api.node(stage.node).await.unwrap();
        assert!(!node.has_failed() && node.provision_state != "active", "{node:?}");
        assert!(tokio::time::Instant::now() < end, "the write never came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    machine.power_off().unwrap();
    assert!(!stage.disk_boots(), "a partition table in LBA 0 before the last write");
    if bootable {
        assert!(stage.has_config_drive(), "a GPT, and no config drive");
    }
    stage.ends_well().await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_power_cut_blkdebug_before_the_backup_gpt_leaves_no_bootable_disk() {
    cut_at(|sectors| sectors - 1, false).await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_power_cut_blkdebug_before_the_first_mib_leaves_no_bootable_disk() {
    cut_at(|_| 1, true).await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_power_cut_blkdebug_before_lba_0_leaves_no_bootable_disk() {
    cut_at(|_| 0, true).await;
}

/// The deploy fails with the place; no partition table is left.
async fn fails_at(then: Then, sector: u64, words: &str) {
    let stage = armed(then, |_| sector).await;
    let error = stage.wait_for_failure("deploy failed").await;
    println!("last_error: {error}");
    assert!(error.contains(words) && error.contains("at offset"), "{error}");
    assert!(error.contains("without a partition table"), "{error}");
    assert!(!stage.disk_has_partition_table());
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_disk_blkdebug_that_fails_a_write_of_the_image_fails_the_deploy_with_the_offset() {
    fails_at(Then::Fail(5), (64 << 20) / 512, "Input/output error").await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_partition_image_gets_a_table_and_boots_by_uefi_with_its_own_loader() {
    let stage = Stage::available(Firmware::Uefi, |_| {}).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/lab/images/partition");
    let image = stage.lab.dir.join("root.qcow2");
    let words =
        [script, stage.image().to_str().unwrap(), image.to_str().unwrap()].map(str::to_owned);
    lab::host::Program::new("bash").args(words).text().unwrap();
    stage.choose(&image).await;
    let fields = [
        ("/instance_info/image_type", serde_json::json!("partition")),
        ("/instance_info/root_gb", serde_json::json!(2)),
        ("/instance_info/swap_mb", serde_json::json!(64)),
    ];
    stage.lab.api.set(stage.node, &fields).await.unwrap();
    stage.deploy().await;
    stage.ends_well().await;
    let disk = stage.lab.rack.machines[0].disk(0);
    let table = lab::host::Program::new("sgdisk").args(["--print", disk.to_str().unwrap()]);
    let table = table.text().unwrap();
    println!("{table}");
    for name in ["esp", "swap", "config-2", "root"] {
        assert!(table.lines().any(|line| line.ends_with(name)), "{name}: {table}");
    }
}
