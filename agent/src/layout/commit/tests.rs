use super::super::testing::TestImage;
use super::super::{MIB, Range, plan_with};
use super::*;
use crate::sys::disk::DiskOp;

const DISK: u64 = 100 * MIB;

#[test]
fn lba_0_is_written_last_and_every_piece_is_flushed_before_the_next() {
    let image = TestImage::cloud(512, 8);
    let disk = image.written(DISK);
    let layout = plan_with(&image.request(DISK, Some(MIB))).unwrap();
    let committed = commit(&disk, &layout).unwrap();
    assert_eq!((committed.table.as_str(), committed.partitions), ("gpt", 3));
    let ops = disk.ops.lock().unwrap();
    let writes: Vec<_> = ops.iter().filter(|(op, ..)| *op != DiskOp::Read).copied().collect();
    let flush = (DiskOp::Flush, 0, 0);
    assert_eq!(
        writes,
        [
            (DiskOp::Write, 7 * MIB, MIB),
            flush,
            (DiskOp::Write, DISK - 33 * 512, 33 * 512),
            flush,
            (DiskOp::Write, 512, MIB - 512),
            flush,
            (DiskOp::Write, 0, 512),
            flush,
        ]
    );
}

#[test]
fn after_a_commit_the_disk_holds_the_image_and_the_config_drive() {
    // The image's last MiB lies under the config-2 partition: its free tail must not overwrite the drive.
    let image =
        TestImage::gpt(512, 90 * MIB, &[(super::super::testing::LINUX, 2048, 4095, "root")]);
    let disk = image.written(DISK);
    let layout = plan_with(&image.request(DISK, Some(MIB))).unwrap();
    let config = layout.config.unwrap();
    assert!(config.offset < 90 * MIB, "the case this test is for: {config:?}");
    disk.write_at(config.offset, &vec![0xC2; usize::try_from(config.bytes).unwrap()]).unwrap();
    commit(&disk, &layout).unwrap();
    let after = disk.contents();
    let range = |range: Range| {
        &after[usize::try_from(range.offset).unwrap()..usize::try_from(range.end()).unwrap()]
    };
    assert!(range(config).iter().all(|byte| *byte == 0xC2), "the config drive was overwritten");
    assert!(range(layout.entries[0].range).iter().all(|byte| *byte == 1), "the image was damaged");
}

#[test]
fn a_write_error_at_any_piece_leaves_no_partition_table() {
    let image = TestImage::cloud(512, 8);
    let layout = plan_with(&image.request(DISK, Some(MIB))).unwrap();
    for (at, piece) in
        [(7 * MIB, "image tail"), (DISK - 1, "backup GPT"), (700, "first MiB"), (0, "LBA 0")]
    {
        let mut disk = image.written(DISK);
        disk.fail_write_at = Some(at);
        let error = commit(&disk, &layout).unwrap_err();
        assert!(error.to_string().contains(piece), "{error}");
        assert!(disk.contents()[..1 << 20].iter().all(|byte| *byte == 0), "{piece}");
    }
}

#[test]
fn a_disk_that_forgets_is_found_and_cleared() {
    let image = TestImage::cloud(512, 8);
    let layout = plan_with(&image.request(DISK, None)).unwrap();
    for at in [0, 513, 7 * MIB + 5, DISK - 3] {
        let mut disk = image.written(DISK);
        disk.flip_at = Some(at);
        let error = commit(&disk, &layout).unwrap_err();
        assert!(matches!(error, CommitError::Differs { offset, .. } if offset == at), "{error}");
        assert!(disk.contents()[..1 << 20].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_layout_for_a_larger_disk_is_refused_before_anything_is_written() {
    let image = TestImage::cloud(512, 8);
    let layout = plan_with(&image.request(DISK, None)).unwrap();
    let disk = image.written(DISK - MIB);
    assert!(matches!(commit(&disk, &layout), Err(CommitError::WrongDisk { .. })));
    assert!(disk.ops.lock().unwrap().is_empty());
}

#[test]
fn a_disk_that_keeps_what_failed_is_said_to_keep_it() {
    let image = TestImage::cloud(512, 8);
    let layout = plan_with(&image.request(DISK, None)).unwrap();
    let mut disk = image.written(DISK);
    // It takes LBA 0, returns other bytes, and then takes no zeros.
    disk.flip_at = Some(0);
    disk.fail_zero = true;
    let error = commit(&disk, &layout).unwrap_err();
    assert!(matches!(error, CommitError::Unclean { .. }), "{error}");
    assert!(error.to_string().ends_with("the disk may start"), "{error}");
}
