//! Enrolment against a BMC that does not play along.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lab::lab_bmc::{Account, LabBmc, PaperChassis};
use serde_json::json;

use crate::stage::Stage;

async fn bmc() -> LabBmc {
    let account = Account { username: "admin".into(), password: "labpassword".into() };
    let chassis = Arc::new(PaperChassis::default());
    LabBmc::start(([127, 0, 0, 1], 0).into(), account, &[17, 3], chassis).await.unwrap()
}

async fn with_bmc(bmc: &LabBmc, password: &str) -> Stage {
    let port = bmc.address().port();
    let info = json!({
        "ipmi_address": "127.0.0.1", "ipmi_port": port, "ipmi_username": "admin", "ipmi_password": password,
    });
    Stage::enrolled("ipmi", info, |_| {}).await
}

/// Asks to manage the node, which must end in `enroll`; returns why.
async fn cannot_manage(stage: &Stage) -> String {
    stage.api.provision(stage.node, "manage", &json!({})).await.unwrap();
    stage.fails_in("enroll").await
}

#[tokio::test]
async fn a_wrong_bmc_password_is_named_with_the_address_and_never_shown() {
    let bmc = bmc().await;
    let stage = with_bmc(&bmc, "wrong-lab-password").await;
    let expected = format!(
        "Failed to read the power state: BMC {} does not accept the password of \"admin\" (the code of RAKP 2 does not \
         match); check the password.",
        bmc.address()
    );
    assert_eq!(cannot_manage(&stage).await, expected);
    let shown = stage.about("").await.to_string() + &stage.history().await.join("\n");
    assert!(!shown.contains("wrong-lab-password"), "{shown}");
}

#[tokio::test]
async fn a_silent_bmc_is_named_with_the_address_and_what_to_check() {
    let bmc = bmc().await;
    bmc.faults().silent.store(true, Ordering::Relaxed);
    let stage = with_bmc(&bmc, "labpassword").await;
    let error = cannot_manage(&stage).await;
    let start = format!(
        "Failed to read the power state: BMC {} did not answer Open Session within ",
        bmc.address()
    );
    assert!(error.starts_with(&start), "{error}");
    let end = " s (4 sent); check the address, firewall and that IPMI over LAN is enabled.";
    assert!(error.ends_with(end), "{error}");
}

#[tokio::test]
async fn a_right_password_makes_the_node_manageable() {
    let bmc = bmc().await;
    let stage = with_bmc(&bmc, "labpassword").await;
    let node = stage.ask("manage", "manageable").await;
    assert_eq!((node.power_state.as_deref(), node.last_error), (Some("power off"), None));
}

#[tokio::test]
async fn a_raw_command_reaches_the_bmc_and_its_answer_the_operator() {
    let bmc = bmc().await;
    let stage = with_bmc(&bmc, "labpassword").await;
    let call = async |method: &str, arguments: serde_json::Value| {
        let path = format!("/v1/nodes/{}/vendor_passthru?method={method}", stage.node);
        stage.api.send(axum::http::Method::POST, &path, Some(&arguments)).await
    };
    // Get Device ID, as the lab's BMC answers it.
    let answer = call("send_raw", json!({"raw_bytes": "0x06 0x01"})).await.unwrap();
    let id = "0x20 0x01 0x01 0x00 0x02 0x80 0x00 0x00 0x00 0x01 0x00";
    assert_eq!(answer["ironwright"]["reply"], id);
    // Set System Boot Options needs more than user privilege.
    let boot = json!({"raw_bytes": "0x00 0x08 5 0xe0 0x08 0 0 0"});
    assert_eq!(call("send_raw", boot).await.unwrap()["ironwright"]["reply"], "");
    let read = call("send_raw", json!({"raw_bytes": "0x00 0x09 5 0 0"})).await.unwrap();
    assert_eq!(read["ironwright"]["reply"], "0x01 0x05 0xe0 0x08 0x00 0x00 0x00");

    // The lab's BMC has no reset: its refusal is what the operator reads.
    let refused = call("bmc_reset", json!({"warm": false})).await.unwrap_err().to_string();
    assert!(refused.contains("refuses cold reset (completion code 0xc1"), "{refused}");
    let history = stage.history().await.join("\n");
    assert!(history.contains("raw command 0x00 0x08 with 6 data bytes: done"), "{history}");
    assert!(!history.contains("0xe0"), "data may be secret: {history}");
    assert_eq!(
        bmc.counters().opened.load(Ordering::Relaxed),
        bmc.counters().closed.load(Ordering::Relaxed)
    );
}
