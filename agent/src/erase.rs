//! Erasing disks, and what was proven of it. In this version: metadata only.
//!
//! Metadata is what makes a disk look used: partition tables (GPT at both ends, MBR) and the signatures of file systems,
//! LVM, RAID (also those at a device's end) on the disk and in every partition. Data between them stays readable to who
//! looks for it: that is `erase_devices`, which this version refuses by name.

mod carry_out;
pub mod certificate;
pub mod metadata;

use ironwright_api::{Blame, Clean, Failure};

pub use carry_out::carry_out;

/// A clean step of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Partition tables and signatures of every disk.
    EraseDevicesMetadata,
}

impl Step {
    /// Its name; Ironic's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EraseDevicesMetadata => "erase_devices_metadata",
        }
    }
}

/// Reads the steps of a clean order; all that are not known are named at once, before anything is erased.
///
/// # Errors
/// The [`Failure`] to report.
pub fn plan(clean: &Clean) -> Result<Vec<Step>, Failure> {
    let known = |interface: &str, name: &str| match (interface, name) {
        ("deploy", "erase_devices_metadata") => Some(Step::EraseDevicesMetadata),
        _ => None,
    };
    let unknown: Vec<String> = clean
        .steps
        .iter()
        .filter(|step| known(&step.interface, &step.step).is_none())
        .map(|step| format!("{}.{}", step.interface, step.step))
        .collect();
    if !unknown.is_empty() || clean.steps.is_empty() {
        let message = if unknown.is_empty() {
            "nothing was changed: the clean order has no steps".to_owned()
        } else {
            format!("nothing was changed: this agent has no clean step {}", unknown.join(", "))
        };
        return Err(Failure {
            step: String::new(),
            message,
            remedy: "order deploy.erase_devices_metadata, or use an agent that has the step"
                .to_owned(),
            blame: Blame::Order,
        });
    }
    Ok(clean.steps.iter().filter_map(|step| known(&step.interface, &step.step)).collect())
}

#[cfg(test)]
mod tests {
    use ironwright_api::CleanStep;

    use super::*;

    #[test]
    fn known_steps_are_planned_and_all_others_are_refused_by_name_at_once() {
        for (steps, expected) in [
            (&["deploy.erase_devices_metadata"][..], Ok(1)),
            (&[], Err("has no steps")),
            (
                &["deploy.erase_devices_metadata", "deploy.erase_devices"],
                Err("deploy.erase_devices"),
            ),
            (&["raid.create", "deploy.burnin"], Err("raid.create, deploy.burnin")),
            (&["raid.erase_devices_metadata"], Err("raid.erase_devices_metadata")),
        ] {
            let step = |text: &&str| {
                let (interface, step) = text.split_once('.').unwrap();
                let args = serde_json::Value::Null;
                CleanStep { interface: interface.to_owned(), step: step.to_owned(), args }
            };
            let planned =
                plan(&Clean { steps: steps.iter().map(step).collect(), ..Clean::default() });
            match (planned, expected) {
                (Ok(planned), Ok(count)) => assert_eq!(planned.len(), count),
                (Err(failure), Err(part)) => assert!(failure.message.contains(part), "{failure:?}"),
                (planned, _) => panic!("{steps:?}: {planned:?}"),
            }
        }
    }
}
