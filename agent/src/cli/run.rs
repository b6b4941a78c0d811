//! `run`: find the coordinator, then beat until told to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironwright_api::{Failure, ImageAccess};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::Trouble;
use super::{Done, collect, runtime, system};
use crate::config::{Parameters, Settings, normal_mac};
use crate::coordinator::{Coordinator, Retry};
use crate::erase::certificate::{Notary, Signer};
use crate::heartbeat::{Boot, Heart, Pace, Stages};
use crate::journal::{Journal, Session};
use crate::order::{Facts, Machine};
use crate::plugin::supply::Supply;
use crate::report::LogTail;
use crate::sys::System;
use crate::tls;

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
}

fn mac(text: &str) -> Result<String, String> {
    normal_mac(text).ok_or_else(|| "it is not a MAC address".to_owned())
}

/// An agent in a process of somebody else's: always a sandbox.
#[derive(Debug)]
pub struct Sandboxed {
    /// Base URL of the coordinator, without /v1.
    pub api_url: String,
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
}

pub(super) fn run(args: Args, tail: LogTail) -> Result<Done, Trouble> {
    let system = system(&args.disk).map_err(|error| Trouble::usage(&error))?;
    let agent = Agent::new(&args, system, tail)?;
    runtime()?.block_on(async { agent.run(args.mac, stop_signals()?).await })
}

/// Runs an agent until `stop`, in a sandbox of the disks named: whatever machine this is, no other disk is opened.
///
/// # Errors
///
/// What the program would print, with its remedy.
pub async fn run_in_sandbox(options: Sandboxed, stop: CancellationToken) -> Result<(), Failure> {
    let system =
        System::sandbox(Path::new("/"), &options.disks).map_err(|error| Trouble::usage(&error))?;
    let args = Args {
        api_url: Some(options.api_url),
        disk: options.disks,
        mac: options.macs,
        nonce: options.nonce,
        tls_pin: options.tls_pin,
        run_dir: options.run_dir,
        trust: options.trust,
    };
    let agent = Agent {
        pace: options.pace,
        launcher: None,
        ..Agent::new(&args, system, LogTail::default())?
    };
    agent.run(args.mac, stop).await?;
    Ok(())
}

/// In the ramdisk the kernel command line, with flags on top; elsewhere flags only.
fn settings(args: &Args, system: &System) -> Result<Settings, crate::config::SettingsError> {
    let mut parameters = match system.named_disks() {
        None => Parameters::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default()),
        Some(_) => Parameters::default(),
    };
    for (key, value) in [
        ("ipa-api-url", &args.api_url),
        ("ironwright.nonce", &args.nonce),
        ("ironwright.tls", &args.tls_pin),
    ] {
        if let Some(value) = value {
            parameters.set(key, value);
        }
    }
    Settings::from_parameters(&parameters)
}

struct Agent {
    settings: Settings,
    system: Arc<System>,
    journal: Arc<Journal>,
    signer: Arc<Signer>,
    stages: Stages,
    tail: LogTail,
    pace: Option<Pace>,
    /// Trusted keys of plugins, outside the ramdisk.
    trust: Vec<PathBuf>,
    /// Confines plugins.
    launcher: Option<PathBuf>,
}

impl Agent {
    fn new(args: &Args, system: System, tail: LogTail) -> Result<Self, Trouble> {
        let boot = Boot::read(&args.run_dir);
        let stages = Stages::start(boot.as_ref());
        let settings = settings(args, &system).map_err(|error| Trouble::usage(&error))?;
        let journal = Journal::open(&args.run_dir, boot.map(|boot| boot.boot_id))
            .map_err(|error| Trouble::new(&error, "name a directory of your own with --run-dir"))?;
        let signer = Signer::of_boot(&args.run_dir).map_err(|error| {
            Trouble::new(&error, "remove the damaged key, or start the ramdisk anew")
        })?;
        let (system, journal) = (Arc::new(system), Arc::new(journal));
        let launcher = std::env::current_exe().map_err(|error| {
            Trouble::new(
                &error,
                "check that /proc is mounted and the agent's binary is still there",
            )
        })?;
        Ok(Self {
            settings,
            system,
            journal,
            signer: Arc::new(signer),
            stages,
            tail,
            pace: None,
            trust: args.trust.clone(),
            launcher: Some(launcher),
        })
    }

