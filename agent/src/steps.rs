//! The one catalogue of steps: clean, deploy and service, the agent's own and plugins', with Ironic's names and rules. Our own
//! protocol's orders and the commands of an Ironic conductor choose from it and run it with the same code ([`run`]).

mod built_in;
mod catalogue;
mod plan;
pub mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ironwright_api::PlannedStep;
use ironwright_plugin::StepInfo;
use serde_json::Value;

pub use built_in::built_in;
pub use catalogue::{all, catalogue};
pub use plan::{Choice, before_image, by_name, by_priority, only_built_in, plan};

use crate::plugin::supply::Loaded;

/// When a step runs; each has a catalogue of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between tenants, and after enrolment.
    Clean,
    /// While an instance is put on the machine.
    Deploy,
    /// On a machine that keeps its instance.
    Service,
}

impl Phase {
    /// Ironic's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Deploy => "deploy",
            Self::Service => "service",
        }
    }
}

/// What a step of the agent's own does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Erases disks.
    Erase(Erase),
    /// Removes what kernels left in the firmware's persistent store.
    ErasePstore,
    /// Removes boot entries of systems that were on the machine.
    CleanUefiNvram,
    /// Puts an image and a config drive on the root disk.
    WriteImage,
}

/// How much of each disk is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erase {
    /// All data.
    Devices,
    /// Partition tables and signatures.
    Metadata,
    /// All data where the disk does it at once, by throwing a key away; elsewhere [`Self::Metadata`].
    Express,
}

impl Erase {
    /// The step's name.
    #[must_use]
    pub const fn step(self) -> &'static str {
        match self {
            Self::Devices => "erase_devices",
            Self::Metadata => "erase_devices_metadata",
            Self::Express => "erase_devices_express",
        }
    }
}

/// A step that an order or a command can name, and who does it.
#[derive(Debug, Clone)]
pub enum Job {
    /// The agent itself.
    BuiltIn(BuiltIn),
    /// A plugin.
    Plugin(PluginStep),
}

/// A step of the agent's own.
#[derive(Debug, Clone)]
pub struct BuiltIn {
    /// What it does.
    pub kind: Kind,
    /// Its description. The priority is that of this phase or order.
    pub info: StepInfo,
    /// Its arguments, checked.
    pub args: Value,
}

/// A plugin's step.
#[derive(Debug, Clone)]
pub struct PluginStep {
    /// The plugin, verified and unpacked.
    pub plugin: Arc<Loaded>,
    /// What its manifest says of the step.
    pub info: StepInfo,
    /// Its priority in this phase or order, 0 in manual cleaning.
    pub priority: u32,
    /// Its arguments, checked.
    pub args: Value,
    /// Others with the same step, and why this one is used.
    pub passed_over: Vec<String>,
}

impl Job {
    /// What it says it is.
    #[must_use]
    pub fn info(&self) -> &StepInfo {
        match self {
            Self::BuiltIn(step) => &step.info,
            Self::Plugin(step) => &step.info,
        }
    }

    /// Its name, by which its start and end are reported.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.info().name
    }

    /// `interface.step`.
    #[must_use]
    pub fn key(&self) -> String {
        self.info().key()
    }

    /// Its priority.
    #[must_use]
    pub fn priority(&self) -> u32 {
        match self {
            Self::BuiltIn(step) => step.info.priority,
            Self::Plugin(step) => step.priority,
        }
    }

    fn with_priority(self, priority: u32) -> Self {
        match self {
            Self::BuiltIn(step) => {
                Self::BuiltIn(BuiltIn { info: StepInfo { priority, ..step.info }, ..step })
            }
            Self::Plugin(step) => Self::Plugin(PluginStep { priority, ..step }),
        }
    }

    /// Arguments for it, and everything that is wrong with them.
    #[must_use]
    pub fn with_args(self, args: &Value) -> (Self, Vec<String>) {
        let problems = self.info().argument_problems(args);
        let problems = problems.iter().map(ToString::to_string).collect();
        let args = args.clone();
        let job = match self {
            Self::BuiltIn(step) => Self::BuiltIn(BuiltIn { args, ..step }),
            Self::Plugin(step) => Self::Plugin(PluginStep { args, ..step }),
        };
        (job, problems)
    }

    /// As it is reported before it runs.
    #[must_use]
    pub fn planned(&self, actions: Vec<String>) -> PlannedStep {
        let StepInfo { interface, name, abortable, .. } = self.info();
        PlannedStep {
            interface: interface.clone(),
            step: name.clone(),
            priority: self.priority(),
            abortable: *abortable,
            actions,
        }
    }
}
