//! What a step of a plugin costs beside its own work: the same plugin in shell, Rust and Python, confined as in the ramdisk where
//! root permits.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use ironwright_agent::plugin::bundle;
use ironwright_agent::plugin::key::TrustedKeys;

use crate::artifacts::{self, say, workspace};

/// Rounds of the measurement, unless others are asked for.
const ROUNDS: &str = "30";

/// The measurement's command: program and arguments; `more` is `ROUNDS` or nothing.
pub(super) fn command(work: &Path, more: &[OsString]) -> anyhow::Result<Vec<OsString>> {
    let folder = work.join("plugins");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("removing the last run's plugins")?;
    }
    let mut command: Vec<OsString> = vec![
        artifacts::agent_example("plugin_cost")?.into(),
        artifacts::agent()?.into(),
        more.first().cloned().unwrap_or_else(|| ROUNDS.into()),
    ];
    let mut add = |name: &str, folder: PathBuf| {
        let mut word = OsString::from(format!("{name}="));
        word.push(folder);
        command.push(word);
    };
    add("shell", shell(&folder.join("shell"))?);
    add("rust", rust(&folder.join("rust"))?);
    // Its bundle is made of Debian's packages, which not every machine can have.
    match python(&folder.join("python")) {
        Ok(folder) => add("python", folder),
        Err(error) => say(&format!("python is not measured: {error:#}")),
    }
    Ok(command)
}

/// The manifest of the example in shell, with this name.
fn manifest(name: &str, folder: &Path) -> anyhow::Result<()> {
    let path = workspace().join("plugins/examples/shell/manifest.json");
    let text = fs::read_to_string(&path).context("reading the example's manifest")?;
    let text = text.replace("first-sector-shell", name);
    fs::create_dir_all(folder.join("root/bin")).context("making the plugin's folder")?;
    fs::write(folder.join("manifest.json"), text).context("writing the plugin's manifest")
}

/// The example in shell, with a busybox.
fn shell(folder: &Path) -> anyhow::Result<PathBuf> {
    manifest("first-sector-shell", folder)?;
    let bin = folder.join("root/bin");
    let example = workspace().join("plugins/examples/shell/root/bin/first-sector");
    fs::copy(example, bin.join("first-sector")).context("copying the example")?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    let busybox = busybox.iter().find(|path| path.exists()).context("busybox is not installed")?;
    fs::copy(busybox, bin.join("sh")).context("copying busybox")?;
    for tool in ["dd", "tr", "wc"] {
        symlink("sh", bin.join(tool)).context("making a link to busybox")?;
    }
    Ok(folder.to_path_buf())
}

/// The example in Rust, static as plugins/build makes it.
fn rust(folder: &Path) -> anyhow::Result<PathBuf> {
    manifest("first-sector-rust", folder)?;
    let program = artifacts::plugin_example("first-sector")?;
    fs::copy(program, folder.join("root/bin/first-sector")).context("copying the program")?;
    Ok(folder.to_path_buf())
}

/// The example in Python, out of the bundle that plugins/build makes.
fn python(folder: &Path) -> anyhow::Result<PathBuf> {
    let built = artifacts::plugin::bundle("examples/python")?;
    let trusted = TrustedKeys::read(std::slice::from_ref(&built.key))?;
    let bytes = bundle::read(&built.file)?;
    fs::create_dir_all(folder).context("making the plugin's folder")?;
    bundle::verify(&bytes, &trusted, None)?.unpack(folder)?;
    ensure!(folder.join("root/usr/bin/python3").exists(), "there is no Python in its bundle");
    Ok(folder.to_path_buf())
}
