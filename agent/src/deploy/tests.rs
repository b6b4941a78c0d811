//! What is planned and what is refused, without a disk.

use ironwright_api::{Blame, Checksum, Failure, Image, Readback, ReadbackMode, Written};
use uuid::Uuid;

use super::*;

fn deploy() -> Deploy {
    let checksum = Checksum { algorithm: ChecksumAlgorithm::Sha256, value: "a".repeat(64) };
    Deploy {
        image: Image {
            urls: vec!["http://h/i.qcow2".to_owned()],
            checksum,
            disk_format: None,
            access: None,
            partition: None,
        },
        root_device: serde_json::Value::Null,
        configdrive: serde_json::Value::Null,
        readback: ReadbackMode::Full,
        node_name: String::new(),
        node_uuid: Uuid::nil(),
        steps: Vec::new(),
        erase: ironwright_api::EraseSettings::default(),
        plugins: Vec::new(),
    }
}

fn disk(serial: &str) -> RootDisk {
    let path = PathBuf::from("/dev/vda");
    RootDisk { path, serial: serial.to_owned(), bytes: 10 << 30, sector_bytes: 512, warning: None }
}

fn ground(drive_bytes: Option<u64>, uefi: bool) -> Ground {
    let members = Ok(());
    Ground { disk: Ok(disk("A")), drive_bytes: Ok(drive_bytes), uefi, on_array: false, members }
}

fn step(action: Action, ended: bool, evidence: Option<Evidence>) -> StepRecord {
    StepRecord { step: action.name().to_owned(), attempt: 1, ended, evidence, reboot: None }
}

/// The proof of a small image.
pub(super) fn proof(serial: &str) -> Written {
    let readback =
        Readback { mode: ReadbackMode::Full, chunks: 1, bytes: 1, seed: None, seconds: 0.0 };
    Written {
        device: "/dev/vda".to_owned(),
        serial: serial.to_owned(),
        url: String::new(),
        format: String::new(),
        algorithm: String::new(),
        expected: String::new(),
        streamed: String::new(),
        image_bytes: 1,
        virtual_bytes: 1,
        readback,
        proven: true,
        warnings: Vec::new(),
        resumes: 0,
        seconds: 0.0,
    }
}

fn written(serial: &str) -> Evidence {
    Evidence::Written(Box::new(proof(serial)))
}

#[test]
fn a_deploy_is_image_then_config_drive_then_commit_then_firmware() {
    use Action::{BootEntry, Commit, WriteConfigDrive, WriteImage};
    let begun = [
        step(WriteImage, true, None),
        step(WriteConfigDrive, true, None),
        step(Commit, false, None),
    ];
    let committed = [step(WriteImage, true, Some(written("A"))), step(Commit, true, None)];
    let again =
        [step(WriteImage, true, None), step(Commit, true, None), step(WriteImage, false, None)];
    for (drive, uefi, done, expected) in [
        (Some(1), true, &[][..], &[WriteImage, WriteConfigDrive, Commit, BootEntry][..]),
        (None, true, &[], &[WriteImage, Commit, BootEntry]),
        (Some(1), false, &[], &[WriteImage, WriteConfigDrive, Commit]),
        // A commit in doubt is no commit.
        (Some(1), true, &begun, &[WriteImage, WriteConfigDrive, Commit, BootEntry]),
        (Some(1), true, &again, &[WriteImage, WriteConfigDrive, Commit, BootEntry]),
        (Some(1), true, &committed, &[BootEntry]),
        (None, false, &committed, &[]),
    ] {
        let plan = plan(&deploy(), ground(drive, uefi), done).unwrap();
        assert_eq!(plan.actions, expected, "drive {drive:?}, uefi {uefi}, {done:?}");
        assert_eq!(plan.disk, disk("A"));
    }
}

