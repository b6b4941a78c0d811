//! One disk of an erase step: protected or not, erased, and certified either way.

mod plan;
#[cfg(test)]
mod tests;

use std::path::Path;

use ironwright_api::{
    CERTIFICATE_VERSION, Certificate, DiskIdentity, DiskProgress, EraseMethod, EraseResult,
    EraseSettings, Erased, SignedCertificate, Verification,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::attempt::{Attempt, Outcome};
use super::certificate::Notary;
use super::device::{self, Device};
use super::ladder::{Ladder, Medium};
use super::overwrite::Follow;
use super::own::DeviceLog;
use super::own::recover::first;
use super::{metadata, protect, words};
use crate::order::{DiskFact, Facts};
use crate::report::chain;
use crate::steps::Erase;
use crate::sys::System;
use crate::sys::disk::{Access, DiskError, RealDisk};

/// What is to be done to one disk.
#[derive(Debug, Clone)]
pub struct Task {
    /// The disk.
    pub disk: DiskFact,
    /// What is done to it; never [`Erase::Express`], which is decided by what the disk offers.
    pub kind: Erase,
    /// The step's name.
    pub step: &'static str,
    /// The order, nil by hand.
    pub order_id: Uuid,
    /// What may be done.
    pub settings: EraseSettings,
    /// What the disk offers, within the settings.
    pub ladder: Ladder,
    /// What must be done to it first: an earlier attempt left it so.
    pub first: Option<&'static str>,
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
        erase: Erase,
        order_id: Uuid,
        settings: &EraseSettings,
    ) -> Self {
        let mut task = Self {
            kind: erase,
            step: erase.step(),
            order_id,
            settings: settings.clone(),
            ladder: Ladder::default(),
            first: None,
            protected: protect::in_use(system.root(), &disk.path),
            disk,
        };
        let looked = match system.admit(&task.disk.path) {
            Ok(path) => task.look(&path).map_err(|error| chain(&error)),
            Err(error) => Err(chain(&error)),
        };
        let device = looked.unwrap_or_else(|why| Device::Silent { why, broken: true });
        if let (Device::Nvme(controller), Erase::Devices | Erase::Express) = (&device, task.kind)
            && !controller.detached.is_empty()
        {
            let names: Vec<String> = controller.detached.iter().map(u32::to_string).collect();
            let why = format!(
                "its controller keeps namespaces that are attached to nobody, whose data would stay ({}): attach them and erase \
                 them too, or delete them",
                names.join(", ")
            );
            task.protected.get_or_insert(why);
        }
        task.ladder = Ladder::of(&device, task.medium()).at_least(settings.least);
        if erase == Erase::Express {
            task.decide_express();
        }
        task
    }

    /// A disk that forgets its key does so in seconds; every other way to reach all data takes long, so that only its metadata
    /// goes. No slower method may follow a failed one.
    fn decide_express(&mut self) {
        let fast = self.ladder.best().is_some_and(|best| best.method.is_crypto());
        self.kind = if fast { Erase::Devices } else { Erase::Metadata };
        self.settings.allow_weaker = false;
    }

    fn look(&mut self, path: &Path) -> Result<Device, DiskError> {
        let disk = RealDisk::open(path, Access::Read)?;
        let commands = disk.commands()?;
        let device = device::ask(&commands);
        self.first = first(&commands, &device);
        let cluster = || protect::cluster(&disk, &self.disk.partitions);
        self.protected = self.protected.take().or_else(cluster);
        Ok(device)
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
        self.is_still_there(system)?;
        if let Some(why) = protect::cluster(&disk, partitions) {
            return Err(format!("{} is protected: {why}", path.display()));
        }
        let commands = disk.commands().map_err(|error| chain(&error))?;
        let (medium, settings) = (self.medium(), &self.settings);
        let planned = self.ladder.best().map(|rung| rung.category);
        let attempt =
            Attempt { disk: &disk, commands: &commands, medium, settings, planned, follow };
        if self.kind == Erase::Devices {
            return Ok(attempt.erase());
        }
        let device_log = attempt.free()?;
        let erased =
            metadata::erase(&disk, &self.disk.serial, partitions).map_err(|error| chain(&error))?;
        Ok(Outcome {
            device_log,
            verification: Verification {
                mode: "full".to_owned(),
                bytes_read: erased.verified_bytes,
                samples: Vec::new(),
            },
            result: Ok(()),
            ..self.not_begun(String::new())
        })
    }

    /// Device names are given again when disks come and go, and hours may lie between plan and erase. Looked at while the disk
    /// is held open, which keeps its name.
    fn is_still_there(&self, system: &System) -> Result<(), String> {
        let planned = &self.disk.identity;
        let now = Facts::collect(system).disks.into_iter().find(|now| now.path == self.disk.path);
        let same = now.is_some_and(|now| {
            let now = now.identity;
            (&now.serial, &now.wwn, now.bytes, now.sector_bytes)
                == (&planned.serial, &planned.wwn, planned.bytes, planned.sector_bytes)
        });
        let serial = if planned.serial.is_empty() { "none" } else { &planned.serial };
        same.then_some(()).ok_or_else(|| {
            format!(
                "{} is not the disk any more that was planned for (serial number {serial}, {} bytes): disks came or went \
                 meanwhile; begin again",
                planned.path, planned.bytes
            )
        })
    }

    fn medium(&self) -> Medium<'_> {
        let DiskIdentity { transport, rotational, .. } = &self.disk.identity;
        Medium { transport, rotational: *rotational }
    }

    /// The outcome of an erase that was not begun.
    fn not_begun(&self, why: String) -> Outcome {
        let best = self.ladder.best().map_or(EraseMethod::Overwrite, |best| best.method);
        let (method, passed_over) = match self.kind {
            Erase::Devices => (best, self.ladder.passed_over.clone()),
            Erase::Metadata | Erase::Express => (EraseMethod::Metadata, Vec::new()),
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
            bytes: if self.kind == Erase::Metadata { read } else { disk_bytes },
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
            category: method.category(self.disk.identity.rotational),
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
