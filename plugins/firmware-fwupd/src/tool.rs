//! fwupdtool in the bundle: without its daemon, with everything that it writes in one folder that goes with the plugin.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use crate::answer::{self, Device};
use crate::update::{Fwupd, Left, ToolFailed};

const PROGRAM: &str = "/usr/bin/fwupdtool";
/// What mends its listening for devices (`shim.c`).
const SHIM: &str = "/lib/shim.so";
/// Most that it may print, bytes.
const SAID_MAX: u64 = 4 << 20;

/// Longest line of its log that is looked at in one piece, bytes.
const LINE_MAX: u64 = 64 << 10;
/// How many of the last lines of its log a failure shows, and how much of each, characters.
const LAST: (usize, usize) = (3, 200);

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
    /// What it was asked.
    asked: String,
    text: String,
    status: ExitStatus,
    /// The end of its log.
    last: VecDeque<String>,
}

impl Said {
    /// That it gave no usable answer, and why.
    fn failure(&self, why: &str) -> ToolFailed {
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("ended with exit status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let last: Vec<&str> = self.last.iter().map(String::as_str).collect();
        let last =
            if last.is_empty() { "none".to_owned() } else { format!("{:?}", last.join(" | ")) };
        ToolFailed(format!(
            "{PROGRAM} {} {how}: {why}; the last lines of its log: {last}",
            self.asked
        ))
    }
}

/// Keeps the end of a log.
fn keep(last: &mut VecDeque<String>, line: &str) {
    let (lines, characters) = LAST;
    if answer::progress(line).is_some() || line.trim().is_empty() {
        return;
    }
    if last.len() == lines {
        last.pop_front();
    }
    last.push_back(line.trim().chars().take(characters).collect());
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
    ) -> Result<Said, ToolFailed> {
        let asked = args.join(" ");
        let broken = |what: &'static str| {
            let asked = &asked;
            move |error: std::io::Error| ToolFailed(format!("{what} {PROGRAM} {asked}: {error}"))
        };
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
            .map_err(broken("starting"))?;
        let mut last = VecDeque::new();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let said = thread::scope(|scope| {
            scope.spawn(|| {
                if let Some(err) = err {
                    each_line(err, &mut |line| {
                        keep(&mut last, line);
                        log(line);
                    });
                }
            });
            let mut said = Vec::new();
            let Some(mut out) = out else { return Ok(String::new()) };
            out.by_ref().take(SAID_MAX).read_to_end(&mut said)?;
            std::io::copy(&mut out, &mut std::io::sink())?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&said).into_owned())
        });
        let status = child.wait().map_err(broken("waiting for"))?;
        let text = said.map_err(broken("reading what it says of"))?;
        Ok(Said { asked, text, status, last })
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

/// The devices of an answer.
fn devices(said: &Said) -> Result<Vec<Device>, ToolFailed> {
    answer::devices(&said.text).map_err(|why| said.failure(&why))
}

impl Fwupd for Fwupdtool {
    fn devices(&self, plugins: &[&str]) -> Result<Vec<Device>, ToolFailed> {
        let mut args = vec!["get-devices", "--json"];
        args.extend(plugins.iter().flat_map(|plugin| ["--plugins", plugin]));
        devices(&self.ask("none", &args, &mut note)?)
    }

    fn versions_in(&self, cabinet: &Path, device: &Device) -> Result<Vec<String>, ToolFailed> {
        let cabinet = cabinet.display().to_string();
        let said = self.ask("none", &["get-details", &cabinet], &mut note)?;
        let found: Vec<String> =
            answer::versions_for(&said.text, device).into_iter().map(str::to_owned).collect();
        match found.is_empty() && !said.status.success() {
            true => Err(said.failure("it read no firmware in the cabinet")),
            false => Ok(found),
        }
    }

    fn compare(&self, device: &Device, version: &str) -> Result<Ordering, ToolFailed> {
        let mut args = vec!["vercmp", device.version.as_str(), version];
        if !device.version_format.is_empty() {
            args.push(&device.version_format);
        }
        let said = self.ask("none", &args, &mut note)?;
        let unread = || {
            said.failure(&format!(
                "it cannot compare {:?} and {version:?}: {:?}",
                device.version, said.text
            ))
        };
        answer::order(&said.text).ok_or_else(unread)
    }

    fn install(
        &self,
        device: &Device,
        cabinet: &Path,
        older: bool,
        progress: &mut (dyn FnMut(u64, &str) + Send),
    ) -> Result<Left, ToolFailed> {
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
        let entry = devices(&told)?.into_iter().find(|entry| entry.id == device.id);
        let failed = entry.as_ref().is_some_and(Device::has_failed);
        let complaint = match (said.status.success(), failed) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_the_tool_says_what_was_asked_how_it_ended_and_its_last_lines() {
        let mut last = VecDeque::new();
        for line in ["first", "Loading…: 50%", "second", "", "third", "no such library"] {
            keep(&mut last, line);
        }
        let mut said = Said {
            asked: "get-devices --json".to_owned(),
            text: String::new(),
            status: ExitStatus::from_raw(1 << 8),
            last,
        };
        assert_eq!(
            said.failure("its answer is empty"),
            ToolFailed(
                "/usr/bin/fwupdtool get-devices --json ended with exit status 1: its answer is empty; \
                 the last lines of its log: \"second | third | no such library\""
                    .to_owned()
            )
        );
        (said.status, said.last) = (ExitStatus::from_raw(11), VecDeque::new());
        let ToolFailed(words) = said.failure("x");
        assert!(
            words.ends_with("was killed by signal 11: x; the last lines of its log: none"),
            "{words}"
        );
    }
}
