//! `cargo lab up` and `down`: a lab that stays, to play with.
//!
//! ```text
//! lab up          builds, starts the owner, waits until it is ready, prints how to reach it
//!   └─ up-owner   a session of its own: survives the terminal; owns the run; relays the API to the host's loopback
//!        └─ up-inside (in the run)   the lab itself; offers the API on a Unix socket in the run's directory
//! ```

mod relay;

use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::artifacts;
use crate::host::{self, Program};
use crate::lab::{Lab, LabSpec, MachineSpec};
use crate::machine::Firmware;
use crate::packages::{self, Set, cache_dir};
use crate::runs::{self, Inputs};

/// How long the lab may take until it is ready, once everything is built.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Options of `cargo lab up`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How many machines
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(crate::net::MAX_MACHINES)))]
    machines: u8,
    /// Port of the operator's API on this machine's loopback; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// The lab that is up.
#[derive(Debug, Serialize, Deserialize)]
struct Standing {
    /// The owner's process.
    pid: i32,
    /// When it started, clock ticks since boot: a process id alone may be another process by now.
    started: u64,
    /// The run's directory.
    dir: PathBuf,
    /// Where the operator's API is.
    api: SocketAddr,
}

/// What the lab has, said by the inside.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    image: String,
    sha256: String,
    macs: Vec<String>,
    nodes: Vec<serde_json::Value>,
}

/// Starts a lab and prints how to reach it.
///
/// # Errors
///
/// When one is up already, or something cannot be set up.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if let Some(standing) = standing()? {
        bail!("a lab is up already (process {}); `cargo lab down` ends it", standing.pid);
    }
    say("packages, agent, ramdisk, coordinator, image: building what changed");
    packages::ensure(Set::All).context("installing Debian packages")?;
    let mut inputs = Inputs::build()?;
    inputs.image_small = Some(artifacts::image_small().context("building the image")?);
    std::fs::write(file("up-inputs.json"), serde_json::to_vec(&inputs)?)?;
    if !nix::unistd::geteuid().is_root() {
        // The owner has no terminal to ask for a password.
        let status = Program::new("sudo").arg("-v").status()?;
        ensure!(status.success(), "sudo refused");
    }
    std::fs::write(file("up.log"), "")?;
    let owner = Program::new(crate::inside::lab_binary()?)
        .args(["up-owner", "--machines", &options.machines.to_string()])
        .args(["--port", &options.port.to_string()])
        .daemon(&file("up.log"))?;
    let standing = wait_until_ready(owner)?;
    let contents = std::fs::read(standing.dir.join("contents.json"))?;
    explain(&standing, &serde_json::from_slice(&contents)?)?;
    Ok(ExitCode::SUCCESS)
}

