//! Three machines are inspected, adopted and rescued. By SSH, as an operator would come, the machines' own tools are asked what
//! the agent had found: `lsblk`, `dmidecode`, `ip`, `ipmitool`, `lspci`. They are in an archive of this test only.

mod compare;
mod hardware;

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Method;
use lab::host::Program;
use lab::lab::{Lab, LabSpec};
use lab::runs::Inputs;
use serde_json::{Value, json};
use uuid::Uuid;

/// The password of the rescue systems.
const PASSWORD: &str = "obviously-not-secret";

/// Long enough for three machines at once under emulation.
const LIMIT: Duration = Duration::from_secs(420);

/// Puts the tools with their libraries into an archive, and the rescue archive behind it.
const PACK: &str = r#"
set -eu
tree=$1 rescue=$2 out=$3
mkdir -p "$tree/tools"
for tool in lsblk dmidecode ip ipmitool lspci; do
  path=$(command -v "$tool")
  cp -L "$path" "$tree/tools/"
  ldd "$path" | grep -o '/[^ )]*' | while read -r library; do
    mkdir -p "$tree$(dirname "$library")"
    cp -L "$library" "$tree$library"
  done
done
(cd "$tree" && find . -mindepth 1 | cpio --quiet -o -H newc) > "$out"
cat "$rescue" >> "$out"
rm -rf "$tree"
"#;

fn rescue_with_tools() -> PathBuf {
    let inputs = Inputs::of_this_run().unwrap();
    let dir = lab::runs::dir_of_this_run().unwrap();
    let (tree, out) = (dir.join("tools"), dir.join("rescue-with-tools"));
    let pack = Program::new("sh").args(["-c", PACK, "pack"]);
    pack.arg(&tree).arg(&inputs.rescue).arg(&out).text().unwrap();
    out
}

/// The lab, and its nodes by the index of their machines.
struct Stage {
    lab: Lab,
    nodes: Vec<Uuid>,
}

impl Stage {
    async fn start() -> Self {
        let mut spec = LabSpec::new(hardware::machines());
        spec.rescue = Some(rescue_with_tools());
        let lab = Lab::start(&spec).await.unwrap();
        let mut nodes = Vec::new();
        for index in 0..spec.machines.len() {
            let node = lab.enrol(index, &format!("n{index}")).await.unwrap().uuid;
            let fields = [
                ("/rescue_interface", json!("agent")),
                ("/driver_info/kernel_append_params", json!("%default% ipa-lldp-timeout=6")),
            ];
            lab.api.set(node, &fields).await.unwrap();
            nodes.push(node);
        }
        Self { lab, nodes }
    }

    /// Asks all nodes for `target` and waits until they rest in `state`.
    async fn all(&self, target: &str, more: &Value, state: &str) {
        for node in &self.nodes {
            self.lab.api.provision(*node, target, more).await.unwrap();
        }
        for node in &self.nodes {
            self.lab.api.wait_for_state(*node, state, LIMIT, |_, _| {}).await.unwrap();
        }
    }

    async fn get(&self, index: usize, path: &str) -> Value {
        let path = format!("/v1/nodes/{}{path}", self.nodes[index]);
        self.lab.api.send(Method::GET, &path, None).await.unwrap()
    }

    async fn history(&self, index: usize) -> String {
        self.get(index, "/history?detail=true").await.to_string()
    }

    /// The address from which the node's agent last spoke.
    async fn address(&self, index: usize) -> String {
        let history = self.history(index).await;
        let said = history.rsplit("the agent looked the node up from ").next().unwrap();
        said.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect()
    }
}

