//! The ramdisk of these sources, and of other commits beside it: how large it is, what memory it takes, and how long a machine
//! needs from power on to the first heartbeat, on a virtual machine with each kind of firmware. One boot each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use ironwright_api::Timing;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::artifacts::revision::Revision;
use crate::artifacts::{self, Ramdisk};
use crate::lab::{Lab, LabSpec, MachineSpec};
use crate::machine::Firmware;
use crate::runs::{self, Inputs};

/// Longest wait for a heartbeat, on a busy machine without KVM.
const LIMIT: Duration = Duration::from_secs(300);

/// Where the inner part leaves its figures, in the run's directory.
const FIGURES: &str = "figures.json";

/// One boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Figures {
    /// Power on to the boot script, seconds.
    firmware: f64,
    /// Boot script to the request for the ramdisk.
    ipxe: f64,
    /// The ramdisk's transfer, and the kernel until it counts time.
    transfer: f64,
    /// The kernel, until PID 1 runs: mostly unpacking.
    kernel: f64,
    /// Modules, DHCP, until the agent runs.
    supervisor: f64,
    /// Inventory and lookup, until the first heartbeat.
    agent: f64,
    /// Memory in use when the agent is about to be started, MiB.
    before_agent_mib: f64,
    /// Memory in use at the first heartbeat, MiB; none from agents that do not say it.
    at_heartbeat_mib: Option<f64>,
}

impl Figures {
    fn seconds(&self) -> [f64; 6] {
        [self.firmware, self.ipxe, self.transfer, self.kernel, self.supervisor, self.agent]
    }
}

