//! The task that carries out one order, and how it ends.

use std::sync::Arc;

use ironwright_api::{Blame, Failure, Order};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::desk::{Desk, OrderDesk};

/// Who carries out orders.
pub trait Crew: Send + Sync + 'static {
    /// Carries out `order`, reporting through `desk`. `order.steps` holds what earlier attempts and earlier agent
    /// processes did.
    ///
    /// # Errors
    /// The [`Failure`] to report.
    fn carry_out(
        &self,
        order: Order,
        desk: OrderDesk,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Sees to it that a machine whose `order` has failed starts nothing unfinished, and adds to the failure what could not be done.
    /// `order.steps` has what this process did, too. It may not have carried the order out at all.
    fn give_up(&self, _order: &Order, failure: Failure) -> impl Future<Output = Failure> + Send {
        std::future::ready(failure)
    }

    /// The inventory as sent.
    fn inventory(&self) -> serde_json::Value;

    /// Whether the machine was handed over: no further order is carried out in this boot.
    fn rests(&self) -> bool {
        false
    }

    /// Asks for what takes its time, and calls `told` each time the inventory has grown. Ends when nothing more will come.
    fn learn(&self, told: impl Fn() + Send) -> impl Future<Output = ()> + Send {
        drop(told);
        std::future::ready(())
    }
}

/// An order being carried out.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) order_id: Uuid,
    pub(super) attempt: u32,
    /// Another order takes its place: its end is not reported.
    pub(super) superseded: bool,
    cancel: CancellationToken,
    desk: OrderDesk,
    task: AbortOnDropHandle<Result<(), Failure>>,
}

/// How an order ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) order_id: Uuid,
    pub(super) attempt: u32,
    pub(super) superseded: bool,
    pub(super) result: Result<(), Failure>,
}

impl Running {
    pub(super) fn start<C: Crew>(crew: Arc<C>, desk: &Arc<Desk>, order: &Order) -> Self {
        let desk = desk.for_order(order.order_id, order.attempt);
        let work = carried_out(crew, order.clone(), desk.clone());
        Self::of(order, desk, work)
    }

    /// An order that is not begun again, for this `failure`.
    pub(super) fn fail<C: Crew>(
        crew: Arc<C>,
        desk: &Arc<Desk>,
        order: &Order,
        failure: Failure,
    ) -> Self {
        let desk = desk.for_order(order.order_id, order.attempt);
        let work = gave_up(crew, order.clone(), desk.clone(), failure);
        Self::of(order, desk, async move { Err(work.await) })
    }

    fn of(
        order: &Order,
        desk: OrderDesk,
        work: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(work);
        Self {
            order_id: order.order_id,
            attempt: order.attempt,
            superseded: false,
            cancel: desk.canceller(),
            desk,
            task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn is(&self, order: &Order) -> bool {
        (self.order_id, self.attempt) == (order.order_id, order.attempt)
    }

    pub(super) fn cancel(&self) {
        if !self.cancel.is_cancelled() {
            tracing::warn!(order_id = %self.order_id, "cancelled by the coordinator");
            self.cancel.cancel();
        }
    }

    pub(super) fn supersede(&mut self) {
        self.superseded = true;
        self.cancel.cancel();
    }

    /// Waits for the end of `running`, takes it out and says how it ended; forever where nothing runs.
    pub(super) async fn end(running: &mut Option<Self>) -> Ended {
        let Some(present) = running.as_mut() else { return std::future::pending().await };
        let joined = (&mut present.task).await;
        let step = present.desk.step();
        let ended = Ended {
            order_id: present.order_id,
            attempt: present.attempt,
            superseded: present.superseded,
            result: joined.unwrap_or_else(|error| Err(broken(step, error))),
        };
        *running = None;
        ended
    }

    /// Asks the worker to stop and waits for it.
    pub(super) async fn stop(self) {
        self.cancel.cancel();
        if let Err(error) = self.task.await {
            tracing::error!("the worker ended badly while stopping: {error}");
        }
    }
}

/// Carries an order out; where that fails, however it does, nothing unfinished is left to start.
async fn carried_out<C: Crew>(crew: Arc<C>, order: Order, desk: OrderDesk) -> Result<(), Failure> {
    let (worker, given, seen) = (crew.clone(), order.clone(), desk.clone());
    let task = tokio::spawn(async move { worker.carry_out(given, seen).await });
    let ended = AbortOnDropHandle::new(task).await;
    match ended.unwrap_or_else(|error| Err(broken(desk.step(), error))) {
        Ok(()) => Ok(()),
        Err(failure) => Err(gave_up(crew, order, desk, failure).await),
    }
}

async fn gave_up<C: Crew>(
    crew: Arc<C>,
    mut order: Order,
    desk: OrderDesk,
    failure: Failure,
) -> Failure {
    order.steps.extend(desk.steps());
    crew.give_up(&order, failure).await
}

/// A panic, as the failure it is.
fn broken(step: String, error: JoinError) -> Failure {
    let message = match error.try_into_panic() {
        Ok(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            format!("the agent panicked: {text}")
        }
        Err(error) => format!("the agent's worker was stopped: {error}"),
    };
    Failure {
        step,
        message,
        remedy: "this is a defect of the agent: report it with this message; the order can be given again".to_owned(),
        blame: Blame::Internal,
    }
}
