//! Deploys that end well, and deploys that cannot.

use std::os::unix::fs::FileExt;

use lab::image_server::{Faults, ImageServer};
use serde_json::json;

use crate::image;
use crate::stage::{Stage, until};

/// Runs qemu-img; false, with the reason printed, where that program is missing.
fn qemu_img(arguments: &[&str]) -> bool {
    if let Err(error) = lab::host::run("qemu-img", &["--version"]) {
        println!("skipped, because there is no qemu-img: {error}");
        return false;
    }
    lab::host::run("qemu-img", arguments).unwrap();
    true
}

/// The words around every failure while the image is written.
fn failed_write(stage: &Stage, why: &str) -> String {
    let disk = stage.disk.canonicalize().unwrap();
    format!(
        "write_image: no image on {}, which was left without a partition table: {why}",
        disk.display()
    )
}

/// Bytes on the disk that any write of an image would replace.
const MARK: [u8; 512] = [0x5a; 512];

fn mark(stage: &Stage) {
    let disk = std::fs::File::options().write(true).open(&stage.disk).unwrap();
    disk.write_all_at(&MARK, 0).unwrap();
}

fn is_marked(stage: &Stage) -> bool {
    let mut found = [0; MARK.len()];
    std::fs::File::open(&stage.disk).unwrap().read_exact_at(&mut found, 0).unwrap();
    found == MARK
}

#[tokio::test]
async fn a_qcow2_image_and_a_config_drive_end_on_the_disk_and_are_proven() {
    let stage = Stage::available().await;
    let content = image::gpt(16);
    let (raw, qcow2) = (stage.file("image.raw", &content), stage.path("image.qcow2"));
    let names = [raw.to_str().unwrap(), qcow2.to_str().unwrap()];
    if !qemu_img(&["convert", "-f", "raw", "-O", "qcow2", names[0], names[1]]) {
        return;
    }
    let digest = stage.choose(&qcow2).await;
    stage.order_deploy().await;
    let _agent = stage.boot_agent().await;
    let node = stage.rests_in("active").await;
    assert_eq!((node.power_state.as_deref(), node.last_error), (Some("power on"), None));
    assert!(image::is_on(&stage.disk, &content));
    let written = stage.written().await;
    assert_eq!(written["proven"], true, "{written}");
    assert_eq!((&written["streamed"], &written["format"]), (&json!(digest), &json!("qcow2")));
    assert_eq!(written["virtual_bytes"], content.len());
    let evidence = stage.about("/evidence").await.to_string();
    for proof in ["written", "configured", "committed"] {
        assert!(evidence.contains(&format!("\"proof\":\"{proof}\"")), "{proof}: {evidence}");
    }
}

#[tokio::test]
async fn a_wrong_checksum_fails_with_both_digests_and_leaves_no_partition_table() {
    let stage = Stage::available().await;
    let file = stage.file("image.raw", &image::gpt(8));
    let right = image::sha256(&file);
    let wrong = "0".repeat(64);
    stage.choose_by(&stage.images.add(&file).unwrap(), &wrong).await;
    stage.order_deploy().await;
    let _agent = stage.boot_agent().await;
    let why = format!(
        "image sha256 is {right}, order says {wrong}. compare the file on the server with the order's checksum: one of them is wrong"
    );
    assert_eq!(stage.fails_in("deploy failed").await, failed_write(&stage, &why));
    assert!(!image::has_partition_table(&stage.disk));
}

#[tokio::test]
async fn an_image_larger_than_the_disk_is_refused_before_the_disk_is_touched() {
    let stage = Stage::available().await;
    let (disk_bytes, image_bytes) = (5_u64 << 30, 6_u64 << 30);
    let file = stage.path("image.raw");
    // Its first bytes decide; the rest is a hole and is never fetched.
    std::fs::write(&file, image::gpt(2)).unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_len(image_bytes).unwrap();
    stage.choose_by(&stage.images.add(&file).unwrap(), &"0".repeat(64)).await;
    mark(&stage);
    stage.order_deploy().await;
    let _agent = stage.boot_agent().await;
    let expected = format!(
        "write_image: image needs {image_bytes} bytes, disk has {disk_bytes}. choose a larger disk or shrink the image"
    );
    assert_eq!(stage.fails_in("deploy failed").await, expected);
    assert!(is_marked(&stage), "the disk was changed");
}

