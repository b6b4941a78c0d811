//! Simulated SAS disks.

use ironwright_api::{EraseMethod as M, EraseSettings};

use super::{BYTES, Eye, erase, erase_with};
use crate::erase::device;
use crate::erase::fake::FakeBlocks;
use crate::erase::fake::scsi::FakeScsi;
use crate::erase::own::recover;

#[test]
fn a_fake_scsi_disk_is_sanitized_and_progress_is_read_from_its_sense_data() {
    for (actions, method) in
        [(&[1, 2, 3][..], M::ScsiSanitizeCrypto), (&[1], M::ScsiSanitizeOverwrite)]
    {
        let blocks = FakeBlocks::full(BYTES);
        let scsi = FakeScsi::new(blocks.clone(), actions);
        let eye = Eye::default();
        let outcome = erase_with(&blocks, &scsi, &EraseSettings::default(), &eye);
        outcome.result.as_ref().unwrap();
        assert_eq!(outcome.method, method);
        assert!(!blocks.holds_tenants_data());
        let part = BYTES as u64 * 3 / 32;
        assert!(eye.told.borrow().contains(&("erase", part)), "{:?}", eye.told.borrow());
    }
}

#[test]
fn a_fake_scsi_sanitize_is_found_by_the_next_boot_running_or_failed() {
    for failed in [false, true] {
        let blocks = FakeBlocks::full(BYTES);
        let scsi = FakeScsi::new(blocks.clone(), &[1]);
        {
            let mut state = scsi.state.lock().unwrap();
            state.failed = failed;
            state.running = (!failed).then_some((1, 0x1000));
            blocks.medium().closed = true;
        }
        let first = recover::first(&scsi, &device::ask(&scsi)).unwrap();
        assert!(first.contains(if failed { "failed" } else { "runs" }), "{first}");
        let outcome = erase(&blocks, &scsi);
        outcome.result.as_ref().unwrap();
        assert_eq!(recover::first(&scsi, &device::ask(&scsi)), None);
        assert!(blocks.is_zero() && outcome.method == M::ScsiSanitizeOverwrite);
        assert!(outcome.device_log.contains_key("left_by_an_earlier_attempt"));
    }
    let blocks = FakeBlocks::full(BYTES);
    let scsi = FakeScsi::new(blocks.clone(), &[1]);
    scsi.state.lock().unwrap().fails_at = Some(0x9000);
    let why = erase(&blocks, &scsi).result.unwrap_err();
    assert!(why.contains("0x31/0x03 (sanitize failed)") && !blocks.medium().closed, "{why}");
}
