//! The command line: run, inventory, write-image, erase, plugin (DESIGN 7).
//!
//! Exit codes are a contract: 0 done and proven, 3 done but not verified because asked so, 1 failed, 2 bad usage.

mod erase;
mod output;
mod plugin;
mod run;
mod write_image;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::order::Facts;
use crate::report::LogTail;
use crate::sys::{System, SystemError};
use output::{Trouble, log};
pub use run::{Commands, Sandboxed, run_in_sandbox};

/// The Ironwright agent: inventories, images and erases one machine.
#[derive(Debug, Parser)]
#[command(name = "ironwright-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take orders from the coordinator. In the ramdisk without arguments; elsewhere only on the disks named.
    Run(run::Args),
    /// Print the inventory as it is sent, as JSON.
    Inventory,
    /// Write an image to a disk, and prove it.
    WriteImage(write_image::Args),
    /// Erase a disk by the best method that it offers, and prove it; or its metadata only. Prints a signed certificate.
    Erase(erase::Args),
    /// Hardware steps as programs of their own.
    Plugin(plugin::Args),
}

/// How a command ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Done, and proven where there is something to prove.
    Proven,
    /// Done, but not verified, because asked so.
    NotVerified,
}

/// Runs the command on the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let tail = LogTail::default();
    let result = match cli.command {
        Command::Run(args) => {
            log(&tail, "info");
            run::run(args, tail)
        }
        Command::Inventory => {
            log(&tail, "warn");
            inventory()
        }
        Command::WriteImage(args) => {
            log(&tail, "warn");
            let json = args.json;
            output::end(write_image::run(args), json)
        }
        Command::Erase(args) => {
            log(&tail, "warn");
            let json = args.json;
            output::end(erase::run(&args), json)
        }
        Command::Plugin(args) => {
            log(&tail, "info");
            if let Some(code) = args.launch() {
                return code;
            }
            let json = args.json();
            output::end(plugin::run(args), json)
        }
    };
    output::exit(result)
}

/// A command line that is not understood, or asks for help. Nothing can be done where even this cannot be printed.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|word| word == "--json") {
        return output::exit(output::end(Err(Trouble::command_line(error)), true));
    }
    error.print().ok();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn inventory() -> Result<Done, Trouble> {
    // Facts are only read; no disk is opened.
    let root = Path::new("/");
    let inventory = crate::inventory::collect(root);
    let mut document = crate::inventory::quick(root, &inventory.disks, &inventory.blank);
    let printed = serde_json::to_value(&inventory)
        .map_err(|error| Trouble::new(&error, "report this with the machine's console"))?;
    document.insert("inventory".to_owned(), printed);
    output::print_json(&document)?;
    Ok(Done::Proven)
}

/// The machine in the ramdisk, elsewhere a sandbox of the disks named.
fn system(disks: &[PathBuf]) -> Result<System, SystemError> {
    match System::machine() {
        Ok(machine) => Ok(machine),
        Err(not_ramdisk) if disks.is_empty() => Err(not_ramdisk),
        Err(_) => System::sandbox(Path::new("/"), disks),
    }
}

/// A runtime for a command.
fn runtime() -> Result<tokio::runtime::Runtime, Trouble> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Trouble::new(&error, "check the limits on threads and memory"))
}

/// Collects the facts where blocking is allowed.
async fn collect(system: std::sync::Arc<System>) -> Result<Facts, Trouble> {
    tokio::task::spawn_blocking(move || Facts::collect(&system))
        .await
        .map_err(|error| Trouble::new(&error, "report this with the machine's console"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_people_type_is_understood_and_nonsense_is_bad_usage() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (words, expected) in [
            (vec!["run"], None),
            (
                vec![
                    "run",
                    "--api-url",
                    "http://h",
                    "--disk",
                    "/a",
                    "--disk",
                    "/b",
                    "--mac",
                    "52:54:00:00:00:01",
                ],
                None,
            ),
            (vec!["inventory"], None),
            (
                vec![
                    "write-image",
                    "--url",
                    "http://h/i",
                    "--checksum",
                    &digest,
                    "--disk",
                    "/d",
                    "--readback",
                    "none",
                    "--json",
                ],
                None,
            ),
            (vec!["erase", "--disk", "/d", "--json"], None),
            (
                vec!["plugin", "run", "step", "--bundle", "/b", "--trust", "/k", "--disk", "/d"],
                None,
            ),
            (vec!["plugin", "run", "step", "--dir", "/p", "--args", "{\"a\": 1}"], None),
            (vec!["plugin", "run", "step"], Some(2)),
            (vec!["plugin", "run", "step", "--dir", "/p", "--args", "{"], Some(2)),
            (vec![], Some(2)),
            (vec!["write-image", "--url", "http://h/i", "--disk", "/d"], Some(2)),
            (
                vec!["write-image", "--url", "http://h/i", "--checksum", "md5:00", "--disk", "/d"],
                Some(2),
            ),
            (vec!["run", "--mac", "nonsense"], Some(2)),
            (vec!["erase"], Some(2)),
        ] {
            let parsed = Cli::try_parse_from(std::iter::once(&"ironwright-agent").chain(&words));
            assert_eq!(parsed.err().map(|error| error.exit_code()), expected, "{words:?}");
        }
    }

    #[test]
    fn a_command_line_that_is_not_understood_has_a_message_and_a_remedy() {
        let words = ["ironwright-agent", "erase", "--disk", "/d", "--everything", "--json"];
        let trouble = Trouble::command_line(&Cli::try_parse_from(words).unwrap_err());
        assert_eq!(trouble.message, "unexpected argument '--everything' found");
        assert!(trouble.remedy.contains("Usage: ironwright-agent erase"), "{}", trouble.remedy);
        assert_eq!(trouble.code, 2);
    }

    #[test]
    fn outside_the_ramdisk_nothing_is_done_without_a_named_disk() {
        assert!(matches!(system(&[]), Err(SystemError::NotRamdisk)));
    }
}
