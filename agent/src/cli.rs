//! The command line: run, inventory, write-image, erase (DESIGN 7).

use std::process::ExitCode;

/// Runs the command on the command line.
#[must_use]
#[expect(clippy::print_stderr, reason = "the answer of a program to its user")]
pub fn main() -> ExitCode {
    eprintln!("ironwright-agent: no commands in this build");
    ExitCode::from(2)
}
