//! What an agent says it is about to do: kept within bounds, and shown.

use ironwright_api::{Blame, Failure, PlannedStep, Work};
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

/// The failure of an automated cleaning whose plan was made without plugins of the order: what they would have done would be
/// missing, and nobody would know.
pub(super) fn plugins_left_out(work: &WorkRecord, known: &[String]) -> Option<Failure> {
    let Work::Clean(clean) = &work.order.work else { return None };
    // A cleaning by hand names its steps: an agent that lacks one refuses it.
    clean.automated.as_ref()?;
    let missing = clean.plugins.iter().filter(|bundle| !known.contains(&bundle.sha256));
    let missing: Vec<String> =
        missing.map(|bundle| bundle.sha256.chars().take(12).collect()).collect();
    (!missing.is_empty()).then(|| Failure {
        step: String::new(),
        message: format!(
            "the agent planned without the order's plugins ({}): it is older than this coordinator",
            missing.join(", ")
        ),
        remedy: "Build the ramdisk from the coordinator's version, or take the plugins out of plugins.dir."
            .to_owned(),
        blame: Blame::Environment,
    })
}

/// The same for an agent that worked without saying a plan at all.
pub(super) fn not_said(work: &WorkRecord) -> Option<Failure> {
    let silent = work.plan.is_empty() && !work.steps.is_empty();
    silent.then(|| plugins_left_out(work, &[])).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::store;
    use super::super::tests::{began, cleaning_node, plan, report};
    use super::*;
    use crate::certificate::tests::Agent;
    use crate::node::{Node, Outcome};
    use ironwright_api::{Automated, Clean, Event, PluginBundle};

    /// A node in automated cleaning with one plugin in its order.
    fn with_plugin(automated: bool) -> Node {
        let mut node = cleaning_node(&Agent::new());
        let plugin = PluginBundle {
            sha256: "ab".repeat(32),
            key_id: "00".repeat(8),
            bytes: 9,
            url: "/plugins/ab".into(),
        };
        let automated = automated.then(|| Automated {
            priorities: [("deploy.erase_devices".into(), 0)].into_iter().collect(),
            ..Automated::default()
        });
        let clean = Clean { automated, plugins: vec![plugin], ..Clean::default() };
        node.work.as_mut().unwrap().order.work = Work::Clean(clean);
        node
    }

    #[test]
    fn an_agent_that_knows_no_plugins_has_not_cleaned_with_them() {
        let planned =
            |known: &[String]| Event::Planned { steps: Vec::new(), plugins: known.to_vec() };
        for (automated, event, fails) in [
            (true, planned(&[]), true),
            (true, planned(&["ab".repeat(32)]), false),
            (true, began("erase_devices_metadata"), true),
            (false, planned(&[]), false),
        ] {
            let mut node = with_plugin(automated);
            let reports = [report(&node, 1, event), report(&node, 2, Event::Finished)];
            store(&mut node, &reports, None, &mut Vec::new());
            match node.work.unwrap().outcome {
                Some(Outcome::Failed(failure)) if fails => {
                    let words = "planned without the order's plugins (abababababab)";
                    assert!(failure.message.contains(words), "{failure:?}");
                }
                Some(Outcome::Finished) if !fails => {}
                outcome => panic!("{automated}: {outcome:?}"),
            }
        }
    }

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
