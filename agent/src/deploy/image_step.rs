//! The step `write_image`, as Ironic names it in deploys and services: the actions of our own deploy, its proof and its order.

use ironwright_api::{Blame, EraseSettings, Evidence, Failure, StepRecord};
use serde_json::Value;

use super::carry_out::ready;
use super::perform::Performer;
use super::run::{Perform as _, taken_back};
use super::{Action, give_up, image_info};
use crate::heartbeat::OrderDesk;
use crate::order::{LastImage, Machine};

/// What the step would do.
///
/// # Errors
/// The [`Failure`] to report: what of the image cannot be used.
pub fn sentences(args: &Value) -> Result<Vec<String>, Failure> {
    let deploy = image_info::deploy(args).map_err(|problems| refused(&problems))?;
    let url = deploy.image.urls.first().map(String::as_str).unwrap_or_default();
    // Reports and logs show it: no user, no password, no signature.
    let url = crate::image::public_url(url);
    let drive = if deploy.configdrive.is_null() { "no config drive" } else { "a config drive" };
    Ok(vec![format!("{url} to the root disk, with {drive}, the partition table last")])
}

/// Does it. The proof is the image's; the partition table was committed and, on a UEFI machine, the firmware told.
///
/// # Errors
/// The [`Failure`] to report; what the members of an array had got to start from is gone again.
pub async fn perform(
    machine: &Machine,
    args: &Value,
    settings: &EraseSettings,
    root_device: &Value,
    desk: &OrderDesk,
) -> Result<Evidence, Failure> {
    // The step itself has begun; nothing else tells that of an agent before this one, where no record of actions is kept.
    let mut done = vec![record(Action::WriteImage, false)];
    match put(machine, args, (settings, root_device), desk, &mut done).await {
        Ok(evidence) => Ok(evidence),
        Err(failure) => Err(give_up(machine, &done, failure).await),
    }
}

/// The same; `done` gets a record of each action.
async fn put(
    machine: &Machine,
    args: &Value,
    (settings, root_device): (&EraseSettings, &Value),
    desk: &OrderDesk,
    done: &mut Vec<StepRecord>,
) -> Result<Evidence, Failure> {
    let mut deploy = image_info::deploy(args).map_err(|problems| refused(&problems))?;
    deploy.root_device.clone_from(root_device);
    deploy.erase.clone_from(settings);
    let (plan, mut performer) = ready(machine, &deploy, &[], desk).await?;
    let written = all(&plan.actions, desk, &mut performer, done).await?;
    let is_partition_image = deploy.image.partition.is_some();
    machine.remember(LastImage { disk: plan.disk, is_partition_image });
    written.ok_or_else(|| Failure {
        step: String::new(),
        message: "the image has no proof".to_owned(),
        remedy: "this is a defect of the agent: report it with the order".to_owned(),
        blame: Blame::Internal,
    })
}

/// Performs the actions, and returns the proof of the image.
async fn all(
    actions: &[Action],
    desk: &OrderDesk,
    performer: &mut Performer,
    done: &mut Vec<StepRecord>,
) -> Result<Option<Evidence>, Failure> {
    let mut written = None;
    for (number, action) in actions.iter().enumerate() {
        let left = actions.get(number..).unwrap_or_default();
        desk.check().map_err(|cancelled| taken_back(left, cancelled))?;
        done.push(record(*action, false));
        let proof = performer.perform(*action).await?;
        done.push(record(*action, true));
        tracing::info!("write_image: {} done", action.name());
        if let Some(Evidence::Written(_)) = proof {
            written = proof;
        }
    }
    Ok(written)
}

fn record(action: Action, ended: bool) -> StepRecord {
    StepRecord { step: action.name().to_owned(), attempt: 1, ended, evidence: None, reboot: None }
}

fn refused(problems: &[String]) -> Failure {
    Failure {
        step: String::new(),
        message: format!("nothing was changed: {}", problems.join("; ")),
        remedy: "correct the node's instance_info".to_owned(),
        blame: Blame::Order,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ironwright_api::NodeRaid;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::heartbeat::Desk;
    use crate::order::tests::Lab;
    use crate::report::LogTail;
    use crate::sys::Effect;

    #[tokio::test]
    async fn a_step_that_fails_looks_what_the_members_of_an_array_would_start() {
        let lab = Lab::with_image(vec![0; 1 << 20]).await;
        let array = json!({"controller": "software", "uuid": "u", "members": []});
        let config = json!({"logical_disks": [array]});
        lab.machine.set_raid(NodeRaid { config, ..NodeRaid::default() });
        let desk = Arc::new(Desk::new(lab.journal.clone(), LogTail::default()));
        let desk = desk.for_order(Uuid::nil(), 1);
        let settings = EraseSettings::default();
        let failed = perform(&lab.machine, &json!({}), &settings, &Value::Null, &desk).await;
        let failure = failed.unwrap_err();
        assert!(failure.message.starts_with("nothing was changed"), "{}", failure.message);
        let looked = Effect::ClearMembers { uuids: vec!["u".to_owned()] };
        assert_eq!(lab.machine.system().recorded(), [looked]);
    }

    #[test]
    fn what_is_said_of_the_image_has_no_password_and_no_signature() {
        let digest = "0".repeat(64);
        let args = json!({"image_info": {
            "urls": ["https://alice:hunter2@images.example/i.raw?sig=5ecret#x"],
            "os_hash_algo": "sha256", "os_hash_value": digest,
        }});
        let said = sentences(&args).unwrap().join(" ");
        assert!(said.starts_with("https://images.example/i.raw to the root disk"), "{said}");
    }
}
