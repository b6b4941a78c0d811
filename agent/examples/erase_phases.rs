//! How long the two halves of an erase by overwriting take on one disk, for `cargo lab bench erase`: `erase_phases DISK`.
//! What is on the disk is lost.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context;
use ironwright_agent::erase::overwrite::{self, Follow};
use ironwright_agent::sys::System;
use ironwright_agent::sys::disk::{Access, RealDisk};

/// The moment each phase was first and last heard of.
#[derive(Default)]
struct Phases(Mutex<Vec<(&'static str, Instant, Instant)>>);

impl Follow for Phases {
    fn go_on(&self, phase: &'static str, _bytes: u64) -> bool {
        let now = Instant::now();
        let Ok(mut phases) = self.0.lock() else { return false };
        match phases.last_mut() {
            Some((last, _, end)) if *last == phase => *end = now,
            _ => phases.push((phase, now, now)),
        }
        true
    }
}

#[expect(clippy::print_stdout, reason = "its one line of output")]
fn main() -> anyhow::Result<()> {
    let path = PathBuf::from(std::env::args_os().nth(1).context("usage: erase_phases DISK")?);
    let system = System::sandbox(std::path::Path::new("/"), std::slice::from_ref(&path))?;
    let disk = RealDisk::open(system.admit(&path)?, Access::Write)?;
    let phases = Phases::default();
    let begun = Instant::now();
    overwrite::overwrite(&disk, &phases)?;
    let phases = phases.0.into_inner().map_err(|_| anyhow::anyhow!("a phase panicked"))?;
    let verify = phases.iter().find(|(phase, ..)| *phase == "verify").context("no verification")?;
    println!(
        "{{\"erase_s\": {}, \"verify_s\": {}}}",
        (verify.1 - begun).as_secs_f64(),
        (verify.2 - verify.1).as_secs_f64()
    );
    Ok(())
}
