//! Calls the reconciler to a node at once instead of at its deadline.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

/// A set of nodes to look at; waking a node twice before it is looked at is waking it once.
#[derive(Debug, Clone, Default)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    woken: Mutex<BTreeSet<Uuid>>,
    notify: Notify,
}

impl Waker {
    /// Asks for a look at `node`.
    pub fn wake(&self, node: Uuid) {
        self.shared.woken.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
        self.shared.notify.notify_one();
    }

    /// Everything woken since the last call.
    pub(crate) fn take(&self) -> BTreeSet<Uuid> {
        std::mem::take(&mut self.shared.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns once something was woken since the last [`Waker::take`]; may return early.
    pub(crate) async fn woken(&self) {
        self.shared.notify.notified().await;
    }
}
