//! Work cut into parts: what the agent does, and Ironic's reserved steps between it, which are the coordinator's own: power,
//! `wait`, and `hold` until an operator asks to go on. Pure.

use ironwright_api::{
    BOOT_ENTRY_PRIORITY, CleanStep, Deploy, DeployStep, WRITE_IMAGE_PRIORITY, Work,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Object;

/// Longest `wait`, seconds: a day. Whoever needs longer uses `hold`.
const WAIT_MAX_S: u64 = 24 * 3600;

/// Steps of the deploy itself, by Ironic's names: their order is the agent's.
const CORE: [&str; 6] = [
    "deploy",
    "write_image",
    "prepare_instance_boot",
    "tear_down_agent",
    "switch_to_tenant_network",
    "boot_instance",
];

/// Ironic's order of steps of one priority, first to last.
const INTERFACES: [&str; 7] =
    ["vendor", "power", "management", "firmware", "deploy", "bios", "raid"];

/// Names of the steps that the coordinator performs itself, [`Own`]: of the interface `power`, as Ironic shows them.
pub const OWN: [&str; 5] = ["power_on", "power_off", "reboot", "hold", "wait"];

/// A step that the coordinator performs itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Own {
    /// Power on.
    PowerOn,
    /// Power off.
    PowerOff,
    /// Off, then on.
    Reboot,
    /// Nothing happens until an operator asks for `unhold`.
    Hold,
    /// Nothing happens for so many seconds.
    Wait(u64),
}

impl Own {
    /// Reads a step; none: it is the agent's.
    ///
    /// # Errors
    ///
    /// One sentence, when it is one of ours with wrong arguments.
    pub fn of(step: &CleanStep) -> Result<Option<Self>, String> {
        let name = format!("{}.{}", step.interface, step.step);
        let own = match step.step.as_str() {
            "power_on" => Self::PowerOn,
            "power_off" => Self::PowerOff,
            "reboot" => Self::Reboot,
            "hold" => Self::Hold,
            "wait" => Self::Wait(0),
            _ => return Ok(None),
        };
        let args = step.args.as_object().into_iter().flatten();
        let mut found = own;
        for (key, value) in args {
            let seconds = value.as_u64().filter(|seconds| *seconds <= WAIT_MAX_S);
            match (own, key.as_str(), seconds) {
                (Self::Wait(_), "seconds", Some(seconds)) => found = Self::Wait(seconds),
                (Self::Wait(_), "seconds", None) => {
                    return Err(format!(
                        "{name}: seconds is {value}; it must be a whole number from 0 to {WAIT_MAX_S}"
                    ));
                }
                _ => return Err(format!("{name} has no argument {key}")),
            }
        }
        Ok(Some(found))
    }

    /// The step as it is shown while it is in progress.
    #[must_use]
    pub fn shown(self) -> Object {
        let (step, args) = match self {
            Self::PowerOn => ("power_on", json!({})),
            Self::PowerOff => ("power_off", json!({})),
            Self::Reboot => ("reboot", json!({})),
            Self::Hold => ("hold", json!({})),
            Self::Wait(seconds) => ("wait", json!({"seconds": seconds})),
        };
        let shown = json!({"interface": "power", "step": step, "args": args});
        shown.as_object().cloned().unwrap_or_default()
    }
}

/// A part of the work.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// An order of the agent.
    Agent(Box<Work>),
    /// The coordinator's.
    Own(Own),
}

/// What is wrong with the steps, for work with or without a ramdisk.
#[must_use]
pub fn problems(steps: &[CleanStep], without_ramdisk: bool) -> Vec<String> {
    let problem = |step: &CleanStep| match Own::of(step) {
        Err(problem) => Some(problem),
        Ok(None) if without_ramdisk => Some(format!(
            "{}.{} is performed in the ramdisk; leave disable_ramdisk out",
            step.interface, step.step
        )),
        Ok(_) => None,
    };
    steps.iter().filter_map(problem).collect()
}

/// Work on `steps` in their order. `order` makes an order of the agent's of some of them.
///
/// In a ramdisk a power cut ends the agent, and power on starts it again: never the machine's disk.
#[must_use]
pub fn of_steps(
    steps: &[CleanStep],
    without_ramdisk: bool,
    order: impl Fn(Vec<CleanStep>) -> Work,
) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut batch = Vec::new();
    // Whether the agent must be there although no step of its is next.
    let mut awake = false;
    for step in steps {
        let Ok(Some(own)) = Own::of(step) else {
            batch.push(step.clone());
            continue;
        };
        parts.extend(of_agent(std::mem::take(&mut batch), awake, &order));
        awake = !without_ramdisk && matches!(own, Own::PowerOn | Own::Reboot);
        match own {
            _ if without_ramdisk => parts.push(Part::Own(own)),
            Own::PowerOn => {}
            Own::Reboot => parts.push(Part::Own(Own::PowerOff)),
            Own::PowerOff | Own::Hold | Own::Wait(_) => parts.push(Part::Own(own)),
        }
    }
    parts.extend(of_agent(batch, awake, &order));
    parts
}

