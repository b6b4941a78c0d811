//! Threads that never outlive the write they serve, and how one failure stops all of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::error::ImageError;

/// The common fate of the threads of one write.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    stop: AtomicBool,
    fault: Mutex<Option<ImageError>>,
}

impl Fate {
    /// Whether to stop at the next opportunity.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Stops everybody; the first error is the one that counts.
    pub(crate) fn fail(&self, error: ImageError) {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop();
    }

    /// The first error, once.
    pub(crate) fn take_fault(&self) -> Option<ImageError> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A thread with a result. Dropping it stops its fate and waits for its end.
#[derive(Debug)]
pub(crate) struct Worker<T> {
    name: &'static str,
    fate: Arc<Fate>,
    handle: Option<JoinHandle<()>>,
    result: oneshot::Receiver<T>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread.
    pub(crate) fn start(
        name: &'static str,
        fate: &Arc<Fate>,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self, ImageError> {
        let (done, result) = oneshot::channel();
        let handle = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                // A receiver that is gone wants no result.
                done.send(run()).ok();
            })
            .map_err(|error| ImageError::Thread { thread: name, what: error.to_string() })?;
        Ok(Self { name, fate: Arc::clone(fate), handle: Some(handle), result })
    }

    /// Waits for the result.
    pub(crate) async fn join(mut self) -> Result<T, ImageError> {
        let result = (&mut self.result).await;
        if let Some(handle) = self.handle.take() {
            // The result was sent as its last act, or it panicked: this does not wait.
            handle.join().ok();
        }
        result.map_err(|_gone| ImageError::Thread { thread: self.name, what: "died".into() })
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.fate.stop();
            handle.join().ok();
        }
    }
}
