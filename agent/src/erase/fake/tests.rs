//! Whole erases of simulated devices, good ones and bad ones.

mod ata;
mod nvme;
mod scsi;

use std::cell::RefCell;

use ironwright_api::{EraseMethod as M, EraseSettings};

use super::FakeBlocks;
use crate::erase::attempt::{Attempt, Outcome};
use crate::erase::ladder::Medium;
use crate::erase::overwrite::Follow;
use crate::sys::command::DeviceCommands;

const BYTES: usize = 1 << 20;

/// Remembers what it was told; stops when `stop` says so.
#[derive(Default)]
struct Eye {
    told: RefCell<Vec<(&'static str, u64)>>,
    stop: Option<(&'static str, u64)>,
}

impl Follow for Eye {
    fn go_on(&self, phase: &'static str, bytes: u64) -> bool {
        self.told.borrow_mut().push((phase, bytes));
        !self.stop.is_some_and(|(stop, at)| stop == phase && bytes >= at)
    }
}

fn erase_with(
    blocks: &FakeBlocks,
    commands: &dyn DeviceCommands,
    settings: &EraseSettings,
    follow: &Eye,
) -> Outcome {
    let medium = Medium { transport: "", rotational: true };
    Attempt { disk: blocks, commands, medium, settings, planned: None, follow }.erase()
}

fn erase(blocks: &FakeBlocks, commands: &dyn DeviceCommands) -> Outcome {
    erase_with(blocks, commands, &EraseSettings::default(), &Eye::default())
}

fn allow_weaker() -> EraseSettings {
    EraseSettings { allow_weaker: true, ..EraseSettings::default() }
}

fn reason(outcome: &Outcome, method: M) -> &str {
    let entry = outcome.passed_over.iter().find(|entry| entry.method == method);
    entry.map_or("", |entry| &entry.reason)
}
