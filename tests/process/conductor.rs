//! The real Ironic conductor drives our agent, in a sandbox on a sparse file, through a machine's whole life. Ironic comes from PyPI,
//! so `cargo lab test` runs this, after it installed it; `cargo test` alone does not.
//!
//! Only the firmware is played by the test: where a machine would boot the ramdisk, an agent is started with what Ironic put on
//! the kernel command line.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::http::Method;
use ironwright_agent::cli::{Commands, Sandboxed, run_in_sandbox};
use ironwright_agent::heartbeat::Pace;
use ironwright_agent::sys::Effect;
use lab::image_server::ImageServer;
use lab::ironic::{Ironic, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::image;
use crate::plugin::Shelf;

const MAC: &str = "52:54:00:aa:00:02";
/// Small, so that erasing all of it is quick.
const DISK_BYTES: u64 = 256 << 20;
/// Room for an EFI system partition, a config drive and a root of 1 GiB; sparse, and not erased.
const PARTITIONED_BYTES: u64 = 2 << 30;
/// Of a partition image's file system.
const ROOT_UUID: &str = "0badf00d-1122-4344-8566-778899aabbcc";
/// A conductor on a busy machine takes its time.
const LIMIT: Duration = Duration::from_secs(120);

/// An Ironic with one node, and the machine that the node is.
struct Bench {
    ironic: Ironic,
    images: ImageServer,
    node: Uuid,
    dir: TempDir,
    base: String,
    shelf: Shelf,
}

impl Bench {
    async fn start(disk_bytes: u64) -> Self {
        crate::stage::log();
        let dir = tempfile::tempdir().unwrap();
        fs::File::create(dir.path().join("disk")).unwrap().set_len(disk_bytes).unwrap();
        machine(&dir.path().join("root"));
        let port = free_port();
        let settings = Settings {
            address: Ipv4Addr::LOCALHOST.into(),
            port,
            http_url: "http://127.0.0.1:9".to_owned(),
            more: String::new(),
        };
        let run = dir.path().join("ironic");
        fs::create_dir(&run).unwrap();
        let images = ImageServer::start((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let begun = Instant::now();
        let ironic = Ironic::start(&run, &settings).await.unwrap();
        println!("{:6.1} s  Ironic answers", begun.elapsed().as_secs_f64());
        let file = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            images.add(&path).unwrap()
        };
        let (kernel, ramdisk) = (file("vmlinuz"), file("initrd"));
        let disk = dir.path().join("disk").canonicalize().unwrap();
        let body = json!({
            "name": "n0", "driver": "fake-hardware", "power_interface": "fake", "management_interface": "noop",
            "raid_interface": "agent", "network_interface": "noop", "boot_interface": "ipxe",
            "deploy_interface": "direct", "inspect_interface": "agent", "rescue_interface": "agent",
            "driver_info": {
                "deploy_kernel": kernel, "deploy_ramdisk": ramdisk,
                "rescue_kernel": kernel, "rescue_ramdisk": ramdisk,
            },
            "properties": {"root_device": {"name": disk}, "capabilities": "boot_mode:uefi"},
        });
        let node = ironic.api.create_node(&body).await.unwrap().uuid;
        ironic.api.create_port(node, MAC).await.unwrap();
        let base = format!("http://127.0.0.1:{port}");
        Self { ironic, images, node, dir, base, shelf: Shelf::new() }
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// Chooses `content` as the node's image; `digest` instead of its own where one is given.
    async fn choose(&self, content: &[u8], digest: Option<&str>) -> (String, String) {
        let file = self.dir.path().join("image.raw");
        fs::write(&file, content).unwrap();
        let url = self.images.add(&file).unwrap();
        let digest = digest.map_or_else(|| image::sha256(&file), str::to_owned);
        let fields = [
            ("/instance_info/image_source", json!(url)),
            ("/instance_info/image_os_hash_algo", json!("sha256")),
            ("/instance_info/image_os_hash_value", json!(digest)),
        ];
        self.ironic.api.set(self.node, &fields).await.unwrap();
        (url, digest)
    }

    async fn about(&self, path: &str) -> Value {
        let path = format!("/v1/nodes/{}{path}", self.node);
        self.ironic.api.send(Method::GET, &path, None).await.unwrap()
    }

    /// Asks for `verb`, boots the ramdisk when the node waits for it in `wait`, and waits until the node rests in `state`. Returns
    /// what the agent would have done to the machine.
    async fn walk(&self, verb: &str, more: Value, wait: &str, state: &str) -> Vec<Effect> {
        let begun = Instant::now();
        self.ironic.api.provision(self.node, verb, &more).await.unwrap();
        self.comes_to(wait, false).await;
        let stop = CancellationToken::new();
        let agent = tokio::spawn(run_in_sandbox(self.agent(verb), stop.clone()));
        self.comes_to(state, true).await;
        stop.cancel();
        let effects = agent.await.unwrap().unwrap();
        println!("{:6.1} s  {verb}: {state}; {effects:?}", begun.elapsed().as_secs_f64());
        effects
    }

    /// As Ironic's kernel command lines have it: a managed inspection names its callback only.
    fn agent(&self, verb: &str) -> Sandboxed {
        let inspects = verb == "inspect";
        let callback = format!("{}/v1/continue_inspection", self.base);
        Sandboxed {
            api_url: if inspects { String::new() } else { self.base.clone() },
            root: self.dir.path().join("root"),
            disks: vec![self.disk()],
            macs: vec![MAC.to_owned()],
            nonce: None,
            tls_pin: None,
            run_dir: self.dir.path().join(format!("run-{}", Uuid::new_v4())),
            trust: vec![self.shelf.path("author.pub")],
            pace: Some(Pace {
                interval: Duration::from_secs(1),
                failure: Duration::from_millis(500)..=Duration::from_secs(1),
            }),
            commands: Commands {
                inspection_url: inspects.then_some(callback),
                port: 0,
                plugins: Some(self.shelf.path("plugins")),
            },
        }
    }

    async fn comes_to(&self, state: &str, rests: bool) {
        let end = Instant::now() + LIMIT;
        loop {
            let node = self.ironic.api.node(self.node).await.unwrap();
            let there = node.provision_state == state;
            if there && (!rests || node.has_failed() || node.target_provision_state.is_none()) {
                return;
            }
            assert!(
                (there || !node.has_failed()) && Instant::now() < end,
                "{} instead of {state}: {:?}\n{}",
                node.provision_state,
                node.last_error,
                self.ironic.tail()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// A machine's files, as far as an inspection needs them: one network card, and this kernel's own `/proc`.
fn machine(root: &Path) {
    let card = root.join("sys/class/net/eth0");
    fs::create_dir_all(card.join("device")).unwrap();
    for (name, text) in [("address", MAC), ("carrier", "1"), ("speed", "1000")] {
        fs::write(card.join(name), format!("{text}\n")).unwrap();
    }
    std::os::unix::fs::symlink("/proc", root.join("proc")).unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Whether `text` is somewhere on the disk.
fn holds(disk: &Path, text: &[u8]) -> bool {
    let bytes = fs::read(disk).unwrap();
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Ironic from PyPI: cargo lab test installs it and runs this"]
async fn a_real_conductor_drives_our_agent_through_a_machines_whole_life() {
    let bench = Bench::start(DISK_BYTES).await;
    let none = || json!({});
    bench.ironic.api.provision(bench.node, "manage", &none()).await.unwrap();
    bench.comes_to("manageable", true).await;

    bench.walk("inspect", none(), "inspect wait", "manageable").await;
    let inventory = bench.about("/inventory").await;
    assert_eq!(inventory["inventory"]["interfaces"][0]["mac_address"], MAC, "{inventory}");

    fs::write(bench.disk(), vec![0xa5; usize::try_from(DISK_BYTES).unwrap()]).unwrap();
    bench.walk("provide", none(), "clean wait", "available").await;
    assert!(
        fs::read(bench.disk()).unwrap().iter().all(|byte| *byte == 0),
        "automated cleaning erases"
    );

    let content = image::gpt(24);
    let drive =
        json!({"configdrive": {"meta_data": {"hostname": "n0"}, "user_data": "#fake-user-data"}});
    bench.choose(&content, Some(&"0".repeat(64))).await;
    bench.walk("active", drive.clone(), "wait call-back", "deploy failed").await;
    let error = bench.about("").await["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("sha256"), "the conductor shows our words: {error}");
    assert!(!image::has_partition_table(&bench.disk()));
    let logs = fs::read_dir(bench.ironic.folder().join("deploylogs")).unwrap().count();
    assert_eq!(logs, 1, "the conductor keeps our logs");

    let (url, digest) = bench.choose(&content, None).await;
    let effects = bench.walk("active", drive, "wait call-back", "active").await;
    assert_eq!(effects, [Effect::PowerOff]);
    assert!(image::is_on(&bench.disk(), &content));
    assert!(holds(&bench.disk(), b"#fake-user-data"), "the config drive is on the disk");

    let password = json!({"rescue_password": "fake-password"});
    let effects = bench.walk("rescue", password, "rescue wait", "rescue").await;
    assert_eq!(effects, [Effect::Rescue]);
    bench.ironic.api.provision(bench.node, "unrescue", &none()).await.unwrap();
    bench.comes_to("active", true).await;

    let other = image::gpt(16);
    let file = bench.dir.path().join("other.raw");
    fs::write(&file, &other).unwrap();
    let info = json!({
        "id": "other", "urls": [bench.images.add(&file).unwrap()], "os_hash_algo": "sha256",
        "os_hash_value": image::sha256(&file), "disk_format": "raw",
    });
    let step = json!({"interface": "deploy", "step": "write_image", "args": {"image_info": info}});
    bench.walk("service", json!({"service_steps": [step]}), "service wait", "active").await;
    assert!(image::is_on(&bench.disk(), &other));
    assert!(!url.is_empty() && !digest.is_empty());

    bench.walk("deleted", none(), "clean wait", "available").await;
    assert!(!image::has_partition_table(&bench.disk()));
    assert!(fs::read(bench.disk()).unwrap().iter().all(|byte| *byte == 0));

    bench.ironic.api.provision(bench.node, "manage", &none()).await.unwrap();
    bench.comes_to("manageable", true).await;
    fs::write(bench.disk(), vec![0xa5; usize::try_from(DISK_BYTES).unwrap()]).unwrap();
    let step = json!([{"interface": "deploy", "step": "erase_devices_metadata"}]);
    bench.walk("clean", json!({ "clean_steps": step }), "clean wait", "manageable").await;
    assert!(!image::has_partition_table(&bench.disk()));
    raid(&bench).await;
}

/// A fake plugin's step of the interface `raid`: it gets what the node's record asks for, and what it says it built is kept there.
async fn raid(bench: &Bench) {
    let step = json!({
        "name": "create_configuration", "interface": "raid", "safety": "destroys",
        "argsinfo": {"target_raid_config": {"description": "what to build", "type": "object"}},
    });
    let built = r#"{"logical_disks":[{"size_gb":1,"raid_level":"1","controller":"software"}]}"#;
    let script = format!(
        r#"case $request in *target_raid_config*MAX*) echo '{{"type":"result","outcome":"changed","message":"built","data":{built}}}' ;; esac"#
    );
    bench.shelf.fake_with("1.0", &step, &script);
    let wanted =
        json!({"logical_disks": [{"size_gb": "MAX", "raid_level": "1", "controller": "software"}]});
    let path = format!("/v1/nodes/{}/states/raid", bench.node);
    bench.ironic.api.send(Method::PUT, &path, Some(&wanted)).await.unwrap();
    let step = json!([{"interface": "raid", "step": "create_configuration"}]);
    bench.walk("clean", json!({ "clean_steps": step }), "clean wait", "manageable").await;
    let node = bench.about("").await;
    assert_eq!(node["raid_config"]["logical_disks"][0]["size_gb"], 1, "{node}");
}

/// An ext4 file system with a loader for its EFI system partition.
fn partition_image(folder: &Path) -> Vec<u8> {
    let (tree, file) = (folder.join("tree"), folder.join("root.raw"));
    let loader = tree.join("boot/efi/EFI/BOOT");
    fs::create_dir_all(&loader).unwrap();
    fs::write(loader.join("BOOTX64.EFI"), vec![0x5a; 300_000]).unwrap();
    let (tree, image) = (tree.display().to_string(), file.display().to_string());
    let words = ["-q", "-t", "ext4", "-U", ROOT_UUID, "-d", &tree, &image, "64M"];
    lab::host::run("mke2fs", &words).unwrap();
    fs::read(file).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Ironic from PyPI: cargo lab test installs it and runs this"]
async fn a_real_conductor_deploys_a_partition_image_and_learns_its_uuids() {
    let bench = Bench::start(PARTITIONED_BYTES).await;
    fs::create_dir_all(bench.dir.path().join("root/sys/firmware/efi")).unwrap();
    bench.ironic.api.set(bench.node, &[("/automated_clean", json!(false))]).await.unwrap();
    for (verb, state) in [("manage", "manageable"), ("provide", "available")] {
        bench.ironic.api.provision(bench.node, verb, &json!({})).await.unwrap();
        bench.comes_to(state, true).await;
    }
    let content = partition_image(bench.dir.path());
    let (url, _) = bench.choose(&content, None).await;
    // Ironic's way to say that an image is for a partition; it is started by its own loader, not by these.
    let fields = [
        ("/instance_info/kernel", json!(url)),
        ("/instance_info/ramdisk", json!(url)),
        ("/instance_info/root_gb", json!(1)),
    ];
    bench.ironic.api.set(bench.node, &fields).await.unwrap();
    let drive = json!({"configdrive": {"meta_data": {"hostname": "n0"}}});
    let effects = bench.walk("active", drive, "wait call-back", "active").await;
    assert_eq!(effects.last(), Some(&Effect::PowerOff), "{effects:?}");
    let node = bench.about("").await;
    assert_eq!(node["driver_internal_info"]["root_uuid_or_disk_id"], ROOT_UUID, "{node}");
    assert!(image::has_partition_table(&bench.disk()));
    // Behind the first MiB, the EFI system partition and the config drive.
    let mut found = vec![0; content.len()];
    let disk = fs::File::open(bench.disk()).unwrap();
    disk.read_exact_at(&mut found, (1 + 550 + 64) << 20).unwrap();
    assert!(found == content, "the image is in its partition");
}