/// Measures these sources and then each of `revisions`, and prints a table.
pub(super) fn side_by_side(revisions: &[OsString]) -> anyhow::Result<ExitCode> {
    let inputs = Inputs::build()?;
    let mut ramdisks = vec![("these sources".to_owned(), artifacts::ramdisk()?)];
    for revision in revisions {
        let revision = Revision::of(&revision.to_string_lossy()).context("finding the commit")?;
        ramdisks.push((revision.name().to_owned(), revision.ramdisk()?));
    }
    let mut out = std::io::stdout();
    for (name, ramdisk) in &ramdisks {
        let manifest =
            std::fs::read_to_string(&ramdisk.manifest).context("reading the manifest")?;
        writeln!(out, "{name}: {}", sizes(&manifest))?;
    }
    writeln!(
        out,
        "| ramdisk | firmware | firmware s | iPXE s | transfer s | kernel s | supervisor s | agent s | all s | MiB in use before the agent | at the first heartbeat |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        for (name, ramdisk) in &ramdisks {
            let figures = boot(&inputs, ramdisk, firmware)?;
            writeln!(out, "{}", row(name, firmware, &figures))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The sizes in a manifest, MB.
fn sizes(manifest: &str) -> String {
    let lines = manifest.lines().filter_map(|line| line.split_once(' '));
    let sizes = lines.filter_map(|(name, value)| {
        let bytes: u32 = value.trim().parse().ok()?;
        Some(format!("{} {:.1} MB", name.strip_suffix("_bytes")?, f64::from(bytes) / 1e6))
    });
    sizes.collect::<Vec<_>>().join(", ")
}

fn row(name: &str, firmware: Firmware, figures: &Figures) -> String {
    let seconds = figures.seconds();
    let each: Vec<String> = seconds.iter().map(|seconds| format!("{seconds:.1}")).collect();
    let all: f64 = seconds.iter().sum();
    let memory = figures.at_heartbeat_mib.map_or("not said".to_owned(), |mib| format!("{mib:.0}"));
    let before = figures.before_agent_mib;
    format!("| {name} | {firmware:?} | {} | {all:.1} | {before:.0} | {memory} |", each.join(" | "))
}

/// Boots one machine in a run of its own.
fn boot(inputs: &Inputs, ramdisk: &Ramdisk, firmware: Firmware) -> anyhow::Result<Figures> {
    let dir = runs::create("bench-ramdisk")?;
    let (kernel, initrd) = (ramdisk.vmlinuz.clone(), ramdisk.initrd.clone());
    Inputs { kernel, ramdisk: initrd, ..inputs.clone() }.leave_in(&dir)?;
    let word = if firmware == Firmware::Uefi { "uefi" } else { "bios" };
    let ended = super::in_a_run(&dir, ["ramdisk-inside", word])?;
    ensure!(ended.success(), "the machine did not boot; the logs are in {}", dir.display());
    read(&dir.join(FIGURES))
}

fn read(file: &Path) -> anyhow::Result<Figures> {
    let text = std::fs::read(file).context("reading the figures")?;
    serde_json::from_slice(&text).context("reading the figures")
}

/// Boots a machine until its first heartbeat.
///
/// # Errors
///
/// What did not work, with the end of the console.
pub fn run_inside(firmware: Firmware) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        let lab = Lab::start(&LabSpec::new(vec![MachineSpec::new(firmware)])).await?;
        let figures = first_heartbeat(&lab).await;
        let tail = || lab.rack.machines[0].console().tail();
        let figures = figures.with_context(|| format!("the console ends with:\n{}", tail()))?;
        let text = serde_json::to_vec(&figures)?;
        std::fs::write(lab.dir.join(FIGURES), text).context("leaving the figures")
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn first_heartbeat(lab: &Lab) -> anyhow::Result<Figures> {
    let node = lab.enrol(0, "n0").await?.uuid;
    lab.api.provision(node, "manage", &json!({})).await?;
    lab.api.wait_for_state(node, "manageable", LIMIT, |_, _| {}).await?;
    lab.api.provision(node, "inspect", &json!({})).await?;
    let end = Instant::now() + LIMIT;
    loop {
        let now = lab.api.progress(node).await?;
        if let Some(timing) = now.timing {
            let console = lab.rack.machines[0].console().text();
            return figures(&now.moments, &timing, &console);
        }
        if Instant::now() > end {
            bail!("no heartbeat after {} s", LIMIT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// From the coordinator's moments, the machine's own clock and its console.
fn figures(
    moments: &BTreeMap<String, Timestamp>,
    timing: &Timing,
    console: &str,
) -> anyhow::Result<Figures> {
    let moment =
        |name: &str| moments.get(name).with_context(|| format!("there is no moment {name}"));
    let between = |from: &str, to: &str| -> anyhow::Result<f64> {
        Ok(moment(to)?.duration_since(*moment(from)?).as_secs_f64())
    };
    let clock = |from: u64, to: u64| Duration::from_millis(to.saturating_sub(from)).as_secs_f64();
    let at_heartbeat = timing.memory_total.checked_sub(timing.memory_available);
    Ok(Figures {
        firmware: between("power_on", "script")?,
        ipxe: between("script", "ramdisk")?,
        transfer: between("ramdisk", "heartbeat")? - clock(0, timing.heartbeat_ms),
        kernel: clock(0, timing.init_ms),
        supervisor: clock(timing.init_ms, timing.agent_ms),
        agent: clock(timing.agent_ms, timing.heartbeat_ms),
        before_agent_mib: in_use(console)
            .context("the console does not say what memory is free")?,
        at_heartbeat_mib: at_heartbeat.filter(|_| timing.memory_available > 0).map(mib),
    })
}

/// PID 1's own words, `phase: agent; 301204 of 433188 KiB of memory are free`, as MiB in use.
fn in_use(console: &str) -> Option<f64> {
    let line = console.lines().find(|line| line.contains("KiB of memory are free"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let of = words.iter().position(|word| *word == "of")?;
    let free: u64 = words.get(of.checked_sub(1)?)?.parse().ok()?;
    let all: u64 = words.get(of + 1)?.parse().ok()?;
    Some(mib(all.checked_sub(free)?.saturating_mul(1024)))
}

fn mib(bytes: u64) -> f64 {
    // Tenths are enough, and a machine has less than 2^32 MiB.
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_add_up_to_the_time_from_power_on_to_the_heartbeat() {
        let at = |second: i64| Timestamp::from_second(1_000_000_000 + second).unwrap();
        let moments = [("power_on", 0), ("script", 5), ("ramdisk", 6), ("heartbeat", 20)];
        let moments = moments.map(|(name, second)| (name.to_owned(), at(second))).into();
        let timing = Timing {
            init_ms: 2000,
            agent_ms: 9000,
            heartbeat_ms: 10_000,
            memory_total: 100 << 20,
            memory_available: 40 << 20,
            ..Timing::default()
        };
        let console =
            "x\r\nironwright: 9.00 phase: agent; 51200 of 102400 KiB of memory are free\r\n";
        let found = figures(&moments, &timing, console).unwrap();
        assert_eq!(found.seconds(), [5.0, 1.0, 4.0, 2.0, 7.0, 1.0]);
        assert_eq!((found.before_agent_mib, found.at_heartbeat_mib), (50.0, Some(60.0)));
        let older = Timing { memory_available: 0, ..timing };
        assert_eq!(figures(&moments, &older, console).unwrap().at_heartbeat_mib, None);
    }

    #[test]
    fn the_sizes_of_a_manifest_are_told_in_megabytes() {
        let manifest = "kernel 6.1.0-56\nvmlinuz_bytes 8200000\ninitrd_bytes 28400000\n";
        assert_eq!(sizes(manifest), "vmlinuz 8.2 MB, initrd 28.4 MB");
    }
}
