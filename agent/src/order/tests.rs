//! Orders carried out in one process: real HTTP on loopback, a sparse file as the disk.

use std::path::{Path, PathBuf};

use ironwright_api::{
    Checksum, ChecksumAlgorithm, Clean, CleanStep, Deploy, EraseSettings, Event, Evidence, Image,
    ReadbackMode, StepRecord,
};
use sha2::{Digest, Sha256};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::*;
use crate::heartbeat::Desk;
use crate::journal::Journal;
use crate::layout::testing::{LINUX, TestImage};
use crate::layout::{self, MIB};
use crate::report::LogTail;
use crate::sys::disk::{Access, BlockDevice, RealDisk};

const DISK_BYTES: u64 = 8 << 30;
const IMAGE_BYTES: u64 = 8 * MIB;

/// A machine with one disk (a sparse file), a server with one image, and a coordinator that stores everything.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    pub(crate) machine: Machine,
    pub(crate) journal: Arc<Journal>,
    pub(crate) image: Vec<u8>,
    pub(crate) url: String,
    _server: AbortOnDropHandle<()>,
}

impl Lab {
    async fn start() -> Self {
        Self::with_disk(DISK_BYTES).await
    }

    async fn with_disk(bytes: u64) -> Self {
        let image = TestImage::gpt(512, IMAGE_BYTES, &[(LINUX, 2048, 10_000, "root")]).bytes;
        Self::with(bytes, image).await
    }

    /// Whose server has this image.
    pub(crate) async fn with_image(image: Vec<u8>) -> Self {
        Self::with(DISK_BYTES, image).await
    }

    async fn with(bytes: u64, image: Vec<u8>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        std::fs::File::create(&disk).unwrap().set_len(bytes).unwrap();
        let (url, server) = serve(image.clone()).await;
        let system = Arc::new(System::sandbox(Path::new("/"), &[disk]).unwrap());
        let http = crate::tls::image_client(
            None,
            Path::new("/nonexistent"),
            &ironwright_api::ImageAccess::default(),
        )
        .unwrap();
        let facts = Facts::collect(&system);
        let journal = Arc::new(Journal::open(&dir.path().join("run"), None).unwrap());
        let machine = Machine::new(system, http, facts);
        Self { dir, machine, journal, image, url, _server: server }
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.beside("disk")
    }

    /// A file beside the disk.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, offset: u64, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        let disk = RealDisk::open(self.disk(), Access::Read).unwrap();
        disk.read_at(offset, &mut buffer).unwrap();
        buffer
    }

    pub(crate) fn deploy(&self) -> Deploy {
        let value = Sha256::digest(&self.image).iter().map(|byte| format!("{byte:02x}")).collect();
        let checksum = Checksum { algorithm: ChecksumAlgorithm::Sha256, value };
        Deploy {
            image: Image {
                urls: vec![self.url.clone()],
                checksum,
                disk_format: None,
                access: None,
                partition: None,
            },
            root_device: serde_json::Value::Null,
            configdrive: serde_json::json!({"meta_data": {"name": "web1"}, "user_data": "#cloud-config"}),
            readback: ReadbackMode::Full,
            node_name: "web1".to_owned(),
            node_uuid: Uuid::from_u128(1),
            steps: Vec::new(),
            erase: EraseSettings::default(),
            plugins: Vec::new(),
        }
    }

    async fn carry_out(&self, work: Work) -> Result<(), Failure> {
        self.carry_out_after(Vec::new(), work).await
    }

    async fn carry_out_after(&self, steps: Vec<StepRecord>, work: Work) -> Result<(), Failure> {
        let order = Order { order_id: Uuid::from_u128(7), attempt: 1, work, steps, raid: None };
        let desk = Arc::new(Desk::new(self.journal.clone(), LogTail::default()));
        desk.acknowledge_all();
        let order_desk = desk.for_order(order.order_id, order.attempt);
        self.machine.carry_out(order, order_desk).await
    }

    /// The proofs reported, in order.
    pub(crate) fn evidence(&self) -> Vec<Evidence> {
        let reports = self.journal.unacknowledged().into_iter();
        reports
            .filter_map(|report| {
                if let Event::StepEnded { evidence, .. } = report.event { evidence } else { None }
            })
            .collect()
    }
}

