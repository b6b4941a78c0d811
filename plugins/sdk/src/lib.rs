//! Hardware steps for Ironwright as programs of their own.
//!
//! A plugin is a folder with a [`Manifest`] (`manifest.json`) and a tree of files (`root/`) with a program. The agent starts
//! the program once for each [`Request`]: one JSON object in one line on standard input. The program answers with lines on
//! standard output, each a [`Reply`], the last of them the answer proper; standard error is log. This crate has the types of
//! that protocol and, for plugins in Rust, [`Step`] and [`serve()`]. `plugins/README.md` shows a whole conversation.
#![forbid(unsafe_code)]

mod declared;
mod manifest;
mod serve;
mod wire;

pub use manifest::{Argument, ArgumentType, Limits, Manifest, ManifestProblem, Safety, StepInfo};
pub use serve::{Context, Plugin, Problem, Step, Success, serve};
pub use wire::{
    Describe, Failed, Operation, Outcome, Plan, Progress, Reply, Request, Verdict, Who,
};

/// Version of the protocol. The agent runs plugins of its own version only, and says which it speaks.
pub const PROTOCOL: u32 = 1;
