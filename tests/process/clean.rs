//! Cleaning: what is refused, aborted, believed and kept. Where the agent must be dishonest, the test plays it.

use std::collections::BTreeMap;

use axum::http::Method;
use ironwright_agent::erase::certificate::Signer;
use ironwright_api::{
    BOOT_ID_HEADER, Beat, Category, Certificate, DiskIdentity, EraseMethod, EraseResult, Erased,
    Event, Evidence, Failure, Heartbeat, HeartbeatReply, LookupReply, NONCE_HEADER, PROTOCOL,
    PlannedStep, Progress, Report, Sample, SignedCertificate, Verification,
};
use ironwright_coordinator::certificate::{Expected, verify};
use lab::api;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{MAC, Stage, until};

/// A node that is being cleaned by hand with these steps; its agent has not started.
async fn cleaning(steps: Value) -> Stage {
    let stage = Stage::enrolled("fake-hardware", json!({}), |_| {}).await;
    stage.ask("manage", "manageable").await;
    let steps = json!({ "clean_steps": steps });
    stage.api.provision(stage.node, "clean", &steps).await.unwrap();
    stage
}

/// An agent that the test plays.
struct Played {
    client: reqwest::Client,
    url: String,
    token: String,
    boot_id: Uuid,
    key: Option<String>,
    order_id: Uuid,
    seq: u64,
}

impl Played {
    /// Boots, looks the node up and waits for the order.
    async fn boot(stage: &Stage, key: Option<String>) -> Self {
        let line = stage.boot().await;
        let client = api::http_client().unwrap();
        let base = format!("http://{}/v1", stage.provisioning());
        let boot_id = Uuid::new_v4();
        let lookup = client
            .get(format!("{base}/lookup?addresses={MAC}"))
            .header(NONCE_HEADER, &line.nonce)
            .header(BOOT_ID_HEADER, boot_id.to_string());
        let reply: LookupReply = lookup.send().await.unwrap().json().await.unwrap();
        let token = reply.config.agent_token.unwrap();
        let url = format!("{base}/heartbeat/{}", stage.node);
        let order_id = Uuid::nil();
        let mut played = Self { client, url, token, boot_id, key, order_id, seq: 0 };
        until("an order", async || {
            let reply = played.beat(Vec::new()).await;
            if let Some(order) = &reply.order {
                played.order_id = order.order_id;
            }
            reply.order.is_some()
        })
        .await;
        played
    }

    async fn beat(&self, reports: Vec<Report>) -> HeartbeatReply {
        let beat = Beat {
            protocol: PROTOCOL,
            boot_id: self.boot_id,
            reports,
            progress: Some(Progress { order_id: Some(self.order_id), ..Progress::default() }),
            inventory: None,
            timing: None,
            erase_key: self.key.clone(),
        };
        let heartbeat = Heartbeat {
            callback_url: String::new(),
            agent_token: self.token.clone(),
            agent_version: "0".to_owned(),
            ironwright: Some(beat),
        };
        let answer = self.client.post(&self.url).json(&heartbeat).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 202, "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    async fn report(&mut self, event: Event) -> HeartbeatReply {
        self.seq += 1;
        let (seq, order_id) = (self.seq, self.order_id);
        self.beat(vec![Report { seq, order_id, attempt: 1, event }]).await
    }

    async fn begin(&mut self, step: &str, abortable: bool) {
        let (interface, name) = ("deploy".to_owned(), step.to_owned());
        let actions = vec!["/dev/vda: overwrite, clear".to_owned()];
        let steps = vec![PlannedStep { interface, step: name, priority: 0, abortable, actions }];
        self.report(Event::Planned { steps, plugins: Vec::new() }).await;
        self.report(Event::StepStarted { step: step.to_owned() }).await;
    }

    /// Says that the step ended, with a certificate signed by `signer`.
    async fn end(&mut self, node: Uuid, signer: &Signer) {
        let signed = signer.sign(self.certificate(node)).unwrap();
        self.show(signed).await;
        self.report(Event::Finished).await;
    }

