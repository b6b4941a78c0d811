//! The coordinator's command line.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ironwright_coordinator::app::chain;
use ironwright_coordinator::settings::Settings;
use ironwright_coordinator::{boot, serve};
use tracing_subscriber::EnvFilter;

/// Ironwright's thin coordinator: node records, power and boot, and Ironic's API for bare metal.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and drive the nodes until SIGTERM.
    Serve {
        /// Settings file (TOML); without it the defaults.
        #[arg(long, env = "IRONWRIGHT_CONFIG")]
        config: Option<PathBuf>,
        /// Address of the operator's API, instead of the file's.
        #[arg(long)]
        listen: Option<SocketAddr>,
    },
    /// Print the DHCP and TFTP settings (dnsmasq) for this coordinator.
    DnsmasqConfig {
        /// Settings file (TOML).
        #[arg(long, env = "IRONWRIGHT_CONFIG")]
        config: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Serve { config, listen } => {
            let mut settings = load(config)?;
            if let Some(listen) = listen {
                settings.listen = listen;
            }
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve::run(settings))?;
        }
        Command::DnsmasqConfig { config } => {
            let settings = load(config)?;
            anyhow::ensure!(
                settings.provisioning.listen.is_some(),
                "provisioning.listen is not set, so there is no address to send machines to; name a settings file \
                 that has it with --config"
            );
            std::io::stdout().write_all(boot::dnsmasq_config(&settings).as_bytes())?;
        }
    }
    Ok(())
}

fn load(config: Option<PathBuf>) -> anyhow::Result<Settings> {
    Ok(match config {
        Some(path) => Settings::load(&path)?,
        None => Settings::default(),
    })
}
