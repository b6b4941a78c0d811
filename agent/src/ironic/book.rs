//! The commands this agent was given, oldest first; one at a time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::fault::{Fault, Refusal};

/// Commands remembered. Conductors look at the last one.
const KEPT: usize = 64;

/// How a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    Running,
    Succeeded,
    Failed,
    /// Of a deploy or service step too: it is Ironic's only word for it.
    CleanVersionMismatch,
}

/// A command as Ironic shows it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Record {
    pub(super) id: Uuid,
    /// Without its extension.
    pub(super) command_name: String,
    pub(super) command_status: Status,
    pub(super) command_error: Option<Fault>,
    pub(super) command_result: Option<Value>,
}

impl Record {
    /// Without what is the conductor's alone: of a step its interface, name and result are left, not its arguments, which have
    /// credentials of image servers and config drives; of other commands how they ended.
    pub(super) fn redacted(self) -> Self {
        let step = self.command_name.strip_prefix("execute_").unwrap_or_default();
        let outcome = step.strip_suffix("_step").map(|phase| format!("{phase}_result"));
        let result = self.command_result.as_ref().zip(outcome).map(|(result, outcome)| {
            let echo = &result[step];
            json!({
                (outcome.as_str()): result[outcome.as_str()],
                (step): {"interface": echo["interface"], "step": echo["step"]},
            })
        });
        Self { command_result: result, ..self }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Book {
    records: Mutex<VecDeque<Record>>,
    /// Counts ends.
    ended: watch::Sender<u64>,
    /// Whether something ended that the conductor has not looked at; true until it looks for the first time.
    unseen: AtomicBool,
    news: Notify,
    /// Whether somebody looked with the token: then nobody looks without it any more.
    looked_with_token: AtomicBool,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            records: Mutex::default(),
            ended: watch::Sender::new(0),
            unseen: AtomicBool::new(true),
            news: Notify::new(),
            looked_with_token: AtomicBool::new(false),
        }
    }
}

impl Book {
    /// Enters a command.
    ///
    /// # Errors
    /// 409 while another one runs.
    pub(super) fn begin(&self, name: &str) -> Result<Uuid, Refusal> {
        let mut records = self.lock();
        if let Some(last) = records.back().filter(|last| last.command_status == Status::Running) {
            let why = format!("Agent is busy: executing command {}", last.command_name);
            return Err(Refusal::new(409, why));
        }
        if records.len() == KEPT {
            records.pop_front();
        }
        let id = Uuid::new_v4();
        records.push_back(Record {
            id,
            command_name: name.to_owned(),
            command_status: Status::Running,
            command_error: None,
            command_result: None,
        });
        Ok(id)
    }

    /// Notes how a command ended. `tell`: the conductor does not wait for the answer and must learn of it by a heartbeat.
    pub(super) fn end(&self, id: Uuid, result: Result<Value, Fault>, tell: bool) {
        if let Some(record) = self.lock().iter_mut().find(|record| record.id == id) {
            match result {
                Ok(value) => {
                    record.command_status = Status::Succeeded;
                    record.command_result = Some(value).filter(|value| !value.is_null());
                }
                Err(fault) => {
                    record.command_status = match fault.kind {
                        "VersionMismatch" => Status::CleanVersionMismatch,
                        _ => Status::Failed,
                    };
                    record.command_error = Some(fault);
                }
            }
        }
        self.ended.send_modify(|count| *count += 1);
        if tell {
            self.unseen.store(true, Ordering::Release);
            self.news.notify_one();
        }
    }

    /// Whether this one may look: `holds_token` may always, and ends what others may.
    ///
    /// Conductors before February 2025 send the token with commands but not when they look for their ends. Ironic's agent lets them,
    /// until it sees one that does; so does this one, and shows them no more than they need ([`Record::redacted`]).
    pub(super) fn may_look(&self, holds_token: bool) -> bool {
        if holds_token {
            self.looked_with_token.store(true, Ordering::Release);
        }
        holds_token || !self.looked_with_token.load(Ordering::Acquire)
    }

