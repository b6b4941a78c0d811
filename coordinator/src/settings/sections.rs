//! The tables of the settings file, each with its defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ironwright_api::{Category, EraseSettings};
use serde::Deserialize;

/// What machines boot.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootSettings {
    /// Kernel file.
    pub kernel: Option<PathBuf>,
    /// Ramdisk file.
    pub ramdisk: Option<PathBuf>,
    /// Archive that makes the ramdisk a rescue system, loaded for a rescue only.
    pub rescue: Option<PathBuf>,
    /// Appended to the kernel command line.
    pub kernel_append_params: String,
    /// Boots of the ramdisk that one piece of work may take.
    pub attempts: u32,
}

impl Default for BootSettings {
    fn default() -> Self {
        Self {
            kernel: None,
            ramdisk: None,
            rescue: None,
            kernel_append_params: String::new(),
            attempts: 3,
        }
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
