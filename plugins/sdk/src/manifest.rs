//! What a plugin is, before any of it runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::PROTOCOL;

/// `manifest.json` of a plugin. Unknown keys are refused: a misspelt limit must not be a missing one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name: lower-case letters, digits and `-`.
    pub name: String,
    /// Its version: numbers separated by dots; the highest of a name wins.
    pub version: String,
    /// Version of the protocol it speaks, [`PROTOCOL`].
    pub protocol: u32,
    /// The program and its first arguments; the program is a path below `root/`, or an absolute one inside it.
    pub exec: Vec<String>,
    /// Its steps, at least one.
    pub steps: Vec<StepInfo>,
    /// Device nodes it may open: absolute paths, `*` for any characters but `/` (`/dev/nvme*`). Nothing else is there.
    #[serde(default)]
    pub devices: Vec<String>,
    /// What hardware it is for, for people: vendor, model, PCI identifiers.
    #[serde(default)]
    pub hardware: Vec<String>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
}

/// One step, with Ironic's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepInfo {
    /// Its name: lower-case letters, digits and `_`.
    pub name: String,
    /// The Ironic interface it belongs to: `deploy`, `raid`, `firmware`, `bios`, `management` ...
    pub interface: String,
    /// Priority in automated cleaning, highest first; 0: only when an operator names it.
    #[serde(default)]
    pub priority: u32,
    /// Its arguments by name.
    #[serde(default)]
    pub argsinfo: BTreeMap<String, Argument>,
    /// Whether it heeds `abort`. One that does not is left to its end.
    #[serde(default)]
    pub abortable: bool,
    /// What it does to the machine at worst.
    pub safety: Safety,
}

/// One argument of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argument {
    /// What it is, one sentence.
    pub description: String,
    /// Whether it must be given.
    #[serde(default)]
    pub required: bool,
    /// Its type.
    #[serde(rename = "type", default)]
    pub kind: ArgumentType,
}

/// The types of arguments, JSON's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArgumentType {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A list.
    Array,
    /// An object.
    Object,
}

impl ArgumentType {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Boolean => "true or false",
            Self::Array => "a list",
            Self::Object => "an object",
        }
    }
}

/// What a step does at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Safety {
    /// Only reads.
    ReadOnly,
    /// Changes settings or firmware; data stays.
    Changes,
    /// Destroys data.
    Destroys,
}

impl Safety {
    /// Its name in a manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Changes => "changes",
            Self::Destroys => "destroys",
        }
    }
}

/// What a plugin may use. The agent has ceilings of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Seconds that one `run` may take, 1 to 86400.
    pub seconds: u64,
    /// MiB of memory that the files it writes (below `/tmp` and `/run`, nothing else can be written) may take, 1 to 1024.
    pub files_mib: u64,
    /// Reboots that one step may ask for, 0 to 10.
    pub reboots: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { seconds: 600, files_mib: 64, reboots: 3 }
    }
}

/// What is wrong with a manifest or with a step's arguments: the field, its value, what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestProblem(String);

impl std::fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ManifestProblem {}

impl Manifest {
    /// Everything that is wrong with it, at once; empty: it can be used.
    #[must_use]
    pub fn problems(&self) -> Vec<ManifestProblem> {
        let mut found = Vec::new();
        let mut refuse = |bad: bool, text: String| {
            if bad {
                found.push(ManifestProblem(text));
            }
        };
        let protocol = self.protocol;
        refuse(
            protocol != PROTOCOL,
            format!(
                "protocol is {protocol}, this agent speaks {PROTOCOL}: use an agent and a plugin of the same protocol"
            ),
        );
        refuse(
            !word(&self.name, '-'),
            format!("name {:?}: use lower-case letters, digits and -", self.name),
        );
        refuse(
            self.parts().is_none(),
            format!("version {:?}: use numbers separated by dots, as 1.4.0", self.version),
        );
        let program = self.exec.first().map_or("", String::as_str);
        refuse(
            program.is_empty(),
            "exec is empty: name the program, a path below root/".to_owned(),
        );
        let outside = program.split('/').any(|part| part == "..");
        refuse(outside, format!("exec {program:?}: name a path below root/, without .."));
        refuse(self.steps.is_empty(), "steps is empty: a plugin has at least one step".to_owned());
        for pattern in &self.devices {
            let good = pattern.len() > 5 && pattern.starts_with("/dev/") && !pattern.contains("..");
            refuse(!good, format!("devices: {pattern:?}: use paths below /dev, as /dev/nvme*"));
        }
        let Limits { seconds, files_mib, reboots } = self.limits;
        refuse(
            !(1..=86_400).contains(&seconds),
            format!("limits.seconds is {seconds}: use 1 to 86400"),
        );
        refuse(
            !(1..=1024).contains(&files_mib),
            format!("limits.files_mib is {files_mib}: use 1 to 1024"),
        );
        refuse(reboots > 10, format!("limits.reboots is {reboots}: use 0 to 10"));
        for (position, step) in self.steps.iter().enumerate() {
            let (name, interface) = (&step.name, &step.interface);
            refuse(
                !word(name, '_'),
                format!("steps[{position}].name {name:?}: use lower-case letters, digits and _"),
            );
            refuse(
                !word(interface, '_'),
                format!(
                    "steps[{position}].interface {interface:?}: use one of Ironic's, as deploy, raid or firmware"
                ),
            );
            let twin = self.steps.iter().take(position).any(|other| other.key() == step.key());
            refuse(twin, format!("steps[{position}]: {} is there twice", step.key()));
        }
        found
    }

