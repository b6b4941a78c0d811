//! The disk's side: order of events, read-back, the boot area, stops.

use std::sync::Arc;

use ironwright_api::{Blame, ReadbackMode};

use super::disks::MemoryDisk;
use super::servers::{End, Reply, Server};
use super::{DISK, StopAt, WIPED, chain, http, image, quick, request, write_to};
use crate::image::tuning::Tuning;
use crate::image::{Hold, Request, run};
use crate::sys::disk::{BlockDevice, DiskOp};

#[tokio::test]
async fn a_disk_that_refuses_or_lies_is_caught() {
    let (content, digest) = image();
    let server = Server::good(content, true).await;
    for (disk, expected) in [
        (
            MemoryDisk::failing(DISK, DiskOp::Write, 2 << 20),
            format!("{WIPED}cannot write the image: write of 393216 bytes at offset 2097152 on /dev/memory: Input/output error (os error 5)"),
        ),
        (
            MemoryDisk::lying(DISK, (2 << 20) + 77),
            format!("{WIPED}/dev/memory returns other bytes than were written, in 1048576 bytes at offset 2097152"),
        ),
        (
            // In the boot area, which is written last.
            MemoryDisk::lying(DISK, 600),
            format!("{WIPED}/dev/memory returns other bytes than were written, in 1048064 bytes at offset 512"),
        ),
        (
            MemoryDisk::lying(DISK, 4 << 20),
            format!("{WIPED}/dev/memory returns other bytes than were written, in 1048576 bytes at offset 3147264"),
        ),
        (
            MemoryDisk::failing(DISK, DiskOp::Zero, 0),
            "no image on /dev/memory, whose partition table may be incomplete (zero of 1048576 bytes at offset 0 on /dev/memory): cannot write the image: zero of 1048576 bytes at offset 0 on /dev/memory: Input/output error (os error 5)".into(),
        ),
    ] {
        let disk = Arc::new(disk);
        let error = write_to(&server, &disk, &request(&server, &digest), &quick()).await.unwrap_err();
        assert_eq!(chain(&error), expected);
        assert_eq!(error.blame(), Blame::Hardware);
        assert!(disk.has_no_table() || expected.contains("incomplete"), "{expected}");
    }
}

#[tokio::test]
async fn without_read_back_nothing_is_called_proven() {
    let (content, digest) = image();
    let server = Server::good(content, true).await;
    for (mode, chunks) in
        [(ReadbackMode::Full, 5), (ReadbackMode::Sampled, 3), (ReadbackMode::None, 0)]
    {
        let disk =
            Arc::new(MemoryDisk::lying(DISK, if chunks == 5 { DISK - 1 } else { (2 << 20) + 77 }));
        let request = Request { readback: mode, ..request(&server, &digest) };
        let tuning = Tuning { sample_seed: Some(1), ..quick() };
        let written = write_to(&server, &disk, &request, &tuning).await.unwrap().written;
        assert_eq!((written.proven, written.readback.chunks), (mode == ReadbackMode::Full, chunks));
        assert_eq!(written.readback.seed, (mode == ReadbackMode::Sampled).then_some(1));
    }
}

#[tokio::test]
async fn the_table_is_cleared_first_and_written_last_sector_zero_at_the_very_end() {
    let (content, digest) = image();
    let server = Server::good(content.clone(), true).await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    write_to(&server, &disk, &request(&server, &digest), &quick()).await.unwrap();
    let ops = disk.ops();
    let (mib, tail) = (1_u64 << 20, content.len() as u64 - (1 << 20));
    let clear = [(DiskOp::Zero, 0, mib), (DiskOp::Zero, 5 * mib, mib)];
    assert_eq!(ops[..2], clear);
    let flush = (DiskOp::Flush, 0, 0);
    let commit = [
        flush,
        (DiskOp::Write, tail, mib),
        flush,
        (DiskOp::Write, 512, mib - 512),
        flush,
        (DiskOp::Write, 0, 512),
        flush,
    ];
    assert_eq!(ops[ops.len() - commit.len()..], commit);
    let body = &ops[2..ops.len() - commit.len()];
    let outside =
        |op: &(DiskOp, u64, u64)| op.0 != DiskOp::Write || op.1 >= mib && op.1 + op.2 <= tail;
    assert!(body.iter().all(outside), "{body:?}");
}

#[tokio::test]
async fn a_held_boot_area_is_handed_back_and_not_written() {
    let (content, digest) = image();
    let server = Server::good(content.clone(), true).await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let request = Request { hold: Hold::BootArea, ..request(&server, &digest) };
    let outcome = write_to(&server, &disk, &request, &quick()).await.unwrap();
    assert!(disk.has_no_table() && outcome.written.proven);
    let held = outcome.held;
    let tail = usize::try_from(held.tail_offset).unwrap();
    assert_eq!((held.head.len(), tail), (1 << 20, content.len() - (1 << 20)));
    let mut image = disk.content();
    assert!(image[tail..content.len()].iter().all(|byte| *byte == 0));
    image[..1 << 20].copy_from_slice(&held.head);
    image[tail..content.len()].copy_from_slice(&held.tail);
    assert!(image.starts_with(&content));
}

#[tokio::test]
async fn a_stop_ends_every_thread_and_leaves_no_partition_table() {
    let (content, digest) = image();
    let server = Server::good(content, true).await;
    for (phase, bytes) in [("write", 1), ("write", 3 << 20), ("verify", 1)] {
        let disk = Arc::new(MemoryDisk::new(DISK));
        let device: Arc<dyn BlockDevice> = Arc::clone(&disk) as Arc<dyn BlockDevice>;
        let watch = Arc::new(StopAt::new(phase, bytes));
        let request = request(&server, &digest);
        let error = run::write(&request, device, watch, &http(), &quick()).await.unwrap_err();
        assert_eq!(chain(&error), format!("{WIPED}stopped on request"));
        assert!(disk.has_no_table(), "{phase} {bytes}");
        assert_eq!(Arc::strong_count(&disk), 1, "a thread still holds the disk");
    }
}

#[tokio::test]
async fn a_stop_is_seen_while_the_server_is_silent() {
    let (content, digest) = image();
    let server = Server::start(move |ask| Reply {
        end: End::Silence,
        ..Reply::good(ask, &content).cut(3_000_000)
    })
    .await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let device: Arc<dyn BlockDevice> = Arc::clone(&disk) as Arc<dyn BlockDevice>;
    let tuning = Tuning { stall: std::time::Duration::from_secs(3600), ..quick() };
    let watch = Arc::new(StopAt::new("write", 2 << 20));
    let error =
        run::write(&request(&server, &digest), device, watch, &http(), &tuning).await.unwrap_err();
    assert_eq!(chain(&error), format!("{WIPED}stopped on request"));
    assert!(disk.has_no_table());
    assert_eq!(Arc::strong_count(&disk), 1, "a thread still holds the disk");
}

#[tokio::test]
async fn a_dropped_write_leaves_no_thread() {
    let (content, digest) = image();
    let server = Server::start(move |ask| Reply {
        end: End::Silence,
        ..Reply::good(ask, &content).cut(3_000_000)
    })
    .await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let request = request(&server, &digest);
    let tuning = quick();
    let writing = write_to(&server, &disk, &request, &tuning);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(150), writing).await.is_err());
    assert_eq!(Arc::strong_count(&disk), 1, "a thread still holds the disk");
}