#[tokio::test]
async fn an_image_with_a_backing_file_is_refused_before_the_disk_is_touched() {
    let stage = Stage::available().await;
    let overlay = stage.path("overlay.qcow2");
    let file = overlay.to_str().unwrap();
    let backing = ["-u", "-b", "/etc/shadow", "-F", "raw"];
    let create = [&["create", "-q", "-f", "qcow2"][..], &backing, &[file, "16M"]].concat();
    if !qemu_img(&create) {
        return;
    }
    stage.choose(&overlay).await;
    mark(&stage);
    stage.order_deploy().await;
    let _agent = stage.boot_agent().await;
    assert_eq!(
        stage.fails_in("deploy failed").await,
        "write_image: cannot read the qcow2 image: image needs a backing file (/etc/shadow). \
         flatten the image with `qemu-img convert -O qcow2` and publish the result"
    );
    assert!(is_marked(&stage), "the disk was changed");
}

#[tokio::test]
async fn an_image_that_the_server_does_not_have_is_named_with_the_servers_answer() {
    let stage = Stage::available().await;
    let file = stage.file("image.raw", &image::gpt(2));
    stage.choose(&file).await;
    stage.images.set_faults(Faults { missing: true, ..Faults::default() });
    mark(&stage);
    stage.order_deploy().await;
    let _agent = stage.boot_agent().await;
    let url = stage.images.add(&file).unwrap();
    let expected = format!(
        "write_image: cannot fetch the image: {url} answers 404 Not Found. check the URL in the order and who may read it"
    );
    assert_eq!(stage.fails_in("deploy failed").await, expected);
    assert_eq!(stage.images.counts().requests, 1, "a file that is not there is asked for once");
    assert!(is_marked(&stage), "the disk was changed");
}

#[tokio::test]
async fn an_image_server_that_dies_for_good_ends_the_deploy_after_bounded_attempts() {
    let content = image::gpt(24);
    let mut stage = Stage::deploying(&content).await;
    let url = stage.images.add(&stage.path("image.raw")).unwrap();
    stage.images.set_faults(Faults { stall_after: Some(12 << 20), ..Faults::default() });
    let _agent = stage.boot_agent().await;
    stage.reaches(&content, 6 << 20).await;
    stage.images = ImageServer::start(([127, 0, 0, 1], 0)).await.unwrap();
    let error = stage.fails_in("deploy failed").await;
    let start = failed_write(&stage, &format!("cannot fetch the image: no answer from {url}: "));
    assert!(error.starts_with(&start), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    let remedy = ". check that the provisioning network reaches the image server (and its proxy, if it has one), and its name and certificate";
    assert!(error.ends_with(remedy), "{error}");
    assert!(!image::has_partition_table(&stage.disk));
}

#[tokio::test]
async fn an_image_server_that_comes_back_is_resumed_where_it_stopped() {
    let content = image::gpt(16);
    let stage = Stage::deploying(&content).await;
    stage.images.set_faults(Faults { cut_once_after: Some(8 << 20), ..Faults::default() });
    let _agent = stage.boot_agent().await;
    stage.rests_in("active").await;
    assert!(image::is_on(&stage.disk, &content));
    let written = stage.written().await;
    assert_eq!((&written["resumes"], &written["proven"]), (&json!(1), &json!(true)), "{written}");
    assert_eq!(stage.images.counts().cut, 1);
}

#[tokio::test]
async fn an_agent_that_never_calls_home_ends_in_a_failure_that_says_how_often_it_was_tried() {
    let stage = Stage::available_with(|settings| {
        settings.deadlines.await_agent = 1;
        settings.boot.attempts = 2;
    })
    .await;
    let file = stage.file("image.raw", &image::gpt(2));
    stage.choose(&file).await;
    stage.order_deploy().await;
    let expected = format!(
        "Timeout reached while waiting for callback for node {}: after 2 boots, no agent called within 1 s of power on \
         (it never fetched its boot script; check DHCP, the boot order and the MAC addresses of its ports). Look at the \
         machine's console, then ask for the action again.",
        stage.node
    );
    assert_eq!(stage.fails_in("deploy failed").await, expected);
    until("the machine off", async || {
        stage.api.node(stage.node).await.unwrap().power_state.as_deref() == Some("power off")
    })
    .await;
}
