//! The settings file and the rules between its entries. Unknown keys are refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ironwright_api::{Category, EraseSettings};
use serde::Deserialize;

use crate::node::interfaces::HARDWARE_TYPES;

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

/// What machines boot.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootSettings {
    /// Kernel file.
    pub kernel: Option<PathBuf>,
    /// Ramdisk file.
    pub ramdisk: Option<PathBuf>,
    /// Appended to the kernel command line.
    pub kernel_append_params: String,
    /// Boots of the ramdisk that one piece of work may take.
    pub attempts: u32,
}

impl Default for BootSettings {
    fn default() -> Self {
        Self { kernel: None, ramdisk: None, kernel_append_params: String::new(), attempts: 3 }
    }
}

/// How long to wait for what, in seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deadlines {
    /// From power on to the agent's first heartbeat.
    pub await_agent: u64,
    /// Between two heartbeats of a working agent.
    pub agent_silent: u64,
    /// Of a deploy without visible progress (a step begun or ended, or bytes moved).
    pub deploy: u64,
    /// Of a cleaning or an inspection without visible progress.
    pub clean: u64,
    /// Of a node held by a `hold` step until an operator asks for `unhold` or `abort`.
    pub hold: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { await_agent: 300, agent_silent: 60, deploy: 1800, clean: 1800, hold: 7 * 24 * 3600 }
    }
}

/// How to talk to BMCs.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ipmi {
    /// Least time between two sessions with one BMC, milliseconds. Ironic keeps 5 s because BMCs "may crash".
    pub min_command_interval_ms: u64,
    /// Seconds that a power change may take until the BMC reports it.
    pub power_state_change_timeout: u64,
}

impl Default for Ipmi {
    fn default() -> Self {
        Self { min_command_interval_ms: 5000, power_state_change_timeout: 60 }
    }
}

/// The power status loop.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerSettings {
    /// Seconds between two readings of a node; 0: never.
    pub sync_interval: u64,
    /// Failures in a row before the node goes to maintenance with the fault `power failure`.
    pub max_retries: u32,
    /// Whether a machine whose power differs from the record is driven back; otherwise the record follows the machine.
    pub force_power_state_during_sync: bool,
}

impl Default for PowerSettings {
    fn default() -> Self {
        Self { sync_interval: 120, max_retries: 3, force_power_state_during_sync: true }
    }
}

/// Cleaning.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanSettings {
    /// Whether nodes are cleaned between tenants where the node does not say.
    pub automated: bool,
    /// Priority of `erase_devices` in automated cleaning; none: the agent's own (10, as Ironic's); 0: off.
    pub erase_devices_priority: Option<u32>,
    /// Priority of `erase_devices_metadata`; none: the agent's own (99, as Ironic's); 0: off.
    pub erase_devices_metadata_priority: Option<u32>,
    /// Priorities of plugins' steps in automated cleaning, by `interface.step`; 0: off.
    pub priorities: BTreeMap<String, u32>,
    /// Whether a method of a weaker category may follow one that the disk offers and that failed.
    pub allow_weaker_erase: bool,
    /// The weakest category that `erase_devices` may use: `none`, `clear` or `purge` (NIST SP 800-88).
    pub least_category: Category,
    /// Disks of one machine erased at once, 1 to 256.
    pub concurrency: u32,
    /// Whether read-only disks are left out rather than failed.
    pub skip_read_only: bool,
}

impl Default for CleanSettings {
    fn default() -> Self {
        let erase = EraseSettings::default();
        Self {
            automated: true,
            erase_devices_priority: None,
            erase_devices_metadata_priority: None,
            priorities: BTreeMap::new(),
            allow_weaker_erase: erase.allow_weaker,
            least_category: erase.least,
            concurrency: erase.concurrency,
            skip_read_only: erase.skip_read_only,
        }
    }
}

impl CleanSettings {
    /// The priorities that replace the agent's, by `interface.step`.
    #[must_use]
    pub fn priorities(&self) -> BTreeMap<String, u32> {
        [
            ("deploy.erase_devices", self.erase_devices_priority),
            ("deploy.erase_devices_metadata", self.erase_devices_metadata_priority),
        ]
        .into_iter()
        .filter_map(|(step, priority)| Some((step.to_owned(), priority?)))
        .chain(self.priorities.clone())
        .collect()
    }

    fn check(&self) -> Result<(), SettingsError> {
        if self.concurrency == 0 || self.concurrency > MAX_CONCURRENCY {
            let problem = format!("is {}, must be 1 to {MAX_CONCURRENCY}", self.concurrency);
            return Err(SettingsError::Value { key: "cleaning.concurrency", problem });
        }
        let refuse = |problem| Err(SettingsError::Value { key: "cleaning.priorities", problem });
        for step in self.priorities.keys() {
            let parts: Vec<&str> = step.split('.').collect();
            if let ["deploy", own @ ("erase_devices" | "erase_devices_metadata")] = parts[..] {
                return refuse(format!("names {step:?}; set cleaning.{own}_priority instead"));
            }
            if parts.len() != 2 || parts.iter().any(|part| part.is_empty()) {
                return refuse(format!("names {step:?}; write \"interface.step\""));
            }
        }
        Ok(())
    }
}

