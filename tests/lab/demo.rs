//! `cargo lab demo`: from a machine without an operating system to a running Debian that says so, before your eyes.

mod deploy;
mod view;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

use crate::artifacts;
use crate::host::Service;
use crate::machine::Firmware;
use crate::packages::{self, Set};
use crate::runs::{self, Inputs};
use view::say;

/// Which operating system image is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Image {
    /// Debian without cloud-init; boots in seconds even when emulated.
    Small,
    /// Debian with cloud-init and SSH.
    Full,
}

/// Options of `cargo lab demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Firmware of the machine; without it BIOS first, then UEFI
    #[arg(long, value_enum)]
    firmware: Option<Firmware>,
    /// The Debian to deploy
    #[arg(long, value_enum, default_value = "small")]
    image: Image,
    /// Memory of the machine, MiB
    #[arg(long, default_value_t = 1024)]
    memory: u32,
}

/// Runs the demo.
///
/// # Errors
///
/// When something cannot be set up; a deploy that fails has said why and gives a failing exit code.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let inputs = prepare(options.image)?;
    say(&format!("everything is built ({:.0} s)", start.elapsed().as_secs_f64()));
    let both = [Firmware::Bios, Firmware::Uefi];
    let chosen: Vec<_> = options.firmware.map_or_else(|| both.to_vec(), |one| vec![one]);
    for firmware in chosen {
        if !run_one(&inputs, &Options { firmware: Some(firmware), ..options.clone() })? {
            return Ok(ExitCode::FAILURE);
        }
    }
    say(&format!(
        "the demo is done ({:.0} s); nothing of it is left running",
        start.elapsed().as_secs_f64()
    ));
    Ok(ExitCode::SUCCESS)
}

fn prepare(image: Image) -> anyhow::Result<Inputs> {
    say("Debian packages: looking for what is missing");
    packages::ensure(Set::All).context("installing Debian packages")?;
    say("agent, ramdisk, coordinator: building what changed");
    let mut inputs = Inputs::build()?;
    say("Debian image: building it, or taking it from the cache");
    match image {
        Image::Small => inputs.image_small = Some(artifacts::image_small()?),
        Image::Full => inputs.image_full = Some(artifacts::image_full()?),
    }
    Ok(inputs)
}

/// One deploy in namespaces of its own; whether it succeeded.
fn run_one(inputs: &Inputs, options: &Options) -> anyhow::Result<bool> {
    let dir = runs::create("demo")?;
    inputs.leave_in(&dir)?;
    let lab = crate::inside::lab_binary()?;
    let mut command: Vec<OsString> = vec![lab.clone().into(), "demo-inside".into()];
    command.extend(options.words().map(OsString::from));
    let env = [(runs::RUN_DIR, dir.as_os_str())];
    let mut service: Service = crate::inside::program(lab.as_os_str(), &command, &env)?
        .attached()
        .context("starting the run")?;
    let status = service.join()?;
    runs::drop_disks(&dir);
    if !status.success() {
        say(&format!("the demo failed; its logs are in {} until the next run", dir.display()));
    }
    Ok(status.success())
}

impl Options {
    /// The command line that says the same.
    fn words(&self) -> [String; 6] {
        let firmware = match self.firmware {
            Some(Firmware::Uefi) => "uefi",
            Some(Firmware::Bios) | None => "bios",
        };
        let image = match self.image {
            Image::Small => "small",
            Image::Full => "full",
        };
        ["--firmware", firmware, "--image", image, "--memory", &self.memory.to_string()]
            .map(str::to_owned)
    }

    fn image_of(&self, inputs: &Inputs) -> anyhow::Result<PathBuf> {
        let image = match self.image {
            Image::Small => &inputs.image_small,
            Image::Full => &inputs.image_full,
        };
        image.clone().context("the run was given no image of this kind")
    }
}

/// The part of the demo that lives inside the run.
///
/// # Errors
///
/// What failed, with the last words of the machine's console.
pub fn run_inside(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(deploy::show(options))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_the_inside_is_told_is_what_was_asked() {
        let asked =
            Line::parse_from(["x", "--firmware", "uefi", "--image", "full", "--memory", "2048"]);
        let words = asked.options.words();
        let told = Line::parse_from(std::iter::once("x".to_owned()).chain(words)).options;
        assert_eq!(told.firmware, Some(Firmware::Uefi));
        assert_eq!((told.image, told.memory), (Image::Full, 2048));
    }
}
