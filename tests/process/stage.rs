//! The real coordinator and the real agent in one process: the firmware between them is played by the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use ironwright_agent::cli::{Commands, Sandboxed, run_in_sandbox};
use ironwright_agent::heartbeat::Pace;
use ironwright_coordinator::power::{Drivers, Power};
use ironwright_coordinator::serve::{self, Running, ServeError};
use ironwright_coordinator::settings::Settings;
use ironwright_coordinator::store::sqlite::OpenError;
use lab::api::{self, Api, Node};
use lab::image_server::ImageServer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::image;

/// The MAC address of the node's only port.
pub(crate) const MAC: &str = "52:54:00:aa:00:01";
/// No wait is longer; generous, because these tests share the machine with others.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// The agent takes no smaller root disk without hints. A sparse file.
const DISK_BYTES: u64 = 5 << 30;

/// What the boot script tells the agent.
#[derive(Debug, Clone)]
pub(crate) struct KernelLine {
    pub(crate) nonce: String,
    pub(crate) tls_pin: String,
    pub(crate) api_url: String,
}

/// An agent at work.
pub(crate) struct Agent {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Agent {
    /// Stops it, as the supervisor does, and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// A coordinator with one node, a disk for its agent and an image server.
pub(crate) struct Stage {
    dir: TempDir,
    settings: Settings,
    power: Arc<dyn Power>,
    running: Option<Running>,
    pub(crate) api: Api,
    pub(crate) images: ImageServer,
    pub(crate) node: Uuid,
    pub(crate) disk: PathBuf,
    /// Whose plugins the agents of this stage trust.
    pub(crate) trust: Vec<PathBuf>,
}

impl Stage {
    /// An enrolled node of `driver`.
    pub(crate) async fn enrolled(
        driver: &str,
        driver_info: Value,
        tune: impl FnOnce(&mut Settings),
    ) -> Self {
        log();
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        tune(&mut settings);
        let power: Arc<dyn Power> = Arc::new(Drivers::new(&settings));
        let running = serve::start_with(settings.clone(), power.clone()).await.unwrap();
        // A restarted coordinator must be found where the first one was.
        settings.listen = running.operator;
        settings.provisioning.listen = running.provisioning;
        settings.provisioning.tls_listen = running.tls;
        let api = Api::new(format!("http://{}", running.operator)).unwrap();
        let images = ImageServer::start((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let disk = dir.path().join("disk");
        std::fs::File::create(&disk).unwrap().set_len(DISK_BYTES).unwrap();
        // Only power and boot device are fake: deploys are the agent's.
        let body = json!({
            "name": "n0", "driver": driver, "driver_info": driver_info,
            "deploy_interface": "direct", "boot_interface": "ipxe", "inspect_interface": "agent",
        });
        let node = api.create_node(&body).await.unwrap().uuid;
        api.create_port(node, MAC).await.unwrap();
        let (running, trust) = (Some(running), Vec::new());
        Self { dir, settings, power, running, api, images, node, disk, trust }
    }

    /// A fake machine in state `available`.
    pub(crate) async fn available() -> Self {
        Self::available_with(|_| {}).await
    }

    /// As [`Self::available`], with other settings.
    pub(crate) async fn available_with(tune: impl FnOnce(&mut Settings)) -> Self {
        let stage = Self::enrolled("fake-hardware", json!({}), tune).await;
        stage.ask("manage", "manageable").await;
        stage.ask("provide", "available").await;
        stage
    }

    /// A fake machine that is being deployed: `image` is served, the order stands, its agent has not started.
    pub(crate) async fn deploying(image: &[u8]) -> Self {
        let stage = Self::available().await;
        let file = stage.file("image.raw", image);
        stage.choose(&file).await;
        stage.order_deploy().await;
        stage
    }

    /// A file of this stage.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let file = self.path(name);
        std::fs::write(&file, content).unwrap();
        file
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Serves `file` and names it with its true digest in `instance_info`; returns the digest.
    pub(crate) async fn choose(&self, file: &Path) -> String {
        let (url, digest) = (self.images.add(file).unwrap(), image::sha256(file));
        self.choose_by(&url, &digest).await;
        digest
    }

    pub(crate) async fn choose_by(&self, url: &str, sha256: &str) {
        let fields = [
            ("/instance_info/image_source", json!(url)),
            ("/instance_info/image_os_hash_algo", json!("sha256")),
            ("/instance_info/image_os_hash_value", json!(sha256)),
        ];
        self.api.set(self.node, &fields).await.unwrap();
    }

    /// Asks for a provision state and waits until the node rests in `state`.
    pub(crate) async fn ask(&self, target: &str, state: &str) -> Node {
        self.api.provision(self.node, target, &json!({})).await.unwrap();
        self.rests_in(state).await
    }

    /// Orders a deploy with a config drive.
    pub(crate) async fn order_deploy(&self) {
        let drive = json!({ "meta_data": { "hostname": "n0" }, "user_data": "#!/bin/sh\n" });
        self.api.provision(self.node, "active", &json!({ "configdrive": drive })).await.unwrap();
    }

    pub(crate) async fn rests_in(&self, state: &str) -> Node {
        self.api.wait_for_state(self.node, state, LIMIT, |_, _| {}).await.unwrap()
    }

    /// Plays the firmware: fetches the boot script until it starts the ramdisk.
    pub(crate) async fn boot(&self) -> KernelLine {
        let url = format!("http://{}/boot/ipxe/{MAC}", self.provisioning());
        let client = api::http_client().unwrap();
        let mut script = String::new();
        until("a boot script with a kernel", async || {
            script = client.get(&url).send().await.unwrap().text().await.unwrap();
            script.contains("kernel --name")
        })
        .await;
        let value = |key: &str| {
            let found = script.split_ascii_whitespace().find_map(|word| word.strip_prefix(key));
            found.unwrap_or_else(|| panic!("{key} is not in {script}")).to_owned()
        };
        KernelLine {
            nonce: value("ironwright.nonce="),
            tls_pin: value("ironwright.tls="),
            api_url: value("ipa-api-url="),
        }
    }

    /// Starts the agent as the ramdisk would; the same stage's agents share one run directory.
    pub(crate) fn agent(&self, line: &KernelLine) -> Agent {
        let options = Sandboxed {
            api_url: line.api_url.clone(),
            root: PathBuf::from("/"),
            disks: vec![self.disk.clone()],
            macs: vec![MAC.to_owned()],
            nonce: Some(line.nonce.clone()),
            tls_pin: Some(line.tls_pin.clone()),
            run_dir: self.path("run"),
            trust: self.trust.clone(),
            pace: Some(Pace {
                interval: Duration::from_millis(250),
                failure: Duration::from_millis(100)..=Duration::from_millis(200),
            }),
            commands: Commands::default(),
        };
        let stop = CancellationToken::new();
        let told = stop.clone();
        let task = tokio::spawn(async move {
            run_in_sandbox(options, told).await.unwrap();
        });
        Agent { stop, task }
    }

    /// Boots the ramdisk and starts its agent.
    pub(crate) async fn boot_agent(&self) -> Agent {
        let line = self.boot().await;
        self.agent(&line)
    }

    /// Waits for `state` and returns its `last_error`.
    pub(crate) async fn fails_in(&self, state: &str) -> String {
        let mut error = None;
        until(&format!("state {state} with an error"), async || {
            let node = self.api.node(self.node).await.unwrap();
            assert_ne!(node.provision_state, "active");
            error = node.last_error;
            node.provision_state == state && error.is_some()
        })
        .await;
        error.unwrap()
    }

    /// Waits until the bytes of `image` at `offset` are on the disk.
    pub(crate) async fn reaches(&self, image: &[u8], offset: usize) {
        until("bytes on the disk", async || image::has_reached(&self.disk, image, offset)).await;
    }

    /// Cuts the coordinator off, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Starts the coordinator again, on the same database and addresses.
    pub(crate) async fn restart(&mut self) {
        assert!(self.running.is_none(), "it still runs");
        let mut started = None;
        until("the database of the coordinator that was cut off", async || {
            match serve::start_with(self.settings.clone(), self.power.clone()).await {
                Ok(running) => started = Some(running),
                Err(ServeError::Store(OpenError::Locked { .. })) => {}
                Err(error) => panic!("{error}"),
            }
            started.is_some()
        })
        .await;
        self.running = started;
    }

    /// The plain provisioning side.
    pub(crate) fn provisioning(&self) -> SocketAddr {
        self.settings.provisioning.listen.unwrap()
    }

    /// What `GET /v1/nodes/{node}{path}` answers.
    pub(crate) async fn about(&self, path: &str) -> Value {
        let path = format!("/v1/nodes/{}{path}", self.node);
        self.api.send(Method::GET, &path, None).await.unwrap()
    }

    /// The sentences of the node's history, oldest first.
    pub(crate) async fn history(&self) -> Vec<String> {
        let history = self.about("/history").await;
        let entries = history["history"].as_array().unwrap();
        entries.iter().map(|entry| entry["event"].as_str().unwrap().to_owned()).collect()
    }

    /// The proof of the image.
    pub(crate) async fn written(&self) -> Value {
        let evidence = self.api.evidence(self.node).await.unwrap();
        find(&evidence, &|value| value["proof"] == "written")
            .unwrap_or_else(|| panic!("nothing was written: {evidence}"))
    }
}

/// The first object in `value` that satisfies `wanted`.
fn find(value: &Value, wanted: &dyn Fn(&Value) -> bool) -> Option<Value> {
    if wanted(value) {
        return Some(value.clone());
    }
    match value {
        Value::Object(fields) => fields.values().find_map(|field| find(field, wanted)),
        Value::Array(items) => items.iter().find_map(|item| find(item, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Looks until `done`, at most [`LIMIT`].
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !done().await {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// `IRONWRIGHT_LOG=info` and `--nocapture` show what both sides say.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::from_env("IRONWRIGHT_LOG");
    // Fails where another test of this process was first.
    tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init().ok();
}

fn settings(dir: &Path) -> Settings {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut settings = Settings { listen: any, ..Settings::default() };
    settings.database = dir.join("db");
    settings.state_dir = dir.join("state");
    settings.enabled_hardware_types = vec!["fake-hardware".to_owned(), "ipmi".to_owned()];
    settings.enabled_hardware_types = vec!["fake-hardware".to_owned(), "ipmi".to_owned()];
    settings.provisioning.listen = Some(any);
    settings.provisioning.tls_listen = Some(any);
    settings.clean.automated = false;
    settings.clean.erase_devices_priority = Some(0);
    settings.ipmi.min_command_interval_ms = 0;
    settings.power.sync_interval = 0;
    settings
}
