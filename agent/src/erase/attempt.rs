//! Erases one disk: down the ladder until a method is done and verified, or none is left.

use ironwright_api::{Category, EraseMethod, EraseSettings, PassedOver, Verification};

use super::device::{self, Device};
use super::ladder::{Ladder, Medium, Rung};
use super::overwrite::{self, Follow, OverwriteError};
use super::own::recover::{Found, recover};
use super::own::{DeviceLog, Own, OwnError};
use super::samples::{Samples, Unverifiable};
use super::words;
use crate::report::chain;
use crate::sys::command::DeviceCommands;
use crate::sys::disk::{BlockDevice, DiskError};

/// One disk to be erased.
#[derive(Clone, Copy)]
pub(in crate::erase) struct Attempt<'a> {
    /// Its blocks.
    pub disk: &'a dyn BlockDevice,
    /// Its own door.
    pub commands: &'a dyn DeviceCommands,
    /// What it is made of and how it is attached.
    pub medium: Medium<'a>,
    /// What may be done.
    pub settings: &'a EraseSettings,
    /// The category of what was planned.
    pub planned: Option<Category>,
    /// Who follows.
    pub follow: &'a dyn Follow,
}

/// What was done, for the certificate; of a failed erase too.
#[derive(Debug)]
pub(in crate::erase) struct Outcome {
    /// The method that did it, or the last that was tried.
    pub method: EraseMethod,
    /// All others that are better, and why not.
    pub passed_over: Vec<PassedOver>,
    /// The device's words.
    pub device_log: DeviceLog,
    /// What was compared.
    pub verification: Verification,
    /// Why it is not erased.
    pub result: Result<(), String>,
}

