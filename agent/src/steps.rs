//! The clean steps of this agent, with Ironic's names and rules, and which of them an order asks for.

use std::collections::BTreeMap;

use ironwright_api::{Blame, Clean, CleanStep, Failure, PlannedStep};

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

/// The steps of a clean order in the order to run them. Automated cleaning: those of priority above 0, after the
/// operator's changes, highest first. Manual: as named, each known and without arguments it does not take.
///
/// # Errors
/// The [`Failure`] to report, with everything that is wrong at once; nothing was changed.
pub fn plan(clean: &Clean) -> Result<Vec<Step>, Failure> {
    let (steps, problems) = match &clean.automated {
        Some(automated) => by_priority(&automated.priorities),
        None => by_name(&clean.steps),
    };
    if problems.is_empty() {
        return Ok(steps);
    }
    Err(Failure {
        step: String::new(),
        message: format!("nothing was changed: {}", problems.join("; ")),
        remedy: format!(
            "order {}, or use an agent that has the step",
            CLEAN.map(|step| step.key()).join(", ")
        ),
        blame: Blame::Order,
    })
}

fn by_priority(priorities: &BTreeMap<String, u32>) -> (Vec<Step>, Vec<String>) {
    let known = |key: &String| CLEAN.iter().any(|step| step.key() == *key);
    let problems = priorities
        .keys()
        .filter(|key| !known(key))
        .map(|key| format!("this agent has no clean step {key} whose priority could be set"))
        .collect();
    let with_priority = |step: Step| Step {
        priority: priorities.get(&step.key()).copied().unwrap_or(step.priority),
        ..step
    };
    let mut steps: Vec<Step> =
        CLEAN.into_iter().map(with_priority).filter(|step| step.priority > 0).collect();
    steps.sort_by_key(|step| (std::cmp::Reverse(step.priority), step.name));
    (steps, problems)
}

fn by_name(asked: &[CleanStep]) -> (Vec<Step>, Vec<String>) {
    let (mut steps, mut problems) = (Vec::new(), Vec::new());
    for CleanStep { interface, step: name, args } in asked {
        let found = CLEAN.into_iter().find(|step| step.interface == interface && step.name == name);
        match found {
            Some(step) => steps.push(Step { priority: 0, ..step }),
            None => problems.push(format!("this agent has no clean step {interface}.{name}")),
        }
        let unknown = args.as_object().into_iter().flat_map(|args| args.keys());
        problems.extend(unknown.map(|arg| format!("{interface}.{name} has no argument {arg}")));
    }
    if asked.is_empty() {
        problems.push("the clean order has no steps".to_owned());
    }
    (steps, problems)
}

#[cfg(test)]
mod tests {
    use ironwright_api::Automated;
    use serde_json::{Value, json};

    use super::*;

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
        Clean { automated: Some(Automated { priorities }), ..Clean::default() }
    }

    fn names(clean: &Clean) -> Vec<&'static str> {
        plan(clean).unwrap().iter().map(|step| step.name).collect()
    }

    #[test]
    fn automated_cleaning_runs_the_highest_priority_first_and_zero_switches_off() {
        assert_eq!(names(&automated(&[])), ["erase_devices_metadata", "erase_devices"]);
        assert_eq!(names(&automated(&[("deploy.erase_devices", 0)])), ["erase_devices_metadata"]);
        let turned = automated(&[("deploy.erase_devices", 100)]);
        assert_eq!(names(&turned), ["erase_devices", "erase_devices_metadata"]);
        let none = [("deploy.erase_devices", 0), ("deploy.erase_devices_metadata", 0)];
        assert!(names(&automated(&none)).is_empty());
        let failure = plan(&automated(&[("raid.create", 5)])).unwrap_err();
        assert!(failure.message.contains("no clean step raid.create"), "{failure:?}");
    }

    #[test]
    fn manual_steps_run_as_named_and_everything_wrong_is_named_at_once() {
        let both = [
            ("deploy", "erase_devices", json!(null)),
            ("deploy", "erase_devices_metadata", json!({})),
        ];
        assert_eq!(names(&manual(&both)), ["erase_devices", "erase_devices_metadata"]);
        assert!(plan(&manual(&[])).unwrap_err().message.contains("has no steps"));
        let wrong = [
            ("raid", "create", json!({})),
            ("deploy", "burnin", json!({})),
            ("deploy", "erase_devices", json!({"passes": 3})),
        ];
        let failure = plan(&manual(&wrong)).unwrap_err();
        for part in ["nothing was changed", "raid.create", "deploy.burnin", "no argument passes"] {
            assert!(failure.message.contains(part), "{failure:?}");
        }
        assert!(failure.remedy.contains("deploy.erase_devices_metadata"));
    }
}
