//! Brings an agent's reports into the record. Pure.

use ironwright_api::{
    Blame, Event, Evidence, Failure, PlannedStep, Report, SignedCertificate, StepRecord, Work,
};
use serde_json::json;
use uuid::Uuid;

use crate::certificate::{self, Claim, Refusal, SigningKey};
use crate::node::{Node, Object, Outcome, WorkRecord};

/// More step records than any work has; an agent that goes mad must not grow the record without bound.
const STEPS_MAX: usize = 512;
/// Longest step name kept, characters.
const NAME_MAX: usize = 128;
/// Longest failure text kept, characters.
const TEXT_MAX: usize = 4000;
/// Most steps of a plan kept.
const PLAN_STEPS_MAX: usize = 64;
/// Most actions of a plan kept, over all its steps: one a disk and step.
const PLAN_ACTIONS_MAX: usize = 512;
/// Longest action kept, characters.
const ACTION_MAX: usize = 300;
/// Most actions of a plan that the history shows: it keeps 300 lines of everything.
const PLAN_LINES_MAX: usize = 16;

/// Stores every report that is newer than the last one stored. Reports of another order or attempt are dropped, but
/// acknowledged, so that the agent stops repeating them.
pub(super) fn store(
    node: &mut Node,
    reports: &[Report],
    keeper: Option<&SigningKey>,
    notes: &mut Vec<String>,
) {
    for report in reports {
        let Some(work) = &mut node.work else { return };
        if report.seq <= work.boot.acknowledged {
            continue;
        }
        work.boot.acknowledged = report.seq;
        let current =
            report.order_id == work.order.order_id && report.attempt == work.order.attempt;
        if !current {
            notes.push(format!(
                "dropped a report of a superseded order or attempt ({} attempt {})",
                report.order_id, report.attempt
            ));
        } else if work.outcome.is_none() {
            apply(node, &report.event, keeper, notes);
        }
    }
}

fn apply(node: &mut Node, event: &Event, keeper: Option<&SigningKey>, notes: &mut Vec<String>) {
    let uuid = node.uuid;
    let Some(work) = &mut node.work else { return };
    match event {
        Event::StepStarted { step } => {
            let step = cut(step, NAME_MAX);
            started(work, &step);
            let shown = shown(work, &step);
            match work.order.work {
                Work::Clean(_) => node.clean_step = shown,
                Work::Deploy(_) => node.deploy_step = shown,
                Work::Inspect | Work::Unknown => {}
            }
            notes.push(format!("step {step} began"));
        }
        Event::StepEnded { step, evidence } => {
            let step = cut(step, NAME_MAX);
            match accept(work, uuid, &step, evidence.clone(), keeper) {
                Ok(evidence) => {
                    ended(work, &step, evidence.as_ref());
                    notes.push(format!("step {step} ended well"));
                    if work.abort {
                        work.outcome = Some(Outcome::Failed(aborted(&step)));
                    }
                }
                Err(refusal) => {
                    let failure = refused(&step, &refusal);
                    notes.push(format!("refused: {}", sentence(&failure)));
                    work.outcome = Some(Outcome::Failed(failure));
                }
            }
        }
        Event::Finished => {
            work.outcome = Some(Outcome::Finished);
            notes.push("the agent finished the order".to_owned());
        }
        Event::Failed(failure) => {
            let failure = Failure {
                step: cut(&failure.step, NAME_MAX),
                message: cut(&failure.message, TEXT_MAX),
                remedy: cut(&failure.remedy, TEXT_MAX),
                blame: failure.blame,
            };
            notes.push(format!("the agent failed: {}", sentence(&failure)));
            work.outcome = Some(Outcome::Failed(failure));
        }
        Event::Planned { steps } => {
            work.plan = planned(steps);
            notes.extend(described(&work.plan));
        }
        Event::Unknown => {}
    }
}

