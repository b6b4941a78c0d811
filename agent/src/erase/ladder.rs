//! Which methods a disk offers, best first, and why each other one is passed over. Pure.
//!
//! Sanitize comes before format and security erase: it reaches caches, spare and reallocated blocks, goes on after a reset or a
//! power cut, and tells how far it is. Deallocation is left to the device (No-Deallocate After Sanitize stays 0): some
//! controllers inhibit it (SANICAP bit 29), and what deallocated blocks read as is known from DLFEAT.

use std::time::Duration;

use ironwright_api::{Category, EraseMethod, PassedOver};

use super::device::{Device, ata, nvme, scsi};

/// What an erased block must read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Zeros.
    Zero,
    /// Anything but what was there: noise, or a pattern of the maker's.
    Changed,
}

/// One method that the disk offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// The method.
    pub method: EraseMethod,
    /// What is read afterwards.
    pub reads: Reads,
    /// How long it takes, as the device says.
    pub estimate: Option<Duration>,
}

/// What is to be tried, best first, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ladder {
    /// In the order to try. The last is always an overwrite.
    pub rungs: Vec<Rung>,
    /// What is left out, with the reason.
    pub passed_over: Vec<PassedOver>,
}

impl Ladder {
    /// The ladder of `device`. A USB bridge answers for the disk behind it, and not always truly: nothing it says is used.
    #[must_use]
    pub fn of(device: &Device, transport: &str) -> Self {
        let mut ladder = Self::default();
        match device {
            _ if transport == "usb" => ladder.pass(
                &[EraseMethod::Discard],
                "the disk is behind a USB bridge, whose answers are not relied upon",
            ),
            Device::Nvme(controller) => ladder.nvme(controller),
            Device::Ata(identity) => ladder.ata(identity),
            Device::Scsi(unit) => ladder.scsi(unit),
            Device::Silent { why } => ladder.pass(
                &[EraseMethod::Discard],
                &format!("nothing promises zeros after a discard: {why}"),
            ),
        }
        ladder.offer(EraseMethod::Overwrite, Reads::Zero, None);
        ladder
    }

    /// Without the methods below `least`.
    #[must_use]
    pub fn at_least(mut self, least: Category) -> Self {
        let (kept, weak): (Vec<Rung>, Vec<Rung>) =
            self.rungs.into_iter().partition(|rung| rung.method.category() >= least);
        self.rungs = kept;
        for rung in weak {
            self.pass(&[rung.method], "the settings ask for a stronger category");
        }
        self
    }

    /// The first rung.
    #[must_use]
    pub fn best(&self) -> Option<&Rung> {
        self.rungs.first()
    }

    fn offer(&mut self, method: EraseMethod, reads: Reads, estimate: Option<Duration>) {
        self.rungs.push(Rung { method, reads, estimate });
    }

    fn pass(&mut self, methods: &[EraseMethod], reason: &str) {
        let entries =
            methods.iter().map(|method| PassedOver { method: *method, reason: reason.to_owned() });
        self.passed_over.extend(entries);
    }

    /// Offers `method`, or passes it over for the first reason that there is.
    fn decide(&mut self, rung: Rung, obstacles: &[(bool, &str)]) {
        match obstacles.iter().find(|(stands, _)| *stands) {
            Some((_, reason)) => self.pass(&[rung.method], reason),
            None => self.rungs.push(rung),
        }
    }

    fn nvme(&mut self, controller: &nvme::Controller) {
        use EraseMethod as M;
        let nvme::Controller { others, oacs, fna, sanicap, namespace, .. } = controller;
        let zero = namespace.deallocated_is_zero();
        let erased = if zero { Reads::Zero } else { Reads::Changed };
        let [overwrite, block, crypto] =
            controller.sanitize.map_or([None; 3], |status| status.estimates);
        let names: Vec<String> = others.iter().map(u32::to_string).collect();
        let reach = format!(
            "it would erase namespaces {} of the same device too, which are disks of their own",
            names.join(", ")
        );
        for (method, bit, reads, estimate) in [
            (M::NvmeSanitizeCrypto, 0x1, Reads::Changed, crypto),
            (M::NvmeSanitizeBlock, 0x2, erased, block),
            (M::NvmeSanitizeOverwrite, 0x4, erased, overwrite),
        ] {
            let reason = format!("the controller does not offer it (SANICAP {sanicap:#x})");
            self.decide(
                Rung { method, reads, estimate },
                &[(sanicap & bit == 0, &reason), (!others.is_empty(), &reach)],
            );
        }
        let no_format = format!("the controller has no Format NVM command (OACS {oacs:#x})");
        let no_crypto = format!("the controller offers no cryptographic format (FNA {fna:#x})");
        // Bits 0 and 1: formats, or only erasing ones, reach every namespace.
        let reaches = fna & 0x3 != 0 && !others.is_empty();
        let rung = |method, reads| Rung { method, reads, estimate: None };
        self.decide(
            rung(M::NvmeFormatCrypto, Reads::Changed),
            &[(oacs & 0x2 == 0, &no_format), (fna & 0x4 == 0, &no_crypto), (reaches, &reach)],
        );
        self.decide(
            rung(M::NvmeFormatUserData, erased),
            &[(oacs & 0x2 == 0, &no_format), (reaches, &reach)],
        );
        // Dataset Management's deallocate is a hint; Write Zeroes with Deallocate (DLFEAT bit 3) is none.
        let promised = zero && namespace.dlfeat & 0x8 != 0 && controller.oncs & 0x8 != 0;
        self.discard(promised, &format!("DLFEAT {:#x}", namespace.dlfeat));
    }

