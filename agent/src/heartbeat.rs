//! The loop that must not die: beat, take the order, carry progress and reports.
//!
//! One task beats; one worker task at a time carries out an order. Nothing a worker does (an error, a panic) and nothing
//! a server answers ends the loop: it only changes what is reported and when the next beat is.

mod desk;
mod timing;
mod worker;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ironwright_api::{Beat, Event, Failure, Heartbeat, HeartbeatReply, Order, PROTOCOL, Work};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use desk::{Cancelled, Desk, OrderDesk};
pub use timing::{Boot, Stages};
pub use worker::Crew;

use crate::coordinator::{CallError, Coordinator};
use crate::journal::{Current, Journal, Session};
use crate::report::{LogTail, chain};
use worker::{Ended, Running};

/// Agent processes that may die on one attempt of an order before it is failed: a third death is no accident.
const MAX_STARTS: u32 = 3;

/// How often a crew that rests says what was not acknowledged: the coordinator may have stored it and forgotten the order.
const LAST_WORDS: u32 = 10;

/// How far apart heartbeats are.
#[derive(Debug, Clone)]
pub struct Pace {
    /// After success, while nothing new is to be said.
    pub interval: Duration,
    /// After a failure, at random in this range (Ironic's agent: 5 to 10 s).
    pub failure: RangeInclusive<Duration>,
}

impl Pace {
    /// The documented rules for a coordinator that asks for `interval_ms`.
    #[must_use]
    pub fn new(interval_ms: u64) -> Self {
        let failure = Duration::from_secs(5)..=Duration::from_secs(10);
        Self { interval: Duration::from_millis(interval_ms), failure }
    }
}

/// Everything the loop needs.
#[derive(Debug)]
pub struct Heart<C> {
    coordinator: Coordinator,
    session: Session,
    journal: Arc<Journal>,
    desk: Arc<Desk>,
    crew: Arc<C>,
    pace: Pace,
    stages: Stages,
    erase_key: Option<String>,
    running: Option<Running>,
    next: Option<Order>,
}

impl<C: Crew> Heart<C> {
    /// A heart for the node of `session`; `crew` carries out its orders.
    pub fn new(
        coordinator: Coordinator,
        session: Session,
        journal: Arc<Journal>,
        crew: Arc<C>,
        tail: LogTail,
        stages: Stages,
    ) -> Self {
        let pace = Pace::new(session.interval_ms);
        let desk = Arc::new(Desk::new(journal.clone(), tail));
        Self {
            coordinator,
            session,
            journal,
            desk,
            crew,
            pace,
            stages,
            erase_key: None,
            running: None,
            next: None,
        }
    }

    /// Beats at another pace.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Says with every heartbeat which public key (hexadecimal) signs this agent's certificates.
    #[must_use]
    pub fn with_erase_key(mut self, key: String) -> Self {
        self.erase_key = Some(key);
        self
    }