    /// Says that the step ended, with this certificate.
    async fn show(&mut self, signed: SignedCertificate) {
        let disk = Erased {
            device: "/dev/vda".to_owned(),
            serial: String::new(),
            disk_bytes: 4096,
            method: "overwrite".to_owned(),
            bytes: 4096,
            verified_bytes: 4096,
            certificate: Some(Box::new(signed)),
        };
        let evidence = Some(Evidence::Erased { disks: vec![disk] });
        self.report(Event::StepEnded { step: "erase_devices".to_owned(), evidence }).await;
    }

    fn certificate(&self, node_uuid: Uuid) -> Certificate {
        let path = "/dev/vda".to_owned();
        let sample = Sample { lba: 0, before: "nonce".to_owned(), after: "zero".to_owned() };
        Certificate {
            version: ironwright_api::CERTIFICATE_VERSION,
            node_uuid,
            order_id: self.order_id,
            boot_id: self.boot_id,
            disk: DiskIdentity { path, bytes: 4096, sector_bytes: 512, ..DiskIdentity::default() },
            step: "erase_devices".to_owned(),
            method: EraseMethod::Overwrite,
            category: Category::Clear,
            passed_over: Vec::new(),
            device_log: BTreeMap::new(),
            started: "2026-01-01T00:00:00Z".to_owned(),
            ended: "2026-01-01T00:01:00Z".to_owned(),
            verification: Verification {
                mode: "full".to_owned(),
                bytes_read: 4096,
                samples: vec![sample],
            },
            result: EraseResult::Erased,
            agent_version: "0".to_owned(),
        }
    }
}

fn erase() -> Value {
    json!([{ "interface": "deploy", "step": "erase_devices" }])
}

#[tokio::test]
async fn a_manual_cleaning_with_an_unknown_step_fails_by_its_name_and_changes_nothing() {
    let stage = cleaning(json!([{ "interface": "deploy", "step": "polish_devices" }])).await;
    let _agent = stage.boot_agent().await;
    let error = stage.fails_in("clean failed").await;
    assert!(error.contains("deploy.polish_devices"), "{error}");
    assert!(error.contains("nothing was changed"), "{error}");
    let key = Signer::of_boot(&stage.path("run")).unwrap().public_key();
    let registered = format!("certificates of this boot are signed with key {key}");
    assert!(stage.history().await.contains(&registered), "the agent names the key it keeps");
}

