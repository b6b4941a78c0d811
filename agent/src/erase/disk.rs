//! One disk of an erase step: protected or not, erased, and certified either way.

use ironwright_api::{
    CERTIFICATE_VERSION, Category, Certificate, DiskIdentity, DiskProgress, EraseMethod,
    EraseResult, EraseSettings, Erased, PassedOver, SignedCertificate, Verification,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::certificate::Notary;
use super::metadata;
use super::overwrite::{self, Follow};
use crate::order::DiskFact;
use crate::report::chain;
use crate::steps::Kind;
use crate::sys::System;
use crate::sys::disk::{Access, BlockDevice, RealDisk};

/// Why every certificate of this version names better methods.
const NOT_ASKED: &str = "this version of the agent does not ask the device to erase itself";

/// Methods that a device of this transport may offer and that are worth more than an overwrite, best first.
#[must_use]
pub fn passed_over(transport: &str) -> Vec<PassedOver> {
    use EraseMethod as M;
    let methods: &[EraseMethod] = match transport {
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
        ],
        "sas" | "scsi" | "fc" | "iscsi" => {
            &[M::ScsiSanitizeCrypto, M::ScsiSanitizeBlock, M::ScsiSanitizeOverwrite]
        }
        _ => &[],
    };
    methods
        .iter()
        .map(|method| PassedOver { method: *method, reason: NOT_ASKED.to_owned() })
        .collect()
}

/// What is to be done to one disk.
#[derive(Debug, Clone)]
pub struct Task {
    /// The disk.
    pub disk: DiskFact,
    /// By which step.
    pub kind: Kind,
    /// The step's name.
    pub step: &'static str,
    /// The order, nil by hand.
    pub order_id: Uuid,
}

impl Task {
    fn method(&self) -> EraseMethod {
        match self.kind {
            Kind::EraseDevices => EraseMethod::Overwrite,
            Kind::EraseDevicesMetadata => EraseMethod::Metadata,
        }
    }

    /// One sentence for a plan.
    #[must_use]
    pub fn sentence(&self) -> String {
        let DiskIdentity { path, serial, bytes, transport, .. } = &self.disk.identity;
        let serial = if serial.is_empty() { "no serial" } else { serial };
        match self.kind {
            Kind::EraseDevicesMetadata => format!(
                "{path} ({serial}): partition tables and signatures at both ends, of the disk and of every partition"
            ),
            Kind::EraseDevices => {
                let over = passed_over(transport).len();
                let better = if over > 0 {
                    format!("; {over} better methods passed over: {NOT_ASKED}")
                } else {
                    String::new()
                };
                format!(
                    "{path} ({serial}, {bytes} bytes): overwrite with zeros (clear), verified in full{better}"
                )
            }
        }
    }

    /// Why the order's settings forbid this erase.
    #[must_use]
    pub fn forbidden(&self, settings: &EraseSettings) -> Option<String> {
        let category = self.method().category();
        (self.kind == Kind::EraseDevices && category < settings.least).then(|| {
            format!(
                "{} can only be overwritten by this agent (clear), the settings ask for {}",
                self.disk.path.display(),
                if settings.least == Category::Purge { "purge" } else { "more" },
            )
        })
    }

    /// Erases the disk, verifies it, and signs for it; or says why not. `follow` learns how far it is and may stop it.
    ///
    /// # Errors
    /// What went wrong, with device and place, and the certificate of the failure where there is somebody to sign it.
    pub fn perform(
        &self,
        system: &System,
        notary: Option<&Notary>,
        follow: &dyn Follow,
    ) -> Result<Erased, String> {
        let started = Timestamp::now();
        let (mut erased, verification) = self.erase(system, follow)?;
        if let Some(notary) = notary {
            let certificate = self.certificate(notary, started, verification);
            erased.certificate = Some(Box::new(sign(notary, certificate)?));
        }
        Ok(erased)
    }

