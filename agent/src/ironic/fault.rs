//! How a command fails, in Ironic's shapes: before it is a command (an HTTP error), and as one (`command_error`).

use ironwright_api::Failure;
use serde::Serialize;

/// The error of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    /// Ironic's name of it. `TypeError` is special to the conductor and never used.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// As an HTTP status.
    pub(super) code: u16,
    /// What could not be done.
    pub(super) message: String,
    /// Why, and what to do.
    pub(super) details: String,
}

impl Fault {
    pub(super) fn new(kind: &'static str, message: &str, details: String) -> Self {
        Self { kind, code: 500, message: message.to_owned(), details }
    }

    /// The steps were planned with other versions of us or of a plugin.
    pub(super) fn version_mismatch(given: &str, ours: &str) -> Self {
        let details = format!("the steps were made by {given}, this agent has {ours}");
        Self {
            code: 409,
            ..Self::new("VersionMismatch", "Error: hardware managers changed", details)
        }
    }

    /// A failure of ours.
    pub(super) fn of(kind: &'static str, what: &str, failure: &Failure) -> Self {
        let Failure { message, remedy, .. } = failure;
        let remedy = if remedy.is_empty() { String::new() } else { format!(" ({remedy})") };
        Self::new(kind, what, format!("{message}{remedy}"))
    }
}

/// Why a request is no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP status.
    pub(super) status: u16,
    /// One sentence.
    pub(super) why: String,
}

impl Refusal {
    pub(super) fn new(status: u16, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    /// Ironic's body for it. The conductor reads `faultstring` and shows it.
    pub(super) fn body(&self) -> serde_json::Value {
        let code = if self.status >= 500 { "Server" } else { "Client" };
        serde_json::json!({"faultcode": code, "faultstring": self.why})
    }
}
