//! The command `verify-certificate` as a person or a script runs it.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::path::Path;

use ironwright_coordinator::certificate::SigningKey;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

/// Exit status and standard output.
async fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_ironwright-coordinator"))
        .args(arguments)
        .output()
        .await
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A certificate with both signatures, as the API gives it.
fn certificate(key: &SigningKey) -> String {
    let agent = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let agent = Ed25519KeyPair::from_pkcs8(agent.as_ref()).unwrap();
    let nil = uuid::Uuid::nil();
    let mut signed: ironwright_api::SignedCertificate = serde_json::from_value(json!({
        "certificate": {
            "version": 1, "node_uuid": nil, "order_id": nil, "boot_id": nil,
            "disk": {"path": "/dev/vda", "serial": "S1", "bytes": 4096, "sector_bytes": 512},
            "step": "erase_devices", "method": "overwrite", "category": "clear",
            "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z",
            "verification": {"mode": "full", "bytes_read": 4096, "samples": []},
            "result": {"outcome": "erased"}, "agent_version": "0",
        },
        "agent": {"public_key": hex(agent.public_key().as_ref()), "signature": ""},
    }))
    .unwrap();
    let text = signed.certificate.canonical_text().unwrap();
    signed.agent.signature = hex(agent.sign(text.as_bytes()).as_ref());
    key.countersign(&mut signed).unwrap();
    serde_json::to_string(&signed).unwrap()
}

fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn the_exit_status_says_whether_a_file_proves_an_erase() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().display().to_string();
    let key = SigningKey::load_or_make(directory.path()).unwrap();
    let text = certificate(&key);
    let good = write(&directory.path().join("good.json"), &text);
    let tampered = text.replace("\"S1\"", "\"S2\"");
    let tampered = write(&directory.path().join("tampered.json"), &tampered);
    let (status, printed) = run(&["certificate-key", "--state-dir", &state]).await;
    assert_eq!((status, printed.trim()), (Some(0), key.public().as_str()));

    let key = key.public();
    for (arguments, status, part) in [
        (vec![good.as_str(), "--key", &key], 0, "VALID"),
        (vec![&good, "--state-dir", &state], 0, "serial S1"),
        (vec![&good], 1, "NO PROOF: both signatures fit, but nothing says"),
        (vec![&good, "--key", &key, "--least", "purge"], 1, "weaker than asked for"),
        (vec![&tampered, "--key", &key], 1, "changed after it was signed"),
        (vec!["/nosuch", "--key", &key], 2, ""),
        (vec![&good, "--key", "xyz"], 2, ""),
        (vec![], 2, ""),
    ] {
        let mut all = vec!["verify-certificate"];
        all.extend(arguments);
        let (found, printed) = run(&all).await;
        assert_eq!(found, Some(status), "{all:?}: {printed}");
        assert!(printed.contains(part), "{all:?}: {printed}");
    }
}
