//! Plugin: firmware of everything that fwupd drives, to a pinned baseline, through fwupdtool.
//!
//! The baseline and its cabinets are in the bundle: whoever signs the bundle signs the firmware. fwupdtool does the work, and what
//! decides is what the devices, asked anew, say of themselves.
#![forbid(unsafe_code)]

mod answer;
mod baseline;
mod tool;
mod update;

use std::path::Path;
use std::process::ExitCode;

use ironwright_plugin::{Context, Plugin, Problem, Request, Step, StepInfo, Success, Who, serve};
use serde_json::{Value, json};

use baseline::Entry;
use tool::Fwupdtool;
use update::{End, Fwupd, Pinned, Refusal, ToolFailed};

/// The manifest says what each step is; the program must not say anything else.
const MANIFEST: &str = include_str!("../manifest.json");
/// Where the bundle has baselines and their cabinets.
const FOLDER: &str = "/firmware";
/// The baseline where the order names none.
const BASELINE: &str = "baseline.json";

fn order(message: String) -> Problem {
    let remedy = "correct root/firmware of the plugin's folder and build the bundle again, or look at the machine";
    Who::Order.problem(message, remedy)
}

/// The order may be right: what would have told was not answered.
fn tool(ToolFailed(message): ToolFailed) -> Problem {
    let remedy = "nothing was installed; read the plugin's log and order show_fwupd: if that fails too, build the bundle again with \
                  plugins/build; if not, look at the cabinet or the device that its last lines name";
    Who::Plugin.problem(message, remedy)
}

/// Nothing was to be installed, and there is nothing else to ask.
fn unlisted(ToolFailed(message): ToolFailed) -> Problem {
    let remedy = "read the plugin's log; build the bundle again with plugins/build, and if that does not help look at the device \
                  that fwupdtool's last lines name";
    Who::Plugin.problem(message, remedy)
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Order(message) => order(message),
        Refusal::Tool(failed) => tool(failed),
    }
}

fn hardware(message: String) -> Problem {
    Who::Hardware
        .problem(message, "look at the device and at the plugin's log, then order the step again")
}

fn broken(message: String) -> Problem {
    Who::Plugin.problem(message, "build the bundle again with plugins/build")
}

/// The baseline that the order means.
fn entries(request: &Request) -> Result<Vec<Entry>, Problem> {
    let name = request.args.get("baseline").and_then(Value::as_str).unwrap_or(BASELINE);
    baseline::read(Path::new(FOLDER), name).map_err(order)
}

struct Update;

impl Step for Update {
    fn info(&self) -> StepInfo {
        StepInfo::declared(MANIFEST, "update_fwupd")
    }

    fn plan(&self, request: &Request) -> Result<Vec<String>, Problem> {
        // After the restart there is nothing to plan: what runs is looked at.
        if !request.state.is_null() {
            return Ok(vec!["look which firmware runs after the restart".to_owned()]);
        }
        let entries = entries(request)?;
        let fwupd = Fwupdtool::new().map_err(broken)?;
        let standing = update::look(&fwupd, &entries).map_err(refused)?;
        update::check_cabinets(&fwupd, Path::new(FOLDER), &standing.pinned).map_err(refused)?;
        Ok(standing.pinned.iter().filter(|pinned| pinned.due).map(Pinned::says).collect())
    }

    fn run(&self, request: &Request, context: &Context) -> Result<Success, Problem> {
        let folder = Path::new(FOLDER);
        let entries = entries(request)?;
        let fwupd = Fwupdtool::new().map_err(broken)?;
        let end = match &request.state {
            state if state.is_null() => {
                let standing = update::look(&fwupd, &entries).map_err(refused)?;
                update::check_cabinets(&fwupd, folder, &standing.pinned).map_err(refused)?;
                let mut said = None;
                let mut progress = |done, total, what: &str| {
                    // fwupdtool repeats itself; an agent reads so many lines and no more.
                    if said.replace((done, what.to_owned())) != Some((done, what.to_owned())) {
                        context.progress(done, Some(total), what);
                    }
                };
                update::update(&fwupd, folder, &standing, &mut progress)
            }
            state => update::after_restart(&fwupd, &entries, state),
        };
        Ok(match end.map_err(hardware)? {
            End::Restart { words, state } => Success::Reboot(words, state),
            End::Reached { changed, evidence } => {
                let count = evidence["devices"].as_array().map_or(0, Vec::len);
                let message = format!("{count} devices say the version of the baseline");
                match changed {
                    true => Success::Changed(message, evidence),
                    false => Success::Unchanged(message, evidence),
                }
            }
        })
    }
}

struct Show;

impl Step for Show {
    fn info(&self) -> StepInfo {
        StepInfo::declared(MANIFEST, "show_fwupd")
    }

    fn plan(&self, _: &Request) -> Result<Vec<String>, Problem> {
        Ok(vec!["ask fwupd for all devices and their versions".to_owned()])
    }

    fn run(&self, _: &Request, _: &Context) -> Result<Success, Problem> {
        let fwupd = Fwupdtool::new().map_err(broken)?;
        let found = fwupd.devices(&[]).map_err(unlisted)?;
        let devices = found.iter().map(|device| {
            json!({
                "name": device.name, "device": device.id, "plugin": device.plugin, "guids": device.guids,
                "version": device.version, "flags": device.flags, "problems": device.problems,
            })
        });
        let evidence = json!({"devices": devices.collect::<Vec<_>>()});
        Ok(Success::Unchanged(format!("{} devices", found.len()), evidence))
    }
}

const PLUGIN: Plugin<'_> =
    Plugin { name: "firmware-fwupd", version: env!("CARGO_PKG_VERSION"), steps: &[&Update, &Show] };

fn main() -> ExitCode {
    serve(&PLUGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_good_and_says_what_the_program_says() {
        assert_eq!(PLUGIN.differences(MANIFEST), [""; 0]);
    }

    #[test]
    fn a_tool_that_failed_is_not_blamed_on_the_order() {
        let (message, failed) = refused(Refusal::Tool(ToolFailed("it broke".to_owned())));
        assert_eq!((message.as_str(), failed.who), ("it broke", Who::Plugin));
        assert!(failed.remedy.starts_with("nothing was installed; read the plugin's log"));
        // The step that only looks does not send people to itself.
        let (_, failed) = unlisted(ToolFailed("it broke".to_owned()));
        assert!(!failed.remedy.contains("show_fwupd") && !failed.remedy.contains("installed"));
        assert_eq!(refused(Refusal::Order("newer".to_owned())).1.who, Who::Order);
    }

    #[test]
    fn a_bundle_without_a_baseline_or_the_tool_says_so_before_anything_is_done() {
        let request =
            serde_json::from_value(json!({"op": "plan", "step": "update_fwupd"})).unwrap();
        let (message, failed) = Update.plan(&request).unwrap_err();
        assert!(
            message.starts_with("the bundle's baseline /firmware/baseline.json: "),
            "{message}"
        );
        assert_eq!(failed.who, Who::Order);
    }
}
