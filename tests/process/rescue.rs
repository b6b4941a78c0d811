//! Rescue: who knows the password, and for how long. The agent is a sandbox: letting somebody in is recorded, not done.

use lab::api;
use serde_json::{Value, json};

use crate::stage::Stage;

const PASSWORD: &str = "obviously-not-secret";

/// An active node whose rescue is the agent's.
async fn active() -> Stage {
    let stage = Stage::enrolled("fake-hardware", json!({}), |settings| {
        settings.boot.rescue = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into());
    })
    .await;
    stage.api.set(stage.node, &[("/rescue_interface", json!("agent"))]).await.unwrap();
    stage.ask("manage", "manageable").await;
    stage.ask("adopt", "active").await;
    stage
}

/// Everything that the API shows of the node, and the database.
async fn everything(stage: &Stage) -> String {
    let mut said = String::new();
    for path in ["", "/progress", "/explain", "/history", "/evidence", "/plan", "/states"] {
        said.push_str(&stage.about(path).await.to_string());
    }
    let database = std::fs::read(stage.path("db")).unwrap();
    said.push_str(&String::from_utf8_lossy(&database));
    said
}

#[tokio::test]
async fn a_rescue_hands_the_hash_to_the_agent_and_nobody_keeps_it() {
    let stage = active().await;
    let asked = json!({ "rescue_password": PASSWORD });
    stage.api.provision(stage.node, "rescue", &asked).await.unwrap();
    let script_url = format!("http://{}/boot/ipxe/{}", stage.provisioning(), crate::stage::MAC);
    let line = stage.boot().await;
    let script =
        api::http_client().unwrap().get(&script_url).send().await.unwrap().text().await.unwrap();
    assert!(script.contains("initrd --name rescue http://"), "{script}");
    assert!(!script.contains("$6$") && !script.contains(PASSWORD), "{script}");
    // The second script made another nonce; its boot is the one that counts.
    drop(line);
    let agent = stage.boot_agent().await;
    stage.rests_in("rescue").await;
    agent.stop().await;
    let said = everything(&stage).await;
    assert!(!said.contains(PASSWORD), "the password is kept");
    let shown: Value = stage.about("").await;
    assert!(!shown.to_string().contains("$6$"), "{shown}");
    assert!(stage.history().await.iter().any(|line| line == "step rescue ended well"));
    stage.ask("unrescue", "active").await;
    assert_eq!(stage.api.node(stage.node).await.unwrap().provision_state, "active");
}

#[tokio::test]
async fn what_a_rescue_cannot_be_booted_without_is_named_before_the_machine_is_touched() {
    let stage = Stage::enrolled("fake-hardware", json!({}), |_| {}).await;
    stage.api.set(stage.node, &[("/rescue_interface", json!("agent"))]).await.unwrap();
    stage.ask("manage", "manageable").await;
    stage.ask("adopt", "active").await;
    let asked = json!({ "rescue_password": PASSWORD });
    let refused = stage.api.provision(stage.node, "rescue", &asked).await.unwrap_err().to_string();
    assert!(refused.contains("boot.rescue is missing"), "{refused}");
    let validated = stage.about("/validate").await;
    assert_eq!(validated["rescue"]["result"], false, "{validated}");
}
