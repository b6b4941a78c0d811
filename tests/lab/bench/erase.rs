//! The disks of one machine erased at once and one by one, for real: a virtual machine whose disks each have a speed of their
//! own, cleaned through the coordinator.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::lab::{Lab, LabSpec, MachineSpec};
use crate::machine::{Bus, DiskSpec, Firmware};
use crate::runs::{self, Inputs};

/// Disks of the machine.
const DISKS: u32 = 4;

/// Bytes of each.
const DISK_BYTES: u64 = 512 << 20;

/// Bytes a second that each takes, whatever the others do.
const DISK_SPEED: u64 = 24 << 20;

/// Where the inner part leaves its figure, in the run's directory.
const FIGURE: &str = "seconds";

/// Both ways, and the ratio.
pub(super) fn side_by_side() -> anyhow::Result<()> {
    let inputs = Inputs::build()?;
    let one = run(&inputs, 1)?;
    let all = run(&inputs, DISKS)?;
    say(&format!(
        "{DISKS} disks of {} MiB, each of {} MiB/s, overwritten and read back: one by one {one:.1} s, at once {all:.1} s: {:.2}x",
        DISK_BYTES >> 20,
        DISK_SPEED >> 20,
        one / all
    ))
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("printing")
}

fn run(inputs: &Inputs, at_once: u32) -> anyhow::Result<f64> {
    let dir = runs::create("bench-erase")?;
    inputs.leave_in(&dir)?;
    let ended = super::in_a_run(&dir, ["erase-inside", &at_once.to_string()])?;
    ensure!(ended.success(), "the machine was not cleaned; the logs are in {}", dir.display());
    let figure = std::fs::read_to_string(dir.join(FIGURE)).context("reading the figure")?;
    figure.parse().with_context(|| format!("reading the figure {figure:?}"))
}

/// Cleans one machine with [`DISKS`] disks, `at_once` at a time.
///
/// # Errors
///
/// What did not work.
pub fn run_inside(at_once: u32) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(clean(at_once))?;
    Ok(ExitCode::SUCCESS)
}

async fn clean(at_once: u32) -> anyhow::Result<()> {
    let disk = |index: u32| DiskSpec {
        bus: Bus::VirtioBlk,
        bytes: DISK_BYTES,
        serial: format!("LAB-DISK-{index}"),
        sector_bytes: 512,
        write_limit: Some(DISK_SPEED),
    };
    let mut machine = MachineSpec::new(Firmware::Bios);
    machine.disks = (0..DISKS).map(disk).collect();
    let mut spec = LabSpec::new(vec![machine]);
    (spec.cleaning.erase_devices_priority, spec.cleaning.concurrency) = (10, at_once);
    let lab = Lab::start(&spec).await?;
    let node = lab.enrol(0, "n0").await?.uuid;
    for (verb, state) in [("manage", "manageable"), ("provide", "available")] {
        lab.api.provision(node, verb, &json!({})).await?;
        let limit = Duration::from_secs(600);
        lab.api.wait_for_state(node, state, limit, |_, _| {}).await?;
    }
    let (mut whole, mut metadata) = (Vec::new(), Vec::new());
    for (step, from, to) in times(&lab, node).await? {
        if step == "erase_devices" { whole.push((from, to)) } else { metadata.push(to - from) }
    }
    ensure!(whole.len() == DISKS as usize, "{} certificates instead of {DISKS}", whole.len());
    let from = whole.iter().map(|time| time.0).fold(f64::INFINITY, f64::min);
    let to = whole.iter().map(|time| time.1).fold(0.0, f64::max);
    say(&format!(
        "{at_once} at once: erase_devices {:.1} s; erase_devices_metadata of a disk {:.0} to {:.0} ms",
        to - from,
        metadata.iter().copied().fold(f64::INFINITY, f64::min) * 1000.0,
        metadata.iter().copied().fold(0.0, f64::max) * 1000.0,
    ))?;
    std::fs::write(lab.dir.join(FIGURE), (to - from).to_string()).context("leaving the figure")
}

/// Step, start and end (seconds) of every certificate.
async fn times(lab: &Lab, node: Uuid) -> anyhow::Result<Vec<(String, f64, f64)>> {
    let path = format!("/v1/nodes/{node}/certificates");
    let list = lab.api.send(Method::GET, &path, None).await?;
    let entries = list["certificates"].as_array().context("no list of certificates")?.clone();
    let mut times = Vec::new();
    for entry in &entries {
        let id = entry["id"].as_str().context("a certificate without an id")?;
        let signed = lab.api.send(Method::GET, &format!("{path}/{id}"), None).await?;
        let certificate = &signed["certificate"];
        let step = certificate["step"].as_str().unwrap_or_default().to_owned();
        times.push((step, moment(&certificate["started"])?, moment(&certificate["ended"])?));
    }
    Ok(times)
}

fn moment(value: &Value) -> anyhow::Result<f64> {
    let time: Timestamp = value.as_str().unwrap_or_default().parse().context("reading a time")?;
    Ok(time.as_duration().as_secs_f64())
}
