//! Steps of the coordinator's own between the real agent's orders.

use serde_json::{Value, json};

use crate::image;
use crate::stage::{Stage, until};

async fn held(stage: &Stage, state: &str) {
    until(state, async || stage.api.node(stage.node).await.unwrap().provision_state == state).await;
}

async fn unhold(stage: &Stage) {
    stage.api.provision(stage.node, "unhold", &json!({})).await.unwrap();
}

fn step(interface: &str, step: &str) -> Value {
    json!({"interface": interface, "step": step})
}

#[tokio::test]
async fn an_agent_that_is_held_takes_its_next_order_in_the_same_boot() {
    let stage = Stage::enrolled("fake-hardware", json!({}), |_| {}).await;
    stage.ask("manage", "manageable").await;
    let metadata = || step("deploy", "erase_devices_metadata");
    let steps = json!({ "clean_steps": [metadata(), step("power", "hold"), metadata()] });
    stage.api.provision(stage.node, "clean", &steps).await.unwrap();
    let agent = stage.boot_agent().await;
    held(&stage, "clean hold").await;
    let ended = async || {
        let history = stage.history().await;
        history.iter().filter(|line| line.ends_with("erase_devices_metadata ended well")).count()
    };
    assert_eq!(ended().await, 1);
    unhold(&stage).await;
    stage.rests_in("manageable").await;
    assert_eq!(ended().await, 2);
    agent.stop().await;
    assert_eq!(stage.about("/evidence").await["evidence"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_deploy_is_held_behind_its_image_and_a_service_boots_the_ramdisk_again() {
    let image = image::gpt(8);
    let stage = Stage::available().await;
    let file = stage.file("image.raw", &image);
    stage.choose(&file).await;
    let hold = json!({"interface": "power", "step": "hold", "args": {}, "priority": 50});
    let deploy = json!({ "deploy_steps": [hold] });
    stage.api.provision(stage.node, "active", &deploy).await.unwrap();
    let agent = stage.boot_agent().await;
    held(&stage, "deploy hold").await;
    assert!(image::is_on(&stage.disk, &image));
    unhold(&stage).await;
    stage.rests_in("active").await;
    agent.stop().await;

    let steps = json!({ "service_steps": [step("power", "hold"), step("power", "reboot")] });
    stage.api.provision(stage.node, "service", &steps).await.unwrap();
    held(&stage, "service hold").await;
    unhold(&stage).await;
    // A ramdisk that boots again knows nothing of the boot before.
    std::fs::remove_dir_all(stage.path("run")).unwrap();
    let agent = stage.boot_agent().await;
    stage.rests_in("active").await;
    agent.stop().await;
    assert!(image::is_on(&stage.disk, &image));
}
