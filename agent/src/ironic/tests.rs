//! The command port over real TLS, with a sandbox behind it.

use std::path::Path;

use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::order::Facts;
use crate::sys::System;

const TOKEN: &str = "fake-token-fake-token-fake-token-fake-token";

struct Port {
    _dir: tempfile::TempDir,
    client: reqwest::Client,
    base: String,
    machine: Arc<Machine>,
    worker: Arc<Worker>,
}

impl Port {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        std::fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
        let system = Arc::new(System::sandbox(Path::new("/"), &[disk]).unwrap());
        let http = crate::tls::coordinator_client(None, GRACE).unwrap();
        let facts = Facts::collect(&system);
        let machine = Arc::new(Machine::new(system, http, facts));
        let journal = Arc::new(Journal::open(&dir.path().join("run"), None).unwrap());
        let tail = LogTail::default();
        let desk = Arc::new(Desk::alone(journal, tail.clone()));
        let worker = Arc::new(Worker::new(machine.clone(), desk, tail, Value::Null));
        let certificate = Certificate::for_ip("127.0.0.1".parse().unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let (token, book) = (SecretString::from(TOKEN), Arc::new(Book::default()));
        let door = server::Door { token, book, worker: worker.clone() };
        // Served as long as the test runs.
        drop(server::start(listener, certificate.config, door));
        // Trusts nothing but what a heartbeat would carry, and checks the address in it.
        let root = reqwest::Certificate::from_pem(certificate.pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::crypto::CryptoProvider::install_default((*provider).clone()).ok();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
        Self { _dir: dir, client, base, machine, worker }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn run(&self, name: &str, params: Value, wait: bool) -> (u16, Value) {
        let url = format!("{}/v1/commands/?agent_token={TOKEN}&wait={wait}", self.base);
        let body = json!({"name": name, "params": params});
        let answer = self.client.post(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn commands_need_the_token_and_what_is_unknown_is_refused_in_ironics_shape() {
    let port = Port::open();
    assert_eq!(port.get("/v1/status").await.1["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(port.get("/").await.1["default_version"]["id"], "v1");
    let refused = async |path: &str| {
        let (status, body) = port.get(path).await;
        assert_eq!((status, &body["faultcode"]), (401, &json!("Client")), "{path}: {body}");
    };
    refused("/v1/commands?agent_token=wrong").await;
    // Before anybody looked with the token: a conductor of 2024.
    assert_eq!(port.get("/v1/commands/").await, (200, json!({"commands": []})));
    let with_token = format!("?agent_token={TOKEN}");
    assert_eq!(port.get(&format!("/commands/{with_token}")).await.1, json!({"commands": []}));
    for path in ["/v1/commands/", "/commands?agent_token=", "/v1/commands?agent_token=wrong"] {
        refused(path).await;
    }
    for query in ["", "?agent_token=", "?agent_token=wrong"] {
        let url = format!("{}/v1/commands/{query}", port.base);
        let body = json!({"name": "standby.sync", "params": {}});
        let answer = port.client.post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 401, "a command always needs the token: {query}");
    }
    let unknown = format!("/v1/commands/{}{with_token}", Uuid::nil());
    assert_eq!(port.get(&unknown).await.0, 404);
    for (name, params, expected) in [
        ("nowhere.sync", json!({}), 404),
        ("standby.dance", json!({}), 400),
        ("standby.sync", json!("none"), 400),
    ] {
        let (status, body) = port.run(name, params, true).await;
        assert_eq!(status, expected, "{body}");
        assert!(body["faultstring"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn a_step_is_echoed_with_its_proof_and_a_stranger_to_the_catalogue_fails_by_name() {
    let port = Port::open();
    let (_, steps) =
        port.run("clean.get_clean_steps", json!({"node": {}, "ports": []}), true).await;
    let versions = &steps["command_result"]["hardware_manager_version"];
    let step = json!({"interface": "deploy", "step": "erase_devices_metadata", "priority": 99, "requires_ramdisk": true});
    let params = json!({"step": step, "node": {}, "ports": [], "clean_version": versions});
    let (_, done) = port.run("clean.execute_clean_step", params, true).await;
    assert_eq!(
        (&done["command_status"], &done["command_name"]),
        (&json!("SUCCEEDED"), &json!("execute_clean_step"))
    );
    assert_eq!(done["command_result"]["clean_step"], step);
    let disks = done["command_result"]["clean_result"].as_object().unwrap();
    assert!(disks.values().all(|disk| disk["method"] == "metadata"), "{done}");

    let other = json!({"step": step, "clean_version": {"ironwright": "0"}});
    let (status, mismatch) = port.run("clean.execute_clean_step", other, true).await;
    assert_eq!((status, &mismatch["command_status"]), (200, &json!("CLEAN_VERSION_MISMATCH")));
    let burnin = json!({"step": {"interface": "deploy", "step": "burnin_cpu"}});
    let (_, failed) = port.run("clean.execute_clean_step", burnin, true).await;
    assert_eq!(failed["command_error"]["type"], "HardwareManagerMethodNotFound");
    let files =
        json!({"step": {"interface": "deploy", "step": "inject_files", "args": {"files": []}}});
    let (_, failed) = port.run("deploy.execute_deploy_step", files, true).await;
    let details = failed["command_error"]["details"].as_str().unwrap();
    assert!(details.contains("inject_files") && details.contains("write_files"), "{details}");
    let none = json!({"step": {"interface": "deploy", "step": "write_image", "args": {}}});
    let (_, failed) = port.run("deploy.execute_deploy_step", none, true).await;
    let details = failed["command_error"]["details"].as_str().unwrap();
    assert!(details.contains("needs image_info"), "{details}");
}

#[tokio::test]
async fn what_ends_the_boot_is_answered_first_and_only_recorded_in_a_sandbox() {
    let port = Port::open();
    let (_, uuids) = port.run("standby.get_partition_uuids", json!({}), true).await;
    assert_eq!(uuids["command_status"], "FAILED", "no disk of 4 GiB, no hints: {uuids}");
    let (_, logs) = port.run("log.collect_system_logs", json!({}), false).await;
    assert!(logs["command_result"]["system_logs"].is_string());
    let hash = json!({"rescue_password": "$5$fakesalt$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8", "hashed": true});
    let (_, rescued) = port.run("rescue.finalize_rescue", hash, false).await;
    assert_eq!(rescued["command_status"], "SUCCEEDED", "in the answer itself: {rescued}");
    assert_eq!(port.machine.system().recorded(), [Effect::Rescue]);
    assert_eq!(port.worker.ended().await, End::Rescue);
    let (_, off) = port.run("standby.power_off", json!({}), true).await;
    assert_eq!(off["command_status"], "SUCCEEDED");
    assert_eq!(port.worker.ended().await, End::PowerOff);
    finish(&port.machine, End::PowerOff, &CancellationToken::new()).await;
    assert_eq!(port.machine.system().recorded(), [Effect::Rescue, Effect::PowerOff]);
}
