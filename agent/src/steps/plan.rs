//! Which steps of the catalogue an order asks for, and in which order they run. Pure.

use ironwright_api::{
    Automated, BOOT_ENTRY_PRIORITY, Blame, CleanStep, DeployStep, Failure, WRITE_IMAGE_PRIORITY,
};
use serde_json::Value;

use super::{Job, Phase, built_in};

/// What an order says of its steps.
#[derive(Debug, Clone, Copy)]
pub enum Choice<'a> {
    /// Those of priority above 0, after these changes, highest first.
    Priorities(&'a Automated),
    /// These, in this order.
    Named(&'a [CleanStep]),
    /// These, by their priorities.
    Among(&'a [DeployStep]),
}

/// Whether the agent's own steps are all that an order can need: then no plugin has to be fetched.
#[must_use]
pub fn only_built_in(phase: Phase, choice: Choice<'_>) -> bool {
    let own = built_in(phase);
    let is_own = |interface: &str, step: &str| {
        own.iter().any(|job| job.info().interface == interface && job.name() == step)
    };
    match choice {
        Choice::Priorities(_) => false,
        Choice::Named(steps) => steps.iter().all(|asked| is_own(&asked.interface, &asked.step)),
        Choice::Among(steps) => steps.iter().all(|asked| is_own(&asked.interface, &asked.step)),
    }
}

/// The steps of an order in the order to run them, each known and with the arguments it takes.
///
/// # Errors
/// The [`Failure`] to report, with everything that is wrong at once; nothing was changed.
pub fn plan(phase: Phase, choice: Choice<'_>, catalogue: &[Job]) -> Result<Vec<Job>, Failure> {
    let (steps, problems) = match choice {
        Choice::Priorities(automated) => by_priority(automated, catalogue),
        Choice::Named(asked) => by_name(phase, asked, catalogue),
        Choice::Among(asked) => among(asked, catalogue),
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

/// Automated: the steps of priority above 0 after the operator's changes, and what is wrong with those.
#[must_use]
pub fn by_priority(automated: &Automated, catalogue: &[Job]) -> (Vec<Job>, Vec<String>) {
    let Automated { priorities, args } = automated;
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
    let chosen = catalogue.iter().map(with_priority).filter(|step| step.priority() > 0);
    let mut steps = Vec::new();
    for step in chosen {
        let args = args.get(&step.key()).unwrap_or(&Value::Null);
        let (step, wrong) = step.with_args(args);
        steps.push(step);
        problems.extend(wrong);
    }
    steps.sort_by_key(|step| (std::cmp::Reverse(step.priority()), step.name().to_owned()));
    (steps, problems)
}

/// Named ones, in this order, and what is wrong with them.
#[must_use]
pub fn by_name(phase: Phase, asked: &[CleanStep], catalogue: &[Job]) -> (Vec<Job>, Vec<String>) {
    let (mut steps, mut problems) = (Vec::new(), Vec::new());
    for CleanStep { interface, step, args } in asked {
        named((interface, step, args), 0, phase, catalogue, &mut steps, &mut problems);
    }
    if asked.is_empty() {
        problems.push(format!("the {} order has no steps", phase.name()));
    }
    problems.extend(twice(&steps));
    (steps, problems)
}

fn among(asked: &[DeployStep], catalogue: &[Job]) -> (Vec<Job>, Vec<String>) {
    let (mut steps, mut problems) = (Vec::new(), Vec::new());
    for DeployStep { interface, step, args, priority } in asked {
        let key = format!("{interface}.{step}");
        let mut refuse = |why: &str| problems.push(format!("the extra deploy step {key} {why}"));
        match *priority {
            _ if step == "write_image" => refuse("is what every deploy does once"),
            0 => refuse("has priority 0: it would never run"),
            // The image and the firmware's entry take a priority each.
            WRITE_IMAGE_PRIORITY | BOOT_ENTRY_PRIORITY => refuse(&format!(
                "has priority {priority}, at which the deploy itself has a step: use another one"
            )),
            priority => named(
                (interface, step, args),
                priority,
                Phase::Deploy,
                catalogue,
                &mut steps,
                &mut problems,
            ),
        }
    }
    steps.sort_by_key(|step| std::cmp::Reverse(step.priority()));
    problems.extend(twice(&steps));
    (steps, problems)
}

/// Starts and ends are reported by a step's name alone: after a restart nobody could tell which of two had ended.
fn twice(steps: &[Job]) -> impl Iterator<Item = String> {
    let repeated = |(position, step): (usize, &Job)| {
        let before = steps.iter().take(position).any(|other| other.name() == step.name());
        before.then(|| {
            format!("the step {} is there twice: order it once more afterwards", step.key())
        })
    };
    steps.iter().enumerate().filter_map(repeated)
}

/// Whether `job` comes before the image of a deploy.
#[must_use]
pub fn before_image(job: &Job) -> bool {
    job.priority() > WRITE_IMAGE_PRIORITY
}

fn named(
    (interface, step, args): (&str, &str, &Value),
    priority: u32,
    phase: Phase,
    catalogue: &[Job],
    steps: &mut Vec<Job>,
    problems: &mut Vec<String>,
) {
    let key = format!("{interface}.{step}");
    match catalogue.iter().find(|step| step.key() == key) {
        Some(step) => {
            let (step, wrong) = step.clone().with_priority(priority).with_args(args);
            steps.push(step);
            problems.extend(wrong);
        }
        None => problems.push(format!("this agent has no {} step {key}", phase.name())),
    }
}
