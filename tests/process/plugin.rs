//! Plugins in clean orders: signed bundles that the real coordinator delivers to the real agent at run time. They run
//! unconfined here, as a developer's own programs: `agent/tests/plugin/` confines them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ironwright_agent::plugin::Folder;
use ironwright_agent::plugin::bundle::{self, Made};
use ironwright_agent::plugin::key::SigningKey;
use ironwright_coordinator::settings::Settings;
use lab::api;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stage::{Agent, Stage, until};

/// An author's key, and the coordinator's folder of bundles.
pub(crate) struct Shelf {
    dir: TempDir,
    key: SigningKey,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("plugins")).unwrap();
        let key = SigningKey::make(&dir.path().join("author")).unwrap();
        Self { dir, key }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.path("plugins").join(format!("{name}.plugin"))
    }

    /// Bundles the plugin in `folder` and puts it on the shelf.
    fn add(&self, name: &str, folder: &Path) -> Made {
        bundle::make(&Folder::read(folder).unwrap(), &self.key, &self.bundle(name)).unwrap()
    }

    /// A fake plugin in shell with one step, `fake_step`, whose `run` is `script`.
    fn fake(&self, version: &str, script: &str) -> Made {
        let step = json!({
            "name": "fake_step", "interface": "deploy", "safety": "changes",
            "argsinfo": {"level": {"description": "how much", "type": "integer"}},
        });
        self.fake_with(version, &step, script)
    }

    /// A fake plugin in shell with this step, whose `run` is `script`.
    pub(crate) fn fake_with(&self, version: &str, step: &Value, script: &str) -> Made {
        self.fake_steps(version, std::slice::from_ref(step), script)
    }

    /// The same with several; the request is in `$request`.
    fn fake_steps(&self, version: &str, steps: &[Value], script: &str) -> Made {
        let dir = self.path(&format!("fake-{version}"));
        fs::create_dir_all(dir.join("root/bin")).unwrap();
        let said = json!({"name": "fake", "version": version, "protocol": 1, "steps": steps});
        let mut manifest = said.clone();
        manifest["exec"] = json!(["bin/fake"]);
        manifest["limits"] = json!({"seconds": 1, "reboots": 2});
        fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
        let mut describe = said;
        describe["type"] = json!("describe");
        let program = dir.join("root/bin/fake");
        let script = format!(
            "#!/bin/sh\nread -r request\ncase $IRONWRIGHT_OP in\ndescribe) echo '{describe}' ;;\n\
             plan) echo '{{\"type\":\"plan\",\"actions\":[\"pretend\"]}}' ;;\nrun) {script} ;;\nesac\n"
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        self.add(&format!("fake-{version}"), &dir)
    }

    /// A manageable node whose coordinator offers what is on the shelf, and whose agents trust its author.
    async fn stage(&self, tune: impl FnOnce(&mut Settings)) -> Stage {
        let author = vec![self.path("author.pub")];
        let mut stage = Stage::enrolled("fake-hardware", json!({}), |settings| {
            settings.plugins.dir = self.path("plugins");
            settings.plugins.keys.clone_from(&author);
            tune(settings);
        })
        .await;
        stage.trust = author;
        stage.ask("manage", "manageable").await;
        stage
    }
}

async fn order(stage: &Stage, steps: Value) {
    let steps = json!({ "clean_steps": steps });
    stage.api.provision(stage.node, "clean", &steps).await.unwrap();
}

/// Orders `fake_step` with these arguments and boots the agent.
async fn ordered(stage: &Stage, args: Value) -> Agent {
    order(stage, json!([{"interface": "deploy", "step": "fake_step", "args": args}])).await;
    stage.boot_agent().await
}

/// What the first step of the plan says it will do.
async fn actions(stage: &Stage) -> Vec<String> {
    let plan = stage.about("/plan").await;
    serde_json::from_value(plan["steps"][0]["actions"].clone()).unwrap()
}