    /// The numbers of [`Manifest::version`], for comparing; none where it is malformed.
    #[must_use]
    pub fn parts(&self) -> Option<Vec<u32>> {
        self.version.split('.').map(|part| part.parse().ok()).collect()
    }

    /// The step `name` or `interface.name`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepInfo> {
        self.steps.iter().find(|step| step.name == name || step.key() == name)
    }
}

impl StepInfo {
    /// `interface.name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}.{}", self.interface, self.name)
    }

    /// What is wrong with `args`, all at once: unknown, missing, or of another type.
    #[must_use]
    pub fn argument_problems(&self, args: &Value) -> Vec<ManifestProblem> {
        let key = self.key();
        let empty = serde_json::Map::new();
        let given = match args {
            Value::Null => &empty,
            Value::Object(given) => given,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return vec![ManifestProblem(format!(
                    "{key}: the arguments are {args}, not an object"
                ))];
            }
        };
        let mut found = Vec::new();
        for (name, value) in given {
            match self.argsinfo.get(name) {
                None => found.push(format!("{key} has no argument {name}")),
                Some(info) if !info.kind.fits(value) => {
                    found
                        .push(format!("{key}: {name} is {value}, it must be {}", info.kind.name()));
                }
                Some(_) => {}
            }
        }
        let missing =
            self.argsinfo.iter().filter(|(name, info)| info.required && !given.contains_key(*name));
        found.extend(
            missing.map(|(name, info)| format!("{key} needs {name}: {}", info.description)),
        );
        found.into_iter().map(ManifestProblem).collect()
    }
}

fn word(text: &str, also: char) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == also;
    !text.is_empty() && text.len() <= 64 && text.chars().all(good)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(change: impl FnOnce(&mut Value)) -> Manifest {
        let mut value = json!({
            "name": "hello", "version": "1.0.0", "protocol": 1, "exec": ["hello"], "devices": ["/dev/sd*"],
            "steps": [{"name": "greet", "interface": "deploy", "safety": "read_only", "argsinfo": {
                "who": {"description": "whom to greet", "required": true},
                "times": {"description": "how often", "type": "integer"},
            }}],
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_good_manifest_has_no_problems_and_each_bad_field_is_named_with_its_value() {
        assert_eq!(manifest(|_| {}).problems(), []);
        for (pointer, value, words) in [
            ("/name", json!("Hello World"), "name \"Hello World\""),
            ("/version", json!("1.x"), "version \"1.x\""),
            ("/protocol", json!(2), "protocol is 2, this agent speaks 1"),
            ("/exec", json!([]), "exec is empty"),
            ("/steps", json!([]), "steps is empty"),
            ("/devices/0", json!("/etc/passwd"), "\"/etc/passwd\""),
            ("/devices/0", json!("/dev/../etc"), "\"/dev/../etc\""),
            ("/steps/0/name", json!("a.b"), "steps[0].name \"a.b\""),
            ("/steps/0/interface", json!(""), "steps[0].interface"),
        ] {
            let found = manifest(|good| *good.pointer_mut(pointer).unwrap() = value).problems();
            assert!(found.len() == 1 && found[0].0.contains(words), "{pointer}: {found:?}");
        }
        let limits = json!({"seconds": 0, "files_mib": 9999, "reboots": 99});
        assert_eq!(manifest(|good| good["limits"] = limits).problems().len(), 3);
        let twice = manifest(|good| {
            let step = good["steps"][0].clone();
            good["steps"].as_array_mut().unwrap().push(step);
        });
        assert!(twice.problems()[0].0.contains("deploy.greet is there twice"));
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let text = r#"{"name":"a","version":"1","protocol":1,"exec":["a"],"steps":[],"limit":{}}"#;
        let error = serde_json::from_str::<Manifest>(text).unwrap_err().to_string();
        assert!(error.contains("unknown field `limit`"), "{error}");
    }

    #[test]
    fn every_wrong_argument_is_named_at_once() {
        let manifest = manifest(|_| {});
        let step = manifest.step("deploy.greet").unwrap();
        assert_eq!(step.argument_problems(&json!({"who": "you", "times": 2})), []);
        let found = step.argument_problems(&json!({"times": "two", "why": 1}));
        let text: Vec<&str> = found.iter().map(|problem| problem.0.as_str()).collect();
        assert_eq!(
            text,
            [
                "deploy.greet: times is \"two\", it must be an integer",
                "deploy.greet has no argument why",
                "deploy.greet needs who: whom to greet",
            ]
        );
        assert_eq!(step.argument_problems(&json!([1])).len(), 1);
    }
}