/// The running step as Ironic shows it, with what the plan says of it.
fn shown(work: &WorkRecord, step: &str) -> Object {
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

/// Evidence as it is kept: the certificates in it judged and countersigned.
fn accept(
    work: &WorkRecord,
    node: Uuid,
    step: &str,
    evidence: Option<Evidence>,
    keeper: Option<&SigningKey>,
) -> Result<Option<Evidence>, Refusal> {
    let Work::Clean(clean) = &work.order.work else { return Ok(evidence) };
    let claim = Claim {
        node,
        order: work.order.order_id,
        boot: work.boot.boot_id,
        key: work.boot.erase_key.as_deref(),
        step,
        least: clean.erase.least,
    };
    match evidence {
        Some(Evidence::Erased { mut disks }) => {
            certificate::judge(&claim, &disks)?;
            for signed in disks.iter_mut().filter_map(|disk| disk.certificate.as_mut()) {
                // What an agent sends there is not ours.
                signed.coordinator = None;
                if let Some(keeper) = keeper
                    && let Err(error) = keeper.countersign(signed)
                {
                    tracing::error!(%node, "node {node}: cannot countersign a certificate: {error}");
                }
            }
            Ok(Some(Evidence::Erased { disks }))
        }
        other if certificate::erases_data(step) => {
            certificate::judge(&claim, &[])?;
            Ok(other)
        }
        other => Ok(other),
    }
}

/// The certificates in reports that are about to be stored, as they will be: accepted and countersigned. A refused one is
/// none of them.
pub(super) fn certificates(
    node: &Node,
    reports: &[Report],
    keeper: Option<&SigningKey>,
) -> Vec<SignedCertificate> {
    let Some(work) = &node.work else { return Vec::new() };
    let new = reports.iter().filter(|report| {
        report.seq > work.boot.acknowledged
            && report.order_id == work.order.order_id
            && report.attempt == work.order.attempt
    });
    new.filter_map(|report| match &report.event {
        Event::StepEnded { step, evidence } => {
            accept(work, node.uuid, &cut(step, NAME_MAX), evidence.clone(), keeper).ok().flatten()
        }
        Event::Planned { .. }
        | Event::StepStarted { .. }
        | Event::Finished
        | Event::Failed(_)
        | Event::Unknown => None,
    })
    .flat_map(|evidence| match evidence {
        Evidence::Erased { disks } => disks,
        Evidence::Written(_)
        | Evidence::Configured(_)
        | Evidence::Committed(_)
        | Evidence::Unknown => Vec::new(),
    })
    .filter_map(|disk| disk.certificate.map(|signed| *signed))
    .collect()
}

fn refused(step: &str, refusal: &Refusal) -> Failure {
    Failure {
        step: step.to_owned(),
        message: format!("the agent says that it is done, but {refusal}"),
        remedy: "The disk counts as not erased: look at the machine's console, then clean again."
            .to_owned(),
        blame: Blame::Internal,
    }
}

/// The failure of an order that the operator aborted, after `step` or before any.
pub(crate) fn aborted(step: &str) -> Failure {
    // Ironic's sentences.
    let mut message = "By request, the clean operation was aborted".to_owned();
    if !step.is_empty() {
        message.push_str(&format!(" after the completion of step: {step}"));
    }
    Failure { step: String::new(), message, remedy: String::new(), blame: Blame::Order }
}

/// A plan as it is kept: within bounds.
fn planned(steps: &[PlannedStep]) -> Vec<PlannedStep> {
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
fn described(plan: &[PlannedStep]) -> Vec<String> {
    let name = |step: &PlannedStep| format!("{}.{}", step.interface, step.step);
    let names: Vec<String> = plan.iter().map(name).collect();
    let mut lines = vec![format!("planned: {}", names.join(", "))];
    let actions = plan
        .iter()
        .flat_map(|step| step.actions.iter().map(|action| format!("{}: {action}", step.step)));
    lines.extend(actions.take(PLAN_LINES_MAX));
    lines
}

/// `STEP: message. remedy`, the way operators read it in `last_error`.
pub(crate) fn sentence(failure: &Failure) -> String {
    let mut text = String::new();
    if !failure.step.is_empty() {
        text.push_str(&failure.step);
        text.push_str(": ");
    }
    text.push_str(failure.message.trim_end_matches('.'));
    if !failure.remedy.is_empty() {
        text.push_str(". ");
        text.push_str(&failure.remedy);
    }
    text
}

fn open_record<'a>(work: &'a mut WorkRecord, step: &str) -> Option<&'a mut StepRecord> {
    let attempt = work.order.attempt;
    work.steps
        .iter_mut()
        .rev()
        .find(|record| record.step == step && record.attempt == attempt && !record.ended)
}

