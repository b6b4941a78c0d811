//! `cargo lab`: the virtual bare-metal lab.
use std::process::ExitCode;

fn main() -> ExitCode {
    lab::cli::main()
}
