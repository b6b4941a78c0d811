//! A plugin in Python on a whole machine: its bundle comes while the ramdisk, which has no Python, is running already.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::http::Method;
use ironwright_agent::plugin::Folder;
use ironwright_agent::plugin::bundle;
use ironwright_agent::plugin::key::{SigningKey, TrustedKeys};
use lab::Firmware;
use lab::initrd::{self, Entry};
use lab::runs::{self, Inputs};
use serde_json::{Value, json};

use crate::stage::{DEPLOY, Stage};

/// The plugin, built by `plugins/build`: Python itself is in its bundle.
const EXAMPLE: &str = "examples/checksum";

/// How much of the disk it reads, MiB: long enough for its progress to be seen.
const MIB: usize = 256;

/// A second plugin in the same tree: it makes processes until it gets no more, and says how many it got.
const FORKS: &str = r#"#!/usr/bin/env python3
import json, os, sys, time
step = {"name": "fork_many", "interface": "deploy", "safety": "read_only"}
op = json.loads(sys.stdin.readline())["op"]
if op == "describe":
    print(json.dumps({"type": "describe", "name": "forks", "version": "1.0.0", "protocol": 1, "steps": [step]}))
elif op == "plan":
    print(json.dumps({"type": "plan", "actions": ["make processes"]}))
else:
    made = 0
    try:
        while made < 3000:
            if os.fork() == 0:
                time.sleep(600)
                os._exit(0)
            made += 1
    except OSError as error:
        print(json.dumps({"type": "result", "outcome": "unchanged", "message": error.strerror, "data": {"made": made}}))
"#;

/// Bundles of this test's author.
struct Signed {
    /// The public key.
    author: PathBuf,
    checksum: (bundle::Made, PathBuf),
    forks: PathBuf,
}

/// The example's bundle is opened and signed anew with a key made here; and so is [`FORKS`].
fn signed_here() -> Signed {
    let dir = runs::dir_of_this_run().unwrap();
    let inputs = Inputs::of_this_run().unwrap();
    let built = inputs.plugin(EXAMPLE).unwrap();
    let trusted = TrustedKeys::read(std::slice::from_ref(&built.key)).unwrap();
    let bytes = bundle::read(&built.file).unwrap();
    let tree = dir.join("tree");
    fs::create_dir(&tree).unwrap();
    let folder = bundle::verify(&bytes, &trusted, None).unwrap().unpack(&tree).unwrap();
    let key = SigningKey::make(&dir.join("author")).unwrap();
    let [checksum, forks] = ["checksum.bundle", "forks.bundle"].map(|name| dir.join(name));
    let made = bundle::make(&folder, &key, &checksum).unwrap();
    let manifest = json!({
        "name": "forks", "version": "1.0.0", "protocol": 1, "exec": ["bin/checksum"],
        "steps": [{"name": "fork_many", "interface": "deploy", "safety": "read_only"}],
    });
    fs::write(tree.join("manifest.json"), manifest.to_string()).unwrap();
    fs::write(tree.join("root/bin/checksum"), FORKS).unwrap();
    bundle::make(&Folder::read(&tree).unwrap(), &key, &forks).unwrap();
    fs::remove_dir_all(&tree).unwrap();
    Signed { author: dir.join("author.pub"), checksum: (made, checksum), forks }
}

async fn about(stage: &Stage, path: &str) -> Value {
    let path = format!("/v1/nodes/{}{path}", stage.node);
    stage.lab.api.send(Method::GET, &path, None).await.unwrap()
}

