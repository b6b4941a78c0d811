//! When this boot reached its stages, in milliseconds of kernel uptime.

use std::path::Path;

use ironwright_api::Timing;
use serde::Deserialize;
use uuid::Uuid;

/// What the supervisor wrote about this boot (`boot.json` in the run directory). A stage not reached in time is null.
#[derive(Debug, Clone, Deserialize)]
pub struct Boot {
    /// Names this boot.
    pub boot_id: Uuid,
    /// PID 1 started, milliseconds of uptime.
    #[serde(default)]
    pub init_ms: Option<u64>,
    /// Modules were loaded, milliseconds of uptime.
    #[serde(default)]
    pub modules_ms: Option<u64>,
    /// The network was up, milliseconds of uptime.
    #[serde(default)]
    pub network_ms: Option<u64>,
}

impl Boot {
    /// Reads `boot.json`; absent outside the ramdisk.
    #[must_use]
    pub fn read(run_dir: &Path) -> Option<Self> {
        let text = std::fs::read(run_dir.join("boot.json")).ok()?;
        match serde_json::from_slice(&text) {
            Ok(boot) => Some(boot),
            Err(error) => {
                tracing::error!("boot.json of the supervisor cannot be read: {error}");
                None
            }
        }
    }
}

/// The stages up to now.
#[derive(Debug, Clone, Default)]
pub struct Stages(Timing);

impl Stages {
    /// To be called as the agent process starts.
    #[must_use]
    pub fn start(boot: Option<&Boot>) -> Self {
        Self(Timing {
            init_ms: boot.and_then(|boot| boot.init_ms).unwrap_or(0),
            modules_ms: boot.and_then(|boot| boot.modules_ms).unwrap_or(0),
            network_ms: boot.and_then(|boot| boot.network_ms).unwrap_or(0),
            agent_ms: uptime_ms(),
            heartbeat_ms: 0,
            memory_total: memory(&meminfo(), "MemTotal:"),
            memory_available: 0,
        })
    }

    pub(super) fn now(&self) -> Timing {
        let memory_available = memory(&meminfo(), "MemAvailable:");
        Timing { heartbeat_ms: uptime_ms(), memory_available, ..self.0.clone() }
    }
}

fn meminfo() -> String {
    std::fs::read_to_string("/proc/meminfo").unwrap_or_default()
}

fn uptime_ms() -> u64 {
    std::fs::read_to_string("/proc/uptime").map_or(0, |text| parse_uptime(&text))
}

/// `/proc/uptime`: seconds with two decimals, then idle time.
fn parse_uptime(text: &str) -> u64 {
    let parsed = text.split_ascii_whitespace().next().and_then(|uptime| {
        let (seconds, hundredths) = uptime.split_once('.')?;
        Some(seconds.parse::<u64>().ok()? * 1000 + hundredths.parse::<u64>().ok()? * 10)
    });
    parsed.unwrap_or(0)
}

/// A figure of `/proc/meminfo`, bytes; 0 where it is not there.
fn memory(meminfo: &str, name: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_and_memory_are_read_and_nonsense_is_zero() {
        assert_eq!(parse_uptime("12.34 20.00\n"), 12_340);
        assert_eq!(parse_uptime("soon"), 0);
        assert_eq!(memory("MemFree: 1 kB\nMemTotal:     2048 kB\n", "MemTotal:"), 2 << 20);
        assert_eq!(memory("", "MemTotal:"), 0);
    }

    #[test]
    fn the_supervisors_file_gives_the_early_stages_and_a_damaged_one_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Boot::read(dir.path()).is_none());
        let text = r#"{"boot_id":"7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f","init_ms":5,"network_ms":null,"later":1}"#;
        std::fs::write(dir.path().join("boot.json"), text).unwrap();
        let boot = Boot::read(dir.path()).unwrap();
        assert_eq!(Stages::start(Some(&boot)).now().init_ms, 5);
        std::fs::write(dir.path().join("boot.json"), "{").unwrap();
        assert!(Boot::read(dir.path()).is_none());
    }
}
