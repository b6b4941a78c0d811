//! Brings an agent's reports into the record. Pure.

mod accept;
mod plan;
pub(super) mod raid;

use ironwright_api::{Blame, Event, Evidence, Failure, Reboot, Report, StepRecord};

pub(super) use accept::certificates;

use crate::certificate::SigningKey;
use crate::node::{Node, Outcome, WorkRecord};

/// More step records than any work has; an agent that goes mad must not grow the record without bound.
const STEPS_MAX: usize = 512;
/// Longest step name kept, characters.
const NAME_MAX: usize = 128;
/// Longest failure text kept, characters.
const TEXT_MAX: usize = 4000;
/// Most restarts that one step may ask for: the most that a plugin's manifest may declare.
const REBOOTS_MAX: usize = 10;
/// Most bytes that a step may keep over a restart: as much as the agent takes.
const STATE_MAX: usize = 64 << 10;

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
            let shown = plan::shown(work, &step);
            node.show_step(shown);
            notes.push(format!("step {step} began"));
        }
        Event::StepEnded { step, evidence } => {
            step_ended(node, &cut(step, NAME_MAX), evidence.clone(), keeper, notes);
        }
        Event::Reboot { step, state, message } => {
            let step = cut(step, NAME_MAX);
            let because = cut(message, TEXT_MAX);
            notes.push(format!("step {step} goes on after a restart: {because}"));
            match restart(work, &step, state) {
                Ok(()) => work.outcome = Some(Outcome::Reboot),
                Err(failure) => refuse(work, failure, notes),
            }
        }
        Event::Attested { step, certificates } => {
            let step = cut(step, NAME_MAX);
            notes.extend(accept::attested(work, uuid, &step, certificates, keeper).1);
        }
        Event::Finished => {
            notes.push("the agent finished the order".to_owned());
            match accept::left_out(work).or_else(|| plan::not_said(work)) {
                None => work.outcome = Some(Outcome::Finished),
                Some(failure) => refuse(work, failure, notes),
            }
        }
        Event::Failed(failure) => {
            let failure = within_bounds(failure);
            notes.push(format!("the agent failed: {}", sentence(&failure)));
            work.outcome = Some(Outcome::Failed(failure));
        }
        Event::Planned { steps, plugins } => {
            work.plan = plan::kept(steps);
            notes.extend(plan::described(&work.plan));
            if let Some(failure) = plan::plugins_left_out(work, plugins) {
                refuse(work, failure, notes);
            }
        }
        Event::Unknown => {}
    }
}

/// The agent's word is not taken: the order has failed.
fn refuse(work: &mut WorkRecord, failure: Failure, notes: &mut Vec<String>) {
    notes.push(format!("refused: {}", sentence(&failure)));
    work.outcome = Some(Outcome::Failed(failure));
}

/// A step ended well, if its proof is believed.
fn step_ended(
    node: &mut Node,
    step: &str,
    evidence: Option<Evidence>,
    keeper: Option<&SigningKey>,
    notes: &mut Vec<String>,
) {
    let uuid = node.uuid;
    let Some(work) = &mut node.work else { return };
    let evidence = match accept::accept(work, uuid, step, evidence, keeper) {
        Ok(evidence) => evidence,
        Err(refusal) => return refuse(work, accept::refused(step, &refusal), notes),
    };
    if let Some(failure) = raid::nothing_built(work, step, evidence.as_ref()) {
        return refuse(work, failure, notes);
    }
    ended(work, step, evidence.as_ref());
    notes.push(format!("step {step} ended well"));
    if work.abort {
        work.outcome = Some(Outcome::Failed(aborted(step)));
    }
    raid::record(node, step, evidence.as_ref());
}

/// Keeps what a step needs to go on after a restart, within bounds: an agent that goes mad must not restart a machine for ever.
fn restart(work: &mut WorkRecord, step: &str, state: &serde_json::Value) -> Result<(), Failure> {
    let refuse = |message: String| Failure {
        step: step.to_owned(),
        message,
        remedy: "Look at the machine and at the plugin, then order the step again.".to_owned(),
        blame: Blame::Internal,
    };
    let before = work.steps.iter().filter(|known| known.step == step && known.reboot.is_some());
    let before = before.count();
    if before >= REBOOTS_MAX {
        return Err(refuse(format!(
            "it asked for restart number {}, the most is {REBOOTS_MAX}",
            before + 1
        )));
    }
    let bytes = state.to_string().len();
    if bytes > STATE_MAX {
        return Err(refuse(format!(
            "it wants {bytes} bytes kept over a restart, the most is {STATE_MAX}"
        )));
    }
    if work.abort {
        return Err(aborted(step));
    }
    let missing = || refuse("it asked for a restart and had not begun".to_owned());
    let record = open_record(work, step).ok_or_else(missing)?;
    record.reboot = Some(Reboot { state: state.clone() });
    Ok(())
}