/// Waits until the coordinator has seen and judged a bundle.
async fn offered(stage: &Stage, made: &Made) {
    let client = api::http_client().unwrap();
    let url = format!("http://{}/plugins/{}", stage.provisioning(), made.sha256);
    until("the bundle to be offered", async || {
        client.get(&url).send().await.unwrap().status() == 200
    })
    .await;
}

fn short(made: &Made) -> &str {
    &made.sha256[..12]
}

#[tokio::test]
async fn a_bundle_put_on_the_shelf_of_a_running_coordinator_is_delivered_run_and_proven() {
    let shelf = Shelf::new();
    let stage = shelf.stage(|_| {}).await;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples/shell");
    let made = shelf.add("first-sector", &example);
    offered(&stage, &made).await;
    let client = api::http_client().unwrap();
    let stranger = format!("http://{}/plugins/{}", stage.provisioning(), "0".repeat(64));
    assert_eq!(client.get(&stranger).send().await.unwrap().status(), 404);
    let disk = fs::File::options().write(true).open(&stage.disk).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&disk, &[0x5a; 1024], 0).unwrap();
    order(&stage, json!([{"interface": "deploy", "step": "clear_first_sector"}])).await;
    let agent = stage.boot_agent().await;
    stage.rests_in("manageable").await;
    agent.stop().await;
    let mut found = [0xff; 1024];
    let disk = fs::File::open(&stage.disk).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&disk, &mut found, 0).unwrap();
    assert!(found[..512].iter().all(|byte| *byte == 0) && found[512..] == [0x5a; 512]);
    let path = stage.disk.canonicalize().unwrap();
    assert_eq!(
        actions(&stage).await,
        [
            format!(
                "plugin first-sector-shell 1.0.0 ({}), signed by {}, destroys",
                short(&made),
                made.key_id
            ),
            format!("zero the first sector of {}", path.display()),
        ]
    );
    let evidence = &stage.about("/evidence").await["evidence"][0];
    let expected = json!({
        "proof": "plugin", "plugin": "first-sector-shell", "version": "1.0.0", "sha256": made.sha256,
        "key_id": made.key_id, "outcome": "changed", "message": "first sectors are zero",
        "warnings": ["the plugin was not confined: it ran with all rights of the agent, its processes and memory were not limited"],
    });
    assert_eq!(evidence, &expected);
}

#[tokio::test]
async fn a_fake_put_on_the_shelf_while_its_node_is_held_is_in_the_next_order() {
    let shelf = Shelf::new();
    let stage = shelf.stage(|_| {}).await;
    let steps = [("deploy", "erase_devices_metadata"), ("power", "hold"), ("deploy", "fake_step")];
    order(&stage, json!(steps.map(|(part, step)| json!({"interface": part, "step": step})))).await;
    let agent = stage.boot_agent().await;
    until("the node to be held", async || {
        stage.api.node(stage.node).await.unwrap().provision_state == "clean hold"
    })
    .await;
    let made = shelf
        .fake("1.0.0", "echo '{\"type\":\"result\",\"outcome\":\"changed\",\"message\":\"done\"}'");
    offered(&stage, &made).await;
    stage.api.provision(stage.node, "unhold", &json!({})).await.unwrap();
    stage.rests_in("manageable").await;
    agent.stop().await;
    let evidence = stage.about("/evidence").await["evidence"].clone();
    let proofs = evidence.as_array().unwrap();
    assert!(proofs.iter().any(|proof| proof["sha256"] == made.sha256), "{evidence}");
}

