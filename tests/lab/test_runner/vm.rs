//! Virtual machine tests: each in a process and namespaces of its own, a few at a time, each with a time limit.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Tally, ignored_tests, say, test_binary};
use crate::host;
use crate::runs::{self, Inputs};

/// How many at a time, and how long each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) jobs: usize,
    pub(super) each: Duration,
}

/// Lines of each log that are shown when a test fails.
const LOG_LINES: usize = 40;

/// Runs the tests whose names contain `filter`.
pub(super) fn run(inputs: &Inputs, filter: &str, limits: Limits) -> anyhow::Result<Tally> {
    let lab = crate::inside::lab_binary()?;
    let binary = test_binary("vm")?;
    let names = ignored_tests(binary.as_os_str(), filter)?;
    let queue = Mutex::new(VecDeque::from(names));
    let total = Mutex::new(Tally::default());
    let work = || {
        loop {
            let name = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(name) = name else { return };
            let test = Test { lab: lab.as_os_str(), binary: binary.as_os_str(), name: &name };
            let passed = test.run(inputs, limits.each).unwrap_or_else(|error| {
                say(&format!("test {name} could not be run: {error:#}"));
                false
            });
            total.lock().unwrap_or_else(PoisonError::into_inner).add(Tally::of(passed));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..limits.jobs.max(1) {
            scope.spawn(work);
        }
    });
    Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
}

struct Test<'a> {
    lab: &'a OsStr,
    binary: &'a OsStr,
    name: &'a str,
}

impl Test<'_> {
    /// Runs it in namespaces of its own; whether it passed.
    fn run(&self, inputs: &Inputs, limit: Duration) -> anyhow::Result<bool> {
        let short = self.name.rsplit("::").next().unwrap_or(self.name);
        let dir = runs::create(short)?;
        inputs.leave_in(&dir)?;
        let mut command: Vec<OsString> = vec![self.binary.to_owned()];
        command.extend(["--ignored", "--exact", "--nocapture", self.name].map(OsString::from));
        let output = dir.join("test.log");
        let start = Instant::now();
        let env = [(runs::RUN_DIR, dir.as_os_str())];
        let program = crate::inside::program(self.lab, &command, &env)?;
        let mut service = program.service(&output).context("starting the run")?;
        let ended = service.wait(limit)?;
        drop(service);
        runs::drop_disks(&dir);
        let seconds = start.elapsed().as_secs_f64();
        let passed = ended.is_some_and(|status| status.success());
        let verdict = match (passed, ended) {
            (true, _) => "ok".to_owned(),
            (false, Some(status)) => format!("FAILED ({status})"),
            (false, None) => format!("FAILED (still running after {} s)", limit.as_secs()),
        };
        say(&format!("test {} ... {verdict}  {seconds:.1} s", self.name));
        if !passed {
            say(&explain(&dir));
        }
        Ok(passed)
    }
}

/// The last lines of every log of a run.
fn explain(dir: &Path) -> String {
    let mut text = format!("the logs are kept in {} until the next run", dir.display());
    for log in runs::logs(dir) {
        let name = log.strip_prefix(dir).unwrap_or(&log).display().to_string();
        text.push_str(&format!("\n--- {name}\n{}", host::tail(&log, LOG_LINES)));
    }
    text
}
