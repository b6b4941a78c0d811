//! What an agent says it is about to do: kept within bounds, and shown.

use ironwright_api::PlannedStep;
use serde_json::json;

use super::{NAME_MAX, cut};
use crate::node::{Object, WorkRecord};

/// Most steps of a plan kept.
const PLAN_STEPS_MAX: usize = 64;
/// Most actions of a plan kept, over all its steps: one a disk and step.
const PLAN_ACTIONS_MAX: usize = 512;
/// Longest action kept, characters.
const ACTION_MAX: usize = 300;
/// Most actions of a plan that the history shows: it keeps 300 lines of everything.
const PLAN_LINES_MAX: usize = 16;

/// The running step as Ironic shows it, with what the plan says of it.
pub(super) fn shown(work: &WorkRecord, step: &str) -> Object {
    let mut shown = Object::new();
    let planned = work.planned(step);
    let interface = planned.map_or("deploy", |planned| planned.interface.as_str());
    shown.insert("interface".to_owned(), json!(interface));
    shown.insert("step".to_owned(), json!(step));
    if let Some(planned) = planned {
        shown.insert("priority".to_owned(), json!(planned.priority));
        shown.insert("abortable".to_owned(), json!(planned.abortable));
    }
    shown
}

/// A plan as it is kept: within bounds.
pub(super) fn kept(steps: &[PlannedStep]) -> Vec<PlannedStep> {
    let mut actions = PLAN_ACTIONS_MAX;
    let keep = |step: &PlannedStep| {
        let kept: Vec<String> =
            step.actions.iter().take(actions).map(|action| cut(action, ACTION_MAX)).collect();
        actions -= kept.len();
        PlannedStep {
            interface: cut(&step.interface, NAME_MAX),
            step: cut(&step.step, NAME_MAX),
            priority: step.priority,
            abortable: step.abortable,
            actions: kept,
        }
    };
    steps.iter().take(PLAN_STEPS_MAX).map(keep).collect()
}

/// What the history says of a plan.
pub(super) fn described(plan: &[PlannedStep]) -> Vec<String> {
    let name = |step: &PlannedStep| format!("{}.{}", step.interface, step.step);
    let names: Vec<String> = plan.iter().map(name).collect();
    let mut lines = vec![format!("planned: {}", names.join(", "))];
    let actions = plan
        .iter()
        .flat_map(|step| step.actions.iter().map(|action| format!("{}: {action}", step.step)));
    lines.extend(actions.take(PLAN_LINES_MAX));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::store;
    use super::super::tests::{began, cleaning_node, plan, report};
    use super::*;
    use crate::certificate::tests::Agent;

    #[test]
    fn a_plan_is_kept_within_bounds_and_shown_with_the_running_step() {
        let mut node = cleaning_node(&Agent::new());
        let mut notes = Vec::new();
        let reports = [report(&node, 1, plan("build", false)), report(&node, 2, began("build"))];
        store(&mut node, &reports, None, &mut notes);
        let work = node.work.as_ref().unwrap();
        assert_eq!(work.plan[0].actions.len(), PLAN_ACTIONS_MAX);
        assert_eq!(notes[0], "planned: raid.build");
        assert!(notes.len() < 20 && !work.is_abortable());
        let expected =
            json!({"interface": "raid", "step": "build", "priority": 10, "abortable": false});
        assert_eq!(json!(node.clean_step), expected);
    }
}
