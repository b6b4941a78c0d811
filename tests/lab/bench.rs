//! `cargo lab bench`: measurements beside the ways of others, in one run. Figures are no tests: it fails only where something
//! could not be measured.
//!
//! The measuring itself is in `tests/bench`; here is what it needs: packages, the agent, a real image, namespaces of its own.

mod erase;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::artifacts::{self, workspace};
use crate::packages::{self, Set};

/// What can be measured.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Subject {
    /// An image to a disk: ours, the Ironic agent's way, qemu-img from the URL, curl and dd
    Image,
    /// An image 20 times larger than the memory it is written in
    Memory,
    /// Disks of one machine erased at once and one by one; an overwrite and its proof beside the disk's own speed
    Erase,
}

impl Subject {
    fn script(self) -> &'static str {
        match self {
            Self::Image => "image.py",
            Self::Memory => "memory.py",
            Self::Erase => "erase.py",
        }
    }
}

pub use erase::run_inside as erase_inside;

/// Options of `cargo lab bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to measure
    subject: Subject,
    /// Passed on, for example `--rounds 3 --on tmpfs`
    #[arg(last = true)]
    more: Vec<OsString>,
}

/// Sets up what the measurement needs and runs it.
///
/// # Errors
///
/// When something cannot be set up or started.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    packages::ensure(Set::Bench).context("installing Debian packages")?;
    let agent = artifacts::agent()?;
    let base = match options.subject {
        Subject::Image | Subject::Memory => artifacts::image_full()?,
        Subject::Erase => erase::side_by_side().map(|()| PathBuf::new())?,
    };
    let mut command: Vec<OsString> = vec![
        "python3".into(),
        workspace().join("tests/bench").join(options.subject.script()).into(),
    ];
    let images = packages::cache_dir().join("bench").join("images");
    for (name, value) in [("--agent", agent), ("--base", base), ("--images", images)] {
        command.extend([name.into(), value.into()]);
    }
    let example = match options.subject {
        Subject::Image => None,
        Subject::Memory => Some("image_memory"),
        Subject::Erase => Some("erase_phases"),
    };
    if let Some(example) = example {
        command.extend(["--example".into(), artifacts::agent_example(example)?.into()]);
    }
    command.extend(options.more.iter().cloned());
    let binary = crate::inside::lab_binary()?;
    let mut service = crate::inside::program(binary.as_os_str(), &command, &[])?
        .attached()
        .context("starting the measurement")?;
    let ended = service.join()?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
