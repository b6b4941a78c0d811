//! Simulated ATA disks.

use ironwright_api::{Category, EraseMethod as M, EraseSettings};

use super::{BYTES, Eye, allow_weaker, erase, erase_with, reason};
use crate::erase::device;
use crate::erase::fake::FakeBlocks;
use crate::erase::fake::ata::FakeAta;
use crate::erase::own::recover;
use crate::erase::own::security::PASSWORD;

fn secure_ata() -> (FakeBlocks, FakeAta) {
    let blocks = FakeBlocks::full(BYTES);
    (blocks.clone(), FakeAta { security: true, enhanced: true, ..FakeAta::new(blocks) })
}

#[test]
fn a_fake_ata_disk_is_erased_by_enhanced_security_erase_and_keeps_no_password() {
    let (blocks, ata) = secure_ata();
    let outcome = erase(&blocks, &ata);
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.method, M::AtaSecurityEraseEnhanced);
    assert!(!blocks.holds_tenants_data());
    assert_eq!(ata.state.lock().unwrap().password, None);
    assert!(outcome.device_log["ata_security_password_set"].contains("enabled true"));
    assert!(outcome.device_log["ata_security_after"].contains("enabled false"));
}

#[test]
fn a_fake_frozen_ata_disk_is_overwritten_and_the_certificate_says_what_to_do() {
    let (blocks, ata) = secure_ata();
    ata.state.lock().unwrap().frozen = true;
    let outcome = erase(&blocks, &ata);
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.method, M::Overwrite);
    assert!(reason(&outcome, M::AtaSecurityErase).contains("power the machine off and on"));
    let settings = EraseSettings { least: Category::Purge, ..EraseSettings::default() };
    let why = erase_with(&blocks, &ata, &settings, &Eye::default()).result.unwrap_err();
    assert!(why.contains("no method that the settings allow"), "{why}");
}

#[test]
fn a_fake_ata_disk_whose_erase_fails_is_not_left_locked_and_the_password_is_named() {
    let (blocks, ata) = secure_ata();
    ata.state.lock().unwrap().erase_fails = true;
    let outcome = erase(&blocks, &ata);
    let why = outcome.result.unwrap_err();
    assert!(why.contains("disabled again") && why.contains(PASSWORD), "{why}");
    assert_eq!(ata.state.lock().unwrap().password, None);
    ata.power_cycle();
    assert!(!blocks.medium().closed, "not locked");
    let outcome = erase_with(&blocks, &ata, &allow_weaker(), &Eye::default());
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.method, M::Overwrite);
}

#[test]
fn a_fake_adapter_that_drops_security_commands_with_a_good_answer_is_caught_by_identify() {
    let (blocks, ata) = secure_ata();
    ata.state.lock().unwrap().drops_security = true;
    let why = erase(&blocks, &ata).result.unwrap_err();
    assert!(why.contains("no password is set afterwards"), "{why}");
    assert!(!ata.state.lock().unwrap().seen.contains(&0xf4));
}

#[test]
fn a_fake_ata_disk_that_lost_its_power_in_a_security_erase_is_unlocked_by_the_next_boot() {
    let (blocks, ata) = secure_ata();
    let mut password = PASSWORD.as_bytes().to_vec();
    password.resize(32, 0);
    ata.state.lock().unwrap().password = Some(password);
    ata.power_cycle();
    assert!(blocks.medium().closed);
    let first = recover::first(&ata, &device::ask(&ata)).unwrap();
    assert!(first.contains("this agent's own"), "{first}");
    let outcome = erase(&blocks, &ata);
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.method, M::AtaSecurityEraseEnhanced);
    assert!(outcome.device_log["left_by_an_earlier_attempt"].contains("password"));
}

#[test]
fn a_fake_ata_disk_locked_by_a_stranger_is_tried_once_and_said_plainly() {
    let (blocks, ata) = secure_ata();
    ata.state.lock().unwrap().password = Some(vec![b'x'; 32]);
    ata.power_cycle();
    let outcome = erase(&blocks, &ata);
    assert!(outcome.result.is_err());
    assert!(reason(&outcome, M::AtaSecurityErase).contains("PSID"));
    assert_eq!(ata.state.lock().unwrap().wrong, 1);
}

#[test]
fn a_fake_ata_sanitize_is_followed_and_one_that_fails_is_cleared() {
    let blocks = FakeBlocks::full(BYTES);
    let ata = FakeAta { sanitize: 0xa000, ..FakeAta::new(blocks.clone()) };
    let outcome = erase(&blocks, &ata);
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.method, M::AtaSanitizeCrypto);
    assert!(outcome.device_log["ata_sanitize_status_after"].starts_with("count 8000"));
    blocks.fill_again();
    ata.state.lock().unwrap().fails_at = Some(0x8000);
    let why = erase(&blocks, &ata).result.unwrap_err();
    assert!(why.contains("sanitize status says so"), "{why}");
    assert!(!blocks.medium().closed && !ata.state.lock().unwrap().failed);
}

#[test]
fn a_fake_ata_sanitize_that_runs_since_before_the_boot_is_waited_for() {
    let blocks = FakeBlocks::full(BYTES);
    let ata = FakeAta { sanitize: 0x8000, ..FakeAta::new(blocks.clone()) };
    {
        let mut state = ata.state.lock().unwrap();
        (state.running, state.feature) = (Some(0x1000), 0x12);
        blocks.medium().closed = true;
    }
    let outcome = erase(&blocks, &ata);
    outcome.result.as_ref().unwrap();
    assert_eq!((outcome.method, &*outcome.verification.mode), (M::AtaSanitizeBlock, "sampled"));
}