    async fn run(self, macs: Vec<String>, stop: CancellationToken) -> Result<Done, Trouble> {
        let rescued = crate::rescue::is_open(&self.system);
        if rescued && self.journal.unacknowledged().is_empty() {
            // An earlier process let somebody in and said so; whoever is in must not be disturbed.
            tracing::info!("this is a rescue system: nothing else is done in this boot");
            stop.cancelled().await;
            return Ok(Done::Proven);
        }
        let network = "check the network, the coordinator and the boot script";
        let Settings { tls_pin, http_timeout, lldp_timeout, .. } = self.settings;
        let client = tls::coordinator_client(tls_pin, http_timeout)
            .map_err(|error| Trouble::new(&error, "report this with the machine's console"))?;
        let coordinator = Coordinator::new(
            client,
            self.settings.api_urls.clone(),
            self.settings.request_id.clone(),
        );
        let images = tls::image_client(tls_pin, Path::new(tls::CA_BUNDLE), &ImageAccess::default())
            .map_err(|error| Trouble::new(&error, "check the certificate authorities"))?;
        let files = tls::file_client(tls_pin, http_timeout)
            .map_err(|error| Trouble::new(&error, "report this with the machine's console"))?;
        tracing::info!("phase: inventory");
        let facts = collect(self.system.clone()).await?;
        let session = tokio::select! {
            session = self.session(&coordinator, macs, &facts) => session,
            () = stop.cancelled() => return Ok(Done::Proven),
        };
        let session = session.map_err(|error| Trouble::new(&error, network))?;
        tracing::info!(node = %session.node, boot_id = %self.journal.boot_id(), "phase: waiting for orders, for this node");
        let notary = Notary {
            node_uuid: session.node,
            boot_id: self.journal.boot_id(),
            signer: self.signer.clone(),
        };
        let plugins = Supply::new(files, self.settings.api_urls, self.trust, self.launcher);
        let machine = Machine::new(self.system, images, facts).trusting(tls_pin);
        let machine = machine.listening(lldp_timeout);
        let crew = Arc::new(machine.with_notary(notary).with_plugins(plugins));
        let pace = self.pace.unwrap_or_else(|| Pace::new(session.interval_ms));
        Heart::new(coordinator, session, self.journal, crew, self.tail, self.stages)
            .with_pace(pace)
            .with_erase_key(self.signer.public_key())
            .run(stop.clone())
            .await;
        // Ends early only after a rescue: the supervisor would start an agent that ended anew.
        stop.cancelled().await;
        Ok(Done::Proven)
    }

    /// The session an earlier process of this boot had, or a new one.
    async fn session(
        &self,
        coordinator: &Coordinator,
        macs: Vec<String>,
        facts: &Facts,
    ) -> Result<Session, crate::coordinator::LookupError> {
        if let Some(session) = self.journal.session() {
            tracing::warn!("the agent was restarted in this boot: going on with its token");
            return Ok(session);
        }
        let macs = addresses(macs, facts, self.settings.bootif.as_deref());
        tracing::info!("phase: lookup, by {}", macs.join(", "));
        let retry = Retry::new(self.settings.lookup_timeout, self.settings.lookup_interval);
        let nonce = self.settings.nonce.as_ref();
        let session = coordinator.lookup(&macs, nonce, self.journal.boot_id(), retry).await?;
        self.journal.set_session(&session);
        Ok(session)
    }
}

/// The addresses given, or those of the inventory with the card that booted.
fn addresses(given: Vec<String>, facts: &Facts, bootif: Option<&str>) -> Vec<String> {
    if !given.is_empty() {
        return given;
    }
    let mut macs = facts.macs.clone();
    if let Some(bootif) = bootif
        && !macs.iter().any(|mac| mac == bootif)
    {
        macs.push(bootif.to_owned());
    }
    macs
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
