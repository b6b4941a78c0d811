//! What a command says when it ends: one place for exit codes, standard output and standard error.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use ironwright_api::{Blame, Failure};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Done;
use crate::report::{LogTail, chain};

/// Why a command failed, and what to do.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) blame: Blame,
    /// 1, or 2 for bad usage.
    pub(super) code: u8,
    /// What more belongs into the JSON object, by name.
    more: Vec<(&'static str, serde_json::Value)>,
    /// Already said as JSON on standard output.
    said: bool,
}

impl Trouble {
    pub(super) fn new(error: &dyn std::error::Error, remedy: &str) -> Self {
        let (message, remedy) = (chain(error), remedy.to_owned());
        Self { message, remedy, blame: Blame::Environment, code: 1, more: Vec::new(), said: false }
    }

    /// With one more thing for `--json`.
    pub(super) fn with(mut self, name: &'static str, value: &impl Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => self.more.push((name, value)),
            Err(error) => tracing::error!("{name} cannot be printed: {error}"),
        }
        self
    }

    /// Of a command line: the first line says what is wrong, the rest what would be right.
    pub(super) fn command_line(error: &clap::Error) -> Self {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        let (message, remedy) = (message.trim().to_owned(), rest.trim().to_owned());
        Self { message, remedy, code: 2, blame: Blame::Order, more: Vec::new(), said: false }
    }

    pub(super) fn usage(error: &dyn std::error::Error) -> Self {
        Self { code: 2, blame: Blame::Order, ..Self::new(error, "") }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let Failure { message, remedy, blame, step: _ } = failure;
        Self { message, remedy, blame, code: 1, more: Vec::new(), said: false }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let Trouble { message, remedy, blame, .. } = trouble;
        Self { step: String::new(), message, remedy, blame }
    }
}

/// Logs to standard error (the ramdisk's console) and to the tail; `IRONWRIGHT_LOG` overrides `level`.
pub(super) fn log(tail: &LogTail, level: &str) {
    let filter =
        EnvFilter::try_from_env("IRONWRIGHT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Fails only where a test set up logging before.
    tracing_subscriber::registry().with(filter).with(tail.clone()).with(lines).try_init().ok();
}

/// One object on standard output.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Trouble> {
    let printed = serde_json::to_string_pretty(value)
        .map_err(std::io::Error::other)
        .and_then(|text| writeln!(std::io::stdout(), "{text}"))
        .and_then(|()| std::io::stdout().flush());
    printed.map_err(|error| Trouble::new(&error, "check where standard output goes"))
}

/// One line on standard output.
pub(super) fn print_line(line: &str) -> Result<(), Trouble> {
    writeln!(std::io::stdout(), "{line}")
        .and_then(|()| std::io::stdout().flush())
        .map_err(|error| Trouble::new(&error, "check where standard output goes"))
}

/// With `json` a failure becomes the one object on standard output.
pub(super) fn end(result: Result<Done, Trouble>, json: bool) -> Result<Done, Trouble> {
    result.map_err(|trouble| {
        if !json {
            return trouble;
        }
        let mut object = serde_json::json!({
            "ok": false,
            "message": trouble.message,
            "remedy": trouble.remedy,
            "blame": trouble.blame,
        });
        if let Some(object) = object.as_object_mut() {
            let more = trouble.more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            object.extend(more);
        }
        Trouble { said: print_json(&object).is_ok(), ..trouble }
    })
}

/// Says what went wrong and picks the exit code.
pub(super) fn exit(result: Result<Done, Trouble>) -> ExitCode {
    match result {
        Ok(Done::Proven) => ExitCode::SUCCESS,
        Ok(Done::NotVerified) => ExitCode::from(3),
        Err(trouble) => {
            if !trouble.said {
                let mut text = format!("ironwright-agent: {}\n", trouble.message);
                if !trouble.remedy.is_empty() {
                    text.push_str(&format!("what to do: {}\n", trouble.remedy));
                }
                std::io::stderr().write_all(text.as_bytes()).ok();
            }
            ExitCode::from(trouble.code)
        }
    }
}
