//! The loop over a plan: perform, report, stop at the first failure.

use ironwright_api::{Blame, Evidence, Failure};

use super::Action;
use crate::heartbeat::{Cancelled, OrderDesk};

/// Who performs actions: the machine, or a test.
pub trait Perform: Send {
    /// Performs `action` and returns its proof.
    ///
    /// # Errors
    /// The [`Failure`], whose step the loop fills in.
    fn perform(
        &mut self,
        action: Action,
    ) -> impl Future<Output = Result<Option<Evidence>, Failure>> + Send;
}

/// Performs `actions` in order. Each begins only after the coordinator stored its start and has not cancelled the order.
///
/// # Errors
/// The first failure; later actions are not begun.
pub async fn run(
    actions: &[Action],
    desk: &OrderDesk,
    performer: &mut impl Perform,
) -> Result<(), Failure> {
    for (number, action) in actions.iter().enumerate() {
        let step = action.name();
        let left = actions.get(number..).unwrap_or_default();
        desk.step_started(step).await.map_err(|cancelled| taken_back(left, cancelled))?;
        match performer.perform(*action).await {
            Ok(evidence) => desk.step_ended(step, evidence),
            Err(failure) => return Err(Failure { step: step.to_owned(), ..failure }),
        }
    }
    Ok(())
}

/// The failure of a deploy that was taken back before the first action that is left.
pub(super) fn taken_back(left: &[Action], cancelled: Cancelled) -> Failure {
    let mut failure = stopped(left.first().map_or("its end", |action| action.name()), cancelled);
    if !left.contains(&Action::Commit) {
        failure.remedy = "the image was committed before that, and the machine starts it: clean the node, or deploy again"
            .to_owned();
    }
    failure
}

/// The failure of an order that was taken back before `step`.
pub(crate) fn stopped(step: &str, cancelled: Cancelled) -> Failure {
    Failure {
        step: step.to_owned(),
        message: format!("{cancelled} before {step}"),
        remedy: "give the order again when it is wanted; the disk has no partition table if its image was begun"
            .to_owned(),
        blame: Blame::Order,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::heartbeat::Desk;
    use crate::journal::Journal;
    use crate::report::LogTail;

    const ALL: [Action; 3] = [Action::WriteImage, Action::WriteConfigDrive, Action::Commit];

    struct Fake {
        performed: Vec<Action>,
        fails_at: Option<Action>,
        cancels_at: Option<(Action, OrderDesk)>,
    }

    impl Perform for Fake {
        async fn perform(&mut self, action: Action) -> Result<Option<Evidence>, Failure> {
            self.performed.push(action);
            if let Some((_, desk)) = self.cancels_at.take_if(|(at, _)| *at == action) {
                desk.cancel();
            }
            if self.fails_at == Some(action) {
                let message = "write of 1 bytes: Input/output error".to_owned();
                let (step, remedy) = (String::new(), "replace the disk".to_owned());
                return Err(Failure { step, message, remedy, blame: Blame::Hardware });
            }
            Ok(None)
        }
    }

    async fn try_all(
        fails_at: Option<Action>,
        cancels_at: Option<Action>,
    ) -> (Vec<Action>, Result<(), Failure>) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Arc::new(Journal::open(dir.path(), None).unwrap());
        let desk = Arc::new(Desk::new(journal, LogTail::default()));
        // A coordinator that stores everything.
        desk.acknowledge_all();
        let order = desk.for_order(Uuid::nil(), 1);
        let cancels_at = cancels_at.map(|action| (action, order.clone()));
        let mut fake = Fake { performed: Vec::new(), fails_at, cancels_at };
        let result = run(&ALL, &order, &mut fake).await;
        (fake.performed, result)
    }

    #[tokio::test]
    async fn actions_run_in_order_and_the_first_failure_is_the_last_action() {
        let (performed, result) = try_all(None, None).await;
        assert_eq!(performed, ALL);
        result.unwrap();

        let (performed, result) = try_all(Some(Action::WriteConfigDrive), None).await;
        assert_eq!(performed, ALL[..2]);
        let failure = result.unwrap_err();
        assert_eq!((failure.step.as_str(), failure.blame), ("write_configdrive", Blame::Hardware));
    }

    #[tokio::test]
    async fn a_cancelled_order_never_reaches_the_commit() {
        let (performed, result) = try_all(None, Some(Action::WriteConfigDrive)).await;
        assert_eq!(performed, ALL[..2]);
        let failure = result.unwrap_err();
        assert_eq!(failure.message, "cancelled by the coordinator before commit");
        assert!(failure.remedy.contains("no partition table"), "{}", failure.remedy);
    }

    #[test]
    fn an_order_taken_back_after_the_commit_says_that_the_disk_starts() {
        let left = [Action::BootEntry];
        let failure = taken_back(&left, Cancelled);
        assert_eq!(failure.message, "cancelled by the coordinator before boot_entry");
        assert!(failure.remedy.contains("the machine starts it"), "{}", failure.remedy);
    }
}