/// An order of these steps; without any, only where the agent has to be there all the same.
fn of_agent(
    steps: Vec<CleanStep>,
    awake: bool,
    order: &impl Fn(Vec<CleanStep>) -> Work,
) -> Option<Part> {
    (awake || !steps.is_empty()).then(|| Part::Agent(Box::new(order(steps))))
}

/// A deploy with further steps, highest priority first: the image goes with the steps that none of the coordinator's own parts
/// from it. What comes before or after is an order of `service` steps.
#[must_use]
pub fn of_deploy(
    mut steps: Vec<DeployStep>,
    deploy: &Deploy,
    service: impl Fn(Vec<CleanStep>) -> Work,
) -> Vec<Part> {
    steps.sort_by_key(place);
    let image = (std::cmp::Reverse(WRITE_IMAGE_PRIORITY), rank("deploy"));
    let is_own = |step: &DeployStep| matches!(Own::of(&plain(step)), Ok(Some(_)));
    let after = |step: &DeployStep| place(step) > image;
    // The image's batch begins behind the last of our own steps before it, and ends at the first one behind it.
    let begin = steps.iter().rposition(|step| is_own(step) && !after(step)).map_or(0, |at| at + 1);
    let end = steps.iter().position(|step| is_own(step) && after(step)).unwrap_or(steps.len());
    let (before, batch, behind) = (&steps[..begin], &steps[begin..end], &steps[end..]);
    let plain_all = |steps: &[DeployStep]| steps.iter().map(plain).collect::<Vec<_>>();
    let mut parts = of_steps(&plain_all(before), false, &service);
    // Nobody has to be awake where the image's order is next.
    if parts.last().is_some_and(is_empty) {
        parts.pop();
    }
    let image = Deploy { steps: batch.to_vec(), ..deploy.clone() };
    parts.push(Part::Agent(Box::new(Work::Deploy(Box::new(image)))));
    parts.extend(of_steps(&plain_all(behind), false, &service));
    parts
}

/// The steps of a deploy, highest priority first.
#[must_use]
pub fn in_order(steps: &[DeployStep]) -> Vec<CleanStep> {
    let mut steps = steps.to_vec();
    steps.sort_by_key(place);
    steps.iter().map(plain).collect()
}

/// Where a step comes among others.
fn place(step: &DeployStep) -> (std::cmp::Reverse<u32>, usize) {
    (std::cmp::Reverse(step.priority), rank(&step.interface))
}

/// Whether an agent has to do nothing for it but to be there. It is never sent.
#[must_use]
pub fn asks_nothing(work: &Work) -> bool {
    match work {
        Work::Clean(clean) => clean.automated.is_none() && clean.steps.is_empty(),
        Work::Service(service) => service.steps.is_empty(),
        Work::Inspect | Work::Deploy(_) | Work::Rescue(_) | Work::Unknown => false,
    }
}

fn is_empty(part: &Part) -> bool {
    matches!(part, Part::Agent(work) if asks_nothing(work))
}

fn plain(step: &DeployStep) -> CleanStep {
    let DeployStep { interface, step, args, priority: _ } = step.clone();
    CleanStep { interface, step, args }
}

fn rank(interface: &str) -> usize {
    INTERFACES.iter().position(|known| *known == interface).unwrap_or(INTERFACES.len())
}

/// The steps of a deploy: those of the templates, in whose place comes what the request says; of priority 0 none.
///
/// # Errors
///
/// Every step that the deploy has itself, that has the place of one, or that is there twice.
pub fn merged(
    templates: Vec<DeployStep>,
    asked: &[DeployStep],
) -> Result<Vec<DeployStep>, Vec<String>> {
    let mut steps: Vec<DeployStep> = Vec::new();
    for step in templates.into_iter().chain(asked.iter().cloned()) {
        let same = |known: &DeployStep| {
            (&known.interface, &known.step) == (&step.interface, &step.step) && !is_reserved(&step)
        };
        match steps.iter_mut().find(|known| same(known)) {
            Some(known) => *known = step,
            None => steps.push(step),
        }
    }
    steps.retain(|step| step.priority > 0);
    let mut problems = Vec::new();
    for (at, step) in steps.iter().enumerate().filter(|(_, step)| !is_reserved(step)) {
        let name = format!("deploy step {}.{}", step.interface, step.step);
        if step.interface == "deploy" && CORE.contains(&step.step.as_str()) {
            problems.push(format!("{name} is a part of every deploy; leave it out"));
        } else if matches!(step.priority, WRITE_IMAGE_PRIORITY | BOOT_ENTRY_PRIORITY) {
            problems.push(format!(
                "{name} has priority {}, at which the deploy itself has a step; use another one",
                step.priority
            ));
        } else if steps.iter().take(at).any(|other| other.step == step.step) {
            problems.push(format!("{name}: there is a step {} already", step.step));
        }
    }
    if problems.is_empty() { Ok(steps) } else { Err(problems) }
}

/// Steps of ours may come more than once.
fn is_reserved(step: &DeployStep) -> bool {
    matches!(Own::of(&plain(step)), Ok(Some(_)))
}

#[cfg(test)]
mod tests;
