//! Plugin: firmware of NVMe drives, from files in the bundle: whoever signs the bundle signs the firmware.
//!
//! A drive that cannot start its new firmware at once is left for a power cycle; the step goes on afterwards and looks what runs.
#![forbid(unsafe_code)]

mod controller;
mod identify;
mod update;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use ironwright_plugin::{Context, Plugin, Problem, Request, Step, StepInfo, Success, Who, serve};
use serde_json::{Value, json};

use controller::{Controller, Device};
use identify::{Identify, Slots};
use update::{FIRMWARE_MAX, Left, Standing, Wanted};

/// The manifest says what each step is; the program must not say anything else.
const MANIFEST: &str = include_str!("../manifest.json");
/// Where the bundle has firmware.
const FOLDER: &str = "/firmware";

fn order(message: String) -> Problem {
    Who::Order.problem(message, "correct the arguments, or the firmware in the bundle")
}

fn hardware(device: &str, message: &str) -> Problem {
    let remedy = "look at the drive, then order the step again";
    Who::Hardware.problem(format!("{device}: {message}"), remedy)
}

/// The controllers among the devices: `/dev/nvme0`, and not its namespaces.
fn controllers(devices: &[String]) -> impl Iterator<Item = &str> {
    let is_controller = |path: &&str| {
        let number = path.strip_prefix("/dev/nvme");
        number.is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    devices.iter().map(String::as_str).filter(is_controller)
}

fn wanted(args: &Value) -> Result<Wanted, Problem> {
    let text = |key: &str| args.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text("file");
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    if !plain {
        return Err(order(format!(
            "file is {name:?}: name a file of the folder {FOLDER} of the bundle"
        )));
    }
    let path = Path::new(FOLDER).join(&name);
    let mut firmware = Vec::new();
    let read =
        File::open(&path).and_then(|file| file.take(FIRMWARE_MAX + 1).read_to_end(&mut firmware));
    read.map_err(|error| order(format!("{}: {error}", path.display())))?;
    if firmware.len() as u64 > FIRMWARE_MAX {
        return Err(order(format!("{} has more than {FIRMWARE_MAX} bytes", path.display())));
    }
    if let Some(wrong) = update::file_problem(&firmware, &text("sha256")) {
        return Err(order(format!("{}: {wrong}", path.display())));
    }
    let slot = args.get("slot").and_then(Value::as_u64);
    Ok(Wanted { model: text("model"), version: text("version"), slot, firmware })
}

fn open(device: &str) -> Result<Device, Problem> {
    Device::open(device).map_err(|error| hardware(device, &error.to_string()))
}

/// The drives that are meant, with what is to be done to each.
fn meant<'a>(
    request: &'a Request,
    wanted: &Wanted,
) -> Result<Vec<(&'a str, Identify, Standing)>, Problem> {
    let mut meant = Vec::new();
    for device in controllers(&request.devices) {
        let looked = update::look(&mut open(device)?, wanted);
        let (identify, standing) = looked.map_err(|words| hardware(device, &words))?;
        if standing != Standing::Other {
            meant.push((device, identify, standing));
        }
    }
    if meant.is_empty() {
        return Err(order(format!("the machine has no NVMe drive of model {:?}", wanted.model)));
    }
    Ok(meant)
}

struct Update;

impl Step for Update {
    fn info(&self) -> StepInfo {
        StepInfo::declared(MANIFEST, "update_nvme")
    }

    fn plan(&self, request: &Request) -> Result<Vec<String>, Problem> {
        // After the restart there is nothing to plan: what runs is looked at.
        if !request.state.is_null() {
            return Ok(vec!["look which firmware runs after the restart".to_owned()]);
        }
        let wanted = wanted(&request.args)?;
        let sentence = |(device, identify, standing): (&str, Identify, Standing)| {
            let Standing::Due { slot, at_once } = standing else { return None };
            let when = if at_once { "started at once" } else { "started by a power cycle" };
            let (serial, from, to) = (identify.serial, identify.revision, &wanted.version);
            Some(format!("{device} (serial {serial}): {from} to {to} in slot {slot}, {when}"))
        };
        Ok(meant(request, &wanted)?.into_iter().filter_map(sentence).collect())
    }

