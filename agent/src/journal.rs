//! What must survive a restart of the agent within one boot: token, boot identifier, unacknowledged reports, order.
//!
//! One small JSON file in the run directory (`/run` in the ramdisk: memory, gone with the boot), mode 0600, replaced by
//! rename. A journal that cannot be written is logged and kept in memory: the work goes on, only a restart would forget.
//! The order's body (it may hold credentials) is never stored; the coordinator sends it again.

mod file;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ironwright_api::{Event, Report, StepRecord};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::report::chain;
pub use file::JournalError;
use file::JournalFile;

/// What a lookup gave this boot.
#[derive(Debug, Clone)]
pub struct Session {
    /// The node this machine is.
    pub node: Uuid,
    /// The token of this boot, handed out once.
    pub token: SecretString,
    /// Milliseconds between heartbeats.
    pub interval_ms: u64,
    /// Present where the server is Ironic's own: its conductor gives commands instead of orders.
    pub conductor: Option<Conductor>,
}

/// What a lookup at Ironic's own server tells besides node and token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Conductor {
    /// The address of the API; unknown behind a proxy.
    #[serde(default)]
    pub peer: Option<std::net::SocketAddr>,
    /// Seconds without a heartbeat after which it gives an agent up.
    pub heartbeat_timeout_s: u64,
    /// The node's, with root device hints.
    pub properties: serde_json::Value,
    /// The node's, secrets masked.
    pub instance_info: serde_json::Value,
}

/// The order this boot works on, or worked on last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Current {
    /// The order.
    pub order_id: Uuid,
    /// Its attempt.
    pub attempt: u32,
    /// How often an agent process began it; above 1 the agent died on it.
    pub starts: u32,
    /// Whether its last report (finished or failed) was made.
    pub settled: bool,
    /// Steps begun or ended in this boot.
    pub steps: Vec<StepRecord>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    boot_id: Uuid,
    #[serde(default)]
    session: Option<StoredSession>,
    #[serde(default)]
    issued: u64,
    #[serde(default)]
    outbox: Vec<Report>,
    #[serde(default)]
    current: Option<Current>,
}

#[derive(Serialize, Deserialize)]
struct StoredSession {
    node: Uuid,
    token: String,
    interval_ms: u64,
    #[serde(default)]
    conductor: Option<Conductor>,
}

impl std::fmt::Debug for StoredSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredSession").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The journal of this boot.
#[derive(Debug)]
pub struct Journal {
    file: JournalFile,
    state: Mutex<State>,
}

impl Journal {
    /// Opens the journal in `run_dir`, or starts one. `boot_id` is the supervisor's; a journal of another boot is
    /// dropped. Without a supervisor the journal keeps a boot identifier of its own making.
    ///
    /// # Errors
    /// [`JournalError`] when the directory cannot be made or the file cannot be read. A damaged journal is not an
    /// error: it is logged and started anew.
    pub fn open(run_dir: &Path, boot_id: Option<Uuid>) -> Result<Self, JournalError> {
        let file = JournalFile::in_dir(run_dir)?;
        let stored = file.read()?.and_then(|text| match serde_json::from_slice::<State>(&text) {
            Ok(state) => Some(state),
            Err(error) => {
                // The parser's message only: the text may hold the token.
                tracing::error!("the journal is damaged and started anew: {error}");
                None
            }
        });
        let state = match (stored, boot_id) {
            (Some(state), None) => state,
            (Some(state), Some(boot_id)) if state.boot_id == boot_id => state,
            (_, boot_id) => {
                State { boot_id: boot_id.unwrap_or_else(Uuid::new_v4), ..State::default() }
            }
        };
        let journal = Self { file, state: Mutex::new(state) };
        journal.change(|_| ());
        Ok(journal)
    }

    /// Names this boot.
    #[must_use]
    pub fn boot_id(&self) -> Uuid {
        self.lock().boot_id
    }

