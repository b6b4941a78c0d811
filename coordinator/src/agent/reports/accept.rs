//! The evidence of an ended step: believed, countersigned, or refused. Pure.

use ironwright_api::{Blame, Clean, Event, Evidence, Failure, Report, SignedCertificate, Work};
use uuid::Uuid;

use super::{NAME_MAX, TEXT_MAX, cut};
use crate::certificate::{self, Claim, Refusal, SigningKey};
use crate::node::{Node, WorkRecord};

/// Most bytes of a plugin's own evidence kept: as much as the agent takes in one line.
const DATA_MAX: usize = 64 << 10;

/// Evidence as it is kept: the certificates in it judged and countersigned.
pub(super) fn accept(
    work: &WorkRecord,
    node: Uuid,
    step: &str,
    evidence: Option<Evidence>,
    keeper: Option<&SigningKey>,
) -> Result<Option<Evidence>, Refusal> {
    let evidence = evidence.map(within_bounds);
    let Some(claim) = claim(work, node, step) else { return Ok(evidence) };
    match evidence {
        Some(Evidence::Erased { mut disks }) => {
            certificate::judge(&claim, &disks)?;
            for signed in disks.iter_mut().filter_map(|disk| disk.certificate.as_mut()) {
                countersign(signed, node, keeper);
            }
            Ok(Some(Evidence::Erased { disks }))
        }
        // Neither data nor metadata are erased by somebody's saying so.
        _ if step.starts_with("erase_devices") => Err(Refusal::NoDisk),
        other => Ok(other),
    }
}

/// A plugin's words as they are kept: an agent that goes mad must not grow the record without bound.
fn within_bounds(evidence: Evidence) -> Evidence {
    let Evidence::Plugin(mut result) = evidence else { return evidence };
    for text in [&mut result.plugin, &mut result.version, &mut result.sha256, &mut result.key_id] {
        *text = cut(text, NAME_MAX);
    }
    result.message = cut(&result.message, TEXT_MAX);
    let bytes = result.data.to_string().len();
    if bytes > DATA_MAX {
        result.data =
            serde_json::json!({"left_out": format!("{bytes} bytes, more than {DATA_MAX}")});
    }
    Evidence::Plugin(result)
}

/// What certificates of a step must fit; nothing for work that has none.
fn claim<'a>(work: &'a WorkRecord, node: Uuid, step: &'a str) -> Option<Claim<'a>> {
    let erase = match &work.order.work {
        Work::Clean(clean) => &clean.erase,
        Work::Deploy(deploy) => &deploy.erase,
        Work::Service(service) => &service.erase,
        Work::Inspect | Work::Rescue(_) | Work::Unknown => return None,
    };
    Some(Claim {
        node,
        order: work.order.order_id,
        boot: work.boot.boot_id,
        key: work.boot.erase_key.as_deref(),
        step,
        least: erase.least,
        may_skip: !erase.skip.is_empty() || erase.skip_read_only,
    })
}

fn countersign(signed: &mut SignedCertificate, node: Uuid, keeper: Option<&SigningKey>) {
    // What an agent sends there is not ours.
    signed.coordinator = None;
    if let Some(keeper) = keeper
        && let Err(error) = keeper.countersign(signed)
    {
        tracing::error!(%node, "node {node}: cannot countersign a certificate: {error}");
    }
}

/// More certificates of one step than any machine has disks.
const ATTESTED_MAX: usize = 512;

/// Most sentences about them in the history, which keeps 300 of everything.
const ATTESTED_NOTES_MAX: usize = 32;

/// The certificates of a step that is about to fail, countersigned, and the sentences for the history. One that is not this
/// boot's word is left out: it would prove nothing, not even a failure.
pub(super) fn attested(
    work: &WorkRecord,
    node: Uuid,
    step: &str,
    certificates: &[SignedCertificate],
    keeper: Option<&SigningKey>,
) -> (Vec<SignedCertificate>, Vec<String>) {
    let (mut kept, mut notes) = (Vec::new(), Vec::new());
    let Some(claim) = claim(work, node, step) else { return (kept, notes) };
    for signed in certificates.iter().take(ATTESTED_MAX) {
        if let Err(refusal) = certificate::authentic(&claim, signed) {
            notes.push(format!("refused: {refusal}"));
            continue;
        }
        let mut signed = signed.clone();
        countersign(&mut signed, node, keeper);
        let disk = cut(&signed.certificate.disk.path, NAME_MAX);
        notes.push(match certificate::proves(&signed.certificate) {
            Ok(()) => format!("{disk} was erased; its certificate is kept"),
            Err(problem) => format!("{disk}: {problem}; its certificate is kept"),
        });
        kept.push(signed);
    }
    notes.truncate(ATTESTED_NOTES_MAX);
    (kept, notes)
}

