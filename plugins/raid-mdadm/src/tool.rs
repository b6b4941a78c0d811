//! The programs in the bundle, and the few bytes that are written without one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ironwright_plugin::{Problem, Who};

/// Characters of a program's words that a failure repeats.
const WORDS_MAX: usize = 600;
/// How long a partition's node may take to appear after the table was written.
const SETTLE: Duration = Duration::from_secs(15);
const MIB: u64 = 1 << 20;
/// What makes links where mdadm makes device nodes (`shim.c`).
const SHIM: &str = "/lib/shim.so";

/// A failure that the operator can mend by another order.
pub(crate) fn order(message: impl Into<String>, remedy: &str) -> Problem {
    Who::Order.problem(message, remedy)
}

/// A failure of the disks.
pub(crate) fn hardware(message: impl Into<String>) -> Problem {
    let remedy = "check the disks named and what else uses them, then order the step again";
    Who::Hardware.problem(message, remedy)
}

#[expect(clippy::disallowed_methods, reason = "a plugin is the place that starts its tools")]
fn output(program: &str, args: &[&str]) -> Result<Output, Problem> {
    let mut command = Command::new(program);
    if program == "mdadm" {
        command.env("LD_PRELOAD", SHIM);
    }
    command.args(args).stdin(Stdio::null()).output().map_err(|error| {
        let remedy = "build the bundle again with plugins/build";
        Who::Plugin.problem(format!("cannot start {program}: {error}"), remedy)
    })
}

/// Runs a program and returns what it printed.
///
/// # Errors
/// With its own last words, where it fails.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String, Problem> {
    let output = output(program, args)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    for line in complaint.lines().chain(said.lines()) {
        writeln!(std::io::stderr(), "{program}: {line}").ok();
    }
    if output.status.success() {
        return Ok(said);
    }
    let words: String = format!("{complaint}{said}").trim().chars().take(WORDS_MAX).collect();
    Err(hardware(format!("{program} {}: {}: {words}", args.join(" "), output.status)))
}

/// `NAME=value` lines of mdadm's `--export`; none where the device has no label.
pub(crate) fn examine(device: &str) -> Result<Option<BTreeMap<String, String>>, Problem> {
    let output = output("mdadm", &["--examine", "--export", device])?;
    let found = exported(&String::from_utf8_lossy(&output.stdout));
    Ok(found.contains_key("MD_UUID").then_some(found))
}

/// The same of a running array.
pub(crate) fn detail(device: &str) -> Result<BTreeMap<String, String>, Problem> {
    run("mdadm", &["--detail", "--export", device]).map(|text| exported(&text))
}

fn exported(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.trim().split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Zeroes the first and the last MiB of a device, flushed: no label of what was there before.
pub(crate) fn wipe_ends(device: &str) -> Result<(), Problem> {
    let wipe = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(device)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        for start in [0, bytes.saturating_sub(MIB)] {
            file.seek(SeekFrom::Start(start))?;
            let length = usize::try_from(MIB.min(bytes - start)).unwrap_or(0);
            file.write_all(&vec![0; length])?;
        }
        file.sync_all()
    };
    wipe().map_err(|error| hardware(format!("zeroing both ends of {device}: {error}")))
}

/// Waits until the device nodes are there and show capacity.
pub(crate) fn wait_for(devices: &[String]) -> Result<(), Problem> {
    let end = Instant::now() + SETTLE;
    for device in devices {
        while !shows_capacity(device) {
            if Instant::now() > end {
                return Err(hardware(format!(
                    "{device} did not appear within {} s after the partition table was written",
                    SETTLE.as_secs()
                )));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Opens an array that need not exist yet. The first opening loads the kernel's driver and may fail for that.
pub(crate) fn hold(array: &str) -> Result<File, Problem> {
    let end = Instant::now() + SETTLE;
    loop {
        match File::open(array) {
            Ok(file) => return Ok(file),
            Err(error) if Instant::now() > end => {
                return Err(hardware(format!("opening {array}: {error}")));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Whether the node is the kernel's present device of that name, and has capacity: numbers are given anew with every table.
fn shows_capacity(device: &str) -> bool {
    let name = device.trim_start_matches("/dev/");
    let number = fs::metadata(device).map(|meta| meta.rdev()).ok();
    let present = fs::read_to_string(format!("/sys/class/block/{name}/dev")).ok();
    let same =
        present.is_some_and(|text| number.is_some_and(|number| is_number(text.trim(), number)));
    same && File::open(device)
        .and_then(|mut file| file.seek(SeekFrom::End(0)))
        .is_ok_and(|bytes| bytes > 0)
}

/// Whether `MAJOR:MINOR` is this device number, as Linux packs it (`gnu_dev_makedev`).
fn is_number(text: &str, number: u64) -> bool {
    let major = (number >> 8 & 0xfff) | (number >> 32 & !0xfff);
    let minor = (number & 0xff) | (number >> 12 & !0xff);
    text == format!("{major}:{}", minor & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_compared_as_linux_packs_them() {
        for (text, number) in [("8:1", 0x801), ("259:3", 0x1_0303), ("259:300", 0x11_032c)] {
            assert!(is_number(text, number), "{text}");
            assert!(!is_number(text, number + 1), "{text}");
        }
    }

    #[test]
    fn what_mdadm_exports_is_read_by_name() {
        let text = "MD_LEVEL=raid1\nMD_DEVICES=2\nMD_NAME=any:root\nMD_UUID=1:2:3:4\n\nnoise\n";
        let found = exported(text);
        assert_eq!(found["MD_NAME"], "any:root");
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn both_ends_are_zero_and_the_middle_is_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 3 << 20]).unwrap();
        wipe_ends(file.path().to_str().unwrap()).unwrap();
        let after = std::fs::read(file.path()).unwrap();
        assert!(after[..1 << 20].iter().chain(&after[2 << 20..]).all(|byte| *byte == 0));
        assert!(after[1 << 20..2 << 20].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_program_that_is_not_in_the_bundle_or_fails_is_named_with_its_words() {
        let (message, _) = run("/no/such/program", &[]).unwrap_err();
        assert!(message.starts_with("cannot start /no/such/program"), "{message}");
        let (message, _) = run("sh", &["-c", "echo why >&2; exit 3"]).unwrap_err();
        assert!(message.contains("exit status: 3: why"), "{message}");
    }
}
