//! Deploys that end well.

use std::time::Instant;

use lab::Firmware;
use lab::host;
use serde_json::json;

use crate::stage::Stage;

async fn deploys(firmware: Firmware) {
    let stage = Stage::available(firmware, |_| {}).await;
    let digest = stage.choose(&stage.image()).await;
    let start = Instant::now();
    stage.deploy().await;
    stage.ends_well().await;
    println!(
        "{firmware:?}: order to the system's own words in {:.1} s",
        start.elapsed().as_secs_f64()
    );

    let evidence = stage.lab.api.evidence(stage.node).await.unwrap();
    let text = evidence.to_string();
    assert!(text.contains(&digest) && text.contains("\"proven\":true"), "{text}");
    println!("evidence: {text}");
    let progress = stage.lab.api.progress(stage.node).await.unwrap();
    println!("moments: {:?}", progress.moments);
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_bios_machine_becomes_a_server() {
    deploys(Firmware::Bios).await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_uefi_machine_becomes_a_server() {
    deploys(Firmware::Uefi).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_bmc_with_suite_17_is_told_persistent_and_efi_boot_flags() {
    let stage =
        Stage::available(Firmware::Uefi, |lab| lab.machines[0].bmc = lab::bmc::Kind::Own).await;
    stage.choose(&stage.image()).await;
    stage.deploy().await;
    stage.ends_well().await;
    let flags = stage.lab.rack.bmcs[0].ipmitool("chassis bootparam get 5").unwrap();
    println!("{flags}");
    for line in
        ["Options apply to all future boots", "BIOS EFI boot", "Force Boot from default Hard-Drive"]
    {
        assert!(flags.contains(line), "{line} is missing in {flags}");
    }
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_sata_disk_is_found_written_and_booted() {
    let stage = Stage::available(Firmware::Bios, |lab| {
        lab.machines[0].disks[0].bus = lab::machine::Bus::Sata;
    })
    .await;
    stage.choose(&stage.image()).await;
    stage.deploy().await;
    stage.ends_well().await;
    let evidence = stage.lab.api.evidence(stage.node).await.unwrap().to_string();
    assert!(evidence.contains("/dev/sda") && evidence.contains("LAB-DISK-0"), "{evidence}");
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn an_image_larger_than_memory_is_deployed_to_a_machine_of_512_mib() {
    let stage = Stage::available(Firmware::Bios, |lab| lab.machines[0].memory_mib = 512).await;
    let image = stage.lab.dir.join("large.qcow2");
    enlarge(&stage.image(), &image);
    let bytes = std::fs::metadata(&image).unwrap().len();
    assert!(bytes > 512 << 20, "{bytes}");
    stage.choose(&image).await;
    stage.deploy().await;
    stage.ends_well().await;
    let evidence = stage.lab.api.evidence(stage.node).await.unwrap();
    println!("an image of {bytes} bytes on a machine with 512 MiB: {evidence}");
    std::fs::remove_file(&image).ok();
}

/// The same system with 600 MiB of incompressible data in a partition behind it.
fn enlarge(small: &std::path::Path, large: &std::path::Path) {
    let raw = large.with_extension("raw");
    let (small, large, raw) =
        (small.to_str().unwrap(), large.to_str().unwrap(), raw.to_str().unwrap());
    host::run("qemu-img", &["convert", "-O", "raw", small, raw]).unwrap();
    let old = std::fs::metadata(raw).unwrap().len();
    let new = old + (602 << 20);
    host::run("truncate", &["-s", &new.to_string(), raw]).unwrap();
    host::run("sgdisk", &["-e", "-n", "0:-601M:-1M", "-c", "0:ballast", raw]).unwrap();
    let output = format!("of={raw}");
    let seek = format!("seek={}", (new >> 20) - 600);
    host::run("dd", &["if=/dev/urandom", &output, "bs=1M", "count=598", &seek, "conv=notrunc"])
        .unwrap();
    host::run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", raw, large]).unwrap();
    std::fs::remove_file(raw).unwrap();
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_real_cloud_init_reads_the_config_drive() {
    let stage = Stage::available(Firmware::Uefi, |lab| {
        lab.machines[0].disks[0].bus = lab::machine::Bus::VirtioBlk;
    })
    .await;
    let Some(image) = stage.lab.inputs.image_full.clone() else {
        panic!("the full image is missing from this run's inputs");
    };
    stage.choose(&image).await;
    stage.deploy().await;
    stage.ends_well().await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn cleaning_erases_the_metadata_and_says_so() {
    let stage = Stage::available(Firmware::Bios, |_| {}).await;
    let api = &stage.lab.api;
    let disk = stage.lab.rack.machines[0].disk(0);
    host::run("sgdisk", &["-n", "1:0:+8M", disk.to_str().unwrap()]).unwrap();
    assert!(stage.disk_has_partition_table());
    api.set(stage.node, &[("/automated_clean", json!(true))]).await.unwrap();
    api.provision(stage.node, "manage", &json!({})).await.unwrap();
    stage.wait("manageable").await;
    api.provision(stage.node, "provide", &json!({})).await.unwrap();
    stage.wait("available").await;
    assert!(!stage.disk_has_partition_table(), "metadata is left on the disk");
    let evidence = api.evidence(stage.node).await.unwrap().to_string();
    assert!(evidence.contains("LAB-DISK-0") && evidence.contains("erased"), "{evidence}");
}
