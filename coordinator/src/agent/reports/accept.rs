//! The evidence of an ended step: believed, countersigned, or refused. Pure.

use ironwright_api::{Blame, Event, Evidence, Failure, Report, SignedCertificate, Work};
use uuid::Uuid;

use super::{NAME_MAX, cut};
use crate::certificate::{self, Claim, Refusal, SigningKey};
use crate::node::{Node, WorkRecord};

/// Evidence as it is kept: the certificates in it judged and countersigned.
pub(super) fn accept(
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
    use ironwright_api::EraseResult;

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
    fn an_erase_of_data_that_ends_without_proof_has_failed() {
        let mut node = cleaning_node(&Agent::new());
        let end = Event::StepEnded { step: "erase_devices".into(), evidence: None };
        let reports = [report(&node, 1, began("erase_devices")), report(&node, 2, end)];
        store(&mut node, &reports, None, &mut Vec::new());
        assert!(matches!(node.work.unwrap().outcome, Some(Outcome::Failed(_))));
    }
}
