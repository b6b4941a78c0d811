//! What a step of a plugin costs beside its own work, for `cargo lab bench plugins`: `plugin_cost AGENT ROUNDS NAME=FOLDER...`.
//!
//! Each folder is a plugin with the step `clear_first_sector`; it gets a file of zeros as its disk, so that it has nothing to do. As
//! root it is confined with AGENT as the launcher, as in the ramdisk; the measurements of a round are beside each other.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use ironwright_agent::order::Facts;
use ironwright_agent::plugin::{Confinement, Device, Folder, Planned, Plugin, Scratch, Watch};
use ironwright_agent::sys::System;
use ironwright_plugin::{Outcome, Progress};
use serde_json::Value;

const STEP: &str = "clear_first_sector";
/// Bytes of the file that plays the disk.
const DISK: u64 = 1 << 20;

/// Nobody looks on.
struct Nobody;

impl Watch for Nobody {
    fn progress(&self, _: &Progress) {}

    fn cancelled(&self) -> bool {
        false
    }
}

/// One plugin and what its calls took, milliseconds.
struct Measured {
    name: String,
    plugin: Plugin,
    describe: Vec<f64>,
    plan: Vec<f64>,
    run: Vec<f64>,
    _scratch: Scratch,
}

fn timed<T>(into: &mut Vec<f64>, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    let done = work()?;
    into.push(began.elapsed().as_secs_f64() * 1e3);
    Ok(done)
}

impl Measured {
    fn new(word: &str, agent: &Path, disk: &Path) -> anyhow::Result<Self> {
        let (name, folder) = word.split_once('=').context("name a plugin NAME=FOLDER")?;
        let scratch = Scratch::make().context("making a folder")?;
        let confinement = match nix::unistd::geteuid().is_root() {
            true => Confinement::Tree { launcher: agent.to_path_buf(), mount: scratch.mount() },
            false => Confinement::None,
        };
        let plugin = Plugin {
            folder: Folder::read(Path::new(folder))?,
            confinement,
            devices: vec![Device { path: disk.to_path_buf(), name: PathBuf::from("file0") }],
            live: None,
        };
        let (describe, plan, run) = Default::default();
        Ok(Self { name: name.to_owned(), plugin, describe, plan, run, _scratch: scratch })
    }

    fn round(&mut self) -> anyhow::Result<()> {
        let Self { name, plugin, .. } = self;
        timed(&mut self.describe, || plugin.describe(&Nobody).with_context(|| name.clone()))?;
        let planned = timed(&mut self.plan, || {
            plugin.plan(STEP, &Value::Null, &Nobody).with_context(|| name.clone())
        })?;
        ensure!(planned == Planned::Actions(Vec::new()), "{name} wants to do {planned:?}");
        let done = timed(&mut self.run, || {
            plugin.run(STEP, &Value::Null, Value::Null, 0, &Nobody).with_context(|| name.clone())
        })?;
        ensure!(done.outcome == Outcome::Unchanged, "{name} did {done:?}");
        Ok(())
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::print_stdout, reason = "its output")]
fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [agent, rounds, folders @ ..] = words.as_slice() else {
        anyhow::bail!("usage: plugin_cost AGENT ROUNDS NAME=FOLDER...");
    };
    let (agent, rounds) = (PathBuf::from(agent), rounds.parse::<u32>().context("ROUNDS")?);
    let own = Scratch::make().context("making a folder")?;
    let disk = own.tree().join("disk");
    std::fs::File::create(&disk)?.set_len(DISK)?;
    let system = System::sandbox(Path::new("/"), std::slice::from_ref(&disk))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut measured = folders
        .iter()
        .map(|word| Measured::new(word, &agent, &disk))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (mut noop, mut look) = (Vec::new(), Vec::new());
    // The first round only warms the caches.
    for round in 0..=rounds {
        // Every step of the agent's own starts like this.
        timed(&mut noop, || {
            Ok(runtime
                .block_on(runtime.spawn(async { tokio::task::spawn_blocking(|| ()).await }))??)
        })?;
        timed(&mut look, || Ok(Facts::collect(&system)))?;
        for plugin in &mut measured {
            plugin.round()?;
        }
        if round == 0 {
            noop.clear();
            look.clear();
            for plugin in &mut measured {
                for times in [&mut plugin.describe, &mut plugin.plan, &mut plugin.run] {
                    times.clear();
                }
            }
        }
    }
    let (noop, look) = (median(&mut noop), median(&mut look));
    println!(
        "medians of {rounds} rounds, ms; a step of the agent's own that does nothing: {noop:.3}; its look at the machine before each step: {look:.1}"
    );
    for plugin in &mut measured {
        let limits = plugin.plugin.unlimited().unwrap_or_else(|| "confined, all limits".to_owned());
        let [describe, plan, run] =
            [&mut plugin.describe, &mut plugin.plan, &mut plugin.run].map(|times| median(times));
        println!(
            "{:8} describe {describe:5.1}  plan {plan:5.1}  run {run:5.1}; a step (plan and run) over one of the agent's own: {:5.1}  ({limits})",
            plugin.name,
            plan + run - noop
        );
    }
    Ok(())
}
