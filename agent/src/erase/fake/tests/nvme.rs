//! Simulated NVMe devices.

use ironwright_api::{Category, EraseMethod as M, EraseSettings};

use super::{BYTES, Eye, allow_weaker, erase, erase_with, reason};
use crate::erase::attempt::Attempt;
use crate::erase::fake::nvme::FakeNvme;
use crate::erase::fake::{FakeBlocks, SECTOR};
use crate::erase::ladder::Medium;

fn sanitizing_nvme() -> (FakeBlocks, FakeNvme) {
    let blocks = FakeBlocks::full(BYTES);
    (blocks.clone(), FakeNvme { sanicap: 0x3, ..FakeNvme::new(blocks) })
}

#[test]
fn a_fake_nvme_sanitize_with_a_reset_in_the_middle_is_followed_to_its_end_and_sampled() {
    let (blocks, nvme) = sanitizing_nvme();
    nvme.state.lock().unwrap().reset = Some((0x4000, 3));
    let eye = Eye::default();
    let outcome = erase_with(&blocks, &nvme, &EraseSettings::default(), &eye);
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.method, M::NvmeSanitizeCrypto);
    assert!(!blocks.holds_tenants_data());
    let verification = &outcome.verification;
    assert_eq!(verification.mode, "sampled");
    assert!(verification.samples.iter().all(|sample| sample.after == "different"));
    assert!(verification.samples.iter().any(|sample| sample.before == "data"));
    assert!(outcome.passed_over.is_empty(), "{:?}", outcome.passed_over);
    for name in ["nvme_sanitize_log_before", "nvme_sanitize_log_after"] {
        assert_eq!(outcome.device_log[name].len(), 64, "{:?}", outcome.device_log);
    }
    let told = eye.told.borrow();
    let erase: Vec<u64> =
        told.iter().filter(|(phase, _)| *phase == "erase").map(|(_, bytes)| *bytes).collect();
    assert!(erase.is_sorted() && erase.contains(&(BYTES as u64 / 4 * 3)), "{erase:?}");
    assert_eq!(erase.last(), Some(&(BYTES as u64)));
}

#[test]
fn a_fake_nvme_without_sanitize_is_formatted_as_in_qemu_and_reads_zeros() {
    let blocks = FakeBlocks::full(BYTES);
    let nvme = FakeNvme { oacs: 0x2, ..FakeNvme::new(blocks.clone()) };
    nvme.state.lock().unwrap().busy = 3;
    let outcome = erase(&blocks, &nvme);
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.method, M::NvmeFormatUserData);
    assert!(blocks.is_zero());
    assert!(outcome.verification.samples.iter().all(|sample| sample.after == "zero"));
    assert_eq!(outcome.passed_over.len(), 4);
    assert!(reason(&outcome, M::NvmeFormatCrypto).contains("FNA"));
}

#[test]
fn a_fake_device_that_lies_is_caught_with_the_lba_and_nothing_weaker_follows_silently() {
    let (blocks, nvme) = sanitizing_nvme();
    blocks.medium().lies = true;
    let outcome = erase(&blocks, &nvme);
    let why = outcome.result.unwrap_err();
    assert!(why.contains("LBA 0 still holds what was there before"), "{why}");
    assert!(why.contains("overwrite with zeros was not tried"), "{why}");
    assert!(blocks.holds_tenants_data());
    assert_eq!(outcome.method, M::NvmeSanitizeBlock, "the last that was tried");
    let samples = &outcome.verification.samples;
    assert!(samples.iter().all(|sample| sample.after == "unchanged"));
}

#[test]
fn a_fake_device_that_keeps_its_first_block_only_is_caught_too() {
    for keeps in [0, BYTES / SECTOR - 1] {
        let (blocks, nvme) = sanitizing_nvme();
        blocks.medium().keeps = Some(keeps);
        let why = erase(&blocks, &nvme).result.unwrap_err();
        assert!(why.contains(&format!("LBA {keeps} still holds")), "{why}");
    }
}

#[test]
fn a_fake_device_that_lies_is_overwritten_where_the_settings_allow_a_weaker_category() {
    let (blocks, nvme) = sanitizing_nvme();
    blocks.medium().lies = true;
    let outcome = erase_with(&blocks, &nvme, &allow_weaker(), &Eye::default());
    outcome.result.as_ref().unwrap();
    assert_eq!((outcome.method, outcome.method.category(false)), (M::Overwrite, Category::Clear));
    assert_eq!(outcome.verification.mode, "full");
    assert!(blocks.is_zero());
    assert!(reason(&outcome, M::NvmeSanitizeCrypto).contains("LBA 0"));
}

#[test]
fn a_fake_device_that_drops_writes_is_unverifiable_and_never_asked_to_erase() {
    let (blocks, nvme) = sanitizing_nvme();
    blocks.medium().drops_writes = true;
    let outcome = erase(&blocks, &nvme);
    let why = outcome.result.unwrap_err();
    assert!(why.contains("LBA 0 does not hold the random value"), "{why}");
    assert_eq!(outcome.verification.mode, "none");
    assert!(nvme.state.lock().unwrap().seen.iter().all(|(opcode, _)| *opcode != 0x84));
    // Nor does an overwrite pass, where it is allowed.
    let outcome = erase_with(&blocks, &nvme, &allow_weaker(), &Eye::default());
    assert!(outcome.result.unwrap_err().contains("after it was zeroed"));
}

