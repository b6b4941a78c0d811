//! stub
use std::process::ExitCode;
/// o
#[derive(Debug, clap::Args)]
pub struct Options {}
/// r
pub fn down() -> anyhow::Result<ExitCode> { Ok(ExitCode::SUCCESS) }
/// r
pub fn own(_: &OwnerOptions) -> anyhow::Result<ExitCode> { Ok(ExitCode::SUCCESS) }
/// o
#[derive(Debug, clap::Args)]
pub struct OwnerOptions {}
/// r
pub fn run(_: &Options) -> anyhow::Result<ExitCode> { Ok(ExitCode::SUCCESS) }
/// r
pub fn run_inside(_: &Options) -> anyhow::Result<ExitCode> { Ok(ExitCode::SUCCESS) }
