//! The clean steps of this agent and of an order's plugins, with Ironic's names and rules, and which of them the order asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironwright_api::{Blame, Clean, CleanStep, Failure, PlannedStep};
use ironwright_plugin::StepInfo;
use serde_json::Value;

use crate::plugin::supply::Loaded;

/// One step as Ironic describes it (its `get_clean_steps`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub kind: Kind,
    /// Its name; Ironic's.
    pub name: &'static str,
    /// The interface it belongs to.
    pub interface: &'static str,
    /// Its priority in automated cleaning: highest first, 0 not at all.
    pub priority: u32,
    /// Whether it can be stopped half-way.
    pub abortable: bool,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All data of every disk.
    EraseDevices,
    /// Partition tables and signatures of every disk.
    EraseDevicesMetadata,
}

/// The catalogue, with the priorities of Ironic's own agent.
pub const CLEAN: [Step; 2] = [
    Step {
        kind: Kind::EraseDevicesMetadata,
        name: "erase_devices_metadata",
        interface: "deploy",
        priority: 99,
        abortable: true,
    },
    Step {
        kind: Kind::EraseDevices,
        name: "erase_devices",
        interface: "deploy",
        priority: 10,
        abortable: true,
    },
];

impl Step {
    /// `interface.step`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}.{}", self.interface, self.name)
    }

    /// As it is reported before it runs.
    #[must_use]
    pub fn planned(&self, actions: Vec<String>) -> PlannedStep {
        PlannedStep {
            interface: self.interface.to_owned(),
            step: self.name.to_owned(),
            priority: self.priority,
            abortable: self.abortable,
            actions,
        }
    }
}

/// A step of an order, and who does it.
#[derive(Debug, Clone)]
pub enum Job {
    /// The agent itself.
    Erase(Step),
    /// A plugin.
    Plugin(PluginStep),
}

/// A plugin's step of an order.
#[derive(Debug, Clone)]
pub struct PluginStep {
    /// The plugin, verified and unpacked.
    pub plugin: Arc<Loaded>,
    /// What its manifest says of the step.
    pub info: StepInfo,
    /// Its priority in this order, 0 in manual cleaning.
    pub priority: u32,
    /// Its arguments, checked.
    pub args: Value,
    /// Others with the same step, and why this one is used.
    pub passed_over: Vec<String>,
}

impl Job {
    /// Its name, by which its start and end are reported.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Erase(step) => step.name,
            Self::Plugin(step) => &step.info.name,
        }
    }

    /// `interface.step`.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Erase(step) => step.key(),
            Self::Plugin(step) => step.info.key(),
        }
    }

    /// Its priority.
    #[must_use]
    pub fn priority(&self) -> u32 {
        match self {
            Self::Erase(step) => step.priority,
            Self::Plugin(step) => step.priority,
        }
    }

    fn with_priority(self, priority: u32) -> Self {
        match self {
            Self::Erase(step) => Self::Erase(Step { priority, ..step }),
            Self::Plugin(step) => Self::Plugin(PluginStep { priority, ..step }),
        }
    }

    /// Arguments for it, or everything that is wrong with them.
    fn with_args(self, args: &Value) -> (Self, Vec<String>) {
        match self {
            Self::Erase(step) => {
                let given = args.as_object().into_iter().flat_map(|args| args.keys());
                let problems = given.map(|arg| format!("{} has no argument {arg}", step.key()));
                let problems = problems.collect();
                (Self::Erase(step), problems)
            }
            Self::Plugin(step) => {
                let problems = step.info.argument_problems(args);
                let problems = problems.iter().map(ToString::to_string).collect();
                (Self::Plugin(PluginStep { args: args.clone(), ..step }), problems)
            }
        }
    }

    /// As it is reported before it runs.
    #[must_use]
    pub fn planned(&self, actions: Vec<String>) -> PlannedStep {
        match self {
            Self::Erase(step) => step.planned(actions),
            Self::Plugin(step) => PlannedStep {
                interface: step.info.interface.clone(),
                step: step.info.name.clone(),
                priority: step.priority,
                abortable: step.info.abortable,
                actions,
            },
        }
    }
}

/// Whether the agent's own steps are all that a clean order can need: then no plugin has to be fetched.
#[must_use]
pub fn only_built_in(clean: &Clean) -> bool {
    let own = |asked: &CleanStep| {
        CLEAN.iter().any(|step| step.interface == asked.interface && step.name == asked.step)
    };
    clean.automated.is_none() && clean.steps.iter().all(own)
}