/// What `command` prints on the rescue system.
fn ssh(address: &str, password: &str, command: &str) -> Result<String, lab::host::HostError> {
    let target = format!("rescue@{address}");
    let client = Program::new("dbclient").args(["-y", "-y", "-T", &target, command]);
    client.env("DROPBEAR_PASSWORD", password).text()
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn tools_say_what_the_agent_found_and_a_rescue_lets_in_who_has_the_password() {
    let stage = Stage::start().await;
    // A system that was there before us, on the first machine.
    let image = stage.lab.inputs.image_small.clone().unwrap();
    let disk = stage.lab.rack.machines[0].disk(0);
    let convert = Program::new("qemu-img").args(["convert", "-n", "-O", "raw"]);
    convert.arg(&image).arg(&disk).text().unwrap();

    let switches = hardware::Switches::start();
    stage.all("manage", &json!({}), "manageable").await;
    stage.all("inspect", &json!({}), "manageable").await;
    let mut found = Vec::new();
    for index in 0..stage.nodes.len() {
        found.push(stage.get(index, "/inventory").await);
    }
    hardware::has_neighbours(&found[2]);
    hardware::loses_memory(&stage.lab.rack.machines[1]);
    stage.all("adopt", &json!({}), "active").await;
    stage.all("rescue", &json!({ "rescue_password": PASSWORD }), "rescue").await;
    drop(switches);

    for (index, found) in found.iter().enumerate() {
        let address = stage.address(index).await;
        println!("n{index} at {address}");
        compare::everything(found, index == 1, &|command| {
            ssh(&address, PASSWORD, command).unwrap()
        });
        let history = stage.history(index).await;
        assert!(history.contains("the ramdisk's network is up: "), "{history}");
    }
    what_vanished_is_said(&stage).await;
    only_the_password_opens(&stage).await;
    the_password_is_gone_with_the_rescue(&stage).await;
}

async fn what_vanished_is_said(stage: &Stage) {
    let same = stage.get(0, "/inventory/diff").await;
    assert_eq!(same["summary"], "nothing changed", "{same}");
    let less = stage.get(1, "/inventory/diff?since=inspect").await;
    let words = less["summary"].as_str().unwrap();
    assert!(words.contains("memory (MiB) changed from 1024 to 768"), "{less}");
    assert!(stage.history(1).await.contains("hardware changed since the last inspect"));
    println!("diff: {words}");
    let kept = stage.get(1, "/inventory/history").await;
    let occasions: Vec<&Value> =
        kept["inventories"].as_array().unwrap().iter().map(|one| &one["occasion"]).collect();
    assert_eq!(occasions, ["inspect", "rescue"]);
}

async fn only_the_password_opens(stage: &Stage) {
    let address = stage.address(0).await;
    let refused = ssh(&address, "guessed", "true").unwrap_err().to_string();
    println!("with another password: {}", refused.lines().last().unwrap_or_default());
    let mounted = ssh(
        &address,
        PASSWORD,
        "mkdir -p /mnt; for part in /dev/vda?*; do mount -t ext4 -o ro $part /mnt 2> /dev/null && grep -s ^ID= /mnt/etc/os-release; \
         umount /mnt 2> /dev/null; done; cat /etc/passwd",
    )
    .unwrap();
    assert!(mounted.contains("ID=debian"), "{mounted}");
    assert!(mounted.ends_with("rescue:x:0:0:rescue:/root:/bin/sh\n"), "{mounted}");
    assert_eq!(mounted.matches("sh\n").count(), 1, "{mounted}");
}

async fn the_password_is_gone_with_the_rescue(stage: &Stage) {
    let mut said = stage.history(0).await;
    for path in ["", "/progress", "/explain", "/states", "/plan"] {
        said.push_str(&stage.get(0, path).await.to_string());
    }
    said.push_str(&std::fs::read_to_string(stage.lab.coordinator.log()).unwrap());
    said.push_str(&stage.lab.rack.machines[0].console().text());
    assert!(!said.contains(PASSWORD) && !said.contains("$6$"), "{said}");
    let folder = stage.lab.dir.join("coordinator");
    for file in ["ironwright.db", "ironwright.db-wal"] {
        let bytes = std::fs::read(folder.join(file)).unwrap_or_default();
        let holds = bytes.windows(PASSWORD.len()).any(|words| words == PASSWORD.as_bytes());
        assert!(!holds, "{file} holds the password");
    }
    let address = stage.address(0).await;
    stage.lab.api.provision(stage.nodes[0], "unrescue", &json!({})).await.unwrap();
    stage.lab.api.wait_for_state(stage.nodes[0], "active", LIMIT, |_, _| {}).await.unwrap();
    let console = stage.lab.rack.machines[0].console();
    let words = console.wait_for("IMAGE-READY", Duration::from_secs(180)).await.unwrap();
    println!("after unrescue: {}", words.trim());
    assert!(ssh(&address, PASSWORD, "true").is_err(), "the rescue system still lets in");
}
