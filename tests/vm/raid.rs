//! Software RAID on whole machines: built by the plugin with the real mdadm, deployed to, booted, booted without a member, deleted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use axum::http::Method;
use lab::Firmware;
use lab::machine::{Bus, DiskSpec};
use lab::serial::Console;
use serde_json::{Value, json};

use crate::stage::{HOSTNAME, Stage};

/// Bytes of each disk.
const DISK_BYTES: u64 = 2 << 30;

/// First bytes of an array's label, as it is on a disk (Linux `MD_SB_MAGIC`, little-endian).
const LABEL: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();

/// How long the deployed system may take to speak, without a member too.
const BOOT: Duration = Duration::from_secs(240);

/// A node with two equal disks, whose coordinator offers the RAID plugin, and what is said as its test goes on.
struct Mirror {
    stage: Stage,
    began: Instant,
}

impl Mirror {
    /// The node is `manageable`, and a mirror over all of both disks is wanted.
    async fn wanted(firmware: Firmware) -> Self {
        let stage = Stage::available(firmware, |lab| {
            let disk = |serial: &str| DiskSpec {
                bus: Bus::VirtioBlk,
                bytes: DISK_BYTES,
                serial: serial.to_owned(),
                sector_bytes: 512,
                write_limit: None,
            };
            lab.machines[0].disks = vec![disk("LAB-ONE"), disk("LAB-TWO")];
            lab.plugins = vec!["raid-mdadm"];
        })
        .await;
        stage.lab.offer("raid-mdadm").unwrap();
        // The coordinator looks every 5 s.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let raid = [("/raid_interface", json!("agent"))];
        stage.lab.api.set(stage.node, &raid).await.unwrap();
        let mirror = Self { stage, began: Instant::now() };
        let target = json!({"logical_disks": [
            {"size_gb": "MAX", "raid_level": "1", "controller": "software", "volume_name": "root", "is_root_volume": true},
        ]});
        mirror.call(Method::PUT, "/states/raid", Some(&target)).await;
        mirror.goes("manage", "manageable").await;
        mirror
    }

    fn say(&self, what: &str) {
        println!("{:.1} s: {what}", self.began.elapsed().as_secs_f64());
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let path = format!("/v1/nodes/{}{path}", self.stage.node);
        self.stage.lab.api.send(method, &path, body).await.unwrap()
    }

    /// The node's `raid_config`.
    async fn config(&self) -> Value {
        self.call(Method::GET, "", None).await["raid_config"].clone()
    }

    async fn goes(&self, verb: &str, state: &str) {
        self.stage.lab.api.provision(self.stage.node, verb, &json!({})).await.unwrap();
        self.stage.wait(state).await;
    }

    async fn clean_automatically(&self, automated: bool) {
        let field = [("/automated_clean", json!(automated))];
        self.stage.lab.api.set(self.stage.node, &field).await.unwrap();
    }

    /// Performs a clean step by hand; the node is left `manageable`.
    async fn clean(&self, step: &str) {
        let steps = json!({"clean_steps": [{"interface": "raid", "step": step}]});
        self.stage.lab.api.provision(self.stage.node, "clean", &steps).await.unwrap();
        self.stage.wait("manageable").await;
        self.say(step);
    }

    /// Deploys the image that boots from an array, with user data that shows at each boot what the kernel says of its arrays;
    /// returns that.
    async fn deploy(&self) -> String {
        let Stage { lab, node, .. } = &self.stage;
        let image = lab.inputs.image_raid.clone().expect("this run has no RAID image");
        self.stage.choose(&image).await;
        let mut drive = self.stage.config_drive();
        let script = &mut drive["configdrive"]["user_data"];
        *script = json!(format!("{}cat /proc/mdstat > /dev/ttyS0\n", script.as_str().unwrap()));
        lab.api.provision(*node, "active", &drive).await.unwrap();
        self.stage.ends_well().await;
        let evidence = lab.api.evidence(*node).await.unwrap();
        let proofs = evidence["evidence"].as_array().unwrap_or_else(|| panic!("{evidence}"));
        let proofs: Vec<_> = proofs.iter().map(|proof| proof["proof"].as_str().unwrap()).collect();
        assert!(
            proofs.starts_with(&["written", "configured", "mirrored", "committed"]),
            "{proofs:?}"
        );
        let evidence = evidence.to_string();
        for part in ["/dev/md", "\"proven\":true"] {
            assert!(evidence.contains(part), "{part}: {evidence}");
        }
        self.say("deployed");
        self.says_its_arrays(&lab.rack.machines[0].console()).await
    }

    /// Boots the deployed system once more, its first disk pulled out, and returns its words about its arrays.
    async fn boots_without_its_first_disk(&self) -> String {
        let machine = &self.stage.lab.rack.machines[0];
        machine.power_off().unwrap();
        machine.pull(0, true).unwrap();
        let mut console = machine.console();
        console.skip_to_end();
        machine.power_on().unwrap();
        self.says_its_arrays(&console).await
    }