/// Why one method did not do it.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the erase could not be verified by samples, so that the device was not asked")]
    Unverifiable(#[from] Unverifiable),
    #[error(transparent)]
    Own(#[from] OwnError),
    #[error(transparent)]
    Overwrite(#[from] OverwriteError),
    #[error("looking at the samples afterwards")]
    Look(#[source] DiskError),
    #[error("the device says that it is erased, but {0}")]
    Lie(String),
    #[error("stopped on request before it began")]
    NotBegun,
}

impl Trouble {
    fn is_stopped(&self) -> bool {
        match self {
            Self::NotBegun => true,
            Self::Own(error) => error.is_stopped(),
            Self::Overwrite(error) => matches!(error, OverwriteError::Stopped { .. }),
            Self::Unverifiable(_) | Self::Look(_) | Self::Lie(_) => false,
        }
    }
}

impl Attempt<'_> {
    /// Erases the disk.
    #[must_use]
    pub(in crate::erase) fn erase(&self) -> Outcome {
        let mut outcome = Outcome {
            method: EraseMethod::Overwrite,
            passed_over: Vec::new(),
            device_log: DeviceLog::new(),
            verification: unverified(),
            result: Ok(()),
        };
        outcome.result = self.recover_and_climb(&mut outcome);
        // Best first, as the enum has them; what is worse than the method that did it was never in question.
        outcome.passed_over.sort_by_key(|entry| entry.method);
        if outcome.result.is_ok() {
            let used = outcome.method;
            outcome.passed_over.retain(|entry| entry.method < used);
        }
        outcome
    }

    /// Makes a disk readable and writable again that an earlier attempt left otherwise: waits for a sanitize that runs, leaves a
    /// failure mode, takes our password away. For steps that do not erase data, but come before the one that does.
    ///
    /// # Errors
    /// Why it is not.
    pub(in crate::erase) fn free(&self) -> Result<DeviceLog, String> {
        let mut log = DeviceLog::new();
        recover(&self.own(), &device::ask(self.commands), &mut log)
            .map_err(|error| chain(&error))?;
        Ok(log)
    }

    fn own(&self) -> Own<'_> {
        Own { commands: self.commands, bytes: self.disk.bytes(), follow: self.follow }
    }

    fn worth(&self, method: EraseMethod) -> Category {
        method.category(self.medium.rotational)
    }

    fn recover_and_climb(&self, outcome: &mut Outcome) -> Result<(), String> {
        let own = self.own();
        let mut device = device::ask(self.commands);
        let found = recover(&own, &device, &mut outcome.device_log);
        match found.map_err(|error| chain(&error))? {
            Found::Nothing => {}
            Found::Finished(method) => {
                // No samples of before are left, but zeros everywhere need none. Anything else is erased again, with samples.
                if let Some(method) =
                    method.filter(|method| self.worth(*method) >= self.settings.least)
                    && let Ok(bytes) = overwrite::verify(self.disk, self.follow)
                {
                    outcome.method = method;
                    outcome.verification = in_full(bytes);
                    return Ok(());
                }
                device = device::ask(self.commands);
            }
            Found::Left(what) => {
                tracing::warn!("{}: left {what}", self.disk.path().display());
                device = device::ask(self.commands);
            }
        }
        self.climb(&own, &device, outcome)
    }

    fn climb(&self, own: &Own<'_>, device: &Device, outcome: &mut Outcome) -> Result<(), String> {
        outcome.device_log.insert("device".to_owned(), device.summary());
        let ladder = Ladder::of(device, self.medium).at_least(self.settings.least);
        outcome.passed_over = ladder.passed_over;
        let (mut failed, mut reasons) = self.lost(device, &ladder.rungs);
        for rung in &ladder.rungs {
            let Rung { method, category, .. } = *rung;
            if failed.is_some_and(|failed| category < failed) && !self.settings.allow_weaker {
                let reason = "it is of a weaker category than one that failed, and the settings do not allow that \
                              (cleaning.allow_weaker_erase)"
                    .to_owned();
                reasons.push(format!("{} was not tried: {reason}", words::method(method)));
                outcome.passed_over.push(PassedOver { method, reason });
                continue;
            }
            outcome.method = method;
            outcome.verification = unverified();
            let Err(trouble) = self.rung(own, device, rung, outcome) else { return Ok(()) };
            let reason = chain(&trouble);
            if trouble.is_stopped() {
                return Err(reason);
            }
            tracing::warn!("{}: {}: {reason}", self.disk.path().display(), words::method(method));
            reasons.push(format!("{}: {reason}", words::method(method)));
            outcome.passed_over.push(PassedOver { method, reason });
            failed = failed.max(Some(category));
        }
        if reasons.is_empty() {
            reasons.push("the disk offers no method that the settings allow".to_owned());
        }
        Err(reasons.join("; "))
    }

    /// What the disk offered, or may have offered, and does not now: that is a stronger method that failed.
    fn lost(&self, device: &Device, rungs: &[Rung]) -> (Option<Category>, Vec<String>) {
        let best = rungs.first().map(|rung| rung.category);
        let lost = self.planned.filter(|planned| best.is_some_and(|best| best < *planned));
        if let Device::Silent { why, broken: true } = device {
            let reason = format!("what the disk offers cannot be told: {why}");
            return (Some(Category::Purge), vec![reason]);
        }
        let less = "the disk offers less now than when the erase was planned".to_owned();
        (lost, lost.map(|_| less).into_iter().collect())
    }

    fn rung(
        &self,
        own: &Own<'_>,
        device: &Device,
        rung: &Rung,
        outcome: &mut Outcome,
    ) -> Result<(), Trouble> {
        if !self.follow.go_on("prepare", 0) {
            return Err(Trouble::NotBegun);
        }
        if rung.method == EraseMethod::Overwrite {
            outcome.verification = in_full(overwrite::overwrite(self.disk, self.follow)?);
            return Ok(());
        }
        if rung.method == EraseMethod::Discard {
            outcome.verification = in_full(overwrite::discard(self.disk, self.follow)?);
            return Ok(());
        }
        let samples = Samples::plant(self.disk)?;
        own.erase(device, rung.method, rung.estimate, &mut outcome.device_log)?;
        // What the kernel still holds of the old contents is dropped with the flush.
        self.disk.flush().map_err(Trouble::Look)?;
        let looked = samples.look(self.disk, rung.reads).map_err(Trouble::Look)?;
        self.follow.go_on("verify", self.disk.bytes());
        outcome.verification = Verification {
            mode: "sampled".to_owned(),
            bytes_read: looked.bytes,
            samples: looked.samples,
        };
        looked.problem.map_or(Ok(()), |problem| Err(Trouble::Lie(problem)))
    }
}

fn unverified() -> Verification {
    Verification { mode: "none".to_owned(), ..Verification::default() }
}

fn in_full(bytes: u64) -> Verification {
    Verification { mode: "full".to_owned(), bytes_read: bytes, samples: Vec::new() }
}