    /// One command.
    pub(super) fn get(&self, id: Uuid) -> Option<Record> {
        self.lock().iter().find(|record| record.id == id).cloned()
    }

    /// One command, when it has ended.
    pub(super) async fn ended(&self, id: Uuid) -> Option<Record> {
        let mut ends = self.ended.subscribe();
        loop {
            let record = self.get(id)?;
            if record.command_status != Status::Running {
                return Some(record);
            }
            // Fails only when the sender is gone, and the sender is ours.
            ends.changed().await.ok()?;
        }
    }

    /// All of them, for the conductor to look at.
    pub(super) fn list(&self) -> Vec<Record> {
        let records: Vec<Record> = self.lock().iter().cloned().collect();
        if records.last().is_none_or(|last| last.command_status != Status::Running) {
            self.unseen.store(false, Ordering::Release);
        }
        records
    }

    /// Whether the conductor has not seen the last end, or was never here.
    pub(super) fn is_unseen(&self) -> bool {
        self.unseen.load(Ordering::Acquire)
    }

    /// Something ended that must be told.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_without_the_token_sees_how_steps_ended_and_no_arguments() {
        let book = Book::default();
        let step = json!({"interface": "deploy", "step": "write_image", "args": {"image_info": {"image_server_password": "hunter2"}}});
        let id = book.begin("execute_deploy_step").unwrap();
        book.end(
            id,
            Ok(json!({"deploy_result": {"device": "/dev/sda"}, "deploy_step": step})),
            true,
        );
        let shown = book.get(id).unwrap().redacted();
        let expected = json!({
            "deploy_result": {"device": "/dev/sda"}, "deploy_step": {"interface": "deploy", "step": "write_image"},
        });
        assert_eq!(shown.command_result, Some(expected));
        let id = book.begin("collect_system_logs").unwrap();
        assert_eq!(book.get(id).unwrap().redacted().command_result, None, "it runs");
        book.end(id, Ok(json!({"system_logs": "H4sI"})), false);
        assert_eq!(book.get(id).unwrap().redacted().command_result, None);
    }

    #[test]
    fn once_somebody_looked_with_the_token_nobody_looks_without_it() {
        let book = Book::default();
        assert!(book.may_look(false) && book.may_look(true));
        assert!(!book.may_look(false) && book.may_look(true));
    }

    #[tokio::test]
    async fn one_command_runs_at_a_time_and_its_end_is_told_until_it_is_looked_at() {
        let book = Book::default();
        let id = book.begin("execute_clean_step").unwrap();
        let busy = book.begin("sync").unwrap_err();
        let why = "Agent is busy: executing command execute_clean_step";
        assert_eq!((busy.status, busy.why.as_str()), (409, why));
        book.list();
        book.end(id, Ok(json!({"clean_result": 1})), true);
        assert!(book.is_unseen());
        let record = serde_json::to_string(&book.ended(id).await.unwrap()).unwrap();
        let expected = format!(
            r#"{{"id":"{id}","command_name":"execute_clean_step","command_status":"SUCCEEDED","command_error":null,"command_result":{{"clean_result":1}}}}"#
        );
        assert_eq!(record, expected, "keys and their order are Ironic's");
        book.list();
        assert!(!book.is_unseen());
    }

    #[test]
    fn a_version_mismatch_has_its_own_status_and_no_result_and_old_commands_are_forgotten() {
        let book = Book::default();
        let id = book.begin("execute_deploy_step").unwrap();
        book.end(id, Err(Fault::version_mismatch("a", "b")), true);
        let record = serde_json::to_value(book.get(id).unwrap()).unwrap();
        assert_eq!(record["command_status"], "CLEAN_VERSION_MISMATCH");
        assert_eq!(
            (&record["command_error"]["code"], &record["command_result"]),
            (&json!(409), &json!(null))
        );
        for _ in 0..KEPT {
            let id = book.begin("sync").unwrap();
            book.end(id, Ok(json!(null)), false);
        }
        assert_eq!((book.list().len(), book.get(id).is_none()), (KEPT, true));
    }
}
