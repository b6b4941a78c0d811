//! `cargo lab bench`: measurements beside the ways of others, in one run. Figures are no tests: it fails only where something
//! could not be measured.
//!
//! The measuring itself is in `tests/bench`; here is what it needs: packages, the agent, a real image, namespaces of its own.

mod erase;
mod plugins;
mod ramdisk;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use anyhow::Context;

use crate::artifacts::{self, workspace};
use crate::packages::{self, Set};
use crate::venv;

/// The release of Ironic that stands beside us, from PyPI.
const IRONIC: &str = "ironic==39.0.0";

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// An image to a disk: ours, the Ironic agent's way, qemu-img from the URL, curl and dd
    Image,
    /// An image 20 times larger than the memory it is written in
    Memory,
    /// Disks of one machine erased at once and one by one; an overwrite and its proof beside the disk's own speed
    Erase,
    /// The ramdisk: size, memory, and time from power on to the first heartbeat; behind `--` commits to stand beside
    Ramdisk,
    /// A step of a plugin over one of the agent's own: describe, plan and run, in shell, Rust and Python; behind `--` the rounds
    Plugins,
    /// The operator's API beside Ironic's: CPU of lists, rate of enrolments, memory, start
    Api,
}

impl Subject {
    /// The script that measures, where it is none of the lab's own.
    fn script(self) -> Option<&'static str> {
        match self {
            Self::Image => Some("image.py"),
            Self::Memory => Some("memory.py"),
            Self::Erase => Some("erase.py"),
            Self::Api => Some("api.py"),
            Self::Ramdisk | Self::Plugins => None,
        }
    }
}

pub use erase::run_inside as erase_inside;
pub use ramdisk::run_inside as ramdisk_inside;

/// Options of `cargo lab bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to measure
    subject: Subject,
    /// Passed on, for example `--rounds 3 --on tmpfs`
    #[arg(last = true)]
    more: Vec<OsString>,
}

/// Runs a command of the lab in namespaces of its own, with `dir` as its run's directory; the disks there are dropped afterwards.
fn in_a_run(dir: &Path, words: [&str; 2]) -> anyhow::Result<ExitStatus> {
    let lab = crate::inside::lab_binary()?;
    let words = words.map(OsString::from);
    let command: Vec<OsString> = std::iter::once(lab.clone().into()).chain(words).collect();
    let env = [(crate::runs::RUN_DIR, dir.as_os_str())];
    let ended = crate::inside::program(lab.as_os_str(), &command, &env)?
        .attached()
        .context("starting the run")?
        .join()?;
    crate::runs::drop_disks(dir);
    Ok(ended)
}

/// Builds what the script of `subject` needs: its arguments.
fn inputs(subject: Subject) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let folder = packages::cache_dir().join("bench");
    if subject == Subject::Api {
        return Ok(vec![
            ("--coordinator", artifacts::coordinator_release()?),
            ("--ironic", venv::install("ironic", IRONIC)?),
            ("--work", folder.join("api")),
        ]);
    }
    let agent = artifacts::agent()?;
    let (base, example) = match subject {
        Subject::Memory => (artifacts::image_full()?, Some("image_memory")),
        Subject::Erase => (erase::side_by_side().map(|()| PathBuf::new())?, Some("erase_phases")),
        Subject::Image | Subject::Api | Subject::Ramdisk | Subject::Plugins => {
            (artifacts::image_full()?, None)
        }
    };
    let mut inputs =
        vec![("--agent", agent), ("--base", base), ("--images", folder.join("images"))];
    if let Some(example) = example {
        inputs.push(("--example", artifacts::agent_example(example)?));
    }
    Ok(inputs)
}

/// A script of `tests/bench` with what it needs.
fn script_command(script: &str, options: &Options) -> anyhow::Result<Vec<OsString>> {
    let mut command: Vec<OsString> =
        vec!["python3".into(), workspace().join("tests/bench").join(script).into()];
    for (name, value) in inputs(options.subject)? {
        command.extend([name.into(), value.into()]);
    }
    command.extend(options.more.iter().cloned());
    Ok(command)
}

/// Sets up what the measurement needs and runs it.
///
/// # Errors
///
/// When something cannot be set up or started.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    packages::ensure(Set::Bench).context("installing Debian packages")?;
    let command = match (options.subject, options.subject.script()) {
        (Subject::Plugins, _) => {
            plugins::command(&packages::cache_dir().join("bench"), &options.more)?
        }
        (_, None) => return ramdisk::side_by_side(&options.more),
        (_, Some(script)) => script_command(script, options)?,
    };
    let binary = crate::inside::lab_binary()?;
    let mut service = crate::inside::program(binary.as_os_str(), &command, &[])?
        .attached()
        .context("starting the measurement")?;
    let ended = service.join()?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
