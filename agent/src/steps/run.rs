//! Running steps: what each would do, and doing it, whoever asked for it.

use std::sync::Arc;

use ironwright_api::{EraseSettings, Evidence, Failure, PlannedStep, PluginBundle, StepRecord};

use serde_json::Value;

use super::{BuiltIn, Job, Kind};
use crate::deploy::image_step;
use crate::deploy::run::stopped;
use crate::heartbeat::OrderDesk;
use crate::order::Machine;
use crate::plugin::step;
use crate::plugin::supply::Loaded;
use crate::{boot, erase};

/// What the steps of one order share.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// How disks are erased, and which are left alone.
    pub settings: &'a EraseSettings,
    /// Root device hints for a step that puts an image; null: the smallest disk of at least 4 GiB.
    pub root_device: &'a Value,
    /// Steps of earlier attempts and agent processes.
    pub done: &'a [StepRecord],
    /// Where it is reported.
    pub desk: &'a OrderDesk,
}

impl Ground<'_> {
    /// Fetches and verifies an order's plugins.
    ///
    /// # Errors
    /// The [`Failure`] to report; nothing was changed.
    pub async fn plugins(&self, bundles: &[PluginBundle]) -> Result<Vec<Arc<Loaded>>, Failure> {
        let mut plugins = Vec::new();
        for bundle in bundles {
            plugins.push(Arc::new(self.machine.plugins().load(bundle).await?));
        }
        Ok(plugins)
    }

    /// Whether `job` ended in an earlier attempt.
    #[must_use]
    pub fn ended(&self, job: &Job) -> bool {
        self.done.iter().any(|record| record.step == job.name() && record.ended)
    }

    /// What `jobs` would do.
    ///
    /// # Errors
    /// The [`Failure`] to report. Whatever can be refused is refused here, before anything changes.
    pub async fn planned(&self, jobs: &[Job]) -> Result<Vec<PlannedStep>, Failure> {
        let mut planned = Vec::new();
        for job in jobs {
            let actions = match self.ended(job) {
                // Its hardware may not be as it was.
                true if matches!(job, Job::Plugin(_)) => {
                    vec!["done in an earlier attempt".to_owned()]
                }
                true | false => self.sentences(job).await?,
            };
            planned.push(job.planned(actions));
        }
        Ok(planned)
    }

    /// Performs those of `jobs` that no earlier attempt ended, one after the other, each with its proof.
    ///
    /// # Errors
    /// The first [`Failure`]; later steps are not begun.
    pub async fn perform(&self, jobs: &[Job]) -> Result<(), Failure> {
        for job in jobs.iter().filter(|job| !self.ended(job)) {
            let name = job.name();
            self.desk.step_started(name).await.map_err(|error| stopped(name, error))?;
            let evidence = self.one(job).await;
            let evidence =
                evidence.map_err(|failure| Failure { step: name.to_owned(), ..failure })?;
            self.desk.step_ended(name, evidence);
        }
        Ok(())
    }

    /// What `job` would do, one sentence a device.
    ///
    /// # Errors
    /// The [`Failure`] to report; nothing was changed.
    pub async fn sentences(&self, job: &Job) -> Result<Vec<String>, Failure> {
        let Self { machine, settings, desk, done, .. } = *self;
        match job {
            Job::BuiltIn(BuiltIn { kind, args, .. }) => match kind {
                Kind::Erase(erase) => erase::sentences(machine, *erase, settings, desk).await,
                Kind::ErasePstore => Ok(erase::pstore::sentences(machine.system())),
                Kind::CleanUefiNvram => boot::nvram::sentences(machine.system(), args),
                Kind::WriteImage => image_step::sentences(args),
            },
            Job::Plugin(step) => {
                step::never_twice(step, done)?;
                step::sentences(machine, step, settings, desk).await
            }
        }
    }

    /// Does `job` and returns its proof, if it has one.
    ///
    /// # Errors
    /// The [`Failure`] to report, whose step the caller fills in.
    pub async fn one(&self, job: &Job) -> Result<Option<Evidence>, Failure> {
        let Self { machine, settings, root_device, done, desk } = *self;
        match job {
            Job::BuiltIn(BuiltIn { kind, args, .. }) => match kind {
                Kind::Erase(erase) => {
                    erase::carry_out(machine, *erase, settings, desk).await.map(Some)
                }
                Kind::ErasePstore => erase::pstore::erase(machine.system()).map(|()| None),
                Kind::CleanUefiNvram => boot::nvram::clean(machine.system(), args).map(|()| None),
                // The future of an image is large and lives long.
                Kind::WriteImage => {
                    Box::pin(image_step::perform(machine, args, settings, root_device, desk))
                        .await
                        .map(Some)
                }
            },
            Job::Plugin(step) => step::perform(machine, step, settings, done, desk).await.map(Some),
        }
    }
}
