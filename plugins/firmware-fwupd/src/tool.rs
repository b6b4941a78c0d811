//! fwupdtool in the bundle: without its daemon, with everything that it writes in one folder that goes with the plugin.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::answer::{self, Device};
use crate::update::{Fwupd, Left};

const PROGRAM: &str = "/usr/bin/fwupdtool";
/// What mends its listening for devices (`shim.c`).
const SHIM: &str = "/lib/shim.so";
/// Most that it may print, bytes.
const SAID_MAX: u64 = 4 << 20;

/// Longest line of its log that is looked at in one piece, bytes.
const LINE_MAX: u64 = 64 << 10;

/// The program, with a folder for what it writes.
#[derive(Debug)]
pub(crate) struct Fwupdtool {
    folder: PathBuf,
    /// Its history must be that of one installation only.
    histories: Cell<u32>,
}

/// What it printed, and whether it ended well; that decides nothing: it ends well though a device did not take its firmware, and badly
/// though one did.
struct Said {
    text: String,
    well: bool,
}

impl Fwupdtool {
    /// Makes the folder.
    ///
    /// # Errors
    /// Where it cannot be made, or the program is not in this bundle.
    pub(crate) fn new() -> Result<Self, String> {
        if !Path::new(PROGRAM).is_file() {
            return Err(format!("{PROGRAM} is not in this bundle: build it with plugins/build"));
        }
        let folder = std::env::temp_dir().join(format!("firmware-fwupd-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("making {}: {error}", folder.display()))?;
        Ok(Self { folder, histories: Cell::new(0) })
    }

    /// Runs it with the history in `history` and hands each line of its log to `log`.
    #[expect(clippy::disallowed_methods, reason = "a plugin is the place that starts its tools")]
    fn ask(
        &self,
        history: &str,
        args: &[&str],
        log: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Said, String> {
        let mut child = Command::new(PROGRAM)
            .args(args)
            .env("LD_PRELOAD", SHIM)
            .env("LC_ALL", "C.UTF-8")
            .env("NO_COLOR", "1")
            .env("HOME", &self.folder)
            .env("FWUPD_LOCALSTATEDIR", self.folder.join(history))
            .env("STATE_DIRECTORY", self.folder.join(history))
            .env("LOCALCONF_DIRECTORY", self.folder.join(history))
            .env("CACHE_DIRECTORY", self.folder.join("cache"))
            .env("FWUPD_LOCKDIR", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("starting {PROGRAM}: {error}"))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let said = thread::scope(|scope| {
            scope.spawn(|| {
                if let Some(err) = err {
                    each_line(err, log);
                }
            });
            let mut said = Vec::new();
            let Some(mut out) = out else { return Ok(String::new()) };
            out.by_ref().take(SAID_MAX).read_to_end(&mut said)?;
            std::io::copy(&mut out, &mut std::io::sink())?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&said).into_owned())
        });
        let status = child.wait().map_err(|error| format!("waiting for {PROGRAM}: {error}"))?;
        let text = said.map_err(|error| format!("reading what {PROGRAM} says: {error}"))?;
        Ok(Said { text, well: status.success() })
    }
}

/// Hands on each line, whatever it is made of, until there are no more: a program whose pipe closes is killed, and this one may be
/// writing firmware.
fn each_line(from: impl Read, act: &mut (dyn FnMut(&str) + Send)) {
    let (mut from, mut line) = (BufReader::new(from), Vec::new());
    while from.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        act(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
        line.clear();
    }
}

/// Its log goes on to ours, without how far it is with loading.
fn note(line: &str) {
    if answer::progress(line).is_none() {
        writeln!(std::io::stderr(), "fwupdtool: {line}").ok();
    }
}

impl Fwupd for Fwupdtool {
    fn devices(&self, plugins: &[&str]) -> Result<Vec<Device>, String> {
        let mut args = vec!["get-devices", "--json"];
        args.extend(plugins.iter().flat_map(|plugin| ["--plugins", plugin]));
        answer::devices(&self.ask("none", &args, &mut note)?.text)
    }

    fn versions_in(&self, cabinet: &Path) -> Result<Vec<String>, String> {
        let cabinet = cabinet.display().to_string();
        let said = self.ask("none", &["get-details", &cabinet], &mut note)?;
        Ok(answer::versions_in(&said.text).into_iter().map(str::to_owned).collect())
    }

    fn compare(&self, device: &Device, version: &str) -> Result<Ordering, String> {
        let mut args = vec!["vercmp", device.version.as_str(), version];
        if !device.version_format.is_empty() {
            args.push(&device.version_format);
        }
        let said = self.ask("none", &args, &mut note)?;
        answer::order(&said.text).ok_or_else(|| {
            format!("fwupdtool cannot compare {:?} and {version:?}: {}", device.version, said.text)
        })
    }

    fn install(
        &self,
        device: &Device,
        cabinet: &Path,
        older: bool,
        progress: &mut (dyn FnMut(u64, &str) + Send),
    ) -> Result<Left, String> {
        let number = self.histories.get();
        self.histories.set(number + 1);
        let history = format!("history-{number}");
        let cabinet = cabinet.display().to_string();
        // Not with --json: then it does not say how far it is.
        let mut args = vec!["install", &cabinet, &device.id, "--assume-yes", "--no-reboot-check"];
        args.extend(["--plugins", &device.plugin]);
        if older {
            args.push("--allow-older");
        }
        let mut last = None;
        let said = self.ask(&history, &args, &mut |line| match answer::progress(line) {
            Some((what, percent)) => progress(percent, what),
            None => {
                note(line);
                last = Some(line.to_owned());
            }
        })?;
        let args = ["get-history", "--json", "--plugins", &device.plugin];
        let told = self.ask(&history, &args, &mut note)?;
        let entry = answer::devices(&told.text)?.into_iter().find(|entry| entry.id == device.id);
        let failed = entry.as_ref().is_some_and(Device::has_failed);
        let complaint = match (said.well, failed) {
            (true, false) => None,
            (true, true) => Some("its history calls the update failed".to_owned()),
            (false, _) => Some(last.unwrap_or_else(|| "it ended badly, without a word".to_owned())),
        };
        Ok(Left { complaint, waits_for: entry.as_ref().and_then(Device::waits_for) })
    }
}

impl Drop for Fwupdtool {
    fn drop(&mut self) {
        // Confined, it goes with the plugin's own /tmp anyway.
        fs::remove_dir_all(&self.folder).ok();
    }
}