    fn run(&self, request: &Request, context: &Context) -> Result<Success, Problem> {
        let wanted = wanted(&request.args)?;
        // What the drives ran before the restart, by serial number; null: there was none.
        let before = request.state.get("drives").cloned().unwrap_or_default();
        let mut drives = Vec::new();
        let (mut changed, mut waits) = (!before.is_null(), Vec::new());
        for (device, identify, standing) in meant(request, &wanted)? {
            let was = before
                .get(&identify.serial)
                .and_then(Value::as_str)
                .unwrap_or(&identify.revision)
                .to_owned();
            if let Standing::Due { slot, at_once } = standing {
                if !before.is_null() {
                    let words = format!(
                        "it runs {} after the restart, and not {}",
                        identify.revision, wanted.version
                    );
                    return Err(hardware(device, &words));
                }
                let total = wanted.firmware.len() as u64;
                let mut progress = |sent| context.progress(sent, Some(total), device);
                let left = update::update(
                    &mut open(device)?,
                    &wanted,
                    &identify,
                    (slot, at_once),
                    &mut progress,
                );
                changed = true;
                if left.map_err(|words| hardware(device, &words))? == Left::AfterReset {
                    waits.push(device.to_owned());
                }
            }
            drives.push(json!({"device": device, "serial": identify.serial, "before": was, "after": wanted.version}));
        }
        if !waits.is_empty() {
            let pairs = drives.iter().filter_map(|drive| {
                Some((drive["serial"].as_str()?.to_owned(), drive["before"].clone()))
            });
            let state = json!({"drives": pairs.collect::<serde_json::Map<_, _>>()});
            return Ok(Success::Reboot(
                format!("{} start {} then", waits.join(", "), wanted.version),
                state,
            ));
        }
        let message = format!("{} drives run {}", drives.len(), wanted.version);
        let evidence = json!({"drives": drives, "sha256": update::sha256(&wanted.firmware)});
        Ok(if changed {
            Success::Changed(message, evidence)
        } else {
            Success::Unchanged(message, evidence)
        })
    }
}

struct Show;

impl Step for Show {
    fn info(&self) -> StepInfo {
        StepInfo::declared(MANIFEST, "show_nvme")
    }

    fn plan(&self, _: &Request) -> Result<Vec<String>, Problem> {
        Ok(vec!["ask each NVMe drive for its firmware slots".to_owned()])
    }

    fn run(&self, request: &Request, _: &Context) -> Result<Success, Problem> {
        let mut drives = Vec::new();
        for device in controllers(&request.devices) {
            let mut drive = open(device)?;
            let failed = |error: std::io::Error| hardware(device, &error.to_string());
            let identify = Identify::parse(&drive.identify().map_err(failed)?);
            let slots = Slots::parse(&drive.slots().map_err(failed)?);
            drives.push(update::shown(device, &identify, &slots));
        }
        Ok(Success::Unchanged(format!("{} drives", drives.len()), json!({"drives": drives})))
    }
}

const PLUGIN: Plugin<'_> =
    Plugin { name: "firmware-nvme", version: env!("CARGO_PKG_VERSION"), steps: &[&Update, &Show] };

fn main() -> ExitCode {
    serve(&PLUGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_says_what_its_manifest_says() {
        assert_eq!(PLUGIN.differences(MANIFEST), [""; 0]);
    }

    #[test]
    fn controllers_are_told_from_their_namespaces() {
        let devices =
            ["/dev/nvme0", "/dev/nvme0n1", "/dev/nvme10", "/dev/nvme-fabrics", "/dev/nvme"]
                .map(str::to_owned);
        assert_eq!(controllers(&devices).collect::<Vec<_>>(), ["/dev/nvme0", "/dev/nvme10"]);
    }

    #[test]
    fn a_file_outside_of_the_bundles_folder_is_refused() {
        for name in ["", "../etc/passwd", ".hidden", "a/b"] {
            let (message, _) = wanted(&json!({"file": name})).unwrap_err();
            assert!(message.contains("name a file of the folder"), "{message}");
        }
        let (message, _) = wanted(&json!({"file": "no-such-file"})).unwrap_err();
        assert!(message.starts_with("/firmware/no-such-file: "), "{message}");
    }
}
