//! One disk of an erase step: protected or not, erased, and certified either way.

use std::path::Path;

use ironwright_api::{
    CERTIFICATE_VERSION, Certificate, DiskIdentity, DiskProgress, EraseMethod, EraseResult,
    EraseSettings, Erased, PassedOver, SignedCertificate, Verification,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::attempt::{Attempt, Outcome};
use super::certificate::Notary;
use super::device::{self, Device};
use super::ladder::Ladder;
use super::overwrite::Follow;
use super::own::DeviceLog;
use super::{metadata, protect, words};
use crate::order::DiskFact;
use crate::report::chain;
use crate::steps::{Kind, Step};
use crate::sys::System;
use crate::sys::disk::{Access, DiskError, RealDisk};

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
    /// What may be done.
    pub settings: EraseSettings,
    /// What the disk offers, within the settings.
    pub ladder: Ladder,
    /// Why it must not be touched.
    pub protected: Option<String>,
}

/// A disk that is not erased, or not proven to be.
#[derive(Debug)]
pub struct NotErased {
    /// Why, with device and place.
    pub why: String,
    /// The certificate of the failure, where there is somebody to sign it.
    pub certificate: Option<Box<SignedCertificate>>,
}

impl Task {
    /// Looks at the disk: what it offers, and whether it is protected. Reads, and changes nothing.
    #[must_use]
    pub fn survey(
        system: &System,
        disk: DiskFact,
        step: &Step,
        order_id: Uuid,
        settings: &EraseSettings,
    ) -> Self {
        let mut task = Self {
            kind: step.kind,
            step: step.name,
            order_id,
            settings: settings.clone(),
            ladder: Ladder::default(),
            protected: protect::in_use(system.root(), &disk.path),
            disk,
        };
        let (device, cluster) = task.look(system);
        task.protected = task.protected.or(cluster);
        let transport = &task.disk.identity.transport;
        task.ladder = Ladder::of(&device, transport).at_least(settings.least);
        task
    }

    fn look(&self, system: &System) -> (Device, Option<String>) {
        let path = &self.disk.path;
        let open = |path: &Path| -> Result<(Device, Option<String>), DiskError> {
            let disk = RealDisk::open(path, Access::Read)?;
            let device = device::ask(&disk.commands()?);
            Ok((device, protect::cluster(&disk, &self.disk.partitions)))
        };
        let looked = match system.admit(path) {
            Ok(path) => open(&path).map_err(|error| chain(&error)),
            Err(error) => Err(chain(&error)),
        };
        looked.unwrap_or_else(|why| (Device::Silent { why }, None))
    }

    /// One sentence for a plan: what is done, how it is verified, what is passed over.
    #[must_use]
    pub fn sentence(&self) -> String {
        let DiskIdentity { path, serial, bytes, .. } = &self.disk.identity;
        let serial = if serial.is_empty() { "no serial" } else { serial };
        if let Some(why) = &self.protected {
            return format!("{path} ({serial}): protected: {why}");
        }
        if self.kind == Kind::EraseDevicesMetadata {
            return format!(
                "{path} ({serial}): partition tables and signatures at both ends, of the disk and of every partition"
            );
        }
        let Some(best) = self.ladder.best() else {
            return format!("{path} ({serial}, {bytes} bytes): nothing that the settings allow");
        };
        // A discard is worth no more than an overwrite.
        let better =
            |over: &&PassedOver| over.method < best.method && over.method != EraseMethod::Discard;
        let over = self.ladder.passed_over.iter().filter(better).count();
        let over = match over {
            0 => String::new(),
            1 => "; 1 better method passed over".to_owned(),
            more => format!("; {more} better methods passed over"),
        };
        format!("{path} ({serial}, {bytes} bytes): {}{over}", words::rung(best))
    }

    /// The whole ladder, one thing a line.
    #[must_use]
    pub fn ladder_lines(&self) -> Vec<String> {
        if self.kind == Kind::EraseDevicesMetadata || self.protected.is_some() {
            return Vec::new();
        }
        let Ladder { rungs, passed_over } = &self.ladder;
        let weaker = |rung: &super::ladder::Rung| {
            let best = self.ladder.best().map(|best| best.method.category());
            best.is_some_and(|best| rung.method.category() < best) && !self.settings.allow_weaker
        };
        let after = rungs.iter().skip(1).map(|rung| {
            let note = if weaker(rung) { " - only with allow_weaker_erase" } else { "" };
            format!("if that fails: {}{note}", words::rung(rung))
        });
        let over = passed_over.iter().map(|PassedOver { method, reason }| {
            format!("passed over: {}: {reason}", words::method(*method))
        });
        after.chain(over).collect()
    }