fn wait_until_ready(owner: Pid) -> anyhow::Result<Standing> {
    let end = Instant::now() + READY_LIMIT;
    loop {
        if let Some(standing) = standing()?.filter(|standing| standing.pid == owner.as_raw()) {
            return Ok(standing);
        }
        let gone = started(owner.as_raw()).is_none();
        if gone || Instant::now() >= end {
            _ = kill(owner, Signal::SIGTERM);
            let logs = host::tail(&file("up.log"), 15);
            bail!("the lab did not come up; its log ends with:\n{logs}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn explain(standing: &Standing, contents: &Contents) -> anyhow::Result<()> {
    say(&format!(
        "the lab is up; `cargo lab down` ends it; its logs are in {}",
        standing.dir.display()
    ));
    say("\nexport OS_AUTH_TYPE=none");
    say(&format!("export OS_ENDPOINT=http://{}", standing.api));
    say(&format!("\nan image, as the machines see it: {}", contents.image));
    say(&format!("its sha256: {}", contents.sha256));
    say(&format!("MAC addresses of the machines, in their order: {}", contents.macs.join(" ")));
    say("machines, powered off, as bodies for POST /v1/nodes:");
    for node in &contents.nodes {
        say(&serde_json::to_string_pretty(node)?);
    }
    Ok(())
}

/// Ends the lab that is up.
///
/// # Errors
///
/// When it does not end within 10 seconds.
pub fn down() -> anyhow::Result<ExitCode> {
    let Some(standing) = standing()? else {
        say("no lab is up");
        return Ok(ExitCode::SUCCESS);
    };
    kill(Pid::from_raw(standing.pid), Signal::SIGTERM).context("ending the owner")?;
    let end = Instant::now() + Duration::from_secs(10);
    while started(standing.pid) == Some(standing.started) {
        ensure!(Instant::now() < end, "process {} did not end within 10 s", standing.pid);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_file(file("up.json")).context("removing the lab's state file")?;
    runs::drop_disks(&standing.dir);
    say("the lab is down");
    Ok(ExitCode::SUCCESS)
}

/// Owns a run until it is killed: the run ends with it.
///
/// # Errors
///
/// When the run cannot be started, or ends by itself.
pub fn own(options: &Options) -> anyhow::Result<ExitCode> {
    nix::unistd::setsid().context("leaving the terminal")?;
    let inputs: Inputs = serde_json::from_slice(&std::fs::read(file("up-inputs.json"))?)?;
    // Made by this process: the directory of a run lives as long as the process in its name.
    let (dir, lab) = (runs::create("up")?, crate::inside::lab_binary()?);
    inputs.leave_in(&dir)?;
    let mut command: Vec<OsString> = vec![lab.clone().into(), "up-inside".into()];
    command.extend(["--machines", &options.machines.to_string()].map(OsString::from));
    let env = [(runs::RUN_DIR, dir.as_os_str())];
    let mut run = crate::inside::program(lab.as_os_str(), &command, &env)?.attached()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .with_context(|| format!("port {} of the loopback", options.port))?;
    let api = listener.local_addr()?;
    let (contents, socket) = (dir.join("contents.json"), dir.join(relay::SOCKET));
    while !contents.exists() {
        if let Some(status) = run.ended()? {
            bail!("the run ended ({status})");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = i32::try_from(std::process::id()).context("our own process id")?;
    let started = started(pid).context("our own start time")?;
    let standing = Standing { pid, started, dir, api };
    std::fs::write(file("up.json"), serde_json::to_vec_pretty(&standing)?)?;
    relay::from_loopback(listener, socket);
    let status = run.join()?;
    bail!("the run ended ({status})")
}

/// The lab inside the run that `up` started.
///
/// # Errors
///
/// When it cannot be set up.
pub fn run_inside(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        let firmware = |index| if index % 2 == 0 { Firmware::Bios } else { Firmware::Uefi };
        let machines = (0..options.machines).map(|index| MachineSpec::new(firmware(index)));
        let lab = Lab::start(&LabSpec::new(machines.collect())).await?;
        let image = lab.inputs.image_small.clone().context("the run was given no image")?;
        let nodes = (0..lab.rack.machines.len())
            .map(|index| lab.node_body(index, &format!("machine-{index}")));
        let digest = crate::host::Program::new("sha256sum").arg(&image).text()?;
        let contents = Contents {
            image: lab.images.add(&image)?,
            sha256: digest.split_whitespace().next().unwrap_or_default().to_owned(),
            macs: lab.rack.machines.iter().map(|machine| machine.spec().mac.clone()).collect(),
            nodes: nodes.collect(),
        };
        let listener = relay::listen(&lab.dir)?;
        let (new, file) = (lab.dir.join("contents.json.new"), lab.dir.join("contents.json"));
        std::fs::write(&new, serde_json::to_vec_pretty(&contents)?)?;
        std::fs::rename(new, file)?;
        relay::to_api(listener, crate::coordinator::API).await
    })
}

fn file(name: &str) -> PathBuf {
    cache_dir().join(name)
}

/// The lab that is up, if its owner lives.
fn standing() -> anyhow::Result<Option<Standing>> {
    let text = match std::fs::read(file("up.json")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.context("reading the lab's state file")?,
    };
    // A torn file is of an owner that died while writing it.
    let found: Option<Standing> = serde_json::from_slice(&text).ok();
    Ok(found.filter(|standing| started(standing.pid) == Some(standing.started)))
}

/// When a living process started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
fn started(pid: i32) -> Option<u64> {
    start_time(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn start_time(stat: &str) -> Option<u64> {
    // The second field, the name, may contain anything, also parentheses and spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let alive = !matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| alive)
}

fn say(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987 0 0";
        assert_eq!(start_time(stat), Some(987));
        assert_eq!(start_time(&stat.replace(" S ", " Z ")), None, "a dead process");
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(started(own).is_some());
        assert_eq!(started(-1), None);
    }
}