/// Plugins in orders.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginSettings {
    /// The folder of signed bundles, `*.plugin`; looked at every few seconds.
    pub dir: PathBuf,
    /// Public keys (files) of those who may sign them. Empty: no plugins.
    pub keys: Vec<PathBuf>,
}

impl Default for PluginSettings {
    fn default() -> Self {
        Self { dir: PathBuf::from("plugins"), keys: Vec::new() }
    }
}

impl PluginSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let refuse = |key, problem| Err(SettingsError::Value { key, problem });
        if self.keys.is_empty() {
            return Ok(());
        }
        if let Some(key) = self.keys.iter().find(|key| !key.is_file()) {
            let problem = format!(
                "names {}, which is not a file; name the FILE.pub of `ironwright-agent plugin keygen`",
                key.display()
            );
            return refuse("plugins.keys", problem);
        }
        if !self.dir.is_dir() {
            let problem = format!(
                "{} is not a folder; make it, and put signed *.plugin bundles into it",
                self.dir.display()
            );
            return refuse("plugins.dir", problem);
        }
        Ok(())
    }
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

    /// Checks the rules between the entries.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Value`] for the first rule that is broken.
    pub fn check(&self) -> Result<(), SettingsError> {
        let refuse =
            |key, problem: &str| Err(SettingsError::Value { key, problem: problem.to_owned() });
        self.check_access()?;
        let provisioning = &self.provisioning;
        if provisioning.listen.is_some()
            && provisioning.tls_listen.is_none()
            && !provisioning.insecure_plain_http
        {
            return refuse(
                "provisioning.tls_listen",
                "is missing, so agents could only talk over plain HTTP; set it, or set \
                 provisioning.insecure_plain_http = true to accept that anyone on the provisioning network can read \
                 config drives",
            );
        }
        self.check_hardware_types()?;
        self.check_boot()?;
        self.clean.check()?;
        self.plugins.check()?;
        let deadlines = &self.deadlines;
        for (key, seconds) in [
            ("deadlines.await_agent", deadlines.await_agent),
            ("deadlines.agent_silent", deadlines.agent_silent),
            ("deadlines.deploy", deadlines.deploy),
            ("deadlines.clean", deadlines.clean),
            ("deadlines.hold", deadlines.hold),
            ("ipmi.power_state_change_timeout", self.ipmi.power_state_change_timeout),
        ] {
            if seconds == 0 || seconds > MAX_SECONDS {
                return refuse(key, &format!("is {seconds}, must be 1 to {MAX_SECONDS} seconds"));
            }
        }
        let interval = self.power.sync_interval;
        if interval > MAX_SECONDS {
            return refuse(
                "power.sync_interval",
                &format!("is {interval}, must be 0 to {MAX_SECONDS} seconds"),
            );
        }
        let pause = self.ipmi.min_command_interval_ms;
        if pause > MAX_PAUSE_MS {
            return refuse(
                "ipmi.min_command_interval_ms",
                &format!("is {pause}, must be 0 to {MAX_PAUSE_MS} milliseconds"),
            );
        }
        Ok(())
    }

    /// Who may use the operator's API from where.
    fn check_access(&self) -> Result<(), SettingsError> {
        let refuse = |key, problem: String| Err(SettingsError::Value { key, problem });
        let basic = self.auth_strategy == AuthStrategy::HttpBasic;
        if basic != self.http_basic_auth_user_file.is_some() {
            let problem = "and auth_strategy = \"http_basic\" belong together: set both or none";
            return refuse("http_basic_auth_user_file", problem.to_owned());
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return refuse(
                "tls_key",
                "and tls_certificate belong together: set both or none".into(),
            );
        }
        if !self.listen.ip().is_loopback() && !basic {
            let problem = format!(
                "{} is not a loopback address, and there is no authentication; set auth_strategy = \"http_basic\" and \
                 TLS, or listen on 127.0.0.1 or [::1] and reach it through a tunnel",
                self.listen
            );
            return refuse("listen", problem);
        }
        if !self.listen.ip().is_loopback() && self.tls_key.is_none() {
            let problem = format!(
                "{} is not a loopback address, and passwords would travel unencrypted; set tls_certificate and tls_key",
                self.listen
            );
            return refuse("listen", problem);
        }
        Ok(())
    }

    fn check_hardware_types(&self) -> Result<(), SettingsError> {
        let refuse = |problem| Err(SettingsError::Value { key: "enabled_hardware_types", problem });
        let known: Vec<&str> = HARDWARE_TYPES.iter().map(|hardware| hardware.name).collect();
        match self.enabled_hardware_types.iter().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => {
                refuse(format!("names {unknown:?}; the hardware types are {}", known.join(", ")))
            }
            None if self.enabled_hardware_types.is_empty() => {
                refuse(format!("is empty; name at least one of {}", known.join(", ")))
            }
            None => Ok(()),
        }
    }

    /// What goes into boot scripts.
    fn check_boot(&self) -> Result<(), SettingsError> {
        let refuse = |key, problem: String| Err(SettingsError::Value { key, problem });
        let boot = &self.boot;
        if boot.attempts == 0 || boot.attempts > MAX_ATTEMPTS {
            return refuse(
                "boot.attempts",
                format!("is {}, must be 1 to {MAX_ATTEMPTS}", boot.attempts),
            );
        }
        if boot.kernel_append_params.chars().any(char::is_control) {
            return refuse(
                "boot.kernel_append_params",
                "has a line break or control character".into(),
            );
        }
        for (key, file) in [("boot.kernel", &boot.kernel), ("boot.ramdisk", &boot.ramdisk)] {
            if let Some(file) = file
                && !file.is_file()
            {
                let path = file.display();
                return refuse(key, format!("{path} is not a file; build it with ramdisk/build"));
            }
        }
        let host = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c);
        if let Some(name) = &self.provisioning.advertise
            && (name.is_empty() || !name.chars().all(host))
        {
            let problem = format!("{name:?} is no host name or address (no scheme, no path)");
            return refuse("provisioning.advertise", problem);
        }
        Ok(())
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