fn started(work: &mut WorkRecord, step: &str) {
    if open_record(work, step).is_none() {
        push(work, step, false, None);
    }
}

fn ended(work: &mut WorkRecord, step: &str, evidence: Option<&Evidence>) {
    match open_record(work, step) {
        Some(record) => {
            record.ended = true;
            record.evidence = evidence.cloned();
        }
        None => push(work, step, true, evidence.cloned()),
    }
}

fn push(work: &mut WorkRecord, step: &str, ended: bool, evidence: Option<Evidence>) {
    if work.steps.len() < STEPS_MAX {
        let attempt = work.order.attempt;
        work.steps.push(StepRecord { step: step.to_owned(), attempt, ended, evidence });
    }
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use ironwright_api::{Clean, EraseResult};
    use jiff::Timestamp;

    use super::*;
    use crate::certificate::tests::{Agent, certificate};
    use crate::node::tests::working_node;

    fn report(node: &Node, seq: u64, event: Event) -> Report {
        let order = &node.work.as_ref().unwrap().order;
        Report { seq, order_id: order.order_id, attempt: order.attempt, event }
    }

    fn began(step: &str) -> Event {
        Event::StepStarted { step: step.into() }
    }

    #[test]
    fn a_repeated_report_is_stored_once() {
        let mut node = working_node(Timestamp::UNIX_EPOCH);
        let reports = [
            report(&node, 1, began("a")),
            report(&node, 2, Event::StepEnded { step: "a".into(), evidence: None }),
        ];
        for _ in 0..2 {
            store(&mut node, &reports, None, &mut Vec::new());
        }
        let work = node.work.unwrap();
        assert_eq!(work.boot.acknowledged, 2);
        assert_eq!(work.steps.len(), 1);
        assert!(work.steps[0].ended);
    }

    #[test]
    fn a_stale_attempts_report_is_acknowledged_and_changes_nothing() {
        let mut node = working_node(Timestamp::UNIX_EPOCH);
        let mut stale = report(&node, 7, Event::Finished);
        stale.attempt = 0;
        let mut foreign = report(&node, 8, Event::Finished);
        foreign.order_id = Uuid::now_v7();
        store(&mut node, &[stale, foreign], None, &mut Vec::new());
        let work = node.work.unwrap();
        assert_eq!(work.boot.acknowledged, 8);
        assert!(work.outcome.is_none() && work.steps.is_empty());
    }

    #[test]
    fn the_first_outcome_counts() {
        let mut node = working_node(Timestamp::UNIX_EPOCH);
        let failure = Failure {
            step: "write_image".into(),
            message: "disk is on fire.".into(),
            remedy: "Replace it.".into(),
            blame: Blame::Hardware,
        };
        let reports = [report(&node, 1, Event::Failed(failure)), report(&node, 2, Event::Finished)];
        store(&mut node, &reports, None, &mut Vec::new());
        let Some(Outcome::Failed(outcome)) = node.work.unwrap().outcome else {
            panic!("no failure")
        };
        assert_eq!(sentence(&outcome), "write_image: disk is on fire. Replace it.");
    }

    #[test]
    fn an_agent_cannot_grow_the_record_without_bound() {
        let mut node = working_node(Timestamp::UNIX_EPOCH);
        let long = "x".repeat(10_000);
        for seq in 1..=2000 {
            let one = report(&node, seq, began(&format!("{seq}{long}")));
            store(&mut node, &[one], None, &mut Vec::new());
        }
        assert!(serde_json::to_string(&node).unwrap().len() < 256 * 1024);
    }

    /// A node whose agent, with this key, carries out a clean order.
    fn cleaning_node(agent: &Agent) -> Node {
        let mut node = working_node(Timestamp::UNIX_EPOCH);
        let work = node.work.as_mut().unwrap();
        work.order.work = Work::Clean(Clean::default());
        work.boot.boot_id = Some(Uuid::from_u128(3));
        work.boot.erase_key = Some(agent.key());
        node
    }

    fn erased(node: &Node, agent: &Agent, result: EraseResult) -> Event {
        let order = node.work.as_ref().unwrap().order.order_id;
        let mut certificate = certificate(node.uuid, order, Uuid::from_u128(3));
        certificate.result = result;
        let evidence = Some(Evidence::Erased { disks: vec![agent.erased(certificate)] });
        Event::StepEnded { step: "erase_devices".into(), evidence }
    }

    #[test]
    fn an_accepted_certificate_is_countersigned_and_kept_and_a_refused_one_fails_the_step() {
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::load_or_make(directory.path()).unwrap();
        let (agent, stranger) = (Agent::new(), Agent::new());
        let failed = EraseResult::Failed { reason: "LBA 7 kept its data".into() };
        for (signer, result, problem) in [
            (&agent, EraseResult::Erased, None),
            (&stranger, EraseResult::Erased, Some("not with this boot's key")),
            (&agent, failed, Some("the erase failed: LBA 7")),
        ] {
            let mut node = cleaning_node(&agent);
            let reports = [
                report(&node, 1, began("erase_devices")),
                report(&node, 2, erased(&node, signer, result)),
                report(&node, 3, Event::Finished),
            ];
            let kept = certificates(&node, &reports, Some(&key));
            store(&mut node, &reports, Some(&key), &mut Vec::new());
            let work = node.work.unwrap();
            match (problem, work.outcome) {
                (None, Some(Outcome::Finished)) => {
                    let Some(Evidence::Erased { disks }) = &work.steps[0].evidence else {
                        panic!("no evidence")
                    };
                    let stored = disks[0].certificate.as_deref().unwrap();
                    assert_eq!(stored.coordinator.as_ref().unwrap().public_key, key.public());
                    assert_eq!(kept, [stored.clone()], "the same in both places");
                }
                (Some(problem), Some(Outcome::Failed(failure))) => {
                    assert!(failure.message.contains(problem), "{failure:?}");
                    assert!(!work.steps[0].ended && work.steps[0].evidence.is_none());
                    assert!(kept.is_empty());
                }
                (problem, outcome) => panic!("{problem:?}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn an_erase_of_data_that_ends_without_proof_has_failed() {
        let mut node = cleaning_node(&Agent::new());
        let end = Event::StepEnded { step: "erase_devices".into(), evidence: None };
        let reports = [report(&node, 1, began("erase_devices")), report(&node, 2, end)];
        store(&mut node, &reports, None, &mut Vec::new());
        assert!(matches!(node.work.unwrap().outcome, Some(Outcome::Failed(_))));
    }

    fn plan(step: &str, abortable: bool) -> Event {
        let (interface, step) = ("raid".to_owned(), step.to_owned());
        let actions = vec!["/dev/sda: overwrite".to_owned(); 1000];
        Event::Planned {
            steps: vec![PlannedStep { interface, step, priority: 10, abortable, actions }],
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

    #[test]
    fn an_abort_that_had_to_wait_ends_the_order_when_the_step_has_ended() {
        let mut node = cleaning_node(&Agent::new());
        let reports = [report(&node, 1, plan("build", false)), report(&node, 2, began("build"))];
        store(&mut node, &reports, None, &mut Vec::new());
        node.work.as_mut().unwrap().abort = true;
        let end = Event::StepEnded { step: "build".into(), evidence: None };
        let reports = [report(&node, 3, end), report(&node, 4, began("next"))];
        store(&mut node, &reports, None, &mut Vec::new());
        let work = node.work.unwrap();
        let Some(Outcome::Failed(failure)) = work.outcome else { panic!("it goes on") };
        assert!(failure.message.ends_with("after the completion of step: build"), "{failure:?}");
        assert_eq!(work.steps.len(), 1, "the next step did not begin");
    }
}
