//! The settings file. Unknown keys are refused; the rules between its entries are in [`check`].

mod check;
mod sections;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use sections::{BootSettings, CleanSettings, Deadlines, Ipmi, PluginSettings, PowerSettings};

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The file is not TOML, or has an unknown key or a wrong type.
    #[error("the settings file {} is not valid", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: Box<toml::de::Error>,
    },
    /// A value alone or together with another makes no sense.
    #[error("setting {key}: {problem}")]
    Value {
        /// Dotted name.
        key: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// All settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the operator's API listens. Without authentication and TLS: loopback only.
    pub listen: SocketAddr,
    /// Who may use the operator's API.
    pub auth_strategy: AuthStrategy,
    /// The users of `http_basic`: lines `user:bcrypt hash`, as `htpasswd -nbB` makes them.
    pub http_basic_auth_user_file: Option<PathBuf>,
    /// Certificate (PEM, with its chain) of the operator's API; with `tls_key` the API speaks TLS only.
    pub tls_certificate: Option<PathBuf>,
    /// The key (PEM) of `tls_certificate`.
    pub tls_key: Option<PathBuf>,
    /// Hardware types that nodes may have: `ipmi`, and `fake-hardware` (machines that exist only in the record).
    pub enabled_hardware_types: Vec<String>,
    /// The SQLite file.
    pub database: PathBuf,
    /// Where the coordinator keeps its own TLS key and certificate.
    pub state_dir: PathBuf,
    /// The side that machines see.
    pub provisioning: Provisioning,
    /// What machines boot.
    pub boot: BootSettings,
    /// How long to wait for what.
    pub deadlines: Deadlines,
    /// How to talk to BMCs.
    pub ipmi: Ipmi,
    /// The power status loop.
    pub power: PowerSettings,
    /// Cleaning; `[clean]` is its older name.
    #[serde(rename = "cleaning", alias = "clean")]
    pub clean: CleanSettings,
    /// Plugins in orders.
    pub plugins: PluginSettings,
}

/// Who may use the operator's API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthStrategy {
    /// Everybody who reaches it.
    #[default]
    Noauth,
    /// The users of a file, by name and password.
    HttpBasic,
}

/// The side that machines see.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provisioning {
    /// Plain HTTP: boot scripts, kernel, ramdisk. None: no machine can boot from here.
    pub listen: Option<SocketAddr>,
    /// HTTPS with the coordinator's own certificate: lookup, heartbeat.
    pub tls_listen: Option<SocketAddr>,
    /// Host name or address that machines use instead of the listening ones.
    pub advertise: Option<String>,
    /// Whether lookups and heartbeats may use plain HTTP, secrets included, when there is no `tls_listen`.
    pub insecure_plain_http: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 6385)),
            auth_strategy: AuthStrategy::Noauth,
            http_basic_auth_user_file: None,
            tls_certificate: None,
            tls_key: None,
            enabled_hardware_types: vec!["ipmi".to_owned()],
            database: PathBuf::from("ironwright.db"),
            state_dir: PathBuf::from("."),
            provisioning: Provisioning::default(),
            boot: BootSettings::default(),
            deadlines: Deadlines::default(),
            ipmi: Ipmi::default(),
            power: PowerSettings::default(),
            clean: CleanSettings::default(),
            plugins: PluginSettings::default(),
        }
    }
}

impl Settings {
    /// Reads and checks a settings file.
    ///
    /// # Errors
    ///
    /// [`SettingsError`], naming the file, the key and what to do.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        let settings: Self = toml::from_str(&text).map_err(|source| SettingsError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        settings.check()?;
        Ok(settings)
    }

    /// Milliseconds between two heartbeats of an idle agent: a sixth of the silence that counts as lost, at most 1 s, so that
    /// progress is live. An idle heartbeat costs no write.
    #[must_use]
    pub fn heartbeat_interval_ms(&self) -> u64 {
        (self.deadlines.agent_silent * 1000 / 6).clamp(200, 1000)
    }

    /// The longest a power change may take.
    #[must_use]
    pub fn power_change(&self) -> Duration {
        Duration::from_secs(self.ipmi.power_state_change_timeout)
    }
}
