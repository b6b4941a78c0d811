//! Which methods a disk offers, best first, and why each other one is passed over. Pure.
//!
//! Sanitize comes before format and security erase: it reaches caches, spare and reallocated blocks, goes on after a reset or a
//! power cut, and tells how far it is. Deallocation is left to the device (No-Deallocate After Sanitize stays 0): some
//! controllers inhibit it (SANICAP bit 29), and what deallocated blocks read as is known from DLFEAT.

#[cfg(test)]
mod tests;

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
    /// What it is worth on this disk.
    pub category: Category,
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
    rotational: bool,
}

/// What of a disk the device itself is not asked for.
#[derive(Debug, Clone, Copy)]
pub struct Medium<'a> {
    /// How it is attached (`nvme`, `sata`, `usb` ...); empty when unknown.
    pub transport: &'a str,
    /// Whether it turns: flash keeps spare blocks.
    pub rotational: bool,
}

impl Ladder {
    /// The ladder of `device`. A USB bridge answers for the disk behind it, and not always truly: nothing it says is used.
    #[must_use]
    pub fn of(device: &Device, medium: Medium<'_>) -> Self {
        let Medium { transport, rotational } = medium;
        let mut ladder = Self { rotational, ..Self::default() };
        match device {
            _ if transport == "usb" => ladder.pass(
                &[EraseMethod::Discard],
                "the disk is behind a USB bridge, whose answers are not relied upon",
            ),
            Device::Nvme(controller) => ladder.nvme(controller),
            Device::Ata(identity) => ladder.ata(identity),
            Device::Scsi(unit) => ladder.scsi(unit),
            Device::Silent { why, .. } => {
                ladder
                    .pass(of_transport(transport), &format!("the disk could not be asked: {why}"));
                ladder.pass(
                    &[EraseMethod::Discard],
                    &format!("nothing promises zeros after a discard: {why}"),
                );
            }
        }
        ladder.offer(EraseMethod::Overwrite, Reads::Zero, None);
        ladder
    }

    /// Without the methods below `least`.
    #[must_use]
    pub fn at_least(mut self, least: Category) -> Self {
        let (kept, weak): (Vec<Rung>, Vec<Rung>) =
            self.rungs.into_iter().partition(|rung| rung.category >= least);
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
        let category = method.category(self.rotational);
        self.rungs.push(Rung { method, category, reads, estimate });
    }

    fn pass(&mut self, methods: &[EraseMethod], reason: &str) {
        let entries =
            methods.iter().map(|method| PassedOver { method: *method, reason: reason.to_owned() });
        self.passed_over.extend(entries);
    }

    /// Offers `method`, or passes it over for the first reason that there is.
    fn decide(
        &mut self,
        (method, reads, estimate): (EraseMethod, Reads, Option<Duration>),
        obstacles: &[(bool, &str)],
    ) {
        match obstacles.iter().find(|(stands, _)| *stands) {
            Some((_, reason)) => self.pass(&[method], reason),
            None => self.offer(method, reads, estimate),
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
                (method, reads, estimate),
                &[(sanicap & bit == 0, &reason), (!others.is_empty(), &reach)],
            );
        }
        let no_format = format!("the controller has no Format NVM command (OACS {oacs:#x})");
        let no_crypto = format!("the controller offers no cryptographic format (FNA {fna:#x})");
        // Bits 0 and 1: formats, or only erasing ones, reach every namespace.
        let reaches = fna & 0x3 != 0 && !others.is_empty();
        self.decide(
            (M::NvmeFormatCrypto, Reads::Changed, None),
            &[(oacs & 0x2 == 0, &no_format), (fna & 0x4 == 0, &no_crypto), (reaches, &reach)],
        );
        self.decide(
            (M::NvmeFormatUserData, erased, None),
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
                (method, reads, None),
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
            self.decide((method, reads, estimate), &security_obstacles(security, offered));
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
                (method, reads, None),
                &[(!offered, "the disk does not offer it (REPORT SUPPORTED OPERATION CODES)")],
            );
        }
        self.discard(unit.unmapped_is_zero, "logical block provisioning page");
    }

    fn discard(&mut self, promised: bool, place: &str) {
        let reason = format!("the disk does not promise zeros after a discard ({place})");
        self.decide((EraseMethod::Discard, Reads::Zero, None), &[(!promised, &reason)]);
    }
}

/// What a disk of this transport may offer that is worth more than an overwrite.
fn of_transport(transport: &str) -> &'static [EraseMethod] {
    use EraseMethod as M;
    match transport {
        "nvme" => &[
            M::NvmeSanitizeCrypto,
            M::NvmeSanitizeBlock,
            M::NvmeSanitizeOverwrite,
            M::NvmeFormatCrypto,
            M::NvmeFormatUserData,
        ],
        "sata" | "ata" => &[
            M::AtaSanitizeCrypto,
            M::AtaSanitizeBlock,
            M::AtaSanitizeOverwrite,
            M::AtaSecurityEraseEnhanced,
            M::AtaSecurityErase,
        ],
        "sas" | "scsi" | "fc" | "iscsi" => {
            &[M::ScsiSanitizeCrypto, M::ScsiSanitizeBlock, M::ScsiSanitizeOverwrite]
        }
        _ => &[],
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
