//! What is accepted, and each way of not being.

use ironwright_api::{DiskIdentity, Sample, Verification};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::*;

/// An agent's key for tests.
pub(crate) struct Agent(Ed25519KeyPair);

impl Agent {
    pub(crate) fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    pub(crate) fn key(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    pub(crate) fn erased(&self, certificate: Certificate) -> Erased {
        let text = certificate.canonical_text().unwrap();
        let signature = hex(self.0.sign(text.as_bytes()).as_ref());
        let agent = Seal { public_key: self.key(), signature };
        Erased {
            device: "/dev/vda".into(),
            serial: String::new(),
            disk_bytes: 4096,
            method: "overwrite".into(),
            bytes: 4096,
            verified_bytes: 4096,
            certificate: Some(Box::new(SignedCertificate {
                certificate,
                agent,
                coordinator: None,
            })),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn certificate(node: Uuid, order: Uuid, boot: Uuid) -> Certificate {
    Certificate {
        version: CERTIFICATE_VERSION,
        node_uuid: node,
        order_id: order,
        boot_id: boot,
        disk: DiskIdentity {
            path: "/dev/vda".into(),
            bytes: 4096,
            sector_bytes: 512,
            ..DiskIdentity::default()
        },
        step: "erase_devices".into(),
        method: EraseMethod::Overwrite,
        category: Category::Clear,
        passed_over: Vec::new(),
        device_log: std::collections::BTreeMap::new(),
        started: "2026-01-01T00:00:00Z".into(),
        ended: "2026-01-01T00:01:00Z".into(),
        verification: Verification {
            mode: "full".into(),
            bytes_read: 4096,
            samples: vec![Sample { lba: 0, before: "nonce".into(), after: "zero".into() }],
        },
        result: EraseResult::Erased,
        agent_version: "0".into(),
    }
}

const NODE: Uuid = Uuid::from_u128(1);
const ORDER: Uuid = Uuid::from_u128(2);
const BOOT: Uuid = Uuid::from_u128(3);

fn claim(key: &str) -> Claim<'_> {
    Claim {
        node: NODE,
        order: ORDER,
        boot: Some(BOOT),
        key: Some(key),
        step: "erase_devices",
        least: Category::Clear,
        may_skip: false,
    }
}

#[test]
fn a_certificate_of_this_boots_agent_is_accepted() {
    let agent = Agent::new();
    let erased = agent.erased(certificate(NODE, ORDER, BOOT));
    judge(&claim(&agent.key()), &[erased]).unwrap();
}

#[test]
fn everything_that_does_not_fit_is_refused_with_its_reason() {
    let agent = Agent::new();
    let good = || certificate(NODE, ORDER, BOOT);
    let verified = |change: fn(&mut Verification)| {
        let mut certificate = good();
        change(&mut certificate.verification);
        certificate
    };
    let other = Uuid::from_u128(9);
    for (certificate, expected) in [
        (certificate(other, ORDER, BOOT), "for node"),
        (certificate(NODE, other, BOOT), "for order"),
        (certificate(NODE, ORDER, other), "for boot"),
        (Certificate { step: "erase_devices_metadata".into(), ..good() }, "for step"),
        (Certificate { version: 2, ..good() }, "version 2"),
        (Certificate { category: Category::Purge, ..good() }, "worth Clear"),
        (Certificate { method: EraseMethod::Metadata, ..good() }, "worth None"),
        (Certificate { category: Category::None, ..good() }, "weaker than the order"),
        (
            Certificate { result: EraseResult::Failed { reason: "LBA 7".into() }, ..good() },
            "the erase failed: LBA 7",
        ),
        (verified(|verification| verification.mode = "none".into()), "nothing was verified"),
        (verified(|verification| verification.bytes_read = 512), "only 512 of 4096"),
        (
            verified(|verification| verification.samples[0].after = "unchanged".into()),
            "LBA 0 kept its data",
        ),
    ] {
        let refusal = judge(&claim(&agent.key()), &[agent.erased(certificate)]).unwrap_err();
        assert!(refusal.to_string().contains(expected), "{expected}: {refusal}");
    }
}

#[test]
fn claims_that_contradict_themselves_and_samples_that_prove_too_little_are_refused() {
    let agent = Agent::new();
    let good = || certificate(NODE, ORDER, BOOT);
    let mut sampled = good();
    sampled.verification.mode = "sampled".into();
    sampled.method = EraseMethod::NvmeFormatUserData;
    sampled.category = Category::Purge;
    let with = |after: &str, lbas: &[u64]| {
        let mut sampled = sampled.clone();
        let sample = |lba: &u64| Sample { lba: *lba, before: "nonce".into(), after: after.into() };
        sampled.verification.samples = lbas.iter().map(sample).collect();
        sampled
    };
    let (all, few) = ([0, 1, 2, 3, 4, 7], [0, 1, 7]);
    let erased = agent.erased(with("different", &all));
    judge(&claim(&agent.key()), &[erased]).unwrap();
    let overwrite = |certificate| Certificate {
        method: EraseMethod::Overwrite,
        category: Category::Clear,
        ..certificate
    };
    let zeroing =
        Certificate { method: EraseMethod::AtaSanitizeOverwrite, ..with("different", &all) };
    let little = Verification { bytes_read: 1, ..good().verification };
    let nowhere = DiskIdentity { path: "/dev/vda".into(), ..DiskIdentity::default() };
    for (certificate, expected) in [
        (
            Certificate { method: EraseMethod::Metadata, category: Category::None, ..good() },
            "only metadata was erased",
        ),
        (overwrite(with("zero", &all)), "its method must be in full"),
        (with("Unchanged", &all), "is \"Unchanged\" afterwards"),
        (with("different", &few), "3 of 8 blocks, 5 are the least"),
        (with("different", &[0, 1, 2, 3, 7, 8]), "6 of 8 blocks"),
        (zeroing, "its method leaves zeros"),
        (
            Certificate { method: EraseMethod::Discard, verification: little, ..good() },
            "only 1 of 4096",
        ),
        (Certificate { started: "yesterday".into(), ..good() }, "\"yesterday\" is no time"),
        (Certificate { ended: "2025-01-01T00:00:00Z".into(), ..good() }, "ended before it began"),
        (Certificate { disk: nowhere, ..good() }, "a disk of 0 bytes"),
        (sampled.clone(), "leave out the first or the last block"),
    ] {
        let refusal = judge(&claim(&agent.key()), &[agent.erased(certificate)]).unwrap_err();
        assert!(refusal.to_string().contains(expected), "{expected}: {refusal}");
    }
}

#[test]
fn a_stranger_s_key_a_changed_text_and_a_missing_certificate_are_refused() {
    let (agent, stranger) = (Agent::new(), Agent::new());
    let erased = agent.erased(certificate(NODE, ORDER, BOOT));
    let foreign = judge(&claim(&stranger.key()), std::slice::from_ref(&erased)).unwrap_err();
    assert!(matches!(foreign, Refusal::ForeignKey { .. }), "{foreign}");
    let key = agent.key();
    let unregistered = Claim { key: None, ..claim(&key) };
    let refusal = judge(&unregistered, std::slice::from_ref(&erased)).unwrap_err();
    assert!(matches!(refusal, Refusal::NoKey { .. }), "{refusal}");

    let mut changed = erased.clone();
    changed.certificate.as_mut().unwrap().certificate.disk.serial = "another".into();
    let refusal = judge(&claim(&key), &[changed]).unwrap_err();
    assert!(matches!(refusal, Refusal::Signature { .. }), "{refusal}");

    let bare = Erased { certificate: None, ..erased };
    let refusal = judge(&claim(&key), std::slice::from_ref(&bare)).unwrap_err();
    assert!(matches!(refusal, Refusal::Missing { .. }), "{refusal}");
    assert_eq!(judge(&claim(&key), &[]), Err(Refusal::NoDisk));
    let metadata = Claim { step: "erase_devices_metadata", ..claim(&key) };
    judge(&metadata, &[bare]).unwrap();
}

fn kept(dir: &std::path::Path) -> (String, SigningKey) {
    let key = SigningKey::load_or_make(dir).unwrap();
    let mut signed = *Agent::new().erased(certificate(NODE, ORDER, BOOT)).certificate.unwrap();
    key.countersign(&mut signed).unwrap();
    (serde_json::to_string(&Kept::new(signed, Timestamp::UNIX_EPOCH)).unwrap(), key)
}

#[test]
fn a_kept_certificate_verifies_and_says_what_was_done() {
    let directory = tempfile::tempdir().unwrap();
    let (text, key) = kept(directory.path());
    let expected = Expected { coordinator: Some(key.public()), least: Category::Clear };
    let verdict = verify(&text, &expected);
    assert_eq!(verdict.problem, None);
    for part in ["/dev/vda", "zeros written", "clear:", "erased", "4096 bytes read back"] {
        assert!(verdict.words.contains(part), "{part}: {}", verdict.words);
    }
}

#[test]
fn any_change_an_unknown_coordinator_and_a_weak_erase_are_no_proof() {
    let directory = tempfile::tempdir().unwrap();
    let (text, key) = kept(directory.path());
    let trusted = |least| Expected { coordinator: Some(key.public()), least };
    let nobody = Expected { coordinator: None, least: Category::Clear };
    let other = Expected { coordinator: Some("ab".repeat(32)), least: Category::Clear };
    let mut uncounted: SignedCertificate = serde_json::from_str(&text).unwrap();
    uncounted.coordinator = None;
    let uncounted = serde_json::to_string(&uncounted).unwrap();
    let mut resealed: SignedCertificate = serde_json::from_str(&text).unwrap();
    // Another agent's signature under the coordinator's: each fits, together they do not.
    resealed.agent = Agent::new().erased(resealed.certificate.clone()).certificate.unwrap().agent;
    let resealed = serde_json::to_string(&resealed).unwrap();
    for (text, expected, part) in [
        (text.replace("/dev/vda", "/dev/vdb"), trusted(Category::Clear), "changed after"),
        (text.replace("\"clear\"", "\"purge\""), trusted(Category::Clear), "changed after"),
        (resealed, trusted(Category::Clear), "coordinator's signature"),
        (uncounted, trusted(Category::Clear), "no coordinator"),
        (text.clone(), nobody, "--state-dir"),
        (text.clone(), other, "not with the coordinator's key"),
        (text.clone(), trusted(Category::Purge), "weaker than asked"),
        ("{}".to_owned(), trusted(Category::Clear), "not a signed certificate"),
        (text.replacen('{', r#"{"note":"purged","#, 1), trusted(Category::Clear), "not signed"),
        (
            text.replacen('{', r#"{"id":"twice","#, 1),
            trusted(Category::Clear),
            "\"id\" is there twice",
        ),
        (
            text.replacen(r#""agent":{"#, r#""agent":{"note":"purged","#, 1),
            trusted(Category::Clear),
            "not signed",
        ),
        (
            text.replacen(r#""disk":{"#, r#""disk":{"serial":"OTHER","#, 1),
            trusted(Category::Clear),
            "duplicate field `serial`",
        ),
        (
            text.replacen(r#""received_at":"#, r#""received_at":1,"x":"#, 1),
            trusted(Category::Clear),
            "no text",
        ),
    ] {
        let problem = verify(&text, &expected).problem.unwrap();
        assert!(problem.contains(part), "{part}: {problem}");
    }
}

#[test]
fn an_express_erase_may_be_of_metadata_only_and_its_category_says_so() {
    let mut express = certificate(NODE, ORDER, BOOT);
    express.step = "erase_devices_express".into();
    express.method = EraseMethod::Metadata;
    assert!(proves(&express).unwrap_err().contains("worth None"), "claims more than it is worth");
    express.category = Category::None;
    assert_eq!(proves(&express), Ok(()));
    express.step = "erase_devices".into();
    assert!(proves(&express).is_err());
}
