//! `cargo lab test`: every check and test of the project, on a machine that has nothing but Rust and Debian.

mod fuzz;
mod vm;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::artifacts;
use crate::host::{HostError, Program};
use crate::packages::{self, Set};
use crate::runs::Inputs;

/// Options of `cargo lab test`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Run only the virtual machine tests whose names contain this
    filter: Option<String>,
    /// Virtual machine tests at a time
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Seconds a virtual machine test may take
    #[arg(long, default_value_t = 900)]
    limit: u64,
}

/// Tests that passed and failed. A check (format, lints) counts as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    fn of(ok: bool) -> Self {
        Self { passed: u64::from(ok), failed: u64::from(!ok) }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs the tests; the exit code is failure when one failed.
///
/// # Errors
///
/// When the tests cannot be run at all.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut phases = Phases::default();
    phases.run("packages", || {
        packages::ensure(Set::All).context("installing Debian packages")?;
        Ok(Tally::default())
    })?;
    if options.filter.is_none() {
        without_machines(&mut phases)?;
    }
    let inputs = std::thread::scope(|scope| {
        // Downloads and one-threaded scripts on one side, waiting for servers on the other: together they fill two processors.
        let start = Instant::now();
        let building = scope.spawn(build);
        if options.filter.is_none() {
            beside_the_build(&mut phases)?;
        }
        let built = building.join().map_err(|_panic| anyhow::anyhow!("building panicked"))??;
        let what = "ramdisk, images, coordinator (beside what is above)";
        phases.done.push((what, Tally::default(), start.elapsed()));
        anyhow::Ok(built)
    })?;
    crate::client::install().context("installing the baremetal client")?;
    crate::ironic::install().context("installing Ironic")?;
    if options.filter.is_none() {
        phases.run("what was built is kept", || {
            let kept =
                ["test", "--package", "lab", "--lib", "--", "--ignored", "--test-threads", "1"];
            counted(cargo(&kept))
        })?;
    }
    let limits = vm::Limits { jobs: options.jobs, each: Duration::from_secs(options.limit) };
    phases.run("virtual machine tests", || {
        vm::run(&inputs, options.filter.as_deref().unwrap_or_default(), limits)
    })?;
    say(&phases.summary());
    Ok(if phases.total.failed == 0 && phases.total.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Everything that needs no virtual machine.
fn without_machines(phases: &mut Phases) -> anyhow::Result<()> {
    phases.run("format", || check(cargo(&["fmt", "--all", "--check"])))?;
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    phases.run("lints", || check(cargo(&lints)))?;
    phases.run("documentation", || {
        let doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"];
        check(cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    phases.run("shell scripts", || check(shellcheck()))?;
    phases.run("unit and process tests", || {
        counted(cargo(&["test", "--workspace", "--no-fail-fast"]))
    })
}

/// What virtual machine tests boot and deploy.
fn build() -> anyhow::Result<Inputs> {
    let mut built = Inputs::build()?;
    built.image_small = Some(artifacts::image_small().context("building the small image")?);
    built.image_full = Some(artifacts::image_full().context("building the full image")?);
    built.image_raid = Some(artifacts::image_raid().context("building the RAID image")?);
    built.plugins = artifacts::plugins().context("building the plugins")?;
    Ok(built)
}

/// What needs no virtual machine either, and waits more than it computes.
fn beside_the_build(phases: &mut Phases) -> anyhow::Result<()> {
    phases.run("Ironic's clients", || {
        crate::client::install().context("installing the baremetal client")?;
        let clients = ["--", "--ignored", "--test-threads", "1", "--skip", "slow::", "clients::"];
        counted(cargo(&[&["test", "--package", "lab", "--test", "process"][..], &clients].concat()))
    })?;
    phases.run("fwupd", || {
        let fwupd = ["--", "--ignored", "--nocapture", "--test-threads", "1", "fwupd::"];
        counted(cargo(&[&["test", "--package", "lab", "--test", "process"][..], &fwupd].concat()))
    })?;
    phases.run("a real conductor", || {
        crate::ironic::install().context("installing Ironic")?;
        let conductor = ["--", "--ignored", "--test-threads", "1", "conductor::"];
        counted(cargo(
            &[&["test", "--package", "lab", "--test", "process"][..], &conductor].concat(),
        ))
    })?;
    phases.run("fuzzing", fuzz::run)
}

/// Runs everything about Ironic's clients: `baremetal`, openstacksdk, Ansible, and schemathesis against `openapi.json`.
///
/// # Errors
///
/// When it cannot be started.
pub fn clients() -> anyhow::Result<ExitCode> {
    packages::ensure(Set::All).context("installing Debian packages")?;
    crate::client::install().context("installing the baremetal client")?;
    let clients = ["--", "--ignored", "--nocapture", "--test-threads", "1", "clients::"];
    let all = [&["test", "--package", "lab", "--test", "process"][..], &clients].concat();
    let Tally { passed, failed } = counted(cargo(&all))?;
    say(&format!("{passed} passed, {failed} failed"));
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Debug, Default)]
struct Phases {
    total: Tally,
    done: Vec<(&'static str, Tally, Duration)>,
}

impl Phases {
    fn run(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<Tally>,
    ) -> anyhow::Result<()> {
        say(&format!("== {name}"));
        let start = Instant::now();
        let tally = work().context(name)?;
        self.total.add(tally);
        self.done.push((name, tally, start.elapsed()));
        Ok(())
    }

    /// The wall time of each phase and, as the last line, the counts.
    fn summary(&self) -> String {
        let mut text = String::from("\n");
        for (name, tally, time) in &self.done {
            let (seconds, Tally { passed, failed }) = (time.as_secs_f64(), tally);
            _ = writeln!(text, "{seconds:8.1} s  {name}: {passed} passed, {failed} failed");
        }
        let Tally { passed, failed } = self.total;
        _ = write!(text, "{passed} passed, {failed} failed");
        text
    }
}

/// Every shell script of the project.
fn shellcheck() -> Program {
    let scripts =
        ["assemble", "config-drive", "debian", "full", "initrd-init", "partition", "raid", "small"];
    Program::new("shellcheck")
        .dir(workspace())
        .args([".ci/run", "plugins/build", "plugins/firmware-fwupd/testdata/capture"])
        .args(["ramdisk/build", "ramdisk/rescue"])
        .args(scripts.map(|name| format!("tests/lab/images/{name}")))
}

/// Cargo in the workspace; its output goes to this terminal unless captured.
fn cargo(args: &[&str]) -> Program {
    Program::cargo(workspace()).args(args)
}

/// The root of the workspace.
fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

fn check(program: Program) -> anyhow::Result<Tally> {
    Ok(Tally::of(program.status()?.success()))
}

/// Runs `cargo test`, shows its lines and adds up its results. A build that fails counts as one failure.
fn counted(program: Program) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let status = program.lines(|line| {
        say(line);
        tally.add(result_line(line).unwrap_or_default());
    })?;
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Reads `test result: ok. 5 passed; 0 failed; …`.
fn result_line(line: &str) -> Option<Tally> {
    let rest = line.trim_start().strip_prefix("test result: ")?;
    let count = |word: &str| {
        let part = rest.split([';', '.']).find_map(|part| part.trim().strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

fn say(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// The path of a test binary, from cargo's own messages.
fn test_binary(name: &str) -> anyhow::Result<PathBuf> {
    let args = [
        "test",
        "--package",
        "lab",
        "--test",
        name,
        "--no-run",
        "--message-format=json-render-diagnostics",
    ];
    let mut found = None;
    let status = cargo(&args).lines(|line| found = found.take().or_else(|| executable(line)))?;
    anyhow::ensure!(status.success(), "building the tests failed ({status})");
    found.context("cargo named no test binary")
}

fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_test = message["profile"]["test"].as_bool() == Some(true);
    message["executable"].as_str().filter(|_| is_test).map(PathBuf::from)
}

/// The names of the ignored tests in a test binary that contain `filter`.
fn ignored_tests(binary: &OsStr, filter: &str) -> Result<Vec<String>, HostError> {
    let text = Program::new(binary).args(["--list", "--ignored", "--format", "terse"]).text()?;
    Ok(listed(&text, filter))
}

fn listed(text: &str, filter: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    names.filter(|name| name.contains(filter)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(result_line(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(result_line("test a::b ... ok"), None);
    }

    #[test]
    fn a_run_that_does_not_compile_is_a_failure() {
        let program = Program::new("sh").args(["-c", "exit 101"]);
        assert_eq!(counted(program).unwrap(), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn the_last_line_has_the_counts_alone() {
        let mut phases = Phases::default();
        phases.run("a", || Ok(Tally { passed: 2, failed: 1 })).unwrap();
        phases.run("b", || Ok(Tally::of(true))).unwrap();
        assert_eq!(phases.summary().lines().last(), Some("3 passed, 1 failed"));
    }

    #[test]
    fn tests_are_listed_by_name_and_filtered() {
        let text = "bmc::a_machine: test\ndeploy::b: test\nbench::c: bench\n";
        assert_eq!(listed(text, ""), ["bmc::a_machine", "deploy::b"]);
        assert_eq!(listed(text, "mach"), ["bmc::a_machine"]);
    }

    #[test]
    fn the_test_binary_is_the_one_built_as_a_test() {
        let message = r#"{"executable":"/t/vm-1","profile":{"test":true}}"#;
        assert_eq!(executable(message), Some("/t/vm-1".into()));
        assert_eq!(executable(r#"{"executable":"/t/lab","profile":{"test":false}}"#), None);
        assert_eq!(executable("Compiling"), None);
    }
}
