//! Whatever breaks: the node ends `active` or in a failure that says what to do, and never on a disk that boots without
//! its config drive.

use std::time::Duration;

use lab::Firmware;
use lab::{host, net};
use serde_json::json;

use crate::stage::Stage;

/// Early in the image: the rest of the write is still to come.
const SOME: u64 = 8 << 20;

/// A deploy that has begun, to a disk so slow that the write lasts some ten seconds and the config drive four.
async fn deploying() -> Stage {
    let stage = Stage::available(Firmware::Bios, |lab| {
        lab.machines[0].disks[0].write_limit = Some(16 << 20);
    })
    .await;
    stage.choose(&stage.image()).await;
    stage.deploy().await;
    stage
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_coordinator_killed_in_the_middle_of_a_deploy_goes_on_after_its_restart() {
    let mut stage = deploying().await;
    stage.wait_for_bytes(SOME).await;
    stage.lab.coordinator.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.lab.coordinator.restart().await.unwrap();
    stage.ends_well().await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn an_agent_killed_in_the_middle_of_a_deploy_is_restarted_and_ends_the_work() {
    let stage = deploying().await;
    stage.wait_for_bytes(SOME).await;
    // The kernel's own out-of-memory killer, called by the magic SysRq key: it takes the largest process, the agent.
    stage.lab.rack.machines[0].press(&["alt", "sysrq", "f"]).unwrap();
    let console = stage.lab.rack.machines[0].console();
    console.wait_for("Killed process", Duration::from_secs(20)).await.unwrap();
    stage.ends_well().await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_power_cut_in_mid_write_boots_the_ramdisk_again() {
    let stage = deploying().await;
    stage.wait_for_bytes(SOME).await;
    stage.lab.rack.machines[0].power_off().unwrap();
    assert!(!stage.disk_has_partition_table(), "a cut disk must not look bootable");
    stage.ends_well().await;
    println!("history: {}", stage.history().await);
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_power_cut_between_config_drive_and_commit_leaves_no_bootable_disk() {
    let stage = deploying().await;
    let machine = &stage.lab.rack.machines[0];
    let log = lab::serial::Console::new(&stage.lab.coordinator.log());
    while log.find("step write_configdrive began").is_none() {
        let node = stage.lab.api.node(stage.node).await.unwrap();
        assert!(!node.has_failed() && node.provision_state != "active", "{node:?}");
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    // The acknowledgement is on its way; writing 64 MiB takes some hundred milliseconds.
    tokio::time::sleep(Duration::from_millis(40)).await;
    // Without its coordinator the agent cannot have the start of the commit acknowledged: it stands between the two.
    net::unplug(0).unwrap();
    let console = machine.console();
    console.wait_for("write_configdrive ended", Duration::from_secs(60)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!stage.disk_has_partition_table(), "committed without an acknowledgement");
    machine.power_off().unwrap();
    net::plug(0).unwrap();
    stage.ends_well().await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_wrong_checksum_boots_nothing_and_names_both_digests() {
    let stage = Stage::available(Firmware::Bios, |_| {}).await;
    let right = stage.choose(&stage.image()).await;
    let wrong = "0".repeat(64);
    let field = ("/instance_info/image_os_hash_value", json!(wrong));
    stage.lab.api.set(stage.node, &[field]).await.unwrap();
    stage.deploy().await;
    let error = stage.wait_for_failure("deploy failed").await;
    println!("last_error: {error}");
    assert!(error.contains(&format!("image sha256 is {right}, order says {wrong}")), "{error}");
    assert!(!stage.disk_has_partition_table());
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn an_agent_that_never_calls_home_ends_in_a_failure_that_says_so() {
    let stage = Stage::available(Firmware::Bios, |lab| {
        lab.attempts = 2;
        lab.deadlines.await_agent = 12;
    })
    .await;
    stage.choose(&stage.image()).await;
    net::unplug(0).unwrap();
    stage.deploy().await;
    let error = stage.wait_for_failure("deploy failed").await;
    println!("last_error: {error}");
    let start = format!("Timeout reached while waiting for callback for node {}", stage.node);
    assert!(error.contains(&start), "{error}");
    assert!(error.contains('2'), "it does not say how often it tried: {error}");
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_second_taker_of_the_boot_nonce_is_refused_and_recorded() {
    let stage = deploying().await;
    stage.wait_for_bytes(1).await;
    // The machine's own boot script gave its nonce away; whoever asks again for it gets a local boot, and whoever shows a
    // nonce that was taken gets nothing.
    let console = stage.lab.rack.machines[0].console().text();
    let nonce =
        console.split("ironwright.nonce=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let nonce = nonce.expect("the kernel prints its command line").to_owned();
    let mac = stage.lab.rack.machines[0].spec().mac.clone();
    let url = format!("https://{}:6389/v1/lookup?addresses={mac}", net::HOST);
    let header = format!("x-ironwright-nonce: {nonce}");
    let other = "x-ironwright-boot-id: 11111111-2222-4333-8444-555555555555";
    let answer =
        host::run("curl", &["-sk", "-w", " %{http_code}", "-H", &header, "-H", other, &url])
            .unwrap();
    println!("second taker: {answer}");
    assert!(answer.ends_with(" 403"), "{answer}");
    stage.ends_well().await;
    let history = stage.history().await;
    assert!(history.contains("nonce"), "{history}");
}
