//! The conversation with one plugin: describe, plan, run.

use std::fs;

use ironwright_plugin::{Operation, Outcome, Plan, Reply, Request, StepInfo, Verdict};
use serde_json::Value;

use super::error::{CallError, MAX_STATE};
use super::folder::Folder;
use super::launch::unlimited;
use super::process::{Confinement, Device, Watch, call};
use super::reply::escaped;

/// A plugin ready to be asked.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Its files.
    pub folder: Folder,
    /// How it runs.
    pub confinement: Confinement,
    /// What it may open.
    pub devices: Vec<Device>,
    /// Whether declared devices that come and go meanwhile are shown to it, but for these disks; none: no.
    pub live: Option<Vec<String>>,
}

/// What a plugin would do.
#[derive(Debug, Clone, PartialEq)]
pub enum Planned {
    /// These things.
    Actions(Vec<String>),
    /// It cannot, and says why.
    Refused(Verdict),
}

impl Plugin {
    /// Asks what it is, and compares with what its manifest says.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn describe(&self, watch: &dyn Watch) -> Result<(), CallError> {
        let Reply::Describe(said) =
            self.ask(Operation::Describe, "", &Value::Null, Value::Null, watch)?
        else {
            return Err(CallError::Unexpected { op: "describe", got: "another line" });
        };
        let manifest = self.folder.manifest();
        let mut differs = Vec::new();
        for (field, here, there) in [
            ("name", manifest.name.clone(), said.name),
            ("version", manifest.version.clone(), said.version),
            ("protocol", manifest.protocol.to_string(), said.protocol.to_string()),
        ] {
            if here != there {
                differs.push(format!("{field} is {there:?}, the manifest has {here:?}"));
            }
        }
        for step in &manifest.steps {
            match said.steps.iter().find(|other| other.key() == step.key()) {
                None => differs.push(format!("the step {} is missing", step.key())),
                Some(other) if other != step => {
                    differs.push(format!("the step {} is another", step.key()));
                }
                Some(_) => {}
            }
        }
        let unknown = said.steps.iter().filter(|step| manifest.step(&step.key()).is_none());
        differs
            .extend(unknown.map(|step| format!("the step {} is not in the manifest", step.key())));
        if differs.is_empty() {
            Ok(())
        } else {
            Err(CallError::Describe { differs: escaped(&differs.join("; ")) })
        }
    }

    /// Asks what `step` would do here.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn plan(&self, step: &str, args: &Value, watch: &dyn Watch) -> Result<Planned, CallError> {
        let info = self.checked(step, args)?;
        match self.ask(Operation::Plan, &info.name, args, Value::Null, watch)? {
            Reply::Plan(Plan { actions }) => Ok(Planned::Actions(actions)),
            Reply::Result(verdict) => Ok(Planned::Refused(verdict)),
            other @ (Reply::Describe(_) | Reply::Progress(_)) => {
                Err(CallError::Unexpected { op: "plan", got: other.name() })
            }
        }
    }

    /// Does `step` once. `reboots` were asked for before in this step, `state` is what it saved then.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Reboots`] and [`CallError::State`] where it asks for more than it may.
    pub fn run(
        &self,
        step: &str,
        args: &Value,
        state: Value,
        reboots: u32,
        watch: &dyn Watch,
    ) -> Result<Verdict, CallError> {
        let info = self.checked(step, args)?;
        let reply = self.ask(Operation::Run, &info.name, args, state, watch)?;
        let Reply::Result(verdict) = reply else {
            return Err(CallError::Unexpected { op: "run", got: reply.name() });
        };
        if let Outcome::Reboot { state } = &verdict.outcome {
            let bytes = state.to_string().len();
            if bytes > MAX_STATE {
                return Err(CallError::State { bytes });
            }
            let (asked, limit) = (reboots.saturating_add(1), self.folder.manifest().limits.reboots);
            if asked > limit {
                return Err(CallError::Reboots { asked, limit });
            }
        }
        Ok(verdict)
    }

    /// What did not limit the plugin when it was last asked, one sentence: it belongs into the step's record.
    #[must_use]
    pub fn unlimited(&self) -> Option<String> {
        match &self.confinement {
            Confinement::None => Some(
                "the plugin was not confined: it ran with all rights of the agent, its processes and memory were not limited"
                    .to_owned(),
            ),
            Confinement::Tree { mount, .. } => match fs::read_to_string(unlimited(mount)) {
                Ok(lacks) => Some(lacks).filter(|lacks| !lacks.is_empty()),
                Err(error) => {
                    Some(format!("what limited the plugin's processes and memory is not known: {error}"))
                }
            },
        }
    }

    fn checked(&self, step: &str, args: &Value) -> Result<&StepInfo, CallError> {
        let manifest = self.folder.manifest();
        let missing = || CallError::NoStep {
            plugin: manifest.name.clone(),
            step: step.to_owned(),
            known: manifest.steps.iter().map(StepInfo::key).collect::<Vec<_>>().join(", "),
        };
        let info = manifest.step(step).ok_or_else(missing)?;
        let problems = info.argument_problems(args);
        if problems.is_empty() { Ok(info) } else { Err(CallError::Arguments(problems)) }
    }

    fn ask(
        &self,
        op: Operation,
        step: &str,
        args: &Value,
        state: Value,
        watch: &dyn Watch,
    ) -> Result<Reply, CallError> {
        let request = Request {
            op,
            protocol: 0,
            step: step.to_owned(),
            args: args.clone(),
            devices: Vec::new(),
            state,
        };
        call(self, request, watch)
    }
}
