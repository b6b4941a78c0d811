//! `cargo lab matrix`: agents and coordinators of two commits, each with each. A data centre never updates both at once.
//!
//! Each pair deploys one image to a sparse file: the programs as people run them, on loopback, with power and boot device played
//! by the coordinator's own driver for machines that exist only in the record, and the firmware by this file.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::api::{self, Api};
use crate::artifacts::revision::{Pair, Revision};
use crate::host::{self, Program};
use crate::image_server::ImageServer;
use crate::runs;

/// The MAC address of the node's port.
const MAC: &str = "52:54:00:aa:00:01";
/// The agent takes no smaller root disk without hints; a sparse file, bytes.
const DISK_BYTES: u64 = 5 << 30;
/// The image, and where its only partition begins, bytes.
const IMAGE_BYTES: usize = 8 << 20;
const PARTITION_AT: usize = 1 << 20;
/// No step takes longer on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Options of `cargo lab matrix`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The commit beside these sources
    #[arg(default_value = "HEAD^")]
    revision: String,
}

/// Builds both, deploys with each pair, and prints a table. The exit code is failure where a pair failed.
///
/// # Errors
///
/// When one of them cannot be built.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let revision = Revision::of(&options.revision).context("finding the commit")?;
    let pairs = [Pair::today()?, revision.pair().context("building the commit")?];
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let (mut table, mut failed) = (String::new(), false);
    for coordinator in &pairs {
        for agent in &pairs {
            let dir = runs::create("matrix")?;
            let begun = Instant::now();
            let result = runtime.block_on(deploy(&dir, &agent.agent, &coordinator.coordinator));
            runs::drop_disks(&dir);
            let seconds = begun.elapsed().as_secs_f64();
            failed |= result.is_err();
            let said = result.unwrap_or_else(|error| format!("FAILED: {error:#}"));
            let (one, other) = (&coordinator.name, &agent.name);
            writeln!(table, "| {one} | {other} | {seconds:.1} | {said} |")?;
        }
    }
    let head = "| coordinator | agent | seconds | deploy |\n|---|---|---|---|\n";
    std::io::stdout().write_all(format!("{head}{table}").as_bytes())?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One deploy with a config drive by these two programs; what is proven of it.
async fn deploy(dir: &Path, agent: &Path, coordinator: &Path) -> anyhow::Result<String> {
    let [operator, provisioning, tls] = free_ports()?;
    let log = dir.join("coordinator.log");
    // Only named in the boot script: nothing here loads them.
    for name in ["vmlinuz", "initrd"] {
        fs::write(dir.join(name), name)?;
    }
    fs::write(dir.join("coordinator.toml"), settings(dir, [operator, provisioning, tls]))?;
    let mut serving = Program::new(coordinator)
        .args(["serve", "--config", "coordinator.toml"])
        .dir(dir)
        .service(&log)?;
    let api = Api::new(format!("http://127.0.0.1:{operator}"))?;
    let end = Instant::now() + LIMIT;
    while !api.answers().await {
        let ended = serving.ended()?;
        if ended.is_some() || Instant::now() > end {
            bail!("the coordinator does not answer:\n{}", host::tail(&log, 15));
        }
        tokio::time::sleep(LOOK).await;
    }
    let images = ImageServer::start((Ipv4Addr::LOCALHOST, 0)).await?;
    let (image, disk) = (image(), dir.join("disk.img"));
    fs::File::create(&disk)?.set_len(DISK_BYTES)?;
    fs::write(dir.join("image.raw"), &image)?;
    let body = json!({
        "name": "n0", "driver": "fake-hardware", "deploy_interface": "direct", "boot_interface": "ipxe",
        "automated_clean": false,
        "instance_info": {
            "image_source": images.add(&dir.join("image.raw"))?, "image_os_hash_algo": "sha256",
            "image_os_hash_value": hex(&Sha256::digest(&image)),
        },
    });
    let node = api.create_node(&body).await?.uuid;
    api.create_port(node, MAC).await?;
    for (verb, state) in [("manage", "manageable"), ("provide", "available")] {
        api.provision(node, verb, &json!({})).await?;
        api.wait_for_state(node, state, LIMIT, |_, _| {}).await?;
    }
    let drive =
        json!({"configdrive": {"meta_data": {"hostname": "n0"}, "user_data": "#!/bin/sh\n"}});
    api.provision(node, "active", &drive).await?;
    let line = boot(&format!("http://127.0.0.1:{provisioning}/boot/ipxe/{MAC}")).await?;
    let words =
        ["ipa-api-url=", "ironwright.nonce=", "ironwright.tls="].map(|key| value(&line, key));
    let [api_url, nonce, pin] = words;
    let agent_log = dir.join("agent.log");
    let _agent = Program::new(agent)
        .args(["run", "--api-url", &api_url?, "--nonce", &nonce?, "--tls-pin", &pin?, "--mac", MAC])
        .arg("--disk")
        .arg(&disk)
        .arg("--run-dir")
        .arg(dir.join("run"))
        .service(&agent_log)?;
    let done = api.wait_for_state(node, "active", LIMIT, |_, _| {}).await;
    done.with_context(|| format!("the agent's log ends with:\n{}", host::tail(&agent_log, 8)))?;
    check(&disk, &image)?;
    let evidence = api.evidence(node).await?.to_string();
    ensure!(evidence.contains("\"proven\":true"), "the deploy has no proof: {evidence}");
    Ok("active, on the disk, proven".to_owned())
}