async fn serve(image: Vec<u8>) -> (String, AbortOnDropHandle<()>) {
    let router = axum::Router::new()
        .route("/image", axum::routing::get(move || async move { image.clone() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn a_deploy_puts_image_config_drive_and_one_good_partition_table_on_the_disk() {
    let lab = Lab::start().await;
    lab.carry_out(Work::Deploy(Box::new(lab.deploy()))).await.unwrap();

    let evidence = lab.evidence();
    let [
        Evidence::Written(written),
        Evidence::Configured(configured),
        Evidence::Committed(committed),
    ] = &evidence[..3]
    else {
        panic!("{evidence:?}");
    };
    assert!(written.proven && written.virtual_bytes == IMAGE_BYTES, "{written:?}");
    assert_eq!((committed.table.as_str(), committed.partitions), ("gpt", 2));

    let inside = MIB..5 * MIB;
    let (start, end) =
        (usize::try_from(inside.start).unwrap(), usize::try_from(inside.end).unwrap());
    assert_eq!(
        lab.read(inside.start, end - start),
        lab.image[start..end],
        "disk differs from image"
    );

    // The disk's own table, read as any other: with the config drive, and the backup at the very end.
    let edge = usize::try_from(MIB).unwrap();
    let (head, tail) = (lab.read(0, edge), lab.read(DISK_BYTES - MIB, edge));
    let table =
        layout::plan(&head, DISK_BYTES - MIB, &tail, DISK_BYTES, DISK_BYTES, 512, None).unwrap();
    let config = table.entries.iter().find(|entry| entry.name == "config-2").unwrap();
    assert_eq!((config.range.offset, config.range.bytes), (configured.offset, configured.bytes));
    let drive = lab.read(config.range.offset, edge);
    assert_eq!(&drive[510..512], [0x55, 0xAA], "no file system where config-2 is");
}

#[tokio::test]
async fn a_forged_image_fails_with_what_why_and_what_to_do_and_leaves_no_partition_table() {
    let lab = Lab::start().await;
    let mut order = lab.deploy();
    order.image.checksum.value = "0".repeat(64);
    let failure = lab.carry_out(Work::Deploy(Box::new(order))).await.unwrap_err();
    assert_eq!((failure.step.as_str(), failure.blame), ("write_image", Blame::Order));
    assert!(failure.message.contains("order says 0000"), "{failure:?}");
    assert!(failure.message.contains("without a partition table"), "{failure:?}");
    assert!(!failure.remedy.is_empty());
    assert!(lab.read(0, 1 << 20).iter().all(|byte| *byte == 0));
    assert!(lab.evidence().is_empty());
}

#[tokio::test]
async fn a_refused_order_changes_nothing_and_names_every_problem() {
    let lab = Lab::start().await;
    let disk = RealDisk::open(lab.disk(), Access::Write).unwrap();
    disk.write_at(0, b"precious").unwrap();
    drop(disk);
    let mut order = lab.deploy();
    order.root_device = serde_json::json!({"serial": "s== NOBODY"});
    order.configdrive = serde_json::json!({"user-data": "typo"});
    let failure = lab.carry_out(Work::Deploy(Box::new(order))).await.unwrap_err();
    assert_eq!(failure.step, "", "nothing was begun");
    assert!(failure.message.contains("no root disk"), "{failure:?}");
    assert!(failure.message.contains("user-data"), "{failure:?}");
    assert_eq!(lab.read(0, 8), b"precious");
    assert!(lab.journal.unacknowledged().is_empty());
}

#[tokio::test]
async fn a_second_attempt_begins_again_before_the_commit_and_leaves_the_disk_alone_after_it() {
    let lab = Lab::start().await;
    let step = |step: &str, ended| {
        let step = step.to_owned();
        StepRecord { step, attempt: 1, ended, evidence: None, reboot: None }
    };
    let mut done = vec![step("write_image", true), step("commit", false)];
    lab.carry_out_after(done.clone(), Work::Deploy(Box::new(lab.deploy()))).await.unwrap();
    assert_eq!(lab.evidence().len(), 3);

    let disk = RealDisk::open(lab.disk(), Access::Write).unwrap();
    disk.write_at(2 * MIB, b"changed by the system").unwrap();
    drop(disk);
    done.push(step("write_image", true));
    done.push(step("commit", true));
    lab.carry_out_after(done, Work::Deploy(Box::new(lab.deploy()))).await.unwrap();
    assert_eq!(lab.read(2 * MIB, 21), b"changed by the system");
}

#[tokio::test]
async fn cleaning_erases_the_metadata_of_every_disk_and_shows_the_proof() {
    let lab = Lab::start().await;
    lab.carry_out(Work::Deploy(Box::new(lab.deploy()))).await.unwrap();
    let step = |step: &str| CleanStep {
        interface: "deploy".to_owned(),
        step: step.to_owned(),
        args: serde_json::Value::Null,
    };
    let clean = Clean { steps: vec![step("erase_devices_metadata")], ..Clean::default() };
    lab.carry_out(Work::Clean(clean)).await.unwrap();
    let evidence = lab.evidence();
    let Some(Evidence::Erased { disks }) = evidence.last() else { panic!("{evidence:?}") };
    assert_eq!(disks.len(), 1);
    assert_eq!(disks[0].bytes, disks[0].verified_bytes);
    assert!(lab.read(0, 1 << 20).iter().all(|byte| *byte == 0));
    assert!(lab.read(DISK_BYTES - MIB, 1 << 20).iter().all(|byte| *byte == 0));
    let burn = Clean { steps: vec![step("burnin_disk")], ..Clean::default() };
    let failure = lab.carry_out(Work::Clean(burn)).await.unwrap_err();
    assert!(failure.message.contains("deploy.burnin_disk"), "{failure:?}");
}

#[tokio::test]
async fn automated_cleaning_leaves_no_byte_and_a_disk_that_is_skipped_keeps_all() {
    // Every byte is written and read: a small disk, with a deployed system on it.
    const BYTES: u64 = 128 * MIB;
    let lab = Lab::with_disk(BYTES).await;
    let name = lab.machine.inventory()["inventory"]["disks"][0]["name"].clone();
    let mut deploy = lab.deploy();
    deploy.root_device = serde_json::json!({ "name": name });
    lab.carry_out(Work::Deploy(Box::new(deploy))).await.unwrap();
    let automated = || Some(ironwright_api::Automated::default());
    let before = lab.read(0, 1 << 20);
    let skip = vec![serde_json::json!({ "name": name })];
    let erase = EraseSettings { skip, ..EraseSettings::default() };
    let spare = Clean { automated: automated(), erase, ..Clean::default() };
    lab.carry_out(Work::Clean(spare)).await.unwrap();
    assert_eq!(lab.read(0, 1 << 20), before);
    let whole = Clean { automated: automated(), ..Clean::default() };
    lab.carry_out(Work::Clean(whole)).await.unwrap();
    assert!(lab.read(0, usize::try_from(BYTES).unwrap()).iter().all(|byte| *byte == 0));
    let evidence = lab.evidence();
    let Some(Evidence::Erased { disks }) = evidence.last() else { panic!("{evidence:?}") };
    assert_eq!((disks[0].method.as_str(), disks[0].verified_bytes), ("overwrite", BYTES));
}

#[tokio::test]
async fn a_disk_that_cannot_be_erased_fails_the_step_and_its_certificate_is_shown() {
    let mut lab = Lab::with_disk(0).await;
    lab.machine = lab.machine.with_notary(crate::erase::certificate::Notary::by_hand().unwrap());
    let automated = Some(ironwright_api::Automated {
        priorities: [("deploy.erase_devices_metadata".to_owned(), 0)].into(),
        ..ironwright_api::Automated::default()
    });
    let clean = Clean { automated, ..Clean::default() };
    let failure = lab.carry_out(Work::Clean(clean)).await.unwrap_err();
    assert!(failure.message.contains("has no bytes"), "{failure:?}");
    let shown = lab.journal.unacknowledged().into_iter().find_map(|report| match report.event {
        Event::Attested { step, certificates } => Some((step, certificates)),
        Event::Planned { .. }
        | Event::StepStarted { .. }
        | Event::StepEnded { .. }
        | Event::Reboot { .. }
        | Event::Finished
        | Event::Failed(_)
        | Event::Unknown => None,
    });
    let (step, certificates) = shown.unwrap();
    assert_eq!((step.as_str(), certificates.len()), ("erase_devices", 1));
    let result = &certificates[0].certificate.result;
    let ironwright_api::EraseResult::Failed { reason } = result else { panic!("{result:?}") };
    assert!(reason.contains("has no bytes"), "{reason}");
}

#[tokio::test]
async fn a_skip_list_that_names_no_hint_and_a_setting_beyond_this_agent_erase_nothing() {
    let lab = Lab::start().await;
    lab.carry_out(Work::Deploy(Box::new(lab.deploy()))).await.unwrap();
    let before = lab.read(0, 1 << 20);
    for (erase, part) in [
        (
            EraseSettings { skip: vec![serde_json::json!("sda")], ..EraseSettings::default() },
            "skip_block_devices",
        ),
        (
            EraseSettings { least: ironwright_api::Category::Purge, ..EraseSettings::default() },
            "ask for purge",
        ),
    ] {
        let automated = Some(ironwright_api::Automated::default());
        let clean = Clean { automated, erase, ..Clean::default() };
        let failure = lab.carry_out(Work::Clean(clean)).await.unwrap_err();
        assert!(failure.message.contains(part), "{failure:?}");
        assert_eq!(lab.read(0, 1 << 20), before);
    }
}

#[tokio::test]
async fn inspection_changes_nothing_and_unknown_work_is_refused() {
    let lab = Lab::start().await;
    lab.carry_out(Work::Inspect).await.unwrap();
    assert!(lab.machine.inventory()["inventory"]["disks"][0]["size"] == DISK_BYTES);
    let failure = lab.carry_out(Work::Unknown).await.unwrap_err();
    assert!(failure.message.contains("kind of work is unknown"), "{failure:?}");
}

#[tokio::test]
async fn a_service_puts_an_image_by_ironics_words_and_keeps_away_from_disks_left_alone() {
    let lab = Lab::start().await;
    let digest: String = Sha256::digest(&lab.image).iter().map(|b| format!("{b:02x}")).collect();
    let args = serde_json::json!({"image_info": {
        "id": "i", "urls": [lab.url], "os_hash_algo": "sha256", "os_hash_value": digest,
    }});
    let step = CleanStep { interface: "deploy".into(), step: "write_image".into(), args };
    let mut service = ironwright_api::Service { steps: vec![step], ..Default::default() };
    let name = lab.machine.inventory()["disks"][0]["name"].clone();
    service.erase.skip = vec![serde_json::json!({ "name": name })];
    let failure = lab.carry_out(Work::Service(service.clone())).await.unwrap_err();
    assert!(failure.message.contains("no root disk"), "{failure:?}");
    service.erase.skip.clear();
    lab.carry_out(Work::Service(service)).await.unwrap();
    let evidence = lab.evidence();
    let Some(Evidence::Written(written)) = evidence.last() else { panic!("{evidence:?}") };
    assert!(written.proven);
    assert_eq!(lab.read(MIB, 1 << 20), lab.image[1 << 20..2 << 20]);
    assert!(lab.machine.written().is_some());
}

#[tokio::test]
async fn extra_deploy_steps_run_around_the_image_and_the_plan_says_so_first() {
    let lab = Lab::start().await;
    let step = |step: &str, priority| ironwright_api::DeployStep {
        interface: "deploy".into(),
        step: step.into(),
        args: serde_json::Value::Null,
        priority,
    };
    let mut deploy = lab.deploy();
    deploy.steps = vec![step("clean_uefi_nvram", 70), step("erase_devices_metadata", 90)];
    lab.carry_out(Work::Deploy(Box::new(deploy))).await.unwrap();
    let events: Vec<String> = lab
        .journal
        .unacknowledged()
        .into_iter()
        .filter_map(|report| {
            if let Event::Planned { steps, .. } = &report.event {
                let names: Vec<&str> = steps.iter().map(|step| step.step.as_str()).collect();
                return Some(names.join(" "));
            }
            if let Event::StepStarted { step } = report.event { Some(step) } else { None }
        })
        .collect();
    let expected = [
        "erase_devices_metadata write_image clean_uefi_nvram",
        "erase_devices_metadata",
        "write_image",
        "write_configdrive",
        "commit",
        "clean_uefi_nvram",
    ];
    assert_eq!(events, expected);
    let mut wrong = lab.deploy();
    wrong.steps = vec![step("erase_devices_metadata", 90)];
    wrong.image.urls.clear();
    let before = lab.read(0, 1 << 20);
    let failure = lab.carry_out(Work::Deploy(Box::new(wrong))).await.unwrap_err();
    assert!(failure.message.contains("no image URL"), "{failure:?}");
    assert_eq!(
        lab.read(0, 1 << 20),
        before,
        "a step before the image must not run for a bad order"
    );
}
