//! The fuzz targets without a fuzzer.
//!
//! `fuzz seeds DIR` writes the seeds of each target into a folder of its own for cargo-fuzz; `fuzz mutate COUNT` runs each
//! target over its seeds and COUNT changed ones, the same on every run.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use ironwright_qcow2::fuzzing::{header, mutate, seeds, tables, whole_image};

/// Name, seeds and function.
type Target = (&'static str, Vec<Vec<u8>>, fn(&[u8]));

fn targets() -> [Target; 3] {
    [
        ("header", seeds::headers(), header),
        ("tables", seeds::tables(), tables),
        ("whole_image", seeds::images(), |data| drop(whole_image(data))),
    ]
}

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["seeds", folder] => write_seeds(Path::new(folder)),
        ["mutate", count] => mutate_all(count.parse().map_err(std::io::Error::other)?),
        _ => Err(std::io::Error::other("usage: fuzz seeds DIR | fuzz mutate COUNT")),
    }
}

fn write_seeds(folder: &Path) -> std::io::Result<()> {
    for (name, seeds, _) in targets() {
        std::fs::create_dir_all(folder.join(name))?;
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(name).join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

fn mutate_all(count: usize) -> std::io::Result<()> {
    for (name, seeds, target) in targets() {
        let (started, mut done) = (Instant::now(), 0_u64);
        mutate::run(&seeds, count, |data| {
            target(data);
            done = done.saturating_add(1);
        });
        let seconds = started.elapsed().as_secs_f64();
        writeln!(std::io::stdout(), "{name}: {done} executions in {seconds:.1} s, no crash")?;
    }
    Ok(())
}