/// The agent's own steps and those of `plugins`. Of plugins with the same step the highest version is used.
///
/// # Errors
/// The [`Failure`] to report, naming every plugin's step that would stand in another one's place; nothing was changed.
pub fn catalogue(plugins: &[Arc<Loaded>]) -> Result<Vec<Job>, Failure> {
    let mut steps: Vec<PluginStep> = Vec::new();
    let mut problems = Vec::new();
    let mut sorted: Vec<&Arc<Loaded>> = plugins.iter().collect();
    sorted.sort_by_key(|plugin| std::cmp::Reverse(plugin.rank()));
    for plugin in sorted {
        for info in &plugin.manifest().steps {
            // Starts and ends are reported by the step's name alone.
            if CLEAN.iter().any(|own| own.name == info.name) {
                let problem = format!("its step {} has the name of a built-in one", info.key());
                problems.push(format!("plugin {plugin}: {problem}"));
                continue;
            }
            match steps.iter_mut().find(|known| known.info.name == info.name) {
                None => steps.push(PluginStep {
                    plugin: plugin.clone(),
                    info: info.clone(),
                    priority: info.priority,
                    args: Value::Null,
                    passed_over: Vec::new(),
                }),
                Some(known) if known.info.key() == info.key() => {
                    known.passed_over.push(format!(
                        "{plugin} has this step too and is passed over: {} is higher",
                        known.plugin
                    ));
                }
                Some(known) => problems.push(format!(
                    "plugin {plugin} has the step {}, plugin {} has {}",
                    info.key(),
                    known.plugin,
                    known.info.key()
                )),
            }
        }
    }
    if problems.is_empty() {
        let own = CLEAN.into_iter().map(Job::Erase);
        return Ok(own.chain(steps.into_iter().map(Job::Plugin)).collect());
    }
    Err(Failure {
        step: String::new(),
        message: format!("nothing was changed: {}", problems.join("; ")),
        remedy: "take the plugin out of the coordinator's folder, or give its step another name"
            .to_owned(),
        blame: Blame::Order,
    })
}

/// The steps of a clean order in the order to run them. Automated cleaning: those of priority above 0, after the
/// operator's changes, highest first. Manual: as named, each known and with the arguments it takes.
///
/// # Errors
/// The [`Failure`] to report, with everything that is wrong at once; nothing was changed.
pub fn plan(clean: &Clean, catalogue: &[Job]) -> Result<Vec<Job>, Failure> {
    let (steps, problems) = match &clean.automated {
        Some(automated) => by_priority(&automated.priorities, catalogue),
        None => by_name(&clean.steps, catalogue),
    };
    if problems.is_empty() {
        return Ok(steps);
    }
    let known: Vec<String> = catalogue.iter().map(Job::key).collect();
    Err(Failure {
        step: String::new(),
        message: format!("nothing was changed: {}", problems.join("; ")),
        remedy: format!(
            "order {}, or use an agent or a plugin that has the step",
            known.join(", ")
        ),
        blame: Blame::Order,
    })
}

fn by_priority(priorities: &BTreeMap<String, u32>, catalogue: &[Job]) -> (Vec<Job>, Vec<String>) {
    let known = |key: &String| catalogue.iter().any(|step| step.key() == *key);
    let mut problems: Vec<String> = priorities
        .keys()
        .filter(|key| !known(key))
        .map(|key| format!("this agent has no clean step {key} whose priority could be set"))
        .collect();
    let with_priority = |step: &Job| {
        let priority = priorities.get(&step.key()).copied().unwrap_or(step.priority());
        step.clone().with_priority(priority)
    };
    let mut steps: Vec<Job> =
        catalogue.iter().map(with_priority).filter(|step| step.priority() > 0).collect();
    // Nobody gives arguments to automated cleaning: a step that needs some can only be named.
    for step in &steps {
        problems.extend(step.clone().with_args(&Value::Null).1);
    }
    steps.sort_by_key(|step| (std::cmp::Reverse(step.priority()), step.name().to_owned()));
    (steps, problems)
}

fn by_name(asked: &[CleanStep], catalogue: &[Job]) -> (Vec<Job>, Vec<String>) {
    let (mut steps, mut problems) = (Vec::new(), Vec::new());
    for CleanStep { interface, step: name, args } in asked {
        let key = format!("{interface}.{name}");
        match catalogue.iter().find(|step| step.key() == key) {
            Some(step) => {
                let (step, wrong) = step.clone().with_priority(0).with_args(args);
                steps.push(step);
                problems.extend(wrong);
            }
            None => problems.push(format!("this agent has no clean step {key}")),
        }
    }
    if asked.is_empty() {
        problems.push("the clean order has no steps".to_owned());
    }
    (steps, problems)
}

#[cfg(test)]
mod tests {
    use ironwright_api::Automated;
    use serde_json::json;

    use super::*;
    use crate::plugin::supply::tests::fake;

