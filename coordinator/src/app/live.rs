//! What is known of living agents between two writes of their records.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ironwright_api::{DiskProgress, Progress};
use jiff::Timestamp;
use uuid::Uuid;

/// The last sign of life of a node's agent.
#[derive(Debug, Clone)]
pub struct Pulse {
    /// When the last heartbeat came.
    pub last_heartbeat: Timestamp,
    /// When its work last went forward.
    pub last_progress: Timestamp,
    /// Its last picture of the work.
    pub progress: Option<Progress>,
}

/// The pulses of all nodes with a living agent. In memory only: after a restart the deadlines count from the start, so
/// that no agent is given up for heartbeats that this process could not hear.
#[derive(Debug)]
pub struct Live {
    started: Timestamp,
    pulses: Mutex<HashMap<Uuid, Pulse>>,
    refusals: Mutex<HashMap<Uuid, Timestamp>>,
    /// The last agent that was let in: its boot, and the hash of its token.
    known: Mutex<HashMap<Uuid, (Uuid, String)>>,
}

/// At most one refusal of a stranger in this many seconds is written into a node's history.
const REFUSAL_INTERVAL_S: i64 = 10;

impl Live {
    /// Nobody was heard of yet.
    #[must_use]
    pub fn new(started: Timestamp) -> Self {
        Self {
            started,
            pulses: Mutex::default(),
            refusals: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// When this coordinator started: before that nothing could be heard.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// A heartbeat came. `reported` is whether it carried something new.
    pub fn beat(&self, node: Uuid, now: Timestamp, progress: Option<Progress>, reported: bool) {
        let mut pulses = self.lock();
        let before = pulses.get(&node);
        let moved = reported
            || before.is_none_or(|pulse| went_on(pulse.progress.as_ref(), progress.as_ref()));
        let last_progress = match before {
            Some(pulse) if !moved => pulse.last_progress,
            Some(_) | None => now,
        };
        pulses.insert(node, Pulse { last_heartbeat: now, last_progress, progress });
    }

    /// The agent of this boot, with a token of this hash, was let in.
    pub(crate) fn know(&self, node: Uuid, boot_id: Uuid, token_sha256: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(node, (boot_id, token_sha256));
    }

    /// The hash of the token with which the last agent was let in, if it was of this boot: its work may be over, and it may not
    /// have heard so yet.
    pub(crate) fn known(&self, node: Uuid, boot_id: Uuid) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&node).filter(|(boot, _)| *boot == boot_id).map(|(_, hash)| hash.clone())
    }

    /// The node's pulse, if its agent was heard of.
    #[must_use]
    pub fn pulse(&self, node: Uuid) -> Option<Pulse> {
        self.lock().get(&node).cloned()
    }

    /// The boot or the work is over.
    pub fn forget(&self, node: Uuid) {
        self.lock().remove(&node);
    }

    /// Whether a refusal is to be written into the node's history, or is one of too many.
    pub(crate) fn may_record_refusal(&self, node: Uuid, now: Timestamp) -> bool {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = refusals
            .get(&node)
            .is_none_or(|last| now.duration_since(*last).as_secs() >= REFUSAL_INTERVAL_S);
        if quiet {
            refusals.insert(node, now);
        }
        quiet
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Pulse>> {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn went_on(before: Option<&Progress>, now: Option<&Progress>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => {
            before.step != now.step
                || before.bytes != now.bytes
                || before.plugin != now.plugin
                || moved(&before.disks, &now.disks)
        }
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

/// Whether a disk came further: a controller that erases by itself moves no bytes of ours, but says its per cent.
fn moved(before: &[DiskProgress], now: &[DiskProgress]) -> bool {
    let far = |disks: &[DiskProgress]| -> Vec<(String, String, u8)> {
        let one = |disk: &DiskProgress| (disk.device.clone(), disk.phase.clone(), disk.percent);
        disks.iter().map(one).collect()
    };
    far(before) != far(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn progress(bytes: u64) -> Option<Progress> {
        Some(Progress { step: "write_image".into(), bytes, ..Progress::default() })
    }

    #[test]
    fn a_disk_that_erases_itself_goes_forward_by_its_per_cent() {
        let live = Live::new(at(0));
        let node = Uuid::now_v7();
        for (second, percent, eta_s, expected) in
            [(1, 3, None, 1), (2, 3, Some(60), 1), (3, 4, Some(50), 3), (4, 4, None, 3)]
        {
            let device = "/dev/nvme0n1".to_owned();
            let disk = DiskProgress { device, phase: "erase".into(), percent, eta_s };
            let progress = Progress { disks: vec![disk], ..Progress::default() };
            live.beat(node, at(second), Some(progress), false);
            assert_eq!(live.pulse(node).unwrap().last_progress, at(expected), "{second}");
        }
    }

    #[test]
    fn heartbeats_without_movement_are_life_but_not_progress() {
        let live = Live::new(at(0));
        let node = Uuid::now_v7();
        for (second, bytes, expected) in [(1, 10, 1), (2, 10, 1), (3, 11, 3), (4, 11, 3)] {
            live.beat(node, at(second), progress(bytes), false);
            let pulse = live.pulse(node).unwrap();
            assert_eq!((pulse.last_heartbeat, pulse.last_progress), (at(second), at(expected)));
        }
        live.beat(node, at(5), progress(11), true);
        assert_eq!(live.pulse(node).unwrap().last_progress, at(5));
    }
}