    fn ata(&mut self, identity: &ata::Identity) {
        use EraseMethod as M;
        let ata::Sanitize { crypto, block, overwrite, frozen, unseen } = identity.sanitize;
        for (method, offered, reads) in [
            (M::AtaSanitizeCrypto, crypto, Reads::Changed),
            // What is read after a block erase is not specified (ACS-5, 7.36.2).
            (M::AtaSanitizeBlock, block, Reads::Changed),
            (M::AtaSanitizeOverwrite, overwrite, Reads::Zero),
        ] {
            self.decide(
                Rung { method, reads, estimate: None },
                &[
                    (!offered, "the disk does not offer it (IDENTIFY word 59)"),
                    (unseen, "the adapter does not return ATA registers, so that it could not be followed"),
                    (
                        frozen,
                        "the firmware froze the sanitize commands: power the machine off and on, or take the disk out \
                         and in, and switch the freezing off in the firmware's settings",
                    ),
                ],
            );
        }
        let security = &identity.security;
        for (method, offered, reads, estimate) in [
            // Enhanced: patterns of the maker's; normal: zeros (ACS-5, 7.40.4).
            (
                M::AtaSecurityEraseEnhanced,
                security.enhanced,
                Reads::Changed,
                security.enhanced_time,
            ),
            (M::AtaSecurityErase, true, Reads::Zero, security.normal_time),
        ] {
            self.decide(Rung { method, reads, estimate }, &security_obstacles(security, offered));
        }
        self.discard(identity.trim_is_zero, "IDENTIFY words 69 and 169");
    }

    fn scsi(&mut self, unit: &scsi::Unit) {
        use EraseMethod as M;
        let erased = if unit.unmapped_is_zero { Reads::Zero } else { Reads::Changed };
        for (method, offered, reads) in [
            (M::ScsiSanitizeCrypto, unit.crypto, Reads::Changed),
            (M::ScsiSanitizeBlock, unit.block, erased),
            (M::ScsiSanitizeOverwrite, unit.overwrite, Reads::Zero),
        ] {
            self.decide(
                Rung { method, reads, estimate: None },
                &[(!offered, "the disk does not offer it (REPORT SUPPORTED OPERATION CODES)")],
            );
        }
        self.discard(unit.unmapped_is_zero, "logical block provisioning page");
    }

    fn discard(&mut self, promised: bool, place: &str) {
        let rung = Rung { method: EraseMethod::Discard, reads: Reads::Zero, estimate: None };
        let reason = format!("the disk does not promise zeros after a discard ({place})");
        self.decide(rung, &[(!promised, &reason)]);
    }
}

/// Why the security feature set cannot be used. A password that is not ours is nobody's to guess: after five wrong ones the disk
/// answers no more.
fn security_obstacles(security: &ata::Security, offered: bool) -> [(bool, &'static str); 5] {
    [
        (!security.supported, "the disk has no security feature set (IDENTIFY words 82 and 128)"),
        (!offered, "the disk does not offer it (IDENTIFY word 128)"),
        (
            security.locked,
            "the disk is locked with a password (one that an interrupted erase of this agent left is taken away before an \
             erase): unlock it with the password of who set it, or revert it with the number on its label (PSID), if it has one",
        ),
        (
            security.enabled,
            "a password is set (one that an interrupted erase of this agent left is taken away before an erase): disable it \
             with the password of who set it",
        ),
        (
            security.frozen || security.expired,
            "the firmware froze the security commands: power the machine off and on, or take the disk out and in, \
             and switch the freezing off in the firmware's settings",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use EraseMethod as M;

    use super::*;

    fn names(device: &Device) -> Vec<EraseMethod> {
        Ladder::of(device, "").rungs.iter().map(|rung| rung.method).collect()
    }

    fn reason(device: &Device, method: EraseMethod) -> String {
        let ladder = Ladder::of(device, "");
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
        let ladder = Ladder::of(&qemu, "nvme");
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
        let silent = Device::Silent { why: "no such commands".to_owned() };
        assert_eq!(names(&silent), [M::Overwrite]);
        assert!(reason(&silent, M::Discard).contains("no such commands"));
        let usb = Ladder::of(&ata(ata::Security::default()), "usb");
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
        let ladder = Ladder::of(&Device::Nvme(nvme()), "nvme").at_least(Category::Purge);
        assert!(ladder.rungs.iter().all(|rung| rung.method.category() == Category::Purge));
        assert_eq!(ladder.passed_over.len(), 2);
        let none = Device::Silent { why: String::new() };
        assert!(Ladder::of(&none, "").at_least(Category::Purge).best().is_none());
    }
}