    /// Waits for the system's words about its root, and returns those about its arrays.
    async fn says_its_arrays(&self, console: &Console) -> String {
        let ready = format!("IMAGE-READY hostname={HOSTNAME}");
        let ready = console.wait_for(&ready, BOOT).await.unwrap();
        assert!(ready.contains("root=/dev/md"), "{ready}");
        console.wait_for("IMAGE-DONE status=0", BOOT).await.unwrap();
        let words = console.text();
        let arrays = words.rfind("Personalities").map(|at| words[at..].trim()).unwrap_or_default();
        self.say(&format!("{ready}\n{arrays}"));
        arrays.to_owned()
    }

    /// Labels of arrays on a machine's disk, from outside.
    fn labels(&self, disk: usize) -> usize {
        let file = File::open(self.stage.lab.rack.machines[0].disk(disk)).unwrap();
        let mut piece = vec![0; 4 << 20];
        let mut found = 0;
        for at in (0..DISK_BYTES).step_by(piece.len()) {
            file.read_exact_at(&mut piece, at).unwrap();
            found += piece.chunks_exact(4096).filter(|block| block[..4] == LABEL).count();
        }
        found
    }

    /// Whether a machine's disk has a partition table, at either end, from outside.
    fn has_table(&self, disk: usize) -> bool {
        let file = File::open(self.stage.lab.rack.machines[0].disk(disk)).unwrap();
        let sector = |at: u64| {
            let mut sector = [0; 512];
            file.read_exact_at(&mut sector, at).unwrap();
            sector
        };
        let gpt = |at: u64| sector(at).starts_with(b"EFI PART");
        sector(0)[510..] == [0x55, 0xaa] || gpt(512) || gpt(DISK_BYTES - 512)
    }

    /// The first disk comes back, the tenant goes, and the arrays go with `delete_configuration`.
    async fn is_deleted(&self) {
        let machine = &self.stage.lab.rack.machines[0];
        machine.power_off().unwrap();
        machine.pull(0, false).unwrap();
        self.clean_automatically(false).await;
        self.goes("deleted", "available").await;
        self.goes("manage", "manageable").await;
        assert_eq!(([0, 1].map(|disk| self.labels(disk) > 0)), [true, true], "nothing to delete");
        self.clean("delete_configuration").await;
        let left = [0, 1].map(|disk| (self.labels(disk), self.has_table(disk)));
        self.say(&format!("labels and tables left on the disks: {left:?}"));
        assert_eq!(left, [(0, false), (0, false)]);
        assert_eq!(self.config().await, json!({}));
    }
}

/// What the kernel says of each array's members: `U` for one that is there.
fn members(arrays: &str) -> Vec<&str> {
    arrays.lines().filter_map(|line| line.trim().rsplit_once("] [")?.1.strip_suffix(']')).collect()
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_mirror_is_built_erased_rebuilt_deployed_to_boots_without_its_first_disk_and_is_deleted()
{
    let mirror = Mirror::wanted(Firmware::Uefi).await;
    mirror.clean("create_configuration").await;
    let config = mirror.config().await;
    let first = config["logical_disks"][0]["uuid"].as_str().unwrap().to_owned();
    assert_eq!(config["logical_disks"][0]["raid_level"], "1");
    assert!(config["last_updated"].is_string() && config["esp"]["uuid"].is_string(), "{config}");
    assert_eq!([0, 1].map(|disk| mirror.labels(disk)), [2, 2], "the array's and the ESP mirror's");
    let plan = mirror.call(Method::GET, "/plan", None).await.to_string();
    assert!(plan.contains("everything on it is lost"), "{plan}");

    // Cleaning erases the disks, and with them the arrays: the node gets new ones.
    mirror.clean_automatically(true).await;
    mirror.goes("provide", "available").await;
    mirror.say("cleaned, arrays rebuilt");
    let config = mirror.config().await;
    assert_ne!(config["logical_disks"][0]["uuid"], json!(first), "{config}");

    let whole = mirror.deploy().await;
    assert_eq!(members(&whole), ["UU", "UU"], "root and EFI system partitions: {whole}");
    let degraded = mirror.boots_without_its_first_disk().await;
    assert_eq!(members(&degraded), ["_U", "_U"], "{degraded}");
    mirror.is_deleted().await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_bios_machine_boots_from_its_mirror_without_its_first_disk() {
    let mirror = Mirror::wanted(Firmware::Bios).await;
    mirror.clean("create_configuration").await;
    mirror.clean_automatically(false).await;
    mirror.goes("provide", "available").await;
    let whole = mirror.deploy().await;
    assert_eq!(members(&whole), ["UU"], "{whole}");
    let degraded = mirror.boots_without_its_first_disk().await;
    assert_eq!(members(&degraded), ["_U"], "{degraded}");
}