/// What the API shows of the running plugin, from its first word to its last.
async fn seen_while_it_runs(stage: &Stage) -> Vec<Value> {
    let (mut seen, end): (Vec<Value>, _) = (Vec::new(), Instant::now() + DEPLOY);
    loop {
        let progress = about(stage, "/progress").await;
        let plugin = &progress["progress"]["plugin"];
        if plugin.is_object() && seen.last() != Some(plugin) {
            seen.push(plugin.clone());
        }
        match progress["provision_state"].as_str() {
            Some("manageable") => return seen,
            Some("clean failed") | None => panic!("{progress}"),
            Some(_) => assert!(Instant::now() < end, "{progress}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the node is held between two orders.
async fn held(stage: &Stage) {
    let end = Instant::now() + DEPLOY;
    loop {
        let node = stage.lab.api.node(stage.node).await.unwrap();
        if node.provision_state == "clean hold" {
            return;
        }
        assert!(!node.has_failed() && Instant::now() < end, "{node:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The agent is the only program of the base ramdisk, and nothing in it is called after Python.
fn no_python_in(ramdisk: &[u8]) {
    let entries = initrd::entries(ramdisk).unwrap();
    let of = |what: fn(&Entry) -> bool| -> Vec<&str> {
        entries.iter().filter(|entry| what(entry)).map(|entry| entry.path.as_str()).collect()
    };
    let modules = of(|entry| entry.path.starts_with("lib/modules/") && entry.path.contains(".ko"));
    println!("base ramdisk: {} entries, {} modules", entries.len(), modules.len());
    assert!(modules.len() > 500, "all of it was read: {}", modules.len());
    assert_eq!(of(Entry::is_program), ["init"]);
    assert_eq!(of(|entry| entry.path.to_lowercase().contains("python")), [""; 0]);
}

/// What a plugin's step left as evidence.
fn of_plugin<'a>(evidence: &'a Value, name: &str) -> &'a Value {
    let found = evidence.as_array().unwrap().iter().find(|proof| proof["plugin"] == name);
    found.unwrap_or_else(|| panic!("{evidence}"))
}

fn start_of_disk(stage: &Stage, path: &Path) -> String {
    let disk = File::open(stage.lab.rack.machines[0].disk(0)).unwrap();
    let mut piece = vec![0; MIB << 20];
    disk.read_exact_at(&mut piece, 0).unwrap();
    fs::write(path, &piece).unwrap();
    let sum = crate::stage::sha256(path);
    fs::remove_file(path).unwrap();
    sum
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_python_plugin_signed_now_reaches_a_running_ramdisk_and_is_watched_over_the_api() {
    let signed = signed_here();
    let author = vec![signed.author.clone()];
    let stage = Stage::available(Firmware::Bios, |lab| lab.authors = author).await;
    let (api, dir) = (&stage.lab.api, runs::dir_of_this_run().unwrap());
    let disk = fs::File::options().write(true).open(stage.lab.rack.machines[0].disk(0)).unwrap();
    for at in 0..MIB as u64 {
        disk.write_all_at(format!("block {at} of the test").as_bytes(), at << 20).unwrap();
    }
    let ramdisk = fs::read(&stage.lab.inputs.ramdisk).unwrap();
    no_python_in(&ramdisk);

    // The ramdisk boots, does a step of its own, and is held: nobody has given the coordinator any plugin yet.
    api.provision(stage.node, "manage", &json!({})).await.unwrap();
    stage.wait("manageable").await;
    let steps = json!({"clean_steps": [
        {"interface": "deploy", "step": "erase_pstore"},
        {"interface": "power", "step": "hold"},
        {"interface": "deploy", "step": "checksum_disks", "args": {"mib": MIB}},
        {"interface": "deploy", "step": "fork_many"},
    ]});
    api.provision(stage.node, "clean", &steps).await.unwrap();
    held(&stage).await;
    println!("the ramdisk runs and is held; no plugin was offered yet");

    let began = Instant::now();
    let (made, file) = &signed.checksum;
    stage.lab.offer_file("checksum", file).unwrap();
    stage.lab.offer_file("forks", &signed.forks).unwrap();
    // The coordinator looks every 5 s.
    tokio::time::sleep(Duration::from_secs(6)).await;
    api.provision(stage.node, "unhold", &json!({})).await.unwrap();
    let seen = seen_while_it_runs(&stage).await;
    let seconds = began.elapsed().as_secs_f64();
    assert!(seen.len() > 2, "progress was seen {} times: {seen:?}", seen.len());
    for progress in &seen {
        assert_eq!(progress["total"], MIB, "{progress}");
        assert_eq!(progress["message"], "/dev/nvme0n1", "{progress}");
    }
    let history = stage.history().await;
    let boots = history.matches("the agent looked the node up").count();
    assert_eq!(boots, 1, "it is the boot that ran before the bundle came: {history}");

    let evidence = about(&stage, "/evidence").await["evidence"].clone();
    let (proof, forks) = (of_plugin(&evidence, "checksum"), of_plugin(&evidence, "forks"));
    println!("a plugin that forks: {forks}");
    // The plugin itself and its launcher count too; far fewer would be another limit than the one meant here.
    let made_processes = forks["data"]["made"].as_u64().unwrap();
    assert!(made_processes > 400 && made_processes < 512, "{forks}");
    for proof in [proof, forks] {
        assert_eq!(proof["warnings"], Value::Null, "the ramdisk's kernel limits all: {proof}");
    }
    assert_eq!((&proof["sha256"], &proof["key_id"]), (&json!(made.sha256), &json!(made.key_id)));
    let sum = start_of_disk(&stage, &dir.join("start"));
    assert_eq!(proof["data"]["sha256"], json!({"/dev/nvme0n1": sum}), "{proof}");
    assert_eq!(fs::read(&stage.lab.inputs.ramdisk).unwrap(), ramdisk);
    let last = seen.last().unwrap();
    println!(
        "bundle: {} bytes; from its coming to the end of both steps: {seconds:.1} s (6 s of them a wait for the coordinator's look); \
         progress seen {} times, last {}/{}; base ramdisk: {} bytes, before and after",
        made.bytes,
        seen.len(),
        last["done"],
        last["total"],
        ramdisk.len(),
    );
    println!("evidence: {proof}");
}