    /// Why the order must not be begun.
    #[must_use]
    pub fn forbidden(&self) -> Option<String> {
        let path = self.disk.path.display();
        if let Some(why) = &self.protected {
            return Some(format!("{path} is protected: {why}"));
        }
        if self.kind == Kind::EraseDevicesMetadata || self.ladder.best().is_some() {
            return None;
        }
        let best = self.ladder.passed_over.iter().map(|over| over.method.category()).max();
        Some(format!(
            "{path} offers nothing better than {}, the settings ask for {}",
            if self.ladder.passed_over.iter().any(|over| over.method == EraseMethod::Overwrite) {
                "an overwrite (clear)"
            } else {
                best.map_or("none", words::category)
            },
            words::category(self.settings.least),
        ))
    }

    /// Erases the disk, verifies it, and signs for it; or says why not. `follow` learns how far it is and may stop it.
    ///
    /// # Errors
    /// [`NotErased`], with the certificate of the failure.
    pub fn perform(
        &self,
        system: &System,
        notary: Option<&Notary>,
        follow: &dyn Follow,
    ) -> Result<Erased, NotErased> {
        let started = Timestamp::now();
        let outcome = self.erase(system, follow).unwrap_or_else(|why| self.not_begun(why));
        let result = outcome.result.clone();
        let erased = self.erased(&outcome);
        let certificate = match notary {
            None => None,
            Some(notary) => {
                let certificate = self.certificate(notary, started, outcome);
                let signed = notary.signer.sign(certificate).map_err(|error| chain(&error));
                Some(Box::new(signed.map_err(|why| NotErased { why, certificate: None })?))
            }
        };
        match result {
            Ok(()) => Ok(Erased { certificate, ..erased }),
            Err(why) => Err(NotErased { why, certificate }),
        }
    }

    fn erase(&self, system: &System, follow: &dyn Follow) -> Result<Outcome, String> {
        let DiskFact { path, partitions, .. } = &self.disk;
        if self.disk.read_only {
            return Err(format!("{} is read-only", path.display()));
        }
        if let Some(why) = &self.protected {
            return Err(format!("{} is protected: {why}", path.display()));
        }
        let admitted = system.admit(path).map_err(|error| chain(&error))?;
        let disk = RealDisk::open(admitted, Access::Write).map_err(|error| chain(&error))?;
        let commands = disk.commands().map_err(|error| chain(&error))?;
        if self.kind == Kind::EraseDevices {
            let (transport, settings) = (&*self.disk.identity.transport, &self.settings);
            let attempt = Attempt { disk: &disk, commands: &commands, transport, settings, follow };
            return Ok(attempt.erase());
        }
        let erased =
            metadata::erase(&disk, &self.disk.serial, partitions).map_err(|error| chain(&error))?;
        Ok(Outcome {
            verification: Verification {
                mode: "full".to_owned(),
                bytes_read: erased.verified_bytes,
                samples: Vec::new(),
            },
            result: Ok(()),
            ..self.not_begun(String::new())
        })
    }

    /// The outcome of an erase that was not begun.
    fn not_begun(&self, why: String) -> Outcome {
        let best = self.ladder.best().map_or(EraseMethod::Overwrite, |best| best.method);
        let (method, passed_over) = match self.kind {
            Kind::EraseDevices => (best, self.ladder.passed_over.clone()),
            Kind::EraseDevicesMetadata => (EraseMethod::Metadata, Vec::new()),
        };
        Outcome {
            method,
            passed_over,
            device_log: DeviceLog::new(),
            verification: Verification { mode: "none".to_owned(), ..Verification::default() },
            result: Err(why),
        }
    }

