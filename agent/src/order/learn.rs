//! Facts that take their time are asked beside the heartbeats: the BMC and the disks within seconds, the switches as long as
//! they stay silent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{Facts, SlowFacts};
use crate::inventory::{self, collectors};
use crate::sys::System;

/// What was learned so far, and whether that is all.
#[derive(Debug)]
pub(super) struct Learning {
    patience: Duration,
    known: Mutex<SlowFacts>,
    stage: watch::Sender<Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody asked.
    NotBegun,
    Running,
    Done,
}

impl Default for Learning {
    fn default() -> Self {
        Self::new(inventory::LISTEN)
    }
}

impl Learning {
    /// Nothing known yet; switches are listened to for `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, known: Mutex::default(), stage: watch::Sender::new(Stage::NotBegun) }
    }

    /// What is known now.
    pub(super) fn so_far(&self) -> SlowFacts {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until everything is known; at once where nobody asks.
    pub(super) async fn done(&self) {
        let mut stage = self.stage.subscribe();
        // Fails only when the sender, a field of ours, is gone.
        stage.wait_for(|stage| *stage != Stage::Running).await.ok();
    }

    /// Asks for everything, and tells each time that there is more. In a sandbox nothing is asked: the machine is somebody else's.
    pub(super) async fn run(
        &self,
        system: &Arc<System>,
        facts: Arc<Facts>,
        told: impl Fn() + Send,
    ) {
        if system.named_disks().is_some() {
            return;
        }
        self.stage.send_replace(Stage::Running);
        let root = system.root().to_path_buf();
        let asked =
            move || SlowFacts { bmc: inventory::bmc_addresses(&root), more: facts.disk_health() };
        if let Ok(found) = tokio::task::spawn_blocking(asked).await {
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = found;
            told();
        }
        let (root, patience) = (system.root().to_path_buf(), self.patience);
        let listened = move || collectors::collect("lldp", &root, patience).unwrap_or_default();
        if let Ok(heard) = tokio::task::spawn_blocking(listened).await {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).more.extend(heard);
            told();
        }
        self.stage.send_replace(Stage::Done);
    }
}
