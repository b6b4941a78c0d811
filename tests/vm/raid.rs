//! Software RAID on whole machines: built by the plugin with the real mdadm, deployed to, booted, booted without a member, deleted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use axum::http::Method;
use lab::image_server::Faults;
use lab::machine::{Boot, BootDevice, Bus, DiskSpec, Then, WriteFault};
use lab::serial::Console;
use lab::{Firmware, net};
use serde_json::{Value, json};

use crate::stage::{HOSTNAME, Stage};

/// Bytes of each disk.
const DISK_BYTES: u64 = 2 << 30;

/// First bytes of an array's label, as it is on a disk (Linux `MD_SB_MAGIC`, little-endian).
const LABEL: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();

/// Bytes of the boot code in a disk's first sector.
const BOOT_CODE: usize = 440;

/// What the last system left to start from.
const OLD: u8 = 0xb0;

const MIB: u64 = 1 << 20;

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

    /// The same with the mirror built, and the node `available` without having been cleaned.
    async fn built(firmware: Firmware) -> Self {
        let mirror = Self::wanted(firmware).await;
        mirror.clean("create_configuration").await;
        mirror.clean_automatically(false).await;
        mirror.goes("provide", "available").await;
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
        self.choose().await;
        self.order().await;
        self.is_deployed().await
    }

    async fn choose(&self) {
        let image = self.stage.lab.inputs.image_raid.clone().expect("this run has no RAID image");
        self.stage.choose(&image).await;
    }

    async fn order(&self) {
        let Stage { lab, node, .. } = &self.stage;
        let mut drive = self.stage.config_drive();
        let script = &mut drive["configdrive"]["user_data"];
        *script = json!(format!("{}cat /proc/mdstat > /dev/ttyS0\n", script.as_str().unwrap()));
        lab.api.provision(*node, "active", &drive).await.unwrap();
    }

    /// The deploy ends well, with every proof.
    async fn is_deployed(&self) -> String {
        let Stage { lab, node, .. } = &self.stage;
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

    /// UUIDs of the labels of arrays on a machine's disk, from outside.
    fn labels(&self, disk: usize) -> Vec<Vec<u8>> {
        let file = File::open(self.stage.lab.rack.machines[0].disk(disk)).unwrap();
        let mut piece = vec![0; 4 << 20];
        let mut found = Vec::new();
        for at in (0..DISK_BYTES).step_by(piece.len()) {
            file.read_exact_at(&mut piece, at).unwrap();
            let labels = piece.chunks_exact(4096).filter(|block| block[..4] == LABEL);
            found.extend(labels.map(|label| label[16..32].to_vec()));
        }
        found
    }

    fn label_counts(&self) -> [usize; 2] {
        [0, 1].map(|disk| self.labels(disk).len())
    }

    /// Bytes of a machine's disk, from outside.
    fn read(&self, disk: usize, at: u64, bytes: usize) -> Vec<u8> {
        let file = File::open(self.stage.lab.rack.machines[0].disk(disk)).unwrap();
        let mut read = vec![0; bytes];
        file.read_exact_at(&mut read, at).unwrap();
        read
    }

    /// Where the two partitions of a member begin: the one for booting, and the array's.
    fn partitions(&self, disk: usize) -> [u64; 2] {
        assert!(self.read(disk, 512, 8) == *b"EFI PART", "disk {disk} has lost its own table");
        [0, 1].map(|number| 512 * number_at(&self.read(disk, 1024 + 128 * number + 32, 8), 0))
    }

    /// Where the first sector of the array that the system goes to is on a member.
    fn array_start(&self, disk: usize) -> u64 {
        let [_, member] = self.partitions(disk);
        let label = self.read(disk, member + 4096, 256);
        assert_eq!(label[..4], LABEL, "the member on disk {disk} has lost its label");
        member + 512 * number_at(&label, 128)
    }

    /// What starts a system from a machine's disk, from outside.
    fn starts(&self, disk: usize) -> Starts {
        let mib = usize::try_from(MIB).unwrap();
        let any = |at: u64, bytes: usize| self.read(disk, at, bytes).iter().any(|byte| *byte != 0);
        Starts {
            boot_code: any(0, BOOT_CODE),
            boot_partition: any(self.partitions(disk)[0], mib),
            array: any(self.array_start(disk), mib),
        }
    }

    /// A system that was here before: a loader on both members, and a table on the array.
    fn plant_an_old_system(&self) {
        for disk in [0, 1] {
            let ([boot, _], array) = (self.partitions(disk), self.array_start(disk));
            let path = self.stage.lab.rack.machines[0].disk(disk);
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&[OLD; BOOT_CODE], 0).unwrap();
            file.write_all_at(&vec![OLD; usize::try_from(MIB).unwrap()], boot).unwrap();
            file.write_all_at(&[OLD; 510], array).unwrap();
            file.write_all_at(&[0x55, 0xaa], array + 510).unwrap();
            assert_eq!(
                self.starts(disk),
                Starts { boot_code: true, boot_partition: true, array: true }
            );
        }
    }

    /// Neither the array nor a member would start anything, and the machine does not; the arrays are still there.
    async fn starts_nothing(&self, labels: usize) {
        let machine = &self.stage.lab.rack.machines[0];
        machine.power_off().unwrap();
        let starts = [0, 1].map(|disk| self.starts(disk));
        self.say(&format!("what would start: {starts:?}"));
        assert_eq!(starts, [Starts::default(), Starts::default()]);
        assert_eq!(self.label_counts(), [labels; 2], "the arrays are lost");
        let mut console = machine.console();
        console.skip_to_end();
        net::unplug(0).unwrap();
        machine.set_boot(Boot { device: BootDevice::Disk, persistent: false }).unwrap();
        machine.power_on().unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        machine.power_off().unwrap();
        net::plug(0).unwrap();
        let words = console.text();
        self.say(&format!("the machine without a network says: {:?}", words.trim()));
        for word in ["GRUB", "Linux version", "IMAGE-"] {
            assert!(!words.contains(word), "{word}: {words}");
        }
    }

    /// Waits until a deploy has brought its loader to both members and stands before its commit, and cuts the power.
    async fn is_cut_before_its_commit(&self) {
        let log = lab::serial::Console::new(&self.stage.lab.coordinator.log());
        let console = self.stage.lab.rack.machines[0].console();
        while log.find("step mirror_boot began").is_none() {
            let node = self.stage.lab.api.node(self.stage.node).await.unwrap();
            assert!(!node.has_failed() && node.provision_state != "active", "{node:?}");
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        // The acknowledgement is on its way. Without its coordinator the agent cannot have the start of the commit acknowledged.
        tokio::time::sleep(Duration::from_millis(40)).await;
        net::unplug(0).unwrap();
        console.wait_for("mirror_boot ended", Duration::from_secs(120)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.stage.lab.rack.machines[0].power_off().unwrap();
        let loader = Starts { boot_partition: true, ..Starts::default() };
        assert_eq!([0, 1].map(|disk| self.starts(disk)), [loader, loader], "no loader to lose");
        self.say("cut between mirror_boot and commit");
    }

    /// Waits until the machine stands still because the loader of the second member is about to be written, and cuts the power.
    async fn is_cut_at_its_second_member(&self) {
        let machine = &self.stage.lab.rack.machines[0];
        let end = Instant::now() + BOOT * 2;
        while !machine.is_stopped_by_a_write() {
            let node = self.stage.lab.api.node(self.stage.node).await.unwrap();
            assert!(!node.has_failed() && node.provision_state != "active", "{node:?}");
            assert!(Instant::now() < end, "the write never came");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        machine.power_off().unwrap();
        let loader = Starts { boot_code: true, boot_partition: true, array: false };
        assert_eq!([0, 1].map(|disk| self.starts(disk)), [loader, Starts::default()]);
        self.say("cut in mirror_boot, with a loader on the first member");
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

    /// A deploy over an old system with another digest than the image's: neither of the two starts afterwards.
    async fn a_wrong_checksum_fails(&self, labels: usize) {
        self.plant_an_old_system();
        self.choose().await;
        let wrong = [("/instance_info/image_os_hash_value", json!("0".repeat(64)))];
        self.stage.lab.api.set(self.stage.node, &wrong).await.unwrap();
        self.order().await;
        let error = self.stage.wait_for_failure("deploy failed").await;
        self.say(&error);
        assert!(error.contains("order says 000"), "{error}");
        self.starts_nothing(labels).await;
    }

    /// After a cut the image cannot be had: what the cut left is taken away all the same. Then the deploy works.
    async fn cannot_begin_again_and_is_deployed_at_last(&self, labels: usize) {
        self.stage.lab.images.set_faults(Faults { missing: true, ..Faults::default() });
        net::plug(0).ok();
        let error = self.stage.wait_for_failure("deploy failed").await;
        self.say(&error);
        assert!(error.contains("404"), "{error}");
        let history = self.stage.history().await;
        assert!(history.contains("what an unfinished deploy left there"), "{history}");
        self.starts_nothing(labels).await;
        self.stage.lab.images.set_faults(Faults::default());
        let whole = self.deploy().await;
        assert_eq!(members(&whole), vec!["UU"; labels], "{whole}");
    }

    /// The first disk comes back, the tenant goes, and the arrays go with `delete_configuration`.
    async fn is_deleted(&self) {
        let machine = &self.stage.lab.rack.machines[0];
        machine.power_off().unwrap();
        machine.pull(0, false).unwrap();
        self.clean_automatically(false).await;
        self.goes("deleted", "available").await;
        self.goes("manage", "manageable").await;
        assert!(self.label_counts().iter().all(|labels| *labels > 0), "nothing to delete");
        self.clean("delete_configuration").await;
        let left = [0, 1].map(|disk| (self.labels(disk).len(), self.has_table(disk)));
        self.say(&format!("labels and tables left on the disks: {left:?}"));
        assert_eq!(left, [(0, false), (0, false)]);
        assert_eq!(self.config().await, json!({}));
    }
}

/// Parts of a member that have anything in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Starts {
    /// Boot code in the disk's first sector.
    boot_code: bool,
    /// First MiB of its EFI system partition or BIOS boot partition.
    boot_partition: bool,
    /// First MiB of the array, where its partition table is.
    array: bool,
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
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
    assert_eq!(mirror.label_counts(), [2, 2], "the array's and the ESP mirror's");
    let labels = [0, 1].map(|disk| mirror.labels(disk));
    mirror.plant_an_old_system();
    let plan = mirror.call(Method::GET, "/plan", None).await.to_string();
    assert!(plan.contains("everything on it is lost"), "{plan}");

    // Cleaning erases the disks, and with them the arrays: the node gets new ones.
    mirror.clean_automatically(true).await;
    mirror.goes("provide", "available").await;
    mirror.say("cleaned, arrays rebuilt");
    let config = mirror.config().await;
    assert_ne!(config["logical_disks"][0]["uuid"], json!(first), "{config}");
    for disk in [0, 1] {
        let rebuilt = mirror.labels(disk);
        assert_eq!(rebuilt.len(), 2);
        assert!(labels[disk].iter().all(|old| !rebuilt.contains(old)), "an old label on {disk}");
        assert_eq!(
            mirror.starts(disk),
            Starts::default(),
            "what was there before starts from {disk}"
        );
    }

    let whole = mirror.deploy().await;
    assert_eq!(members(&whole), ["UU", "UU"], "root and EFI system partitions: {whole}");
    let degraded = mirror.boots_without_its_first_disk().await;
    assert_eq!(members(&degraded), ["_U", "_U"], "{degraded}");
    mirror.is_deleted().await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_cleaning_after_which_nobody_wants_the_mirror_leaves_nothing_of_it_on_its_members() {
    let mirror = Mirror::wanted(Firmware::Uefi).await;
    mirror.clean("create_configuration").await;
    let serials = mirror.config().await["logical_disks"][0]["member_serials"].clone();
    assert_eq!(serials, json!(["LAB-ONE", "LAB-TWO"]));
    assert_eq!(mirror.label_counts(), [2, 2]);
    mirror.plant_an_old_system();
    mirror.call(Method::PUT, "/states/raid", Some(&json!({}))).await;
    mirror.clean_automatically(true).await;
    mirror.goes("provide", "available").await;
    let left = [0, 1].map(|disk| {
        let head = mirror.read(disk, 0, 4 << 20);
        let any = head.iter().any(|byte| *byte != 0);
        (mirror.labels(disk).len(), mirror.has_table(disk), any)
    });
    mirror.say(&format!("labels, tables, anything in the first 4 MiB: {left:?}"));
    assert_eq!(left, [(0, false, false), (0, false, false)]);
    assert_eq!(mirror.config().await, json!({}));
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn deploys_to_a_mirror_that_fail_or_are_cut_leave_nothing_that_starts_on_uefi() {
    let mirror = Mirror::built(Firmware::Uefi).await;
    mirror.a_wrong_checksum_fails(2).await;
    mirror.choose().await;
    mirror.order().await;
    mirror.is_cut_before_its_commit().await;
    mirror.cannot_begin_again_and_is_deployed_at_last(2).await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn deploys_to_a_mirror_that_fail_or_are_cut_leave_nothing_that_starts_on_bios() {
    let mirror = Mirror::built(Firmware::Bios).await;
    mirror.a_wrong_checksum_fails(1).await;
    mirror.choose().await;
    // The first byte of the BIOS boot partition: clearing it is no write.
    let fault = WriteFault { sector: mirror.partitions(1)[0] / 512, then: Then::Stop };
    mirror.stage.lab.rack.machines[0].arm(1, fault).unwrap();
    mirror.order().await;
    mirror.is_cut_at_its_second_member().await;
    mirror.cannot_begin_again_and_is_deployed_at_last(1).await;
}

#[tokio::test]
#[ignore = "a virtual machine: cargo lab test"]
async fn a_bios_machine_boots_from_its_mirror_without_its_first_disk() {
    let mirror = Mirror::built(Firmware::Bios).await;
    let whole = mirror.deploy().await;
    assert_eq!(members(&whole), ["UU"], "{whole}");
    let degraded = mirror.boots_without_its_first_disk().await;
    assert_eq!(members(&degraded), ["_U"], "{degraded}");
}