#[test]
fn a_fake_nvme_sanitize_that_fails_at_70_percent_is_left_and_the_next_method_of_its_category_follows()
 {
    let (blocks, nvme) = sanitizing_nvme();
    nvme.state.lock().unwrap().fails_at = Some(0xb400);
    let outcome = erase(&blocks, &nvme);
    let why = outcome.result.as_ref().unwrap_err();
    assert!(why.contains("failed at 70 %"), "{why}");
    assert!(reason(&outcome, M::NvmeSanitizeCrypto).contains("sanitize status log"));
    assert_eq!(outcome.method, M::NvmeSanitizeBlock);
    assert!(!blocks.medium().closed, "the failure mode was left");
    let format = FakeNvme { oacs: 2, sanicap: 1, ..FakeNvme::new(blocks.clone()) };
    format.state.lock().unwrap().fails_at = Some(0xb400);
    let outcome = erase(&blocks, &format);
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.method, M::NvmeFormatUserData, "also purge: no setting is needed");
}

#[test]
fn a_fake_nvme_that_lost_its_power_in_a_sanitize_is_followed_by_the_next_boot() {
    // An overwrite that leaves zeros everywhere is proven by reading everything.
    let (blocks, nvme) = sanitizing_nvme();
    let begun = |action, sprog| {
        let mut state = nvme.state.lock().unwrap();
        (state.sstat, state.action, state.sprog) = (2, action, sprog);
        blocks.medium().closed = true;
        blocks.fill_again();
    };
    begun(2, 0x4000);
    let outcome = erase(&blocks, &nvme);
    outcome.result.as_ref().unwrap();
    assert_eq!((outcome.method, &*outcome.verification.mode), (M::NvmeSanitizeBlock, "full"));
    assert_eq!(outcome.verification.bytes_read, BYTES as u64);
    assert!(outcome.device_log["left_by_an_earlier_attempt"].contains("NvmeSanitizeBlock"));
    // Noise proves nothing without samples of before: it is erased again.
    begun(4, 0x4000);
    let outcome = erase(&blocks, &nvme);
    outcome.result.as_ref().unwrap();
    assert_eq!((outcome.method, &*outcome.verification.mode), (M::NvmeSanitizeCrypto, "sampled"));
}

#[test]
fn a_fake_disk_that_an_earlier_attempt_left_closed_is_open_for_the_metadata_erase_that_comes_first()
{
    let (blocks, nvme) = sanitizing_nvme();
    for sstat in [2, 3] {
        (nvme.state.lock().unwrap().sstat, blocks.medium().closed) = (sstat, true);
        let (settings, eye) = (EraseSettings::default(), Eye::default());
        let attempt = Attempt {
            planned: None,
            disk: &blocks,
            commands: &nvme,
            medium: Medium { transport: "nvme", rotational: false },
            settings: &settings,
            follow: &eye,
        };
        let log = attempt.free().unwrap();
        assert!(!blocks.medium().closed && log.contains_key("left_by_an_earlier_attempt"));
        assert!(attempt.free().unwrap().is_empty());
    }
}

#[test]
fn a_fake_nvme_found_in_its_failure_mode_is_freed_or_said_to_be_lost() {
    for restricted in [false, true] {
        let (blocks, nvme) = sanitizing_nvme();
        {
            let mut state = nvme.state.lock().unwrap();
            (state.sstat, state.restricted) = (3, restricted);
            blocks.medium().closed = true;
        }
        let outcome = erase(&blocks, &nvme);
        match outcome.result {
            Ok(()) => assert!(!restricted && !blocks.holds_tenants_data()),
            Err(why) => assert!(restricted && why.contains("cannot leave that state"), "{why}"),
        }
    }
}

#[test]
fn a_stop_during_a_fake_sanitize_says_that_the_device_goes_on_and_tries_nothing_else() {
    let (blocks, nvme) = sanitizing_nvme();
    let eye = Eye { stop: Some(("erase", BYTES as u64 / 2)), ..Eye::default() };
    let why = erase_with(&blocks, &nvme, &allow_weaker(), &eye).result.unwrap_err();
    assert!(why.contains("stopped on request at 50 %; the device goes on"), "{why}");
    assert_eq!(nvme.state.lock().unwrap().sstat, 2);
    let eye = Eye { stop: Some(("prepare", 0)), ..Eye::default() };
    let (blocks, nvme) = sanitizing_nvme();
    let why = erase_with(&blocks, &nvme, &allow_weaker(), &eye).result.unwrap_err();
    assert!(why.contains("before it began") && blocks.is_untouched(), "{why}");
}

#[test]
fn a_fake_nvme_with_two_namespaces_is_not_sanitized_under_its_neighbour() {
    let blocks = FakeBlocks::full(BYTES);
    let nvme =
        FakeNvme { sanicap: 7, oacs: 2, namespaces: vec![1, 2], ..FakeNvme::new(blocks.clone()) };
    let outcome = erase(&blocks, &nvme);
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.method, M::NvmeFormatUserData);
    assert!(reason(&outcome, M::NvmeSanitizeCrypto).contains("namespaces 2"));
    assert!(nvme.state.lock().unwrap().seen.iter().all(|(opcode, _)| *opcode != 0x84));
}

#[test]
fn a_fake_discard_counts_only_when_every_byte_reads_as_zero() {
    for lies in [false, true] {
        let blocks = FakeBlocks::full(BYTES);
        (blocks.medium().discards, blocks.medium().lies) = (true, lies);
        let nvme = FakeNvme { dlfeat: 9, ..FakeNvme::new(blocks.clone()) };
        let outcome = erase(&blocks, &nvme);
        outcome.result.as_ref().unwrap();
        let expected = if lies { M::Overwrite } else { M::Discard };
        assert_eq!((outcome.method, &*outcome.verification.mode), (expected, "full"));
        assert!(blocks.is_zero());
    }
}
