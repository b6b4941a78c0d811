//! Where the worker and the heartbeat meet: reports and progress one way, acknowledgements and cancellation the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ironwright_api::{
    DiskProgress, Event, Evidence, PlannedStep, PluginProgress, Progress, SignedCertificate,
    StepRecord,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::journal::{Current, Journal};
use crate::report::{LogTail, Meter, peak_memory_bytes};

/// The desk of one agent process.
#[derive(Debug)]
pub struct Desk {
    journal: Arc<Journal>,
    tail: LogTail,
    news: Notify,
    acknowledged: watch::Sender<u64>,
    introduction: AtomicBool,
    /// Nobody stores reports: each counts as stored when it is made.
    alone: bool,
    picture: Mutex<Picture>,
}

#[derive(Debug, Default)]
struct Picture {
    order_id: Option<Uuid>,
    step: String,
    meter: Meter,
    disks: Vec<DiskProgress>,
    plugin: Option<Box<PluginProgress>>,
}

/// The coordinator took the order back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled by the coordinator")]
pub struct Cancelled;

impl Desk {
    /// An empty desk; the inventory is due.
    #[must_use]
    pub fn new(journal: Arc<Journal>, tail: LogTail) -> Self {
        Self {
            journal,
            tail,
            news: Notify::new(),
            acknowledged: watch::Sender::new(0),
            introduction: AtomicBool::new(true),
            alone: false,
            picture: Mutex::default(),
        }
    }

    /// A desk whose reports nobody reads: an Ironic conductor asks for results instead.
    #[must_use]
    pub fn alone(journal: Arc<Journal>, tail: LogTail) -> Self {
        Self { alone: true, ..Self::new(journal, tail) }
    }

    /// The side of one order.
    #[must_use]
    pub fn for_order(self: &Arc<Self>, order_id: Uuid, attempt: u32) -> OrderDesk {
        *self.picture() = Picture { order_id: Some(order_id), ..Picture::default() };
        let cancel = CancellationToken::new();
        OrderDesk { desk: self.clone(), order_id, attempt, cancel, restarts: true }
    }

