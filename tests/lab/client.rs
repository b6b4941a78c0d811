//! The real `baremetal` client (python-ironicclient from PyPI), in a virtual environment of its own in the cache.
#![expect(clippy::print_stdout, reason = "its transcript is what a person reads")]

use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

use crate::host::Program;
use crate::venv;

/// The release the tests were written against.
const RELEASE: &str = "python-ironicclient==6.3.0";

/// Installs the client once and returns its program.
///
/// # Errors
///
/// What `python3 -m venv` or `pip` say.
pub fn install() -> anyhow::Result<PathBuf> {
    Ok(venv::install("client", RELEASE)?.join("bin/baremetal"))
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Answer {
    /// Whether it ended well.
    pub good: bool,
    /// Standard output and standard error, in this order.
    pub text: String,
}

/// The client, pointed at one coordinator. It prints every command and its output, as a transcript.
#[derive(Debug)]
pub struct Client {
    program: PathBuf,
    endpoint: String,
}

impl Client {
    /// The installed client for the API at `endpoint`.
    ///
    /// # Errors
    ///
    /// As [`install`].
    pub fn new(endpoint: &str) -> anyhow::Result<Self> {
        Ok(Self { program: install()?, endpoint: endpoint.to_owned() })
    }

    /// Runs `baremetal ARGS`, however it ends.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Answer> {
        println!("$ baremetal {}", shown(args));
        let output = Program::new(&self.program)
            .args(args)
            .env("OS_AUTH_TYPE", "none")
            .env("OS_ENDPOINT", &self.endpoint)
            .env("COLUMNS", "110")
            .output()?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        println!("{text}");
        Ok(Answer { good: output.status.success(), text })
    }

    /// Runs a command that must end well, and returns what it printed.
    ///
    /// # Errors
    ///
    /// When it does not end well.
    pub fn good(&self, args: &[&str]) -> anyhow::Result<String> {
        let answer = self.run(args)?;
        anyhow::ensure!(answer.good, "baremetal {} failed: {}", shown(args), answer.text);
        Ok(answer.text)
    }

    /// Runs a command that must fail, and returns what it printed.
    ///
    /// # Errors
    ///
    /// When it ends well.
    pub fn refused(&self, args: &[&str]) -> anyhow::Result<String> {
        let answer = self.run(args)?;
        anyhow::ensure!(!answer.good, "baremetal {} was not refused", shown(args));
        Ok(answer.text)
    }

    /// Runs a command that must end well with `-f json`.
    ///
    /// # Errors
    ///
    /// When it does not end well or prints no JSON.
    pub fn json(&self, args: &[&str]) -> anyhow::Result<Value> {
        let text = self.good(&[args, &["-f", "json"]].concat())?;
        serde_json::from_str(&text).context("the client printed no JSON")
    }
}

fn shown(args: &[&str]) -> String {
    let quoted = args.iter().map(|arg| {
        if arg.contains(|c: char| c.is_whitespace() || "{}\"#".contains(c)) {
            format!("'{arg}'")
        } else {
            (*arg).to_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
