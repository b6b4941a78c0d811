//! The one writer. Whoever writes at the same time shares a transaction, and with it the flush of the disk, which is what a
//! write costs; nobody is answered before it is done.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::failed;
use crate::store::StoreError;

/// What a write returns.
pub(super) type Writing<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

/// Writes of one transaction, at most.
const BATCH_MAX: usize = 64;
/// Writes that may wait for their turn; more wait in their callers.
const QUEUE_MAX: usize = 1024;
/// How long a write that nobody waits for is held back for the company of one that somebody waits for.
const PATIENCE: Duration = Duration::from_millis(20);

/// Tells the caller how it ended, once the transaction is over.
type Deliver = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Run = Box<
    dyn for<'c> FnOnce(
            &'c mut SqliteConnection,
        ) -> Pin<Box<dyn Future<Output = Deliver> + Send + 'c>>
        + Send,
>;

enum Job {
    Write { run: Run, patient: bool },
    Close(End),
}

/// Takes writes to the task that owns the connection.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// Posted and not yet written.
    posted: Arc<AtomicUsize>,
}

fn closed<E>(_: E) -> StoreError {
    let source = "the database was closed, or its writer failed; see the log".into();
    StoreError::Database { attempt: "write to the database", source }
}

impl Writer {
    /// Starts the task; it ends when the writer is closed or dropped.
    pub(super) fn start(connection: SqliteConnection) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(work(connection, queue));
        Self { jobs, posted: Arc::default() }
    }

    /// Writes; returns when it is on the disk. A job is **one statement**: what fails in it undoes itself alone, and leaves the
    /// rest of the shared transaction as it is.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        job: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let run: Run = Box::new(move |connection| {
            Box::pin(async move {
                let result = job(connection).await;
                let deliver: Deliver = Box::new(move |over| drop(tell.send(over.and(result))));
                deliver
            })
        });
        self.jobs.send(Job::Write { run, patient: false }).await.map_err(closed)?;
        told.await.map_err(closed)?
    }

    /// Writes soon; a failure is only logged.
    pub(super) async fn post(
        &self,
        job: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, ()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let posted = self.posted.clone();
        posted.fetch_add(1, Ordering::SeqCst);
        let run: Run = Box::new(move |connection| {
            Box::pin(async move {
                let result = job(connection).await;
                let deliver: Deliver = Box::new(move |over| {
                    posted.fetch_sub(1, Ordering::SeqCst);
                    if let Err(error) = over.and(result) {
                        tracing::error!("{}", crate::app::chain(&error));
                    }
                });
                deliver
            })
        });
        self.jobs.send(Job::Write { run, patient: true }).await.map_err(closed)
    }

    /// Returns when everything that was posted is written.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        if self.posted.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        self.write(|_| Box::pin(std::future::ready(Ok(())))).await
    }

    /// Moves the write-ahead log into the file and ends the task.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (tell, told) = oneshot::channel();
        self.jobs.send(Job::Close(tell)).await.map_err(closed)?;
        told.await.map_err(closed)?
    }
}

async fn work(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.recv().await {
        let (batch, end) = gather(first, &mut queue).await;
        write_all(&mut connection, batch).await;
        if let Some(tell) = end {
            let moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
            let moved =
                moved.map(drop).map_err(failed("move the write-ahead log into the database"));
            let over = connection.close().await.map_err(failed("close the database"));
            drop(tell.send(moved.and(over)));
            return;
        }
    }
}

/// Whoever waits for the end of the database.
type End = oneshot::Sender<Result<(), StoreError>>;

/// The writes of one transaction: all that are there. Those that nobody waits for are held back for a moment.
async fn gather(first: Job, queue: &mut mpsc::Receiver<Job>) -> (Vec<Run>, Option<End>) {
    let until = Instant::now() + PATIENCE;
    let (mut batch, mut all_patient, mut next) = (Vec::new(), true, Some(first));
    while let Some(job) = next {
        match job {
            Job::Close(tell) => return (batch, Some(tell)),
            Job::Write { run, patient } => {
                all_patient &= patient;
                batch.push(run);
            }
        }
        next = if batch.len() == BATCH_MAX {
            None
        } else if all_patient {
            tokio::time::timeout_at(until, queue.recv()).await.ok().flatten()
        } else {
            queue.try_recv().ok()
        };
    }
    (batch, None)
}

/// One transaction for all; a write that is alone is a statement with a transaction of its own.
async fn write_all(connection: &mut SqliteConnection, batch: Vec<Run>) {
    let together = batch.len() > 1;
    if together && let Err(error) = connection.execute("BEGIN IMMEDIATE").await {
        // Their callers learn that it failed from the end of their channels.
        tracing::error!("cannot begin a transaction: {}", crate::app::chain(&error));
        return;
    }
    let mut over = Vec::new();
    for run in batch {
        over.push(run(connection).await);
    }
    let end = match together {
        true => connection.execute("COMMIT").await.map(drop),
        false => Ok(()),
    };
    if end.is_err() {
        // SQLite may have ended the transaction by itself.
        connection.execute("ROLLBACK").await.ok();
    }
    for deliver in over {
        deliver(match &end {
            Ok(()) => Ok(()),
            Err(error) => Err(StoreError::Database {
                attempt: "commit a write",
                source: crate::app::chain(error).into(),
            }),
        });
    }
}
