//! Plugin: Linux software RAID with Debian's `mdadm` and `sgdisk`, both in the bundle. Steps and rules are Ironic's.
//!
//! Arrays are stopped when a step ends: the agent assembles them where a deploy needs one.
#![forbid(unsafe_code)]

mod config;
mod create;
mod disks;
mod layout;
mod members;
mod tool;

use std::path::Path;
use std::process::ExitCode;

use ironwright_plugin::{Context, Plugin, Problem, Request, Step, StepInfo, Success, serve};
use serde_json::json;

/// The manifest says what each step is; the program must not say anything else.
const MANIFEST: &str = include_str!("../manifest.json");

/// Where `/sys` is.
const ROOT: &str = "/";

/// `create_configuration` and `apply_configuration`: the argument with the configuration, and whether what is there goes.
struct Create(&'static str, (&'static str, bool));

impl Step for Create {
    fn info(&self) -> StepInfo {
        StepInfo::declared(MANIFEST, self.0)
    }

    fn plan(&self, request: &Request) -> Result<Vec<String>, Problem> {
        let order = create::order(Path::new(ROOT), &request.args, &request.devices, self.1)?;
        Ok(order.sentences())
    }

    fn run(&self, request: &Request, context: &Context) -> Result<Success, Problem> {
        let root = Path::new(ROOT);
        let order = create::order(root, &request.args, &request.devices, self.1)?;
        let config = order.perform(root, context)?;
        Ok(Success::Changed("the arrays are built".to_owned(), config))
    }
}

struct Delete;

impl Step for Delete {
    fn info(&self) -> StepInfo {
        StepInfo::declared(MANIFEST, "delete_configuration")
    }

    fn plan(&self, request: &Request) -> Result<Vec<String>, Problem> {
        let disks = disks::among(Path::new(ROOT), &request.devices);
        let arrays = members::arrays(&disks)?;
        let lost = members::with_members(&disks, &arrays);
        let mut sentences: Vec<String> = arrays
            .values()
            .map(|array| {
                format!(
                    "remove the array {} ({}) of {}",
                    array.name,
                    array.level,
                    array.members.join(", ")
                )
            })
            .collect();
        sentences
            .extend(lost.iter().map(|disk| format!("{}: everything on it is lost", disk.path)));
        Ok(sentences)
    }

    fn run(&self, request: &Request, context: &Context) -> Result<Success, Problem> {
        let root = Path::new(ROOT);
        let disks = disks::among(root, &request.devices);
        let arrays = members::arrays(&disks)?;
        let lost = members::with_members(&disks, &arrays);
        if lost.is_empty() {
            return Ok(Success::Unchanged("there was no array".to_owned(), json!({"deleted": []})));
        }
        members::delete(root, &lost, context)?;
        let left = members::arrays(&disks::among(root, &request.devices))?;
        if !left.is_empty() {
            return Err(tool::hardware(format!(
                "labels of arrays are left: {}",
                members::shown(&left)
            )));
        }
        let evidence = json!({"deleted": members::shown(&arrays)});
        Ok(Success::Changed("no disk has an array's label".to_owned(), evidence))
    }
}

struct Show;

impl Step for Show {
    fn info(&self) -> StepInfo {
        StepInfo::declared(MANIFEST, "show_configuration")
    }

    fn plan(&self, _: &Request) -> Result<Vec<String>, Problem> {
        Ok(vec!["read the labels of all disks and partitions".to_owned()])
    }

    fn run(&self, request: &Request, _: &Context) -> Result<Success, Problem> {
        let arrays = members::arrays(&disks::among(Path::new(ROOT), &request.devices))?;
        let message = format!("{} arrays", arrays.len());
        Ok(Success::Unchanged(message, json!({"arrays": members::shown(&arrays)})))
    }
}

const CREATE: Create = Create("create_configuration", ("target_raid_config", false));
const APPLY: Create = Create("apply_configuration", ("raid_config", true));
const PLUGIN: Plugin<'_> = Plugin {
    name: "raid-mdadm",
    version: env!("CARGO_PKG_VERSION"),
    steps: &[&CREATE, &APPLY, &Delete, &Show],
};

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
}
