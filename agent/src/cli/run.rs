//! `run`: find the coordinator, then beat until told to stop.

mod agent;

use std::path::PathBuf;

use ironwright_api::Failure;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::Trouble;
use super::{Done, runtime, system};
use crate::config::{Parameters, Settings, normal_mac};
use crate::heartbeat::Pace;
use crate::ironic::media;
use crate::report::LogTail;
use crate::sys::{Effect, System};
use agent::Agent;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Base URL of the coordinator, without /v1; a comma list is tried in order.
    #[arg(long)]
    api_url: Option<String>,
    /// A disk or file that orders may use; needed outside the ramdisk, where no other is ever opened.
    #[arg(long)]
    disk: Vec<PathBuf>,
    /// A MAC address to look the node up by, instead of this machine's.
    #[arg(long, value_parser = mac)]
    mac: Vec<String>,
    /// The one-time nonce of this boot, hexadecimal.
    #[arg(long, env = "IRONWRIGHT_NONCE", hide_env_values = true)]
    nonce: Option<String>,
    /// SHA-256 of the coordinator's certificate (DER), hexadecimal; needed for https.
    #[arg(long)]
    tls_pin: Option<String>,
    /// Where token and unacknowledged reports survive a restart of this process.
    #[arg(long, default_value = "/run/ironwright")]
    run_dir: PathBuf,
    /// Trusted public keys of plugins, files or folders, outside the ramdisk; in it only those that it was booted with.
    #[arg(long)]
    trust: Vec<PathBuf>,
    /// A folder of plugins for an Ironic conductor, `*.plugin`, outside the ramdisk; in it those that it was booted with.
    #[arg(long)]
    plugins: Option<PathBuf>,
    /// Where to post what an inspection finds, once, before the lookup; without --api-url nothing else is done.
    #[arg(long)]
    inspection_url: Option<String>,
    /// Where an Ironic conductor's commands are taken; 0: any free port.
    #[arg(long)]
    listen_port: Option<u16>,
}

fn mac(text: &str) -> Result<String, String> {
    normal_mac(text).ok_or_else(|| "it is not a MAC address".to_owned())
}

/// How a conductor reaches an agent in a sandbox, where that is not the usual way.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    /// `ipa-inspection-callback-url`.
    pub inspection_url: Option<String>,
    /// The port of commands; 0: any free one.
    pub port: u16,
    /// A folder of plugins for the conductor, `*.plugin`.
    pub plugins: Option<PathBuf>,
}

/// An agent in a process of somebody else's: always a sandbox.
#[derive(Debug)]
pub struct Sandboxed {
    /// Base URL of the coordinator, without /v1.
    pub api_url: String,
    /// Where facts are read: `/`, or a captured tree.
    pub root: PathBuf,
    /// The disks or files that orders may use.
    pub disks: Vec<PathBuf>,
    /// MAC addresses to look the node up by.
    pub macs: Vec<String>,
    /// The one-time nonce of this boot, hexadecimal.
    pub nonce: Option<String>,
    /// SHA-256 of the coordinator's certificate (DER), hexadecimal; needed for https.
    pub tls_pin: Option<String>,
    /// Where token and unacknowledged reports survive a restart of the agent.
    pub run_dir: PathBuf,
    /// Public keys of plugins, files or folders. Plugins run here without confinement: this process is no launcher for them.
    pub trust: Vec<PathBuf>,
    /// How far apart heartbeats are; none: as the coordinator asks.
    pub pace: Option<Pace>,
    /// For Ironic mode.
    pub commands: Commands,
}

pub(super) fn run(args: Args, tail: LogTail) -> Result<Done, Trouble> {
    let system = system(&args.disk).map_err(|error| Trouble::usage(&error))?;
    let agent = Agent::new(&args, system, tail)?;
    runtime()?.block_on(async { agent.run(args.mac, stop_signals()?).await })
}

/// Runs an agent until `stop`, in a sandbox of the disks named: whatever machine this is, no other disk is opened.
///
/// Returns what would have been done to the machine and was recorded instead.
///
/// # Errors
///
/// What the program would print, with its remedy.
pub async fn run_in_sandbox(
    options: Sandboxed,
    stop: CancellationToken,
) -> Result<Vec<Effect>, Failure> {
    let system = System::sandbox(&options.root, &options.disks);
    let system = system.map_err(|error| Trouble::usage(&error))?;
    let args = Args {
        api_url: Some(options.api_url).filter(|url| !url.is_empty()),
        disk: options.disks,
        mac: options.macs,
        nonce: options.nonce,
        tls_pin: options.tls_pin,
        run_dir: options.run_dir,
        trust: options.trust,
        plugins: options.commands.plugins,
        inspection_url: options.commands.inspection_url,
        listen_port: Some(options.commands.port),
    };
    let agent = Agent::new(&args, system, LogTail::default())?.in_somebody_elses(options.pace);
    let system = agent.system();
    agent.run(args.mac, stop).await?;
    Ok(system.recorded())
}

/// In the ramdisk the kernel command line, with flags on top; elsewhere flags only.
fn settings(args: &Args, system: &System) -> Result<Settings, crate::config::SettingsError> {
    let mut parameters = match system.named_disks() {
        None => {
            let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
            let mut parameters = Parameters::parse(&line);
            media::add(&mut parameters);
            parameters
        }
        Some(_) => Parameters::default(),
    };
    for (key, value) in [
        ("ipa-api-url", &args.api_url),
        ("ironwright.nonce", &args.nonce),
        ("ironwright.tls", &args.tls_pin),
        ("ipa-inspection-callback-url", &args.inspection_url),
        ("ipa-listen-port", &args.listen_port.map(|port| port.to_string())),
    ] {
        if let Some(value) = value {
            parameters.set(key, value);
        }
    }
    Settings::from_parameters(&parameters)
}

/// Cancelled at SIGTERM or SIGINT.
fn stop_signals() -> Result<CancellationToken, Trouble> {
    let failed = |error| Trouble::new(&error, "report this with the machine's console");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    // Ends with the process: there is nobody left to join it.
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        tracing::warn!("told to stop");
        told.cancel();
    });
    Ok(stop)
}
