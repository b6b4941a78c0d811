//! Python programs from PyPI, each in a virtual environment of its own in the cache.
#![expect(clippy::print_stdout, reason = "an installation takes long enough to be announced")]

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::host::Program;
use crate::packages;

/// The folder's name: what is no name of a file becomes a dash.
fn folder(release: &str) -> String {
    let name = release.replace("==", "-");
    name.replace(|c: char| !(c.is_ascii_alphanumeric() || "-._".contains(c)), "-")
}

/// Installs `release` (`name==version`, and others beside it after spaces) once, below `kind` in the cache; returns the
/// environment's folder.
///
/// # Errors
///
/// What `python3 -m venv` or `pip` say.
pub fn install(kind: &str, release: &str) -> anyhow::Result<PathBuf> {
    let home = packages::cache_dir().join(kind).join(folder(release));
    let done = home.join("installed");
    if done.exists() {
        return Ok(home);
    }
    println!("installing {release} into the lab's cache");
    let venv =
        |home: &Path| Program::new("python3").args(["-m", "venv", "--clear"]).arg(home).text();
    venv(&home).with_context(|| format!("making a virtual environment for {release}"))?;
    Program::new(home.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(release.split(' '))
        .text()
        .with_context(|| format!("installing {release}"))?;
    std::fs::write(&done, release)?;
    Ok(home)
}