#[tokio::test]
async fn a_fake_says_how_far_it_is_and_its_data_is_evidence() {
    let shelf = Shelf::new();
    let go = shelf.path("go");
    shelf.fake("1.0.0", &format!(
        "echo '{{\"type\":\"progress\",\"done\":1,\"total\":4,\"message\":\"slot 1\"}}'; n=0\n\
         while [ ! -e {} ] && [ $n -lt 9 ]; do sleep 0.1; n=$((n + 1)); done\n\
         echo '{{\"type\":\"result\",\"outcome\":\"unchanged\",\"message\":\"as asked\",\"data\":{{\"version\":\"7\"}}}}'",
        go.display()
    ));
    let stage = shelf.stage(|_| {}).await;
    let agent = ordered(&stage, json!({"level": 3})).await;
    until("progress", async || {
        let progress = stage.about("/progress").await;
        progress["progress"]["plugin"] == json!({"done": 1, "total": 4, "message": "slot 1"})
    })
    .await;
    fs::write(&go, "").unwrap();
    stage.rests_in("manageable").await;
    agent.stop().await;
    let evidence = &stage.about("/evidence").await["evidence"][0];
    assert_eq!(evidence["data"], json!({"version": "7"}));
    assert_eq!(evidence["outcome"], "unchanged");
}