    /// Beats until `stop`. Then the worker is asked to stop and waited for; its order is not reported as failed, so that
    /// the next agent process of this boot goes on with it.
    pub async fn run(mut self, stop: CancellationToken) {
        let (crew, desk) = (self.crew.clone(), self.desk.clone());
        let _learning = AbortOnDropHandle::new(tokio::spawn(async move {
            crew.learn(|| {
                desk.introduce();
                desk.news();
            })
            .await;
        }));
        let mut failures = 0;
        while !stop.is_cancelled() && !self.is_over(failures) {
            let answer = tokio::select! {
                answer = self.beat() => answer,
                () = stop.cancelled() => break,
            };
            match answer {
                Ok(reply) => {
                    failures = 0;
                    self.obey(reply);
                    self.rest(self.pace.interval, true, &stop).await;
                }
                Err(error) => {
                    failures += 1;
                    let wait = rand::random_range(self.pace.failure.clone());
                    tracing::warn!("{}; next heartbeat in {} s", chain(&error), wait.as_secs());
                    self.rest(wait, false, &stop).await;
                }
            }
        }
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Whether there is nothing left to say: the crew rests and everything was heard, or nobody hears us any more.
    fn is_over(&self, failures: u32) -> bool {
        let heard = self.running.is_none() && self.journal.unacknowledged().is_empty();
        self.crew.rests() && (heard || failures >= LAST_WORDS)
    }

    async fn beat(&self) -> Result<HeartbeatReply, CallError> {
        let introduce = self.desk.take_introduction();
        let beat = Beat {
            protocol: PROTOCOL,
            boot_id: self.journal.boot_id(),
            reports: self.journal.unacknowledged(),
            progress: Some(self.desk.progress()),
            inventory: introduce.then(|| self.crew.inventory()),
            timing: introduce.then(|| self.stages.now()),
            erase_key: self.erase_key.clone(),
        };
        let heartbeat = Heartbeat {
            callback_url: String::new(),
            agent_token: self.session.token.expose_secret().to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            ironwright: Some(beat),
        };
        let answer = self.coordinator.heartbeat(self.session.node, &heartbeat).await;
        if introduce && answer.is_err() {
            self.desk.introduce();
        }
        answer
    }

    /// Acts on an answer. The order comes before the cancellation: an order that is cancelled as it arrives is begun and
    /// stops before its first change, so that it is answered. The acknowledgement comes last: a step whose start waits for it
    /// does not begin when the same answer takes the order back.
    fn obey(&mut self, reply: HeartbeatReply) {
        if let Some(order) = reply.order {
            self.take(order);
        }
        if let Some(order_id) = reply.cancel {
            match &self.running {
                Some(running) if running.order_id == order_id => running.cancel(),
                _ => tracing::debug!(%order_id, "nothing to cancel"),
            }
        }
        self.desk.acknowledge(reply.acknowledged);
    }

    fn take(&mut self, order: Order) {
        if let Some(running) = &mut self.running {
            if !running.is(&order) || running.superseded {
                if running.order_id == order.order_id && running.attempt > order.attempt {
                    tracing::debug!(attempt = order.attempt, "an older attempt is ignored");
                    return;
                }
                if !running.superseded {
                    tracing::warn!(order_id = %order.order_id, attempt = order.attempt, "a new order: stopping the old one");
                    running.supersede();
                }
                self.next = Some(order);
            }
            return;
        }
        match self.journal.current() {
            Some(current) if answered(&current, &order) => (),
            _ => self.start(order),
        }
    }

    fn start(&mut self, mut order: Order) {
        let current = self.journal.begin(order.order_id, order.attempt);
        for record in current.steps {
            order.steps.retain(|known| known.step != record.step || known.ended && !record.ended);
            if !order.steps.iter().any(|known| known.step == record.step) {
                order.steps.push(record);
            }
        }
        if current.starts > 1 {
            let begun: Vec<&str> = order
                .steps
                .iter()
                .filter(|step| !step.ended)
                .map(|step| step.step.as_str())
                .collect();
            tracing::warn!(
                starts = current.starts,
                "an agent process died on this order, in step {begun:?}"
            );
        }
        if current.starts > MAX_STARTS {
            let failure = died(&order, current.starts - 1);
            // What kills an agent that gives the order up must not keep the failure from being told.
            if current.starts == MAX_STARTS + 1 {
                self.running = Some(Running::fail(self.crew.clone(), &self.desk, &order, failure));
            } else {
                self.journal.report(order.order_id, order.attempt, Event::Failed(failure));
                self.desk.news();
            }
            return;
        }
        tracing::info!(order_id = %order.order_id, attempt = order.attempt, "phase: {}, order taken", kind(&order.work));
        self.running = Some(Running::start(self.crew.clone(), &self.desk, &order));
    }

    /// Waits for the next reason to beat. With `listen` that is also news; a worker's end is always handled.
    async fn rest(&mut self, time: Duration, listen: bool, stop: &CancellationToken) {
        let sleep = tokio::time::sleep(time);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                () = &mut sleep => return,
                () = stop.cancelled() => return,
                () = self.desk.until_news(), if listen => return,
                ended = Running::end(&mut self.running) => self.settle(ended),
            }
        }
    }

    fn settle(&mut self, ended: Ended) {
        let event = match ended.result {
            Ok(()) => Event::Finished,
            Err(failure) => Event::Failed(failure),
        };
        if let Event::Failed(failure) = &event {
            tracing::error!(step = failure.step, "order failed: {}", failure.message);
        }
        if !ended.superseded {
            self.journal.report(ended.order_id, ended.attempt, event);
        }
        self.desk.idle();
        if let Some(next) = self.next.take() {
            self.take(next);
        }
        self.desk.news();
    }
}

/// Whether `order` needs no work: it was answered in this boot, or a newer attempt was.
fn answered(current: &Current, order: &Order) -> bool {
    current.order_id == order.order_id
        && (order.attempt < current.attempt || order.attempt == current.attempt && current.settled)
}

fn died(order: &Order, times: u32) -> Failure {
    let step = order.steps.iter().rev().find(|step| !step.ended);
    Failure {
        step: step.map(|step| step.step.clone()).unwrap_or_default(),
        message: format!("the agent died {times} times on this order"),
        remedy:
            "read the machine's console for the reason and report it; the order can be given again"
                .to_owned(),
        blame: ironwright_api::Blame::Internal,
    }
}

fn kind(work: &Work) -> &'static str {
    match work {
        Work::Inspect => "inspect",
        Work::Deploy(_) => "deploy",
        Work::Clean(_) => "clean",
        Work::Service(_) => "service",
        Work::Rescue(_) => "rescue",
        Work::Unknown => "unknown work",
    }
}
