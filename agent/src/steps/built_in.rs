//! The agent's own steps, with the priorities of Ironic's own agent.
//!
//! Not among them: burn-in steps (they prove nothing that can be shown afterwards) and the steps of the `raid` interface
//! (a plugin brings them together with the tools they need).

use std::collections::BTreeMap;

use ironwright_plugin::{Argument, ArgumentType, Safety, StepInfo};
use serde_json::Value;

use super::{BuiltIn, Erase, Job, Kind, Phase};

/// One of them. A phase without a priority does not have the step.
struct Row {
    kind: Kind,
    name: &'static str,
    clean: Option<u32>,
    deploy: Option<u32>,
    service: Option<u32>,
    /// Name, description, whether required, type.
    args: &'static [(&'static str, &'static str, bool, ArgumentType)],
    safety: Safety,
}

const ROWS: [Row; 6] = [
    Row {
        kind: Kind::Erase(Erase::Metadata),
        name: Erase::Metadata.step(),
        clean: Some(99),
        deploy: Some(0),
        service: None,
        args: &[],
        safety: Safety::Destroys,
    },
    Row {
        kind: Kind::Erase(Erase::Devices),
        name: Erase::Devices.step(),
        clean: Some(10),
        deploy: None,
        service: None,
        args: &[],
        safety: Safety::Destroys,
    },
    Row {
        kind: Kind::Erase(Erase::Express),
        name: Erase::Express.step(),
        clean: Some(0),
        deploy: None,
        service: None,
        args: &[],
        safety: Safety::Destroys,
    },
    Row {
        kind: Kind::ErasePstore,
        name: "erase_pstore",
        clean: Some(0),
        deploy: None,
        service: None,
        args: &[],
        safety: Safety::Destroys,
    },
    Row {
        kind: Kind::CleanUefiNvram,
        name: "clean_uefi_nvram",
        clean: Some(0),
        deploy: Some(0),
        service: None,
        args: &[(
            "match_patterns",
            "Regular expressions; boot entries whose device path has a match go. Not given: entries of disks, shim and GRUB.",
            false,
            ArgumentType::Array,
        )],
        safety: Safety::Changes,
    },
    Row {
        kind: Kind::WriteImage,
        name: "write_image",
        clean: None,
        deploy: Some(0),
        service: Some(0),
        args: &[
            (
                "image_info",
                "The image as Ironic describes it: id, urls, os_hash_algo, os_hash_value, disk_format and how it is reached.",
                true,
                ArgumentType::Object,
            ),
            (
                "configdrive",
                "Base64 of a gzipped ISO, or an http(s) URL of one. Not given: that of image_info.",
                false,
                ArgumentType::String,
            ),
        ],
        safety: Safety::Destroys,
    },
];

impl Row {
    fn priority(&self, phase: Phase) -> Option<u32> {
        match phase {
            Phase::Clean => self.clean,
            Phase::Deploy => self.deploy,
            Phase::Service => self.service,
        }
    }

    fn info(&self, priority: u32) -> StepInfo {
        let argument = |(name, description, required, kind): &(&str, &str, bool, ArgumentType)| {
            let (description, required) = ((*description).to_owned(), *required);
            ((*name).to_owned(), Argument { description, required, kind: *kind })
        };
        StepInfo {
            name: self.name.to_owned(),
            interface: "deploy".to_owned(),
            priority,
            argsinfo: self.args.iter().map(argument).collect::<BTreeMap<_, _>>(),
            // A cancelled step ends between two writes, or lets the device finish what it began.
            abortable: true,
            safety: self.safety,
        }
    }
}

/// The agent's own steps of `phase`.
#[must_use]
pub fn built_in(phase: Phase) -> Vec<Job> {
    let step = |row: &Row| {
        let info = row.info(row.priority(phase)?);
        Some(Job::BuiltIn(BuiltIn { kind: row.kind, info, args: Value::Null }))
    };
    ROWS.iter().filter_map(step).collect()
}

/// Whether a step of any phase has this name.
pub(super) fn is_built_in(name: &str) -> bool {
    ROWS.iter().any(|row| row.name == name)
}