/// Plays the firmware: the boot script, as soon as it starts the ramdisk.
async fn boot(url: &str) -> anyhow::Result<String> {
    let (client, end) = (api::http_client()?, Instant::now() + LIMIT);
    loop {
        let script = client.get(url).send().await?.text().await?;
        if script.contains("ironwright.nonce=") {
            return Ok(script);
        }
        ensure!(Instant::now() < end, "the boot script starts no ramdisk:\n{script}");
        tokio::time::sleep(LOOK).await;
    }
}

fn value(script: &str, key: &str) -> anyhow::Result<String> {
    let found = script.split_ascii_whitespace().find_map(|word| word.strip_prefix(key));
    found.map(str::to_owned).with_context(|| format!("{key} is not in the boot script:\n{script}"))
}

/// Only what every coordinator knows: unknown keys are refused.
fn settings(dir: &Path, [operator, provisioning, tls]: [u16; 3]) -> String {
    let path = |name: &str| toml::Value::String(dir.join(name).display().to_string());
    format!(
        "listen = \"127.0.0.1:{operator}\"\nenabled_hardware_types = [\"fake-hardware\"]\ndatabase = {}\nstate_dir = {}\n\
         [provisioning]\nlisten = \"127.0.0.1:{provisioning}\"\ntls_listen = \"127.0.0.1:{tls}\"\n\
         [boot]\nkernel = {}\nramdisk = {}\n",
        path("db"),
        path("state"),
        path("vmlinuz"),
        path("initrd"),
    )
}

/// Ports that nobody has now. They are free again when this returns: a run that loses one fails and says so.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let taken = [bind()?, bind()?, bind()?];
    let [one, two, three] =
        [taken[0].local_addr()?, taken[1].local_addr()?, taken[2].local_addr()?];
    Ok([one.port(), two.port(), three.port()])
}

/// A raw image with a master boot record and one partition of bytes that do not repeat.
fn image() -> Vec<u8> {
    let mut image = vec![0; IMAGE_BYTES];
    for (at, word) in image[PARTITION_AT..].chunks_mut(8).enumerate() {
        word.copy_from_slice(&(at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    // Status, CHS, type (Linux), CHS, first sector, sectors.
    let entry: [u8; 16] = [0x80, 0, 2, 0, 0x83, 0xff, 0xff, 0xff, 0, 8, 0, 0, 0, 0x38, 0, 0];
    image[446..462].copy_from_slice(&entry);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

/// The image's partition is on the disk, and there is a second one, for the config drive.
fn check(disk: &Path, image: &[u8]) -> anyhow::Result<()> {
    let mut found = vec![0; image.len()];
    fs::File::open(disk)?.read_exact_at(&mut found, 0)?;
    ensure!(found[PARTITION_AT..] == image[PARTITION_AT..], "the disk differs from the image");
    ensure!(found[450] == 0x83 && found[466] != 0, "the table has not two partitions");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_toml_and_the_image_has_one_partition_up_to_its_end() {
        let table: toml::Table = toml::from_str(&settings(Path::new("/x"), [1, 2, 3])).unwrap();
        assert_eq!(table["boot"]["kernel"].as_str(), Some("/x/vmlinuz"));
        let image = image();
        let field = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
        assert_eq!((field(454) as usize * 512, field(458) as usize * 512), (PARTITION_AT, 7 << 20));
    }

    #[test]
    fn a_word_of_the_boot_script_is_found_by_its_key() {
        let script =
            "kernel --name vmlinuz http://h/k ipa-api-url=https://h:1 ironwright.nonce=ab && boot";
        assert_eq!(value(script, "ironwright.nonce=").unwrap(), "ab");
        assert!(value(script, "ironwright.tls=").is_err());
    }
}