    fn erase(
        &self,
        system: &System,
        follow: &dyn Follow,
    ) -> Result<(Erased, Verification), String> {
        let DiskFact { path, serial, partitions, .. } = &self.disk;
        if self.disk.read_only {
            return Err(format!("{} is read-only", path.display()));
        }
        let admitted = system.admit(path).map_err(|error| chain(&error))?;
        let disk = RealDisk::open(admitted, Access::Write).map_err(|error| chain(&error))?;
        match self.kind {
            Kind::EraseDevicesMetadata => {
                let mut erased =
                    metadata::erase(&disk, serial, partitions).map_err(|error| chain(&error))?;
                erased.device = path.display().to_string();
                let verification = Verification {
                    mode: "full".to_owned(),
                    bytes_read: erased.verified_bytes,
                    samples: Vec::new(),
                };
                Ok((erased, verification))
            }
            Kind::EraseDevices => {
                let bytes = overwrite::overwrite(&disk, follow).map_err(|error| chain(&error))?;
                let erased = Erased {
                    device: path.display().to_string(),
                    serial: serial.clone(),
                    disk_bytes: disk.bytes(),
                    method: "overwrite".to_owned(),
                    bytes,
                    verified_bytes: bytes,
                    certificate: None,
                };
                let verification = Verification {
                    mode: "full".to_owned(),
                    bytes_read: bytes,
                    samples: Vec::new(),
                };
                Ok((erased, verification))
            }
        }
    }

    fn certificate(
        &self,
        notary: &Notary,
        started: Timestamp,
        verification: Verification,
    ) -> Certificate {
        let method = self.method();
        let better = match self.kind {
            Kind::EraseDevices => passed_over(&self.disk.identity.transport),
            Kind::EraseDevicesMetadata => Vec::new(),
        };
        Certificate {
            version: CERTIFICATE_VERSION,
            node_uuid: notary.node_uuid,
            order_id: self.order_id,
            boot_id: notary.boot_id,
            disk: self.disk.identity.clone(),
            step: self.step.to_owned(),
            method,
            category: method.category(),
            passed_over: better,
            device_log: std::collections::BTreeMap::new(),
            started: started.to_string(),
            ended: Timestamp::now().to_string(),
            verification,
            result: EraseResult::Erased,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// How far it is, for the heartbeat.
    #[must_use]
    pub fn progress(&self, phase: &str, bytes: u64, eta_s: Option<u64>) -> DiskProgress {
        let percent =
            bytes.saturating_mul(100).checked_div(self.disk.identity.bytes).unwrap_or(100);
        DiskProgress {
            device: self.disk.path.display().to_string(),
            phase: phase.to_owned(),
            percent: u8::try_from(percent.min(100)).unwrap_or(100),
            eta_s,
        }
    }
}

fn sign(notary: &Notary, certificate: Certificate) -> Result<SignedCertificate, String> {
    notary.signer.sign(certificate).map_err(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::erase) struct Never;

    impl Follow for Never {
        fn go_on(&self, _phase: &'static str, _bytes: u64) -> bool {
            true
        }
    }

    fn task(path: &std::path::Path, kind: Kind, transport: &str) -> Task {
        let identity = DiskIdentity {
            path: path.display().to_string(),
            bytes: 3 << 20,
            sector_bytes: 512,
            transport: transport.to_owned(),
            ..DiskIdentity::default()
        };
        let disk = DiskFact {
            path: path.to_owned(),
            serial: String::new(),
            read_only: false,
            partitions: Vec::new(),
            identity,
        };
        Task { disk, kind, step: "erase_devices", order_id: Uuid::nil() }
    }

    #[test]
    fn a_file_full_of_data_is_zero_afterwards_and_its_certificate_says_how_it_was_proven() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk").canonicalize().unwrap_or(folder.path().join("disk"));
        std::fs::write(&path, vec![0xa5; 3 << 20]).unwrap();
        let system = System::sandbox(folder.path(), std::slice::from_ref(&path)).unwrap();
        let notary = Notary::by_hand().unwrap();
        let erased = task(&path, Kind::EraseDevices, "nvme")
            .perform(&system, Some(&notary), &Never)
            .unwrap();
        assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
        let certificate = erased.certificate.unwrap().certificate;
        assert_eq!(
            (certificate.method, certificate.category),
            (EraseMethod::Overwrite, Category::Clear)
        );
        assert_eq!(
            (certificate.verification.mode.as_str(), certificate.verification.bytes_read),
            ("full", 3 << 20)
        );
        assert_eq!(certificate.passed_over.len(), 5);
        assert!(
            certificate.started <= certificate.ended && certificate.result == EraseResult::Erased
        );
    }

    #[test]
    fn a_setting_that_asks_for_more_than_an_overwrite_is_refused_by_name() {
        let task = task(std::path::Path::new("/dev/sda"), Kind::EraseDevices, "sata");
        let asked = |least| task.forbidden(&EraseSettings { least, ..EraseSettings::default() });
        assert_eq!(asked(Category::Clear), None);
        assert!(asked(Category::Purge).unwrap().contains("the settings ask for purge"));
        assert!(task.sentence().contains("4 better methods passed over"), "{}", task.sentence());
    }
}