/// What was asked for and did not end, though the agent says that all is done: agents before catalogues clean the metadata
/// only, and a tenant's data must not reach the next one for that; agents before extra deploy steps know none.
pub(super) fn left_out(work: &WorkRecord) -> Option<Failure> {
    let asked: Vec<&str> = match &work.order.work {
        Work::Clean(Clean { automated: Some(automated), .. }) => {
            match automated.priorities.get("deploy.erase_devices") {
                Some(0) => Vec::new(),
                _ => vec!["erase_devices"],
            }
        }
        Work::Clean(clean) => clean.steps.iter().map(|step| step.step.as_str()).collect(),
        Work::Service(service) => service.steps.iter().map(|step| step.step.as_str()).collect(),
        Work::Deploy(deploy) => deploy.steps.iter().map(|step| step.step.as_str()).collect(),
        Work::Inspect | Work::Rescue(_) | Work::Unknown => Vec::new(),
    };
    let ended = |asked: &str| work.steps.iter().any(|step| step.step == asked && step.ended);
    let missing = asked.into_iter().find(|asked| !ended(asked))?;
    let (what, otherwise) = match missing {
        "erase_devices" => (
            "it did not erase the disks' data",
            ", or set cleaning.erase_devices_priority = 0 to have the metadata erased only",
        ),
        _ => ("it never said that this step ended", ""),
    };
    Some(Failure {
        step: missing.to_owned(),
        message: format!(
            "the agent says that all is done, but {what}: it is older than this coordinator"
        ),
        remedy: format!("Build the ramdisk from the coordinator's version{otherwise}."),
        blame: Blame::Environment,
    })
}

/// The certificates in reports that are about to be stored, as they will be: accepted and countersigned. A refused one is
/// none of them.
pub(in crate::agent) fn certificates(
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
    new.flat_map(|report| match &report.event {
        Event::StepEnded { step, evidence } => {
            let step = cut(step, NAME_MAX);
            let accepted = accept(work, node.uuid, &step, evidence.clone(), keeper);
            of_evidence(accepted.ok().flatten())
        }
        Event::Attested { step, certificates } => {
            attested(work, node.uuid, &cut(step, NAME_MAX), certificates, keeper).0
        }
        Event::Planned { .. }
        | Event::StepStarted { .. }
        | Event::Reboot { .. }
        | Event::Finished
        | Event::Failed(_)
        | Event::Unknown => Vec::new(),
    })
    .collect()
}

fn of_evidence(evidence: Option<Evidence>) -> Vec<SignedCertificate> {
    let Some(Evidence::Erased { disks }) = evidence else { return Vec::new() };
    disks.into_iter().filter_map(|disk| disk.certificate.map(|signed| *signed)).collect()
}

pub(super) fn refused(step: &str, refusal: &Refusal) -> Failure {
    Failure {
        step: step.to_owned(),
        message: format!("the agent says that it is done, but {refusal}"),
        remedy: "The disk counts as not erased: look at the machine's console, then clean again."
            .to_owned(),
        blame: Blame::Internal,
    }
}

#[cfg(test)]
mod tests {
    use ironwright_api::{Automated, Clean, EraseResult};

    use super::super::store;
    use super::super::tests::{began, cleaning_node, report};
    use super::*;
    use crate::certificate::tests::{Agent, certificate};
    use crate::node::Outcome;

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
                    assert_eq!(kept, std::slice::from_ref(stored), "the same in both places");
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
    fn the_certificate_of_a_failed_erase_is_countersigned_and_kept_and_a_strangers_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::load_or_make(directory.path()).unwrap();
        let (agent, stranger) = (Agent::new(), Agent::new());
        let mut node = cleaning_node(&agent);
        let order = node.work.as_ref().unwrap().order.order_id;
        let signed = |signer: &Agent, step: &str| {
            let mut certificate = certificate(node.uuid, order, Uuid::from_u128(3));
            certificate.step = step.to_owned();
            certificate.result = EraseResult::Failed { reason: "LBA 7 kept its data".into() };
            *signer.erased(certificate).certificate.unwrap()
        };
        let step = "erase_devices";
        let attested = vec![signed(&agent, step), signed(&stranger, step), signed(&agent, "other")];
        let failure = Failure {
            step: step.into(),
            message: "1 of 1 disks were not erased".into(),
            remedy: String::new(),
            blame: Blame::Hardware,
        };
        let reports = [
            report(&node, 1, began(step)),
            report(&node, 2, Event::Attested { step: step.into(), certificates: attested }),
            report(&node, 3, Event::Failed(failure)),
        ];
        let kept = certificates(&node, &reports, Some(&key));
        let mut notes = Vec::new();
        store(&mut node, &reports, Some(&key), &mut notes);
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(kept[0].coordinator.as_ref().unwrap().public_key, key.public());
        assert!(matches!(kept[0].certificate.result, EraseResult::Failed { .. }));
        let said = notes.join("\n");
        assert!(said.contains("/dev/vda: the erase failed: LBA 7 kept its data; its certificate"));
        assert_eq!(said.matches("refused").count(), 2, "{said}");
        assert!(matches!(node.work.unwrap().outcome, Some(Outcome::Failed(_))));
    }

    #[test]
    fn an_agent_that_leaves_the_erase_out_has_not_cleaned() {
        let automated = |priority: Option<u32>| {
            let priorities = priority.map(|priority| ("deploy.erase_devices".into(), priority));
            Some(Automated { priorities: priorities.into_iter().collect(), ..Automated::default() })
        };
        for (automated, fails) in [
            (automated(None), true),
            (automated(Some(10)), true),
            (automated(Some(0)), false),
            (None, false),
        ] {
            let mut node = cleaning_node(&Agent::new());
            let clean = Clean { automated, ..Clean::default() };
            node.work.as_mut().unwrap().order.work = Work::Clean(clean);
            let finished = report(&node, 1, Event::Finished);
            store(&mut node, &[finished], None, &mut Vec::new());
            let outcome = node.work.unwrap().outcome;
            assert_eq!(matches!(outcome, Some(Outcome::Failed(_))), fails, "{outcome:?}");
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
}
