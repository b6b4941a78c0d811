//! What people type, and what the lab's processes type to each other.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{bench, chassis, demo, inside, matrix, test_runner, up};

#[derive(Debug, Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", about = "The virtual bare-metal lab")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Deploys a real Debian to a virtual machine with a BMC, shows it, and proves it
    Demo(demo::Options),
    /// Runs every test, set-up included; a filter runs only the virtual machine tests whose names contain it
    Test(test_runner::Options),
    /// Runs Ironic's clients against the coordinator: baremetal, openstacksdk, Ansible; and schemathesis against openapi.json
    Clients,
    /// Measures side by side with the ways of others, and prints ratios
    Bench(bench::Options),
    /// Deploys with agent and coordinator of these sources and of another commit, each with each
    Matrix(matrix::Options),
    /// Starts a lab to play with, and prints how to reach it
    Up(up::Options),
    /// Ends the lab that `up` started
    Down,
    /// The first process of a run
    #[command(hide = true)]
    Inside {
        /// What to run
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// The demo inside its run
    #[command(hide = true)]
    DemoInside(demo::Options),
    /// A machine whose disks are erased, inside its run
    #[command(hide = true)]
    EraseInside {
        /// Disks erased at once
        at_once: u32,
    },
    /// A machine that boots the ramdisk until its first heartbeat, inside its run
    #[command(hide = true)]
    RamdiskInside {
        /// Its firmware
        #[arg(value_enum)]
        firmware: crate::machine::Firmware,
    },
    /// The process that owns what `up` started
    #[command(hide = true)]
    UpOwner(up::Options),
    /// What `up` started, inside its run
    #[command(hide = true)]
    UpInside(up::Options),
    /// Power and boot device of a machine, for its BMC
    #[command(hide = true)]
    Chassis {
        /// The machine's directory
        machine: PathBuf,
        /// get or set
        operation: String,
        /// Parameters and values
        words: Vec<String>,
    },
}

/// Parses the command line, runs it, and says in one line what failed.
#[must_use]
pub fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "cargo lab: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test_runner::run(&options),
        Command::Clients => test_runner::clients(),
        Command::Bench(options) => bench::run(&options),
        Command::Matrix(options) => matrix::run(&options),
        Command::Up(options) => up::run(&options),
        Command::Down => up::down(),
        Command::Inside { command } => Ok(inside::init(&command)?.into()),
        Command::DemoInside(options) => demo::run_inside(&options),
        Command::EraseInside { at_once } => bench::erase_inside(at_once),
        Command::RamdiskInside { firmware } => bench::ramdisk_inside(firmware),
        Command::UpOwner(options) => up::own(&options),
        Command::UpInside(options) => up::run_inside(&options),
        Command::Chassis { machine, operation, words } => {
            let answer = chassis::run(&machine, &operation, &words)?;
            std::io::stdout().write_all(answer.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_what_people_type_is_in_the_help() {
        let help = Cli::command().render_help().to_string();
        for word in ["demo", "test", "clients", "bench", "matrix", "up", "down"] {
            assert!(help.contains(&format!("  {word}  ")), "{help}");
        }
        assert!(!help.contains("chassis") && !help.contains("inside"), "{help}");
    }
}