/// A failure as it is kept.
fn within_bounds(failure: &Failure) -> Failure {
    Failure {
        step: cut(&failure.step, NAME_MAX),
        message: cut(&failure.message, TEXT_MAX),
        remedy: cut(&failure.remedy, TEXT_MAX),
        blame: failure.blame,
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
        work.steps.push(StepRecord {
            step: step.to_owned(),
            attempt,
            ended,
            evidence,
            reboot: None,
        });
    }
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use ironwright_api::{Clean, Work};
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::certificate::tests::Agent;
    use crate::node::ProvisionState;
    use crate::node::tests::working_node;
    use ironwright_api::PlannedStep;

    pub(super) fn report(node: &Node, seq: u64, event: Event) -> Report {
        let order = &node.work.as_ref().unwrap().order;
        Report { seq, order_id: order.order_id, attempt: order.attempt, event }
    }

    pub(super) fn began(step: &str) -> Event {
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
    pub(super) fn cleaning_node(agent: &Agent) -> Node {
        let mut node = working_node(Timestamp::UNIX_EPOCH);
        node.provision_state = ProvisionState::CleanWait;
        let work = node.work.as_mut().unwrap();
        work.order.work = Work::Clean(Clean::default());
        work.boot.boot_id = Some(Uuid::from_u128(3));
        work.boot.erase_key = Some(agent.key());
        node
    }

    pub(super) fn plan(step: &str, abortable: bool) -> Event {
        let (interface, step) = ("raid".to_owned(), step.to_owned());
        let actions = vec!["/dev/sda: overwrite".to_owned(); 1000];
        Event::Planned {
            steps: vec![PlannedStep { interface, step, priority: 10, abortable, actions }],
            plugins: Vec::new(),
        }
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

    #[test]
    fn a_restart_keeps_the_state_and_the_order_and_an_endless_one_ends() {
        let mut node = cleaning_node(&Agent::new());
        for number in 0..=u32::try_from(REBOOTS_MAX).unwrap() {
            let again = Event::Reboot {
                step: "flash".into(),
                state: serde_json::json!({ "slot": number }),
                message: "activate".into(),
            };
            let reports = [report(&node, 1, began("flash")), report(&node, 2, again)];
            store(&mut node, &reports, None, &mut Vec::new());
            let work = node.work.as_mut().unwrap();
            let record = work.steps.last().unwrap();
            if number < 10 {
                assert_eq!(work.outcome, Some(Outcome::Reboot));
                assert_eq!(record.reboot.as_ref().unwrap().state["slot"], number);
                assert!(!record.ended && work.order.attempt == number + 1);
            } else {
                let Some(Outcome::Failed(failure)) = &work.outcome else { panic!("for ever") };
                assert!(failure.message.contains("restart number 11"), "{failure:?}");
            }
            // As the reconciler does.
            work.order.attempt += 1;
            work.outcome = None;
            work.boot.acknowledged = 0;
        }
    }

    #[test]
    fn a_restart_that_cannot_be_gone_on_from_fails() {
        let again = |state| Event::Reboot { step: "flash".into(), state, message: String::new() };
        let large = serde_json::json!("x".repeat(STATE_MAX));
        for (begins, state, words) in [
            (true, large, "bytes kept over a restart"),
            (false, serde_json::json!(1), "had not begun"),
        ] {
            let mut node = cleaning_node(&Agent::new());
            let start = if begins { began("flash") } else { began("other") };
            let reports = [report(&node, 1, start), report(&node, 2, again(state))];
            store(&mut node, &reports, None, &mut Vec::new());
            let Some(Outcome::Failed(failure)) = node.work.unwrap().outcome else {
                panic!("{words}")
            };
            assert!(failure.message.contains(words), "{failure:?}");
        }
    }
}
