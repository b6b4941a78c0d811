//! What is refused before anything happens: by the operator's API and at the agents' door.

use axum::http::Method;
use ironwright_api::{BOOT_ID_HEADER, Beat, Heartbeat, NONCE_HEADER, PROTOCOL};
use lab::api;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::image;
use crate::stage::{MAC, Stage};

/// How a missing or useless checksum is mended.
const REMEDY: &str = "Set image_os_hash_algo to sha256 or sha512 and image_os_hash_value to the digest, or \
                      image_checksum to its 64 or 128 hexadecimal digits.";

#[tokio::test]
async fn a_node_in_maintenance_takes_no_deploy() {
    let stage = Stage::available().await;
    let file = stage.file("image.raw", &image::gpt(2));
    stage.choose(&file).await;
    let path = format!("/v1/nodes/{}/maintenance", stage.node);
    stage.api.send(Method::PUT, &path, Some(&json!({ "reason": "a fan" }))).await.unwrap();
    let error = stage.api.provision(stage.node, "active", &json!({})).await.unwrap_err();
    let node = stage.node;
    assert_eq!(
        error.to_string(),
        format!(
            "PUT /v1/nodes/{node}/states/provision: 400 Bad Request: The provisioning operation can't be performed on \
             node {node} because it's in maintenance mode."
        )
    );
}

#[tokio::test]
async fn a_deploy_without_image_and_checksum_is_told_both_at_once() {
    let stage = Stage::available().await;
    let error = stage.api.provision(stage.node, "active", &json!({})).await.unwrap_err();
    let node = stage.node;
    assert_eq!(
        error.to_string(),
        format!(
            "PUT /v1/nodes/{node}/states/provision: 400 Bad Request: Failed to validate deploy or power info for node \
             {node}. Error: Node {node} failed to validate deploy image info. Some parameters were missing. Missing are: \
             ['instance_info.image_source', 'instance_info.image_checksum']. {REMEDY}"
        )
    );
}

#[tokio::test]
async fn an_md5_digest_is_no_proof_and_the_way_out_is_named() {
    let stage = Stage::available().await;
    let file = stage.file("image.raw", &image::gpt(2));
    let fields = [
        ("/instance_info/image_source", json!(stage.images.add(&file).unwrap())),
        ("/instance_info/image_checksum", json!("d41d8cd98f00b204e9800998ecf8427e")),
    ];
    stage.api.set(stage.node, &fields).await.unwrap();
    let row = stage.about("/validate").await["deploy"].clone();
    let reason = format!(
        "instance_info.image_checksum is an md5 digest: md5 proves nothing about an image. Use sha256 or sha512. {REMEDY}"
    );
    assert_eq!(row, json!({ "result": false, "reason": reason }));
    let error = stage.api.provision(stage.node, "active", &json!({})).await.unwrap_err();
    assert!(error.to_string().ends_with(&reason), "{error}");
}

#[tokio::test]
async fn a_classic_driver_is_answered_with_its_new_name() {
    let stage = Stage::available().await;
    let error = stage.api.create_node(&json!({ "driver": "agent_ipmitool" })).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "POST /v1/nodes: 400 Bad Request: Driver 'agent_ipmitool' is a classic driver; hardware types replaced the \
         classic drivers. Use the driver 'ipmi'."
    );
}

/// Status and sentence of an answer of the provisioning side.
async fn answered(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.header("x-openstack-ironic-api-version", "1.62").send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let message = &body["error_message"];
    let inner: Value = match message.as_str() {
        Some(text) => serde_json::from_str(text).unwrap(),
        None => message.clone(),
    };
    (status, inner["faultstring"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn an_unknown_machine_looks_itself_up_in_vain() {
    let stage = Stage::available().await;
    let other = "52:54:00:00:00:09";
    for address in [other, MAC] {
        let url = format!("http://{}/v1/lookup?addresses={address}", stage.provisioning());
        let answer = answered(api::http_client().unwrap().get(url)).await;
        // A known machine that nothing is ordered for learns no more than a stranger.
        let expected = format!("Node with addresses {address} could not be found.");
        assert_eq!(answer, (404, expected));
    }
}

#[tokio::test]
async fn a_heartbeat_with_a_wrong_token_is_refused_and_recorded() {
    let stage = Stage::deploying(&image::gpt(8)).await;
    let line = stage.boot().await;
    let beat = Beat {
        protocol: PROTOCOL,
        boot_id: Uuid::new_v4(),
        reports: Vec::new(),
        progress: None,
        inventory: None,
        timing: None,
        erase_key: None,
    };
    let heartbeat = Heartbeat {
        callback_url: String::new(),
        agent_token: "x".repeat(32),
        agent_version: "0".to_owned(),
        ironwright: Some(beat),
    };
    let url = format!("http://{}/v1/heartbeat/{}", stage.provisioning(), stage.node);
    let answer = answered(api::http_client().unwrap().post(url).json(&heartbeat)).await;
    assert_eq!(answer, (400, "Invalid or missing agent token received.".to_owned()));
    let recorded = "refused 127.0.0.1: Invalid or missing agent token received.".to_owned();
    assert!(stage.history().await.contains(&recorded));
    let _agent = stage.agent(&line);
    stage.rests_in("active").await;
}

#[tokio::test]
async fn a_second_taker_of_the_nonce_is_refused_and_recorded_and_the_first_one_finishes() {
    let content = image::gpt(24);
    let stage = Stage::deploying(&content).await;
    let stall = lab::image_server::Faults { stall_after: Some(12 << 20), ..Default::default() };
    stage.images.set_faults(stall);
    let line = stage.boot().await;
    let _agent = stage.agent(&line);
    stage.reaches(&content, 6 << 20).await;
    let url = format!("http://{}/v1/lookup?addresses={MAC}", stage.provisioning());
    let request = api::http_client().unwrap().get(url).header(NONCE_HEADER, &line.nonce);
    let answer = answered(request.header(BOOT_ID_HEADER, Uuid::new_v4().to_string())).await;
    let refusal = "the nonce was taken before by another boot, from 127.0.0.1";
    assert_eq!(answer, (403, refusal.to_owned()));
    stage.images.set_faults(lab::image_server::Faults::default());
    stage.rests_in("active").await;
    assert!(image::is_on(&stage.disk, &content));
    assert!(stage.history().await.contains(&format!("refused 127.0.0.1: {refusal}")));
}