    fn manual(steps: &[(&str, &str, Value)]) -> Clean {
        let step = |(interface, step, args): &(&str, &str, Value)| CleanStep {
            interface: (*interface).to_owned(),
            step: (*step).to_owned(),
            args: args.clone(),
        };
        Clean { steps: steps.iter().map(step).collect(), ..Clean::default() }
    }

    fn automated(priorities: &[(&str, u32)]) -> Clean {
        let priorities =
            priorities.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        Clean {
            automated: Some(Automated { priorities, ..Automated::default() }),
            ..Clean::default()
        }
    }

    fn planned(clean: &Clean) -> Result<Vec<Job>, Failure> {
        plan(clean, &catalogue(&[])?)
    }

    fn names(clean: &Clean) -> Vec<String> {
        planned(clean).unwrap().iter().map(|step| step.name().to_owned()).collect()
    }

    #[test]
    fn automated_cleaning_runs_the_highest_priority_first_and_zero_switches_off() {
        assert_eq!(names(&automated(&[])), ["erase_devices_metadata", "erase_devices"]);
        assert_eq!(names(&automated(&[("deploy.erase_devices", 0)])), ["erase_devices_metadata"]);
        let turned = automated(&[("deploy.erase_devices", 100)]);
        assert_eq!(names(&turned), ["erase_devices", "erase_devices_metadata"]);
        let none = [("deploy.erase_devices", 0), ("deploy.erase_devices_metadata", 0)];
        assert!(names(&automated(&none)).is_empty());
        let failure = planned(&automated(&[("raid.create", 5)])).unwrap_err();
        assert!(failure.message.contains("no clean step raid.create"), "{failure:?}");
    }

    #[test]
    fn manual_steps_run_as_named_and_everything_wrong_is_named_at_once() {
        let both = [
            ("deploy", "erase_devices", json!(null)),
            ("deploy", "erase_devices_metadata", json!({})),
        ];
        assert_eq!(names(&manual(&both)), ["erase_devices", "erase_devices_metadata"]);
        assert!(planned(&manual(&[])).unwrap_err().message.contains("has no steps"));
        let wrong = [
            ("raid", "create", json!({})),
            ("deploy", "burnin", json!({})),
            ("deploy", "erase_devices", json!({"passes": 3})),
        ];
        let failure = planned(&manual(&wrong)).unwrap_err();
        for part in ["nothing was changed", "raid.create", "deploy.burnin", "no argument passes"] {
            assert!(failure.message.contains(part), "{failure:?}");
        }
        assert!(failure.remedy.contains("deploy.erase_devices_metadata"));
    }

    #[test]
    fn of_fakes_with_the_same_step_the_highest_version_is_used_and_the_other_named() {
        let fakes =
            [fake("a", "1.9", &["raid.build"]), fake("b", "1.10", &["raid.build", "raid.show"])];
        let catalogue = catalogue(&fakes).unwrap();
        let keys: Vec<String> = catalogue.iter().map(Job::key).collect();
        assert_eq!(keys[2..], ["raid.build", "raid.show"]);
        let Job::Plugin(step) = &catalogue[2] else { panic!("{catalogue:?}") };
        assert_eq!(step.plugin.to_string(), "b 1.10 (b-1.10)");
        let words = "a 1.9 (a-1.9) has this step too and is passed over: b 1.10 (b-1.10) is higher";
        assert_eq!(step.passed_over, [words]);
        let chosen = plan(&automated(&[("raid.show", 0)]), &catalogue).unwrap();
        let keys: Vec<String> = chosen.iter().map(Job::key).collect();
        assert_eq!(keys, ["deploy.erase_devices_metadata", "deploy.erase_devices", "raid.build"]);
    }

    #[test]
    fn a_fake_that_would_stand_in_another_steps_place_is_refused_by_name() {
        let shadow = [fake("a", "1", &["deploy.erase_devices", "raid.erase_devices_metadata"])];
        let failure = catalogue(&shadow).unwrap_err();
        for key in ["deploy.erase_devices", "raid.erase_devices_metadata"] {
            let words = format!("plugin a 1 (a-1): its step {key} has the name of a built-in one");
            assert!(failure.message.contains(&words), "{failure:?}");
        }
        let two = [fake("a", "1", &["raid.build"]), fake("b", "2", &["bios.build"])];
        let failure = catalogue(&two).unwrap_err();
        assert!(
            failure.message.contains("has the step raid.build, plugin b 2 (b-2) has bios.build")
        );
    }

    #[test]
    fn a_manual_cleaning_of_built_in_steps_needs_no_plugin_and_an_automated_one_may() {
        assert!(only_built_in(&manual(&[("deploy", "erase_devices", json!(null))])));
        assert!(!only_built_in(&manual(&[("raid", "erase_devices", json!(null))])));
        assert!(!only_built_in(&automated(&[])));
    }
}