    fn erased(&self, outcome: &Outcome) -> Erased {
        let read = outcome.verification.bytes_read;
        let disk_bytes = self.disk.identity.bytes;
        Erased {
            device: self.disk.path.display().to_string(),
            serial: self.disk.serial.clone(),
            disk_bytes,
            method: words::wire_name(outcome.method),
            bytes: if self.kind == Kind::EraseDevicesMetadata { read } else { disk_bytes },
            verified_bytes: read,
            certificate: None,
        }
    }

    fn certificate(&self, notary: &Notary, started: Timestamp, outcome: Outcome) -> Certificate {
        let Outcome { method, passed_over, device_log, verification, result } = outcome;
        Certificate {
            version: CERTIFICATE_VERSION,
            node_uuid: notary.node_uuid,
            order_id: self.order_id,
            boot_id: notary.boot_id,
            disk: self.disk.identity.clone(),
            step: self.step.to_owned(),
            method,
            category: method.category(),
            passed_over,
            device_log,
            started: started.to_string(),
            ended: Timestamp::now().to_string(),
            verification,
            result: match result {
                Ok(()) => EraseResult::Erased,
                Err(reason) => EraseResult::Failed { reason },
            },
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

#[cfg(test)]
mod tests {
    use ironwright_api::Category;

    use super::*;
    use crate::steps::CLEAN;

    pub(in crate::erase) struct Never;

    impl Follow for Never {
        fn go_on(&self, _phase: &'static str, _bytes: u64) -> bool {
            true
        }
    }

    fn task(system: &System, path: &Path, kind: Kind, least: Category) -> Task {
        let identity = DiskIdentity {
            path: path.display().to_string(),
            bytes: 3 << 20,
            sector_bytes: 512,
            ..DiskIdentity::default()
        };
        let disk = DiskFact {
            path: path.to_owned(),
            serial: String::new(),
            read_only: false,
            partitions: Vec::new(),
            identity,
        };
        let step = CLEAN.into_iter().find(|step| step.kind == kind).unwrap();
        let settings = EraseSettings { least, ..EraseSettings::default() };
        Task::survey(system, disk, &step, Uuid::nil(), &settings)
    }

    fn file() -> (tempfile::TempDir, std::path::PathBuf, System) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, vec![0xa5; 3 << 20]).unwrap();
        let path = path.canonicalize().unwrap();
        let system = System::sandbox(folder.path(), std::slice::from_ref(&path)).unwrap();
        (folder, path, system)
    }

    #[test]
    fn a_file_full_of_data_is_zero_afterwards_and_its_certificate_says_how_it_was_proven() {
        let (_folder, path, system) = file();
        let notary = Notary::by_hand().unwrap();
        let erased = task(&system, &path, Kind::EraseDevices, Category::Clear)
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
        assert_eq!(certificate.passed_over.len(), 1, "{:?}", certificate.passed_over);
        assert!(
            certificate.started <= certificate.ended && certificate.result == EraseResult::Erased
        );
    }

    #[test]
    fn a_failed_erase_has_a_certificate_that_says_so() {
        let (_folder, path, system) = file();
        let notary = Notary::by_hand().unwrap();
        let mut task = task(&system, &path, Kind::EraseDevices, Category::Clear);
        task.disk.read_only = true;
        let failed = task.perform(&system, Some(&notary), &Never).unwrap_err();
        let certificate = failed.certificate.unwrap().certificate;
        assert_eq!(certificate.verification.mode, "none");
        let EraseResult::Failed { reason } = certificate.result else { panic!("erased") };
        assert!(reason == failed.why && reason.contains("read-only"), "{reason}");
        assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0xa5));
    }

    #[test]
    fn a_setting_that_asks_for_more_than_an_overwrite_is_refused_by_name() {
        let (_folder, path, system) = file();
        let asked = |least| task(&system, &path, Kind::EraseDevices, least);
        assert_eq!(asked(Category::Clear).forbidden(), None);
        let purge = asked(Category::Purge);
        assert!(purge.forbidden().unwrap().contains("the settings ask for purge"));
        assert!(purge.sentence().ends_with("nothing that the settings allow"));
        let clear = asked(Category::Clear);
        assert!(
            clear.sentence().ends_with("overwrite with zeros (clear), verified in full"),
            "{}",
            clear.sentence()
        );
        assert!(clear.ladder_lines()[0].starts_with("passed over: discard: nothing promises"));
    }
}
