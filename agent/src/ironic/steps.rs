//! Steps as a conductor sees them: the catalogue with its versions, and the result of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironwright_api::{Erased, Evidence, PluginResult, Written};
use ironwright_plugin::StepInfo;
use serde_json::{Map, Value, json};

use crate::plugin::supply::Loaded;
use crate::steps::{Job, Phase};

/// The key of our own steps, where Ironic's agent has the class of a hardware manager.
const OWN_CLASS: &str = "Ironwright";
/// The name of our own version.
const OWN_NAME: &str = "ironwright";

/// What is to be built, in the node's record and among a step's arguments.
const TARGET: &str = "target_raid_config";

/// Who brings steps, and in which version: conductors compare it before each step.
pub(super) fn versions(plugins: &[Arc<Loaded>]) -> BTreeMap<String, String> {
    let mut versions =
        BTreeMap::from([(OWN_NAME.to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    for plugin in plugins {
        let manifest = plugin.manifest();
        versions.insert(manifest.name.clone(), manifest.version.clone());
    }
    versions
}

/// Whether `given` (a conductor's `clean_version` and the like) is what we are; none given fits everything.
pub(super) fn fits(given: &Value, ours: &BTreeMap<String, String>) -> bool {
    given.is_null() || *given == json!(ours)
}

/// The answer to `get_clean_steps` and its like.
pub(super) fn described(phase: Phase, jobs: &[Job], versions: &BTreeMap<String, String>) -> Value {
    let mut classes: Map<String, Value> = Map::new();
    classes.insert(OWN_CLASS.to_owned(), json!([]));
    for job in jobs {
        let class = match job {
            Job::BuiltIn(_) => OWN_CLASS.to_owned(),
            Job::Plugin(step) => step.plugin.manifest().name.clone(),
        };
        let steps = classes.entry(class).or_insert_with(|| json!([]));
        if let Value::Array(steps) = steps {
            steps.push(step(job));
        }
    }
    json!({ (format!("{}_steps", phase.name())): classes, "hardware_manager_version": versions })
}

/// Why this agent has no step of this name, and what to do; Ironic's own agent has those that are named here.
pub(super) fn missing(phase: Phase, name: &str) -> String {
    let why = match name {
        "inject_files" => {
            "it puts no files into a deployed system: put them into the image, or into user_data of the config drive (write_files)"
        }
        "execute_bootc_install" => "it runs no containers: deploy a qcow2 or raw image",
        "generic_container_step" | "container_clean_step" => {
            "it runs no containers: make a plugin of the step (plugins/README.md)"
        }
        "create_configuration" | "delete_configuration" | "apply_configuration" => {
            "RAID is a plugin's: put raid-mdadm into the ramdisk (plugins/README.md)"
        }
        _ if name.starts_with("burnin_") => {
            "a burn-in leaves no proof: take it out of the steps, or make a plugin of it (plugins/README.md)"
        }
        _ => "take it out of the steps, or put a plugin that has it into the ramdisk",
    };
    format!("Could not find method: {name}: this agent has no such {} step; {why}", phase.name())
}

fn step(job: &Job) -> Value {
    let StepInfo { name, interface, argsinfo, abortable, .. } = job.info();
    let mut step = json!({
        "step": name,
        "priority": job.priority(),
        "interface": interface,
        "reboot_requested": false,
        "abortable": abortable,
    });
    if !argsinfo.is_empty() {
        step["argsinfo"] = json!(argsinfo);
    }
    step
}

/// What a step has to show, as `clean_result` and its like.
pub(super) fn result(evidence: Option<Evidence>) -> Value {
    match evidence {
        Some(Evidence::Erased { disks }) => {
            let disks = disks.iter().map(|disk: &Erased| (disk.device.clone(), json!(disk)));
            Value::Object(disks.collect())
        }
        Some(Evidence::Written(written)) => image(&written),
        // A RAID plugin's data is the configuration that it made, which the conductor stores.
        Some(Evidence::Plugin(result)) => {
            let PluginResult { data, message, outcome, warnings, .. } = *result;
            match data.as_object().is_some_and(|data| !data.is_empty()) {
                true => data,
                false if warnings.is_empty() => json!({"outcome": outcome, "message": message}),
                false => json!({"outcome": outcome, "message": message, "warnings": warnings}),
            }
        }
        Some(
            Evidence::Configured(_)
            | Evidence::Committed(_)
            | Evidence::Mirrored(_)
            | Evidence::Unknown,
        )
        | None => Value::Null,
    }
}

fn image(written: &Written) -> Value {
    let Written { device, url, proven, streamed, algorithm, .. } = written;
    json!({
        "result": format!("write_image: image ({url}) written to device {device}, {algorithm} {streamed}, read back"),
        "device": device, "proven": proven, "written": written,
    })
}

/// Arguments of a step: the step's own; a RAID step without its configuration gets the node's.
pub(super) fn arguments(job: &Job, step: &Value, node: &Value) -> Value {
    let mut args = step["args"].as_object().cloned().unwrap_or_default();
    // The conductor's own choice of volumes comes before the whole configuration.
    let chosen = &node["driver_internal_info"][TARGET];
    let target = if chosen.is_null() { &node[TARGET] } else { chosen };
    let asks = job.info().interface == "raid" && job.info().argsinfo.contains_key(TARGET);
    if asks && !args.contains_key(TARGET) && target.as_object().is_some_and(|raid| !raid.is_empty())
    {
        args.insert(TARGET.to_owned(), target.clone());
    }
    if args.is_empty() { Value::Null } else { Value::Object(args) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::supply::tests::fake;
    use crate::steps::all;

    #[test]
    fn the_catalogue_has_the_keys_that_a_conductor_insists_on() {
        let plugins = [fake("raid-mdadm", "1.2", &["raid.create_configuration"])];
        let versions = versions(&plugins);
        let described = described(Phase::Clean, &all(Phase::Clean, &plugins).0, &versions);
        let own = described["clean_steps"][OWN_CLASS].as_array().unwrap();
        assert_eq!(
            own[0],
            json!({
                "step": "erase_devices_metadata", "priority": 99, "interface": "deploy",
                "reboot_requested": false, "abortable": true,
            })
        );
        let nvram = own.iter().find(|step| step["step"] == "clean_uefi_nvram").unwrap();
        assert_eq!(nvram["argsinfo"]["match_patterns"]["type"], "array");
        assert_eq!(described["clean_steps"]["raid-mdadm"][0]["interface"], "raid");
        let map = json!({"ironwright": env!("CARGO_PKG_VERSION"), "raid-mdadm": "1.2"});
        assert_eq!(described["hardware_manager_version"], map);
        assert!(fits(&map, &versions) && fits(&Value::Null, &versions));
        assert!(!fits(&json!({"ironwright": "0"}), &versions));
    }
}