    /// What an earlier agent process of this boot was given at lookup.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.lock().session.as_ref().map(|stored| Session {
            node: stored.node,
            token: SecretString::from(stored.token.clone()),
            interval_ms: stored.interval_ms,
            conductor: stored.conductor.clone(),
        })
    }

    /// Keeps what a lookup gave.
    pub fn set_session(&self, session: &Session) {
        let stored = StoredSession {
            node: session.node,
            token: session.token.expose_secret().to_owned(),
            interval_ms: session.interval_ms,
            conductor: session.conductor.clone(),
        };
        self.change(|state| state.session = Some(stored));
    }

    /// Notes that an agent process begins `order_id`/`attempt`; steps of an earlier process in this boot are kept.
    pub fn begin(&self, order_id: Uuid, attempt: u32) -> Current {
        self.change(|state| {
            let current = match state.current.take() {
                Some(mut same) if same.order_id == order_id && same.attempt == attempt => {
                    same.starts = same.starts.saturating_add(1);
                    same
                }
                _ => Current { order_id, attempt, starts: 1, settled: false, steps: Vec::new() },
            };
            state.current = Some(current.clone());
            current
        })
    }

    /// The order of this boot.
    #[must_use]
    pub fn current(&self) -> Option<Current> {
        self.lock().current.clone()
    }

    /// Adds a report to those to be sent and returns its number.
    pub fn report(&self, order_id: Uuid, attempt: u32, event: Event) -> u64 {
        self.change(|state| {
            if let Some(current) = &mut state.current
                && (current.order_id, current.attempt) == (order_id, attempt)
            {
                current.note(&event);
            }
            state.issued += 1;
            state.outbox.push(Report { seq: state.issued, order_id, attempt, event });
            state.issued
        })
    }

    /// Reports the coordinator has not acknowledged, oldest first.
    #[must_use]
    pub fn unacknowledged(&self) -> Vec<Report> {
        self.lock().outbox.clone()
    }

    /// Forgets the reports up to `seq`. More than was ever issued counts as everything issued.
    pub fn acknowledge(&self, seq: u64) -> u64 {
        let issued = self.lock().issued;
        let seq = seq.min(issued);
        if self.lock().outbox.first().is_some_and(|report| report.seq <= seq) {
            self.change(|state| state.outbox.retain(|report| report.seq > seq));
        }
        seq
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `change` and writes the journal.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let value = change(&mut state);
        let written = serde_json::to_vec(&*state)
            .map_err(std::io::Error::other)
            .map_err(|source| self.file.error("write", source))
            .and_then(|text| self.file.replace(&text));
        if let Err(error) = written {
            tracing::error!("{}; a restart of the agent would forget", chain(&error));
        }
        value
    }
}

impl Current {
    /// Steps that a later process, or a later attempt, must know of.
    fn note(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step } => {
                self.steps.retain(|record| record.step != *step);
                let attempt = self.attempt;
                let step = step.clone();
                self.steps.push(StepRecord {
                    step,
                    attempt,
                    ended: false,
                    evidence: None,
                    reboot: None,
                });
            }
            Event::StepEnded { step, evidence } => {
                if let Some(record) = self.steps.iter_mut().find(|record| record.step == *step) {
                    record.ended = true;
                    record.evidence.clone_from(evidence);
                }
            }
            // In this boot nothing more happens to the order.
            Event::Finished | Event::Failed(_) | Event::Reboot { .. } => self.settled = true,
            Event::Planned { .. } | Event::Attested { .. } | Event::Unknown => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(step: &str) -> Event {
        Event::StepStarted { step: step.to_owned() }
    }

    #[test]
    fn a_restarted_agent_keeps_token_reports_numbers_and_steps() {
        let dir = tempfile::tempdir().unwrap();
        let (boot, order) = (Uuid::new_v4(), Uuid::new_v4());
        let first = Journal::open(dir.path(), Some(boot)).unwrap();
        let token = SecretString::from("t0ken");
        first.set_session(&Session { node: order, token, interval_ms: 7, conductor: None });
        assert_eq!(first.begin(order, 1).starts, 1);
        first.report(order, 1, started("write_image"));
        first.report(order, 1, Event::StepEnded { step: "write_image".to_owned(), evidence: None });
        first.report(order, 1, started("commit"));
        first.acknowledge(1);
        drop(first);

        let second = Journal::open(dir.path(), Some(boot)).unwrap();
        assert_eq!(second.session().unwrap().token.expose_secret(), "t0ken");
        let seqs: Vec<u64> = second.unacknowledged().iter().map(|report| report.seq).collect();
        assert_eq!(seqs, [2, 3]);
        let current = second.begin(order, 1);
        let steps: Vec<(&str, bool)> =
            current.steps.iter().map(|step| (step.step.as_str(), step.ended)).collect();
        assert_eq!((current.starts, steps), (2, vec![("write_image", true), ("commit", false)]));
        assert_eq!(second.report(order, 1, Event::Finished), 4);
        assert!(second.current().unwrap().settled);
    }

    #[test]
    fn a_journal_of_another_boot_or_a_damaged_one_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let old = Journal::open(dir.path(), Some(Uuid::new_v4())).unwrap();
        old.report(Uuid::new_v4(), 1, Event::Finished);
        let next = Journal::open(dir.path(), Some(Uuid::new_v4())).unwrap();
        assert!(next.unacknowledged().is_empty());
        std::fs::write(dir.path().join("journal.json"), b"{\"boot_id\":").unwrap();
        let anew = Journal::open(dir.path(), None).unwrap();
        assert!(anew.session().is_none() && anew.unacknowledged().is_empty());
        assert_eq!(Journal::open(dir.path(), None).unwrap().boot_id(), anew.boot_id());
    }

    #[test]
    fn the_file_is_for_its_owner_only_and_no_debug_output_holds_the_token() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), None).unwrap();
        let token = SecretString::from("s3cret");
        journal.set_session(&Session { node: Uuid::nil(), token, interval_ms: 1, conductor: None });
        let mode = std::fs::metadata(dir.path().join("journal.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{journal:?}").contains("s3cret"));
    }

    #[test]
    fn an_acknowledgement_of_reports_never_made_counts_only_those_made() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), None).unwrap();
        journal.report(Uuid::nil(), 1, Event::Finished);
        assert_eq!(journal.acknowledge(u64::MAX), 1);
        assert_eq!(journal.report(Uuid::nil(), 1, Event::Finished), 2);
        assert_eq!(journal.unacknowledged().len(), 1);
    }
}