    /// What is happening now.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let now = Instant::now();
        let picture = self.picture();
        Progress {
            order_id: picture.order_id,
            step: picture.step.clone(),
            bytes: picture.meter.bytes(),
            total: picture.meter.total(),
            rate: picture.meter.rate(now),
            eta_s: picture.meter.eta_s(now),
            log_tail: self.tail.lines(),
            rss_peak: peak_memory_bytes(),
            disks: picture.disks.clone(),
            plugin: picture.plugin.clone(),
        }
    }

    /// Sends the inventory (again) with the next heartbeat.
    pub fn introduce(&self) {
        self.introduction.store(true, Ordering::Release);
    }

    pub(super) fn take_introduction(&self) -> bool {
        self.introduction.swap(false, Ordering::AcqRel)
    }

    pub(super) fn acknowledge(&self, seq: u64) {
        let seq = self.journal.acknowledge(seq);
        self.acknowledged.send_if_modified(|known| {
            let newer = seq > *known;
            *known = seq.max(*known);
            newer
        });
    }

    /// As if a coordinator stored everything, now and later.
    #[cfg(test)]
    pub(crate) fn acknowledge_all(&self) {
        self.acknowledged.send_replace(u64::MAX);
    }

    pub(super) fn news(&self) {
        self.news.notify_one();
    }

    pub(super) async fn until_news(&self) {
        self.news.notified().await;
    }

    pub(super) fn idle(&self) {
        *self.picture() = Picture::default();
    }

    pub(super) fn step(&self) -> String {
        self.picture().step.clone()
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker sees of its order: it reports, and it learns of cancellation.
#[derive(Debug, Clone)]
pub struct OrderDesk {
    desk: Arc<Desk>,
    order_id: Uuid,
    attempt: u32,
    cancel: CancellationToken,
    /// Whether who gave the order restarts the machine when a step asks for it.
    restarts: bool,
}

impl OrderDesk {
    /// Reports that `step` begins and waits until the coordinator stored that: only then may anything change.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub async fn step_started(&self, step: &str) -> Result<(), Cancelled> {
        self.check()?;
        {
            let mut picture = self.desk.picture();
            step.clone_into(&mut picture.step);
            picture.meter = Meter::default();
            picture.disks.clear();
            picture.plugin = None;
        }
        tracing::info!("phase: {step} begins");
        let seq = self.report(Event::StepStarted { step: step.to_owned() });
        let mut acknowledged = self.desk.acknowledged.subscribe();
        tokio::select! {
            () = self.cancel.cancelled() => return Err(Cancelled),
            // Fails only when the sender is gone; the desk, and so the sender, lives as long as `self`.
            stored = acknowledged.wait_for(|known| *known >= seq) => drop(stored),
        }
        self.check()
    }

    /// Reports that `step` ended well.
    pub fn step_ended(&self, step: &str, evidence: Option<Evidence>) {
        tracing::info!("{step} ended");
        self.report(Event::StepEnded { step: step.to_owned(), evidence });
    }

    /// The same for who does not restart the machine in the middle of a step.
    #[must_use]
    pub fn without_restarts(self) -> Self {
        Self { restarts: false, ..self }
    }

    /// Whether a step can go on after a restart of the machine.
    #[must_use]
    pub fn may_restart(&self) -> bool {
        self.restarts
    }

    /// Reports that `step` goes on after a restart of the machine, with `state`, and waits for that restart: it returns only
    /// where the order is taken back.
    pub async fn restart(
        &self,
        step: &str,
        state: serde_json::Value,
        message: String,
    ) -> Cancelled {
        tracing::info!("{step} goes on after a restart: {message}");
        self.report(Event::Reboot { step: step.to_owned(), state, message });
        self.cancel.cancelled().await;
        Cancelled
    }

    /// Shows the certificates of a step that is about to fail.
    pub fn attested(&self, step: &str, certificates: Vec<SignedCertificate>) {
        self.report(Event::Attested { step: step.to_owned(), certificates });
    }

    /// Reports what is about to be done.
    ///
    /// `plugins` are the sha256 of those whose steps are in the catalogue.
    pub fn planned(&self, steps: Vec<PlannedStep>, plugins: Vec<String>) {
        self.report(Event::Planned { steps, plugins });
    }

    /// Notes how far one disk of the present step is.
    pub fn disk_progress(&self, disk: DiskProgress) {
        let mut picture = self.desk.picture();
        match picture.disks.iter_mut().find(|known| known.device == disk.device) {
            Some(known) => *known = disk,
            None => picture.disks.push(disk),
        }
    }

    /// Notes what a plugin says of the present step.
    pub fn plugin_progress(&self, progress: PluginProgress) {
        self.desk.picture().plugin = Some(Box::new(progress));
    }

    /// The steps of this order begun or ended in this boot.
    pub(super) fn steps(&self) -> Vec<StepRecord> {
        let current = self.desk.journal.current();
        let own = |current: &Current| {
            (current.order_id, current.attempt) == (self.order_id, self.attempt)
        };
        current.filter(own).map(|current| current.steps).unwrap_or_default()
    }

    /// The order's identifier.
    #[must_use]
    pub fn order_id(&self) -> Uuid {
        self.order_id
    }

    /// Notes how far the present step is, bytes. Cheap; call it as often as you like.
    pub fn progress(&self, bytes: u64, total: Option<u64>) {
        self.desk.picture().meter.note(Instant::now(), bytes, total);
    }

    /// Whether the order was taken back.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// To be called before each destructive or committing action.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Sends the inventory (again) with the next heartbeat.
    pub fn introduce(&self) {
        self.desk.introduce();
        self.desk.news();
    }

    /// Takes the order back, as the coordinator does.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    pub(super) fn canceller(&self) -> CancellationToken {
        self.cancel.clone()
    }

    pub(super) fn step(&self) -> String {
        self.desk.step()
    }

    fn report(&self, event: Event) -> u64 {
        let seq = self.desk.journal.report(self.order_id, self.attempt, event);
        if self.desk.alone {
            self.desk.acknowledge(seq);
        }
        self.desk.news();
        seq
    }
}
