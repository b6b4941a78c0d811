//! The ladders of disks of every kind.

use EraseMethod as M;

use super::*;

/// A disk that turns.
fn on(transport: &str) -> Medium<'_> {
    Medium { transport, rotational: true }
}

fn names(device: &Device) -> Vec<EraseMethod> {
    Ladder::of(device, on("")).rungs.iter().map(|rung| rung.method).collect()
}

fn reason(device: &Device, method: EraseMethod) -> String {
    let ladder = Ladder::of(device, on(""));
    let entry = ladder.passed_over.iter().find(|entry| entry.method == method);
    entry.map(|entry| entry.reason.clone()).unwrap_or_default()
}

fn nvme() -> nvme::Controller {
    let namespace = nvme::Namespace { dlfeat: 9, ..nvme::Namespace::default() };
    nvme::Controller {
        nsid: 1,
        oacs: 2,
        oncs: 8,
        fna: 4,
        sanicap: 7,
        namespace,
        ..nvme::Controller::default()
    }
}

#[test]
fn an_nvme_disk_with_everything_is_sanitized_first_and_overwritten_last() {
    let every = [
        M::NvmeSanitizeCrypto,
        M::NvmeSanitizeBlock,
        M::NvmeSanitizeOverwrite,
        M::NvmeFormatCrypto,
        M::NvmeFormatUserData,
        M::Discard,
        M::Overwrite,
    ];
    assert_eq!(names(&Device::Nvme(nvme())), every);
}

#[test]
fn qemus_nvme_is_formatted_with_user_data_erase_and_must_read_zeros() {
    // As QEMU 7.2 and 10.0 answer.
    let qemu = Device::Nvme(nvme::Controller { sanicap: 0, fna: 0, oacs: 0x12a, ..nvme() });
    let ladder = Ladder::of(&qemu, on("nvme"));
    let best = ladder.best().unwrap();
    assert_eq!((best.method, best.reads), (M::NvmeFormatUserData, Reads::Zero));
    assert_eq!(ladder.passed_over.len(), 4);
    assert!(reason(&qemu, M::NvmeFormatCrypto).contains("FNA 0x0"));
}

#[test]
fn what_reaches_another_namespace_is_passed_over_and_says_which() {
    let two = |fna| Device::Nvme(nvme::Controller { others: vec![2, 9], fna, ..nvme() });
    assert_eq!(names(&two(0)), [M::NvmeFormatUserData, M::Discard, M::Overwrite]);
    assert_eq!(names(&two(2)), [M::Discard, M::Overwrite]);
    assert!(reason(&two(2), M::NvmeSanitizeCrypto).contains("namespaces 2, 9"));
}

fn ata(security: ata::Security) -> Device {
    let sanitize = ata::Sanitize { crypto: true, block: true, ..ata::Sanitize::default() };
    Device::Ata(ata::Identity { sanitize, security, trim_is_zero: false })
}

#[test]
fn ata_states_that_forbid_a_method_are_said_with_what_to_do() {
    let able = ata::Security { supported: true, enhanced: true, ..ata::Security::default() };
    assert_eq!(
        names(&ata(able)),
        [
            M::AtaSanitizeCrypto,
            M::AtaSanitizeBlock,
            M::AtaSecurityEraseEnhanced,
            M::AtaSecurityErase,
            M::Overwrite
        ]
    );
    for (security, words) in [
        (ata::Security { frozen: true, ..able }, "power the machine off and on"),
        (ata::Security { locked: true, enabled: true, ..able }, "PSID"),
        (ata::Security { enabled: true, ..able }, "of who set it"),
        (ata::Security::default(), "no security feature set"),
    ] {
        let found = reason(&ata(security), M::AtaSecurityErase);
        assert!(found.contains(words), "{found}");
    }
}

#[test]
fn a_disk_that_says_nothing_and_one_behind_a_usb_bridge_are_overwritten() {
    let silent = Device::Silent { why: "no such commands".to_owned(), broken: false };
    assert_eq!(names(&silent), [M::Overwrite]);
    assert!(reason(&silent, M::Discard).contains("no such commands"));
    let nvme = Ladder::of(&silent, on("nvme"));
    assert_eq!((nvme.rungs.len(), nvme.passed_over.len()), (1, 6));
    let usb = Ladder::of(&ata(ata::Security::default()), on("usb"));
    assert_eq!((usb.rungs.len(), usb.passed_over.len()), (1, 1));
    let qemu_ahci = Device::Ata(ata::Identity::default());
    assert_eq!(names(&qemu_ahci), [M::Overwrite]);
}

#[test]
fn scsi_disks_offer_what_they_report_and_discard_only_with_a_promise() {
    let unit = scsi::Unit { overwrite: true, ..scsi::Unit::default() };
    assert_eq!(names(&Device::Scsi(unit)), [M::ScsiSanitizeOverwrite, M::Overwrite]);
    let unit = scsi::Unit { unmapped_is_zero: true, ..scsi::Unit::default() };
    assert_eq!(names(&Device::Scsi(unit)), [M::Discard, M::Overwrite]);
}

#[test]
fn methods_below_the_least_category_are_passed_over() {
    let ladder = Ladder::of(&Device::Nvme(nvme()), on("nvme")).at_least(Category::Purge);
    assert!(ladder.rungs.iter().all(|rung| rung.category == Category::Purge));
    assert_eq!(ladder.passed_over.len(), 2);
    let none = Device::Silent { why: String::new(), broken: false };
    assert!(Ladder::of(&none, on("")).at_least(Category::Purge).best().is_none());
}

#[test]
fn an_enhanced_security_erase_purges_what_turns_and_only_clears_flash() {
    let able = ata::Security { supported: true, enhanced: true, ..ata::Security::default() };
    for (rotational, worth) in [(true, Category::Purge), (false, Category::Clear)] {
        let ladder = Ladder::of(&ata(able), Medium { transport: "sata", rotational });
        let enhanced =
            ladder.rungs.iter().find(|rung| rung.method == M::AtaSecurityEraseEnhanced).unwrap();
        assert_eq!(enhanced.category, worth);
        let kept = ladder.clone().at_least(Category::Purge).rungs.len();
        assert_eq!(kept, 2 + usize::from(rotational), "{ladder:?}");
    }
}
