//! A lab with one node that is ready to be deployed to, and the words the tests share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::Firmware;
use lab::api::{Node, NodeProgress};
use lab::lab::{Lab, LabSpec, MachineSpec};
use serde_json::{Value, json};
use uuid::Uuid;

/// Long enough for a deploy of the small image under emulation on a loaded machine.
pub(crate) const DEPLOY: Duration = Duration::from_secs(420);

/// The name every deployed host is given.
pub(crate) const HOSTNAME: &str = "deployed-by-ironwright";

/// A lab with machine 0 enrolled.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) node: Uuid,
    /// What the deployed system's user-data says on the console.
    pub(crate) marker: String,
}

impl Stage {
    /// A node in state `available`; automated cleaning is off, so no ramdisk has run yet.
    pub(crate) async fn available(firmware: Firmware, tune: impl FnOnce(&mut LabSpec)) -> Self {
        let mut spec = LabSpec::new(vec![MachineSpec::new(firmware)]);
        spec.deadlines.agent_silent = 25;
        tune(&mut spec);
        let lab = Lab::start(&spec).await.unwrap();
        let node = lab.enrol(0, "n0").await.unwrap().uuid;
        lab.api.set(node, &[("/automated_clean", json!(false))]).await.unwrap();
        lab.api.provision(node, "manage", &json!({})).await.unwrap();
        let stage = Self { lab, node, marker: format!("MARK-{}", Uuid::new_v4().simple()) };
        stage.wait("manageable").await;
        stage.lab.api.provision(node, "provide", &json!({})).await.unwrap();
        stage.wait("available").await;
        stage
    }

    /// Sets `instance_info` to this image with its true digest; returns the digest.
    pub(crate) async fn choose(&self, image: &Path) -> String {
        let url = self.lab.images.add(image).unwrap();
        let sha256 = sha256(image);
        let fields = [
            ("/instance_info/image_source", json!(url)),
            ("/instance_info/image_os_hash_algo", json!("sha256")),
            ("/instance_info/image_os_hash_value", json!(sha256)),
        ];
        self.lab.api.set(self.node, &fields).await.unwrap();
        sha256
    }

    /// Orders the deploy, with a config drive whose user-data says the marker.
    pub(crate) async fn deploy(&self) {
        self.lab.api.provision(self.node, "active", &self.config_drive()).await.unwrap();
    }

    pub(crate) fn config_drive(&self) -> Value {
        let script = format!("#!/bin/sh\necho {} on $(hostname) > /dev/ttyS0\n", self.marker);
        json!({ "configdrive": { "meta_data": { "hostname": HOSTNAME, "name": HOSTNAME }, "user_data": script } })
    }

    /// The small image of this run.
    pub(crate) fn image(&self) -> PathBuf {
        self.lab.inputs.image_small.clone().unwrap()
    }

    /// Waits for a resting state.
    pub(crate) async fn wait(&self, state: &str) -> Node {
        let (mut last, mut rss_peak) = (String::new(), 0);
        let node = self
            .lab
            .api
            .wait_for_state(self.node, state, DEPLOY, |node, progress| {
                let line = format!("{} {:?}", node.provision_state, progress.phase);
                if let Some(now) = &progress.progress {
                    rss_peak = rss_peak.max(now.rss_peak);
                }
                if line != last {
                    println!("state: {line}");
                    last = line;
                }
            })
            .await
            .unwrap();
        if rss_peak > 0 {
            println!("peak memory of the agent: {} KiB", rss_peak >> 10);
        }
        node
    }

