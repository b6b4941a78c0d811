//! The coordinator's command line.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use ironwright_api::Category;
use ironwright_coordinator::app::chain;
use ironwright_coordinator::certificate::{self, Expected, SigningKey};
use ironwright_coordinator::plugins::{TrustedKeys, trust};
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
    /// Print the public key with which this coordinator countersigns certificates of erased disks.
    CertificateKey {
        /// Settings file (TOML); its `state_dir` holds the key.
        #[arg(long, env = "IRONWRIGHT_CONFIG")]
        config: Option<PathBuf>,
        /// The state directory, instead of the file's.
        #[arg(long)]
        state_dir: Option<PathBuf>,
    },
    /// Check a certificate as the API gives it: both signatures, and whether it proves that its disk was erased.
    ///
    /// Exit status: 0 valid and erased; 1 not, with the reason; 2 wrong usage or an unreadable file.
    VerifyCertificate {
        /// The certificate (JSON).
        file: PathBuf,
        /// The coordinator's public key, 64 hexadecimal digits, as `certificate-key` prints it.
        #[arg(long, value_parser = public_key)]
        key: Option<String>,
        /// The coordinator's state directory, where its key is.
        #[arg(long, conflicts_with = "key")]
        state_dir: Option<PathBuf>,
        /// The weakest category (NIST SP 800-88) that counts as erased.
        #[arg(long, default_value = "clear")]
        least: Least,
    },
    /// Make the small archive that puts trusted keys of plugins into a ramdisk, for ramdisks that are not booted from here.
    ///
    /// Machines that boot from this coordinator get it by themselves when plugins.keys is set.
    Trust {
        /// Public keys, as `ironwright-agent plugin keygen` writes them.
        #[arg(required = true)]
        keys: Vec<PathBuf>,
        /// The archive (cpio) to write; load it as a further initrd.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Print the DHCP and TFTP settings (dnsmasq) for this coordinator.
    DnsmasqConfig {
        /// Settings file (TOML).
        #[arg(long, env = "IRONWRIGHT_CONFIG")]
        config: Option<PathBuf>,
    },
}

/// NIST SP 800-88's categories.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Least {
    None,
    Clear,
    Purge,
}

impl From<Least> for Category {
    fn from(least: Least) -> Self {
        match least {
            Least::None => Self::None,
            Least::Clear => Self::Clear,
            Least::Purge => Self::Purge,
        }
    }
}

fn public_key(text: &str) -> Result<String, String> {
    let key = text.to_ascii_lowercase();
    let wrong = || "it is not a public key: 64 hexadecimal digits".to_owned();
    if certificate::is_key(&key) { Ok(key) } else { Err(wrong()) }
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Serve { config, listen } => {
            let mut settings = load(config)?;
            if let Some(listen) = listen {
                settings.listen = listen;
            }
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve::run(settings))?;
        }
        Command::CertificateKey { config, state_dir } => {
            let state_dir = match state_dir {
                Some(state_dir) => state_dir,
                None => load(config)?.state_dir,
            };
            let key = SigningKey::load(&state_dir)
                .context("the key is made when the coordinator first starts")?;
            writeln!(std::io::stdout(), "{}", key.public())?;
        }
        Command::VerifyCertificate { file, key, state_dir, least } => {
            return verify(&file, key.as_deref(), state_dir.as_deref(), least.into());
        }
        Command::Trust { keys, output } => {
            let keys = TrustedKeys::read(&keys)?;
            trust::archive(&keys)
                .and_then(|archive| std::fs::write(&output, archive))
                .with_context(|| format!("cannot write {}", output.display()))?;
            writeln!(std::io::stdout(), "{} trusts {}", output.display(), keys.ids().join(", "))?;
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
    Ok(ExitCode::SUCCESS)
}

/// What cannot be read is wrong usage; what can is said to be a proof or not.
fn verify(
    file: &Path,
    key: Option<&str>,
    state_dir: Option<&Path>,
    least: Category,
) -> anyhow::Result<ExitCode> {
    let read = || -> anyhow::Result<(String, Option<String>)> {
        let text =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let own = state_dir.map(SigningKey::load).transpose()?.map(|key| key.public());
        Ok((String::from_utf8_lossy(&text).into_owned(), key.map(str::to_owned).or(own)))
    };
    let (text, coordinator) = match read() {
        Ok(read) => read,
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            return Ok(ExitCode::from(2));
        }
    };
    let verdict = certificate::verify(&text, &Expected { coordinator, least });
    let mut out = std::io::stdout().lock();
    out.write_all(verdict.words.as_bytes())?;
    match verdict.problem {
        None => {
            writeln!(out, "VALID: both signatures fit, and the disk was erased and verified.")?;
            Ok(ExitCode::SUCCESS)
        }
        Some(problem) => {
            writeln!(out, "NO PROOF: {problem}.")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn load(config: Option<PathBuf>) -> anyhow::Result<Settings> {
    Ok(match config {
        Some(path) => Settings::load(&path)?,
        None => Settings::default(),
    })
}