/// A month: longer waits are typing errors.
const MAX_SECONDS: u64 = 31 * 24 * 3600;

/// Most disks erased at once: more than any machine has controllers for.
const MAX_CONCURRENCY: u32 = 256;

/// Most boots of a ramdisk for one order: more only hides a machine that does not boot.
const MAX_ATTEMPTS: u32 = 100;

/// Longest pause between two sessions with one BMC, milliseconds: a minute (Ironic's default is 5 s).
const MAX_PAUSE_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn an_empty_file_is_the_documented_defaults() {
        let settings = parse("").unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:6385");
        assert_eq!((settings.deadlines.await_agent, settings.boot.attempts), (300, 3));
        assert!(settings.clean.automated);
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_key_and_the_way_out() {
        for (text, expected) in [
            ("listen = '0.0.0.0:6385'", "no authentication"),
            (
                "listen = '0.0.0.0:1'\nauth_strategy = 'http_basic'\nhttp_basic_auth_user_file = 'u'",
                "tls_certificate",
            ),
            ("auth_strategy = 'http_basic'", "http_basic_auth_user_file"),
            ("auth_strategy = 'keystone'", "http_basic"),
            ("tls_key = 'k'", "tls_certificate"),
            ("lisen = '127.0.0.1:6385'", "lisen"),
            ("[provisioning]\nlisten = '172.22.0.1:6388'", "insecure_plain_http"),
            ("enabled_hardware_types = []", "enabled_hardware_types"),
            ("enabled_hardware_types = ['ilo']", "ipmi"),
            ("[deadlines]\nhold = 0", "deadlines.hold"),
            ("[boot]\nattempts = 0", "boot.attempts"),
            ("[boot]\nattempts = 4000000000", "boot.attempts"),
            ("[boot]\nkernel = '/nosuch/k'", "boot.kernel"),
            ("[boot]\nkernel_append_params = \"a\\nb\"", "boot.kernel_append_params"),
            ("[ipmi]\nmin_command_interval_ms = 99999999999999", "ipmi.min_command_interval_ms"),
            ("[power]\nsync_interval = 9223372036854775807", "power.sync_interval"),
            ("[provisioning]\nadvertise = 'http://x/ y'", "provisioning.advertise"),
            ("[cleaning]\nconcurrency = 0", "cleaning.concurrency"),
            (
                "[cleaning.priorities]\n'deploy.erase_devices' = 1",
                "cleaning.erase_devices_priority",
            ),
            ("[cleaning.priorities]\nfoo = 1", "interface.step"),
            ("[plugins]\nkeys = ['/nosuch/k.pub']", "plugins.keys"),
            ("[plugins]\ndir = '/nosuch'\nkeys = ['/proc/self/stat']", "plugins.dir"),
            ("[cleaning]\nleast_category = 'destroy'", "destroy"),
            ("[deadlines]\nagent_silent = 0", "deadlines.agent_silent"),
            ("[deadlines]\ndeploy = 99999999", "deadlines.deploy"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?} gave {error}");
        }
    }

    #[test]
    fn cleaning_is_read_under_both_of_its_names() {
        for table in ["cleaning", "clean"] {
            let text = format!(
                "[{table}]\nerase_devices_priority = 0\nleast_category = 'purge'\nskip_read_only = true"
            );
            let clean = parse(&text).unwrap().clean;
            assert!(clean.automated && clean.skip_read_only && !clean.allow_weaker_erase);
            assert_eq!(clean.priorities()["deploy.erase_devices"], 0);
            assert_eq!((clean.priorities().len(), clean.least_category), (1, Category::Purge));
        }
    }

    #[test]
    fn plain_http_is_accepted_when_it_is_asked_for_by_name() {
        parse("[provisioning]\nlisten = '172.22.0.1:6388'\ninsecure_plain_http = true").unwrap();
    }
}