#[tokio::test]
async fn clean_steps_of_the_wrong_form_are_refused_by_their_place() {
    let stage = Stage::enrolled("fake-hardware", json!({}), |_| {}).await;
    stage.ask("manage", "manageable").await;
    for (steps, part) in [
        (json!([{ "interface": "deploy", "step": "a" }, { "step": "b" }]), "clean step 2"),
        (json!([{ "interface": "moon", "step": "a" }]), "interface 'moon'"),
        (json!([{ "interface": "deploy", "step": "a", "args": 1 }]), "'args'"),
        (json!([{ "interface": "deploy", "step": "a", "prio": 1 }]), "'prio'"),
        (json!([]), "\"clean_steps\" is required"),
    ] {
        let body = json!({ "clean_steps": steps });
        let error = stage.api.provision(stage.node, "clean", &body).await.unwrap_err().to_string();
        assert!(error.contains("400") && error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_this_boots_key_is_kept_countersigned_and_verifies_until_it_is_touched() {
    let stage = cleaning(erase()).await;
    let signer = Signer::ephemeral().unwrap();
    let mut agent = Played::boot(&stage, Some(signer.public_key())).await;
    agent.begin("erase_devices", true).await;
    let plan = stage.about("/plan").await;
    assert_eq!(plan["running"], "erase_devices");
    assert_eq!(plan["steps"][0]["actions"][0], "/dev/vda: overwrite, clear");
    agent.end(stage.node, &signer).await;
    stage.rests_in("manageable").await;

    let list = stage.about("/certificates").await;
    let [entry] = list["certificates"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!((&entry["category"], &entry["disk"]["path"]), (&json!("clear"), &json!("/dev/vda")));
    let id = entry["id"].as_str().unwrap();
    let text = stage.about(&format!("/certificates/{id}")).await.to_string();
    let key = stage.api.send(Method::GET, "/v1/certificate-key", None).await.unwrap();
    let coordinator = Some(key["public_key"].as_str().unwrap().to_owned());
    let expected = Expected { coordinator, least: Category::Clear };
    assert_eq!(verify(&text, &expected).problem, None);
    let tampered = text.replace("/dev/vda", "/dev/sda");
    let problem = verify(&tampered, &expected).problem.unwrap();
    assert!(problem.contains("changed after it was signed"), "{problem}");

    // The next cleaning does not take it away.
    let steps = json!({ "clean_steps": erase() });
    stage.api.provision(stage.node, "clean", &steps).await.unwrap();
    assert_eq!(stage.about("/certificates").await, list);
}

#[tokio::test]
async fn the_certificate_of_a_failed_erase_is_kept_countersigned_and_proves_no_erase() {
    let stage = cleaning(erase()).await;
    let signer = Signer::ephemeral().unwrap();
    let mut agent = Played::boot(&stage, Some(signer.public_key())).await;
    agent.begin("erase_devices", true).await;
    let reason = "LBA 7 still holds what was there before".to_owned();
    let result = EraseResult::Failed { reason };
    let certificate = Certificate { result, ..agent.certificate(stage.node) };
    let step = "erase_devices".to_owned();
    let certificates = vec![signer.sign(certificate).unwrap()];
    agent.report(Event::Attested { step: step.clone(), certificates }).await;
    let failure = Failure {
        step,
        message: "1 of 1 disks were not erased".to_owned(),
        remedy: String::new(),
        blame: ironwright_api::Blame::Hardware,
    };
    agent.report(Event::Failed(failure)).await;
    let error = stage.fails_in("clean failed").await;
    assert!(error.contains("1 of 1 disks were not erased"), "{error}");
    let list = stage.about("/certificates").await;
    let id = list["certificates"][0]["id"].as_str().unwrap();
    let text = stage.about(&format!("/certificates/{id}")).await.to_string();
    let key = stage.api.send(Method::GET, "/v1/certificate-key", None).await.unwrap();
    let coordinator = Some(key["public_key"].as_str().unwrap().to_owned());
    let verdict = verify(&text, &Expected { coordinator, least: Category::None });
    assert_eq!(
        verdict.problem.as_deref(),
        Some("the erase failed: LBA 7 still holds what was there before"),
        "both signatures fit, and it says that the disk was not erased"
    );
    assert!(stage.history().await.contains(
        &"/dev/vda: the erase failed: LBA 7 still holds what was there before; its certificate is kept"
            .to_owned()
    ));
}

#[tokio::test]
async fn a_certificate_of_another_key_fails_the_cleaning_and_is_not_kept() {
    let stage = cleaning(erase()).await;
    let (registered, other) = (Signer::ephemeral().unwrap(), Signer::ephemeral().unwrap());
    let mut agent = Played::boot(&stage, Some(registered.public_key())).await;
    // A second key in the same boot is not taken in the first one's place.
    agent.key = Some(other.public_key());
    agent.begin("erase_devices", true).await;
    // It fails the cleaning at once: from then on this agent is nobody, and is not heard any more.
    agent.show(other.sign(agent.certificate(stage.node)).unwrap()).await;
    let error = stage.fails_in("clean failed").await;
    assert!(error.contains("not with this boot's key"), "{error}");
    let kept = stage.about("/certificates").await;
    assert_eq!(kept["certificates"], json!([]));
    let noted = stage.history().await.iter().any(|line| line.starts_with("refused the key"));
    assert!(noted, "{:?}", stage.history().await);
}

#[tokio::test]
async fn a_forged_countersignature_is_replaced_by_the_coordinators_own() {
    let stage = cleaning(erase()).await;
    let signer = Signer::ephemeral().unwrap();
    let mut agent = Played::boot(&stage, Some(signer.public_key())).await;
    agent.begin("erase_devices", true).await;
    let signed = signer.sign(agent.certificate(stage.node)).unwrap();
    let forged = SignedCertificate { coordinator: Some(signed.agent.clone()), ..signed };
    agent.show(forged).await;
    let key = stage.api.send(Method::GET, "/v1/certificate-key", None).await.unwrap();
    let list = stage.about("/certificates").await;
    let id = list["certificates"][0]["id"].as_str().unwrap();
    let kept = stage.about(&format!("/certificates/{id}")).await;
    assert_eq!(kept["coordinator"]["public_key"], key["public_key"]);
}

#[tokio::test]
async fn an_abort_tells_the_agent_to_stop_and_ends_in_clean_failed() {
    let stage = cleaning(erase()).await;
    let mut agent = Played::boot(&stage, None).await;
    agent.begin("erase_devices", true).await;
    stage.api.provision(stage.node, "abort", &json!({})).await.unwrap();
    let error = stage.fails_in("clean failed").await;
    assert_eq!(error, "Cleaning was aborted by request.");
    let reply = agent.beat(Vec::new()).await;
    assert_eq!(reply.cancel, Some(agent.order_id));
    assert!(reply.order.is_none());
    let failure = Failure {
        step: "erase_devices".to_owned(),
        message: "cancelled by the coordinator".to_owned(),
        remedy: String::new(),
        blame: ironwright_api::Blame::Order,
    };
    agent.report(Event::Failed(failure)).await;
    // Stopped in order, it is powered off at once and not after the grace that it had.
    until("the end of the work", async || {
        stage.api.node(stage.node).await.unwrap().power_state.as_deref() == Some("power off")
    })
    .await;
}

#[tokio::test]
async fn a_step_that_cannot_be_stopped_ends_before_the_abort() {
    let stage = cleaning(json!([
        { "interface": "deploy", "step": "update_firmware" },
        { "interface": "deploy", "step": "erase_devices" },
    ]))
    .await;
    let mut agent = Played::boot(&stage, None).await;
    agent.begin("update_firmware", false).await;
    stage.api.provision(stage.node, "abort", &json!({})).await.unwrap();
    let reply = agent.beat(Vec::new()).await;
    assert_eq!(reply.cancel, None, "it would be stopped half-way");
    assert_eq!(stage.api.node(stage.node).await.unwrap().provision_state, "clean wait");
    let step = "update_firmware".to_owned();
    let reply = agent.report(Event::StepEnded { step, evidence: None }).await;
    assert_eq!(reply.cancel, Some(agent.order_id));
    let error = stage.fails_in("clean failed").await;
    assert!(error.ends_with("after the completion of step: update_firmware"), "{error}");
}

#[tokio::test]
async fn an_express_erase_takes_the_metadata_of_a_disk_that_forgets_no_key_and_says_so_in_its_certificate()
 {
    let steps = json!([{"interface": "deploy", "step": "erase_devices_express"}]);
    let stage = cleaning(steps).await;
    let content = crate::image::gpt(8);
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::File::options().write(true).open(&stage.disk).unwrap(),
        &content,
        0,
    )
    .unwrap();
    let _agent = stage.boot_agent().await;
    stage.rests_in("manageable").await;
    assert!(!crate::image::has_partition_table(&stage.disk));
    let certificates = stage.about("/certificates").await;
    let certificate = &certificates["certificates"][0];
    let text = certificate.to_string();
    assert!(text.contains("erase_devices_express") && text.contains("metadata"), "{certificates}");
}

#[test]
fn a_fake_machine_has_the_agents_own_steps() {
    use ironwright_agent::steps::{Phase, built_in};
    use ironwright_coordinator::node::pretend;
    let names = |phase| -> Vec<String> {
        built_in(phase).iter().map(|step| step.name().to_owned()).collect()
    };
    assert_eq!(names(Phase::Clean), pretend::CLEAN_STEPS);
    assert_eq!(names(Phase::Service), pretend::SERVICE_STEPS);
}