#[test]
fn on_an_array_what_starts_the_system_goes_to_the_members_and_the_commit_is_still_the_last_act() {
    use Action::{BootEntry, Commit, MirrorBoot, WriteConfigDrive, WriteImage};
    let mirrored = [step(WriteImage, true, Some(written("A"))), step(MirrorBoot, true, None)];
    let committed = [&mirrored[..], &[step(Commit, true, None)]].concat();
    let all = &[WriteImage, WriteConfigDrive, MirrorBoot, Commit, BootEntry][..];
    // An agent that knew no arrays committed to one: no member would start it. So would none where the image was begun again.
    let never = [mirrored[0].clone(), committed[2].clone()];
    let begun = [mirrored[0].clone(), step(MirrorBoot, false, None), committed[2].clone()];
    let earlier = [mirrored[1].clone(), mirrored[0].clone(), committed[2].clone()];
    for (uefi, done, expected) in [
        (true, &[][..], all),
        (true, &mirrored[..], all),
        (true, &never[..], all),
        (true, &begun[..], all),
        (true, &earlier[..], all),
        (true, &committed[..], &[BootEntry]),
        (false, &committed[..], &[]),
    ] {
        let ground = Ground { on_array: true, ..ground(Some(1), uefi) };
        assert_eq!(plan(&deploy(), ground, done).unwrap().actions, expected);
    }
}

#[test]
fn every_problem_is_named_at_once_and_the_order_is_blamed_first() {
    let mut order = deploy();
    order.image.urls = vec!["ftp://h/i?sig=s3cret".to_owned(), "http://fine".to_owned()];
    order.image.checksum.value = "abc".to_owned();
    let ground = Ground {
        disk: Err(Problem::RootDisk { why: "2 disks match".to_owned() }),
        drive_bytes: Err(Problem::ConfigDrive { why: "unknown key \"x\"".to_owned() }),
        uefi: true,
        on_array: true,
        members: Err(Problem::Members { why: "no EFI system partitions".to_owned() }),
    };
    let failure = Failure::from(plan(&order, ground, &[]).unwrap_err());
    for part in [
        "nothing was changed",
        "2 disks match",
        "unknown key",
        "scheme is ftp",
        "3 characters",
        "would not start from its arrays: no EFI",
    ] {
        assert!(failure.message.contains(part), "{part}: {}", failure.message);
    }
    assert!(!failure.message.contains("s3cret"), "{}", failure.message);
    assert_eq!((failure.blame, failure.step.as_str()), (Blame::Order, ""));
}

#[test]
fn one_problem_alone_blames_who_can_mend_it() {
    let fetch = Problem::ConfigDriveFetch { url: "http://h".to_owned(), why: "404".to_owned() };
    let mut no_url = deploy();
    no_url.image.urls.clear();
    let mut by_url = deploy();
    by_url.image.checksum.value = "http://h/SHA256SUMS".to_owned();
    let no_disk = || Err(Problem::RootDisk { why: "none".to_owned() });
    for (order, ground, expected) in [
        (
            deploy(),
            Ground { drive_bytes: Err(fetch), ..ground(None, true) },
            Some(Blame::Environment),
        ),
        (deploy(), Ground { disk: no_disk(), ..ground(None, true) }, Some(Blame::Hardware)),
        (deploy(), ground(Some(10 << 30), true), Some(Blame::Order)),
        (no_url, ground(None, true), Some(Blame::Order)),
        (by_url, ground(None, true), None),
    ] {
        let found = plan(&order, ground, &[]).err().map(|error| Failure::from(error).blame);
        assert_eq!(found, expected, "{order:?}");
    }
}

#[test]
fn after_the_commit_only_the_disk_matters_and_it_must_be_the_same_one() {
    let mut order = deploy();
    order.image.urls.clear();
    let done =
        [step(Action::WriteImage, true, Some(written("A"))), step(Action::Commit, true, None)];
    let fetch = Problem::ConfigDriveFetch { url: "http://h".to_owned(), why: "404".to_owned() };
    let gone = Ground { drive_bytes: Err(fetch), ..ground(None, true) };
    assert_eq!(plan(&order, gone, &done).unwrap().actions, [Action::BootEntry]);
    let other = Ground { disk: Ok(disk("B")), ..ground(None, true) };
    let error = plan(&order, other, &done).unwrap_err();
    assert!(error.to_string().contains("serial number \"A\""), "{error}");
}
