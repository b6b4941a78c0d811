//! The bounded run of the fuzz targets of `agent/qcow2`: guided by coverage where nightly Rust and cargo-fuzz are
//! installed, else the same functions under a plain mutator on stable, and then it says so.

use std::path::Path;

use anyhow::Context;

use super::{Tally, cargo, say, workspace};
use crate::host::Program;

/// Seconds each target runs under the fuzzer.
const SECONDS: u64 = 20;
/// Changed inputs for each target under the plain mutator.
const MUTATIONS: &str = "50000";
/// The targets, by the names of their files, and the largest input of each, bytes: an image with extended L2 entries has
/// clusters of 16 KiB, and its seed ten of them.
const TARGETS: [(&str, u64); 3] = [("header", 4096), ("tables", 4096), ("whole_image", 160 << 10)];

/// Largest single allocation that is no crash, MiB: an L1 table has at most 32.
const MAX_ALLOCATION_MIB: u64 = 64;
/// Largest memory of a whole run, MiB, most of it the address sanitizer's.
const MAX_MEMORY_MIB: u64 = 1024;

/// Runs every target for a bounded time.
///
/// # Errors
/// When the targets cannot be built or started.
pub(super) fn run() -> anyhow::Result<Tally> {
    let example = |words: &[&str]| {
        let build = ["run", "--quiet", "--package", "ironwright-qcow2", "--features", "fuzzing"];
        cargo(&build).args(["--example", "fuzz", "--"]).args(words)
    };
    if let Err(why) = guided_is_possible() {
        say(&format!("coverage-guided fuzzing skipped: {why}; the same targets, plainly mutated:"));
        return Ok(Tally::of(example(&["mutate", MUTATIONS]).status()?.success()));
    }
    let folder = workspace().join("target/fuzz");
    let seeds = folder.join("seeds");
    example(&["seeds", &seeds.to_string_lossy()]).text().context("writing the seeds")?;
    let mut tally = Tally::default();
    for (target, max_bytes) in TARGETS {
        tally.add(Tally::of(guided(target, max_bytes, &folder)?));
    }
    Ok(tally)
}

/// Why there is no coverage-guided run here.
fn guided_is_possible() -> Result<(), String> {
    let asked = nightly().args(["fuzz", "--version"]).output();
    match asked {
        Err(_) => Err("rustup is not installed".into()),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            let line = words.lines().next().unwrap_or("no reason given").trim();
            Err(format!("needs nightly Rust with cargo-fuzz ({line})"))
        }
    }
}

fn nightly() -> Program {
    Program::new("rustup").args(["run", "nightly", "cargo"]).dir(workspace())
}

/// One target under the fuzzer; whether it found nothing.
fn guided(target: &str, max_bytes: u64, folder: &Path) -> anyhow::Result<bool> {
    let corpus = folder.join("corpus").join(target);
    std::fs::create_dir_all(&corpus).context("making the corpus folder")?;
    let output = nightly()
        .args(["fuzz", "run", "--fuzz-dir", "agent/qcow2/fuzz", "--target-dir"])
        .arg(folder.join("build"))
        .arg(target)
        .args([corpus, folder.join("seeds").join(target)])
        .args(["--", "-print_final_stats=1"])
        .arg(format!("-max_total_time={SECONDS}"))
        .arg(format!("-max_len={max_bytes}"))
        .arg(format!("-malloc_limit_mb={MAX_ALLOCATION_MIB}"))
        .arg(format!("-rss_limit_mb={MAX_MEMORY_MIB}"))
        .output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        let executions = executions(&words).unwrap_or("unknown");
        say(&format!("{target}: {executions} executions in {SECONDS} s, no crash"));
    } else {
        let lines: Vec<&str> = words.lines().collect();
        let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
        say(&format!("{target}: {}\n{}", output.status, last.join("\n")));
    }
    Ok(output.status.success())
}

/// The number of executions in the fuzzer's last words.
fn executions(words: &str) -> Option<&str> {
    words
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_from_the_fuzzers_last_words() {
        let words =
            "Done 12 runs in 20 second(s)\nstat::number_of_executed_units: 12\nstat::x: 3\n";
        assert_eq!(executions(words), Some("12"));
        assert_eq!(executions("no statistics"), None);
    }

    #[test]
    fn every_target_has_its_file() {
        let folder = workspace().join("agent/qcow2/fuzz/fuzz_targets");
        for (target, _) in TARGETS {
            assert!(folder.join(format!("{target}.rs")).is_file(), "{target}");
        }
    }
}
