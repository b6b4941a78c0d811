//! Processors, from /proc/cpuinfo.

use std::collections::BTreeSet;

use serde::Serialize;

use super::tree::Tree;

/// Ironic's `cpu`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// As the processor calls itself.
    pub model_name: Option<String>,
    /// MHz as text: the highest the processor goes, else what it runs at.
    pub frequency: Option<String>,
    /// Logical processors.
    pub count: usize,
    /// As `uname -m` prints it.
    pub architecture: String,
    /// Feature flags.
    pub flags: Vec<String>,
    /// Processor packages.
    pub socket_count: Option<usize>,
}

/// Parses /proc/cpuinfo.
pub(super) fn collect(tree: &Tree) -> Cpu {
    let info = tree.text("proc/cpuinfo").unwrap_or_default();
    let fields = || {
        info.lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim()))
    };
    let first = |wanted: &str| fields().find(|(key, _)| *key == wanted).map(|(_, value)| value);
    let packages: BTreeSet<&str> =
        fields().filter(|(key, _)| *key == "physical id").map(|(_, value)| value).collect();
    let max_khz: Option<u64> = tree.number("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    // aarch64 says Features where x86 says flags.
    let flags = first("flags").or_else(|| first("Features")).unwrap_or_default();
    Cpu {
        model_name: first("model name").map(str::to_owned),
        frequency: max_khz
            .map(|khz| format!("{}.{:03}0", khz / 1000, khz % 1000))
            .or_else(|| first("cpu MHz").map(str::to_owned)),
        count: fields().filter(|(key, _)| *key == "processor").count(),
        architecture: tree
            .text("proc/sys/kernel/arch")
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        flags: flags.split_ascii_whitespace().map(str::to_owned).collect(),
        socket_count: (!packages.is_empty()).then_some(packages.len()),
    }
}