    /// Waits for a failure and returns its text.
    pub(crate) async fn wait_for_failure(&self, state: &str) -> String {
        let end = std::time::Instant::now() + DEPLOY;
        loop {
            let node = self.lab.api.node(self.node).await.unwrap();
            if node.provision_state == state && node.last_error.is_some() {
                return node.last_error.unwrap_or_default();
            }
            assert!(std::time::Instant::now() < end, "still {node:?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Waits until the progress satisfies `wanted`.
    pub(crate) async fn wait_for_progress(
        &self,
        what: &str,
        wanted: impl Fn(&NodeProgress) -> bool,
    ) {
        let end = std::time::Instant::now() + DEPLOY;
        loop {
            let progress = self.lab.api.progress(self.node).await.unwrap_or_default();
            if wanted(&progress) {
                return;
            }
            let node = self.lab.api.node(self.node).await.unwrap();
            assert!(!node.has_failed(), "waiting for {what}: {node:?}");
            assert!(node.provision_state != "active", "missed {what}: {node:?}");
            assert!(std::time::Instant::now() < end, "waiting for {what}: {progress:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the agent has written at least `bytes` of the image.
    pub(crate) async fn wait_for_bytes(&self, bytes: u64) {
        self.wait_for_progress("bytes of the image", |now| {
            now.progress.as_ref().is_some_and(|now| now.step == "write_image" && now.bytes >= bytes)
        })
        .await;
    }

    /// The deployed system says its host name and the marker on the serial console.
    pub(crate) async fn speaks(&self) -> String {
        let words = format!("{} on {HOSTNAME}", self.marker);
        self.lab.rack.machines[0]
            .console()
            .wait_for(&words, Duration::from_secs(180))
            .await
            .unwrap()
    }

    /// Waits for `active` and the deployed system's own words.
    pub(crate) async fn ends_well(&self) {
        self.wait("active").await;
        println!("console: {}", self.speaks().await.trim());
    }

    /// The node's history, with the sentences.
    pub(crate) async fn history(&self) -> String {
        let path = format!("/v1/nodes/{}/history?detail=true", self.node);
        self.lab.api.send(axum::http::Method::GET, &path, None).await.unwrap().to_string()
    }

    /// Whether a firmware would start what the disk holds: a boot signature in LBA 0 (a GPT needs it too: its protective MBR).
    pub(crate) fn disk_boots(&self) -> bool {
        let disk = std::fs::File::open(self.lab.rack.machines[0].disk(0)).unwrap();
        let mut head = [0_u8; 512];
        std::os::unix::fs::FileExt::read_exact_at(&disk, &mut head, 0).unwrap();
        head[510..] == [0x55, 0xaa]
    }

    /// Whether a file system with the config drive's label stands in the last 128 MiB of the disk.
    pub(crate) fn has_config_drive(&self) -> bool {
        let disk = std::fs::File::open(self.lab.rack.machines[0].disk(0)).unwrap();
        let mut last = vec![0_u8; 128 << 20];
        let end = disk.metadata().unwrap().len();
        let start = end - last.len() as u64;
        std::os::unix::fs::FileExt::read_exact_at(&disk, &mut last, start).unwrap();
        let label = |window: &[u8]| window.eq_ignore_ascii_case(b"config-2");
        last.chunks(512).any(|sector| sector.windows(8).any(label))
    }

    /// Whether the machine's disk has a partition table: an MBR signature or a GPT header at either end.
    pub(crate) fn disk_has_partition_table(&self) -> bool {
        let mut head = [0_u8; 4096 + 512];
        let disk = std::fs::File::open(self.lab.rack.machines[0].disk(0)).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&disk, &mut head, 0).unwrap();
        let end = disk.metadata().unwrap().len();
        let mut last = [0_u8; 512];
        std::os::unix::fs::FileExt::read_exact_at(&disk, &mut last, end - 512).unwrap();
        head[510..512] == [0x55, 0xaa]
            || &head[512..520] == b"EFI PART"
            || &last[..8] == b"EFI PART"
    }
}

/// Digest of a file, by the system's own program.
pub(crate) fn sha256(file: &Path) -> String {
    let text = lab::host::run("sha256sum", &[file.to_str().unwrap()]).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}