#[tokio::test]
async fn automated_cleaning_runs_the_highest_version_at_the_operators_priority() {
    let shelf = Shelf::new();
    let result = "echo '{\"type\":\"result\",\"outcome\":\"changed\",\"message\":\"done\"}'";
    let (old, new) = (shelf.fake("1.9.0", result), shelf.fake("1.10.0", result));
    let stage = shelf
        .stage(|settings| {
            settings.clean.automated = true;
            settings.clean.erase_devices_metadata_priority = Some(0);
            settings.clean.priorities.insert("deploy.fake_step".to_owned(), 7);
        })
        .await;
    stage.api.provision(stage.node, "provide", &json!({})).await.unwrap();
    let agent = stage.boot_agent().await;
    stage.rests_in("available").await;
    agent.stop().await;
    let plan = stage.about("/plan").await;
    assert_eq!(plan["steps"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(plan["steps"][0]["priority"], 7);
    assert_eq!(
        actions(&stage).await[1..],
        [
            format!(
                "fake 1.9.0 ({}) has this step too and is passed over: fake 1.10.0 ({}) is higher",
                short(&old),
                short(&new)
            ),
            "pretend".to_owned(),
        ]
    );
    assert_eq!(stage.about("/evidence").await["evidence"][0]["version"], "1.10.0");
}

#[tokio::test]
async fn fakes_that_fail_hang_or_crash_fail_the_step_with_who_must_act() {
    for (script, words) in [
        (
            r#"echo '{"type":"result","outcome":"failed","who":"hardware","message":"slot 2 is dead","remedy":"Replace it."}'"#,
            "slot 2 is dead. Replace it.",
        ),
        ("sleep 9", "run took longer than 1 s, the most it may; the plugin was killed"),
        (
            "echo boom >&2; exit 3",
            "it gave no answer to run and ended with exit status 3; last words: \"boom\"",
        ),
    ] {
        let shelf = Shelf::new();
        let made = shelf.fake("1.0.0", script);
        let stage = shelf.stage(|_| {}).await;
        let agent = ordered(&stage, Value::Null).await;
        let error = stage.fails_in("clean failed").await;
        agent.stop().await;
        let begins = format!("fake_step: plugin fake 1.0.0 ({}): ", short(&made));
        assert!(error.starts_with(&begins) && error.contains(words), "{error}");
    }
}

/// A stage with one fake, spoiled after its coordinator judged it and gave the order; returns its `last_error`.
async fn spoiled(spoil: impl FnOnce(&Shelf, &mut Stage)) -> (Made, String) {
    let shelf = Shelf::new();
    let made = shelf.fake("1.0.0", "exit 1");
    let mut stage = shelf.stage(|_| {}).await;
    order(&stage, json!([{"interface": "deploy", "step": "fake_step"}])).await;
    spoil(&shelf, &mut stage);
    let agent = stage.boot_agent().await;
    let error = stage.fails_in("clean failed").await;
    agent.stop().await;
    (made, error)
}

#[tokio::test]
async fn a_bundle_that_is_not_the_one_ordered_or_not_trusted_never_runs() {
    let (made, error) = spoiled(|shelf, stage| {
        SigningKey::make(&shelf.path("other")).unwrap();
        stage.trust = vec![shelf.path("other.pub")];
    })
    .await;
    let words = format!(
        "nothing was changed: plugin {}: the bundle is signed with the key {}, which is not trusted here (trusted: ",
        short(&made),
        made.key_id
    );
    assert!(error.starts_with(&words), "{error}");

    let (made, error) = spoiled(|shelf, _| {
        let file = shelf.bundle("fake-1.0.0");
        let before = fs::metadata(&file).unwrap().modified().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, bytes).unwrap();
        // The coordinator must not notice: it is the agent that is asked.
        fs::File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
    })
    .await;
    let words = format!("plugin {}: the bundle's sha256 is ", short(&made));
    assert!(error.contains(&words), "{error}");
    assert!(error.contains(&format!(", the order says {}", made.sha256)), "{error}");

    let (made, error) =
        spoiled(|shelf, _| fs::remove_file(shelf.bundle("fake-1.0.0")).unwrap()).await;
    assert!(error.contains(&format!("plugin {}: GET https://", short(&made))), "{error}");
    assert!(error.contains("answered 404 Not Found"), "{error}");
}

#[tokio::test]
async fn unknown_steps_and_wrong_arguments_are_refused_before_anything_runs() {
    let shelf = Shelf::new();
    shelf.fake("1.0.0", "exit 1");
    let stage = shelf.stage(|_| {}).await;
    order(
        &stage,
        json!([
            {"interface": "raid", "step": "create_configuration"},
            {"interface": "deploy", "step": "fake_step", "args": {"level": "two", "why": 1}},
        ]),
    )
    .await;
    let agent = stage.boot_agent().await;
    let error = stage.fails_in("clean failed").await;
    agent.stop().await;
    assert_eq!(
        error,
        "nothing was changed: this agent has no clean step raid.create_configuration; deploy.fake_step: level is \"two\", it \
         must be an integer; deploy.fake_step has no argument why. order deploy.erase_devices_metadata, deploy.erase_devices, \
         deploy.erase_devices_express, deploy.erase_pstore, deploy.clean_uefi_nvram, deploy.fake_step, or use an agent or a plugin that has the step"
    );
}

/// Shell that asks for restarts, with the number of the last one as its state, and then does `last`.
fn restarts(times: u32, last: &str) -> String {
    let again = |slot: u32| {
        format!(
            r#"echo '{{"type":"result","outcome":"reboot","message":"activate slot {slot}","state":{{"slot":{slot}}}}}'"#
        )
    };
    let mut cases = String::new();
    for slot in 1..=times {
        let answer = if slot == times { last.to_owned() } else { again(slot + 1) };
        cases.push_str(&format!("*'\"slot\":{slot}}}'*) {answer} ;;\n"));
    }
    format!("case $request in\n{cases}*) {} ;;\nesac", again(1))
}

/// Boots as a machine does that lost all of its memory.
async fn boots_anew(stage: &Stage) -> Agent {
    fs::remove_dir_all(stage.path("run")).ok();
    stage.boot_agent().await
}

/// Orders `fake_step` and plays the machine that it has restarted twice; returns the agent of the third boot.
async fn through_two_restarts(stage: &Stage) -> Agent {
    let mut agent = ordered(stage, Value::Null).await;
    for number in 1..=2 {
        until("the machine to be started again", async || {
            let began = format!("started into the ramdisk, attempt {}", number + 1);
            stage.history().await.contains(&began)
        })
        .await;
        agent.stop().await;
        agent = boots_anew(stage).await;
    }
    agent
}

#[tokio::test]
async fn a_fake_that_asks_for_restarts_goes_on_with_its_state_in_the_same_order() {
    let shelf = Shelf::new();
    let done = r#"echo '{"type":"result","outcome":"changed","message":"slot 2 is active"}'"#;
    shelf.fake("1.0.0", &restarts(2, done));
    let stage = shelf.stage(|settings| settings.boot.attempts = 1).await;
    let agent = through_two_restarts(&stage).await;
    stage.rests_in("manageable").await;
    agent.stop().await;
    let evidence = &stage.about("/evidence").await["evidence"];
    assert_eq!(evidence[0]["message"], "slot 2 is active");
    assert_eq!(evidence.as_array().unwrap().len(), 1, "{evidence}");
    let history = stage.history().await;
    for slot in 1..=2 {
        let words = format!("step fake_step goes on after a restart: activate slot {slot}");
        assert!(history.contains(&words), "{history:?}");
    }
}

#[tokio::test]
async fn a_fake_that_asks_for_restarts_for_ever_is_ended_by_its_manifests_limit_over_boots() {
    let shelf = Shelf::new();
    shelf.fake(
        "1.0.0",
        &restarts(1, r#"echo '{"type":"result","outcome":"reboot","state":{"slot":1}}'"#),
    );
    let stage = shelf.stage(|_| {}).await;
    let agent = through_two_restarts(&stage).await;
    let error = stage.fails_in("clean failed").await;
    agent.stop().await;
    assert!(error.contains("asked for reboot number 3, the manifest allows 2"), "{error}");
}

#[tokio::test]
async fn a_fake_that_builds_arrays_gets_the_nodes_configuration_and_its_result_is_recorded() {
    let shelf = Shelf::new();
    let seen = shelf.path("seen");
    let script = format!(
        "echo \"$request\" > {}\ncase $IRONWRIGHT_STEP in\n\
         create_configuration) echo '{{\"type\":\"result\",\"outcome\":\"changed\",\"data\":{{\"logical_disks\":[{{\"uuid\":\"u\"}}]}}}}' ;;\n\
         *) echo '{{\"type\":\"result\",\"outcome\":\"changed\"}}' ;;\nesac",
        seen.display()
    );
    let step = |name: &str| {
        json!({
            "name": name, "interface": "raid", "safety": "destroys",
            "argsinfo": {"target_raid_config": {"description": "what", "type": "object"}},
        })
    };
    let steps = ["create_configuration", "apply_configuration", "delete_configuration"].map(step);
    shelf.fake_steps("1.0.0", &steps, &script);
    let stage = shelf.stage(|_| {}).await;
    stage.api.set(stage.node, &[("/raid_interface", json!("agent"))]).await.unwrap();
    let disk = stage.disk.canonicalize().unwrap();
    let hints = json!([{"name": disk}]);
    let target = json!({"logical_disks": [{"size_gb": 5, "raid_level": "1", "controller": "software", "physical_disks": hints}]});
    let path = format!("/v1/nodes/{}/states/raid", stage.node);
    stage.api.send(axum::http::Method::PUT, &path, Some(&target)).await.unwrap();

    order(&stage, json!([{"interface": "raid", "step": "create_configuration"}])).await;
    let agent = stage.boot_agent().await;
    stage.rests_in("manageable").await;
    agent.stop().await;
    let request: Value = serde_json::from_str(&fs::read_to_string(&seen).unwrap()).unwrap();
    assert_eq!(request["args"]["target_raid_config"], target);
    let config = stage.about("").await["raid_config"].clone();
    assert_eq!(config["logical_disks"][0]["uuid"], "u");
    assert!(config["last_updated"].is_string(), "{config}");

    order(&stage, json!([{"interface": "raid", "step": "delete_configuration"}])).await;
    let agent = boots_anew(&stage).await;
    stage.rests_in("manageable").await;
    agent.stop().await;
    assert_eq!(stage.about("").await["raid_config"], json!({}));

    order(&stage, json!([{"interface": "raid", "step": "apply_configuration"}])).await;
    let agent = boots_anew(&stage).await;
    let error = stage.fails_in("clean failed").await;
    agent.stop().await;
    assert!(error.contains("didn't return a proper command result while building RAID"), "{error}");
}
