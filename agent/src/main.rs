//! The agent's program. In the ramdisk it is also PID 1 and what PID 1 starts.

use std::process::ExitCode;

use ironwright_agent::{cli, supervisor};

fn main() -> ExitCode {
    match supervisor::role() {
        Some(role) => supervisor::run(role),
        None => cli::main(),
    }
}
