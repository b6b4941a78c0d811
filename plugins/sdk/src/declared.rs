//! A plugin and its manifest: the manifest says what each step is, and the program must not say anything else.

use std::collections::BTreeMap;

use crate::manifest::{Manifest, Safety, StepInfo};
use crate::serve::{Plugin, Problem};
use crate::wire::{Failed, Who};

impl StepInfo {
    /// What `manifest`, the text of a `manifest.json`, says of a step: for [`crate::Step::info`] of a program that carries it
    /// (`include_str!`). Of a step that is not there it says what no manifest does, so that the agent refuses the plugin, and
    /// [`Plugin::differences`] finds it before.
    #[must_use]
    pub fn declared(manifest: &str, name: &str) -> Self {
        let manifest = serde_json::from_str::<Manifest>(manifest).ok();
        let known = manifest.and_then(|manifest| manifest.step(name).cloned());
        known.unwrap_or_else(|| Self {
            name: name.to_owned(),
            interface: String::new(),
            priority: 0,
            argsinfo: BTreeMap::new(),
            abortable: false,
            safety: Safety::Destroys,
        })
    }
}

impl Plugin<'_> {
    /// What is wrong with `manifest`, the text of its `manifest.json`, and what the program says otherwise; empty: the agent takes
    /// it. For a test of the plugin.
    #[must_use]
    pub fn differences(&self, manifest: &str) -> Vec<String> {
        let manifest = match serde_json::from_str::<Manifest>(manifest) {
            Ok(manifest) => manifest,
            Err(error) => return vec![format!("it is no manifest: {error}")],
        };
        let mut found: Vec<String> = manifest.problems().iter().map(ToString::to_string).collect();
        for (what, declared, own) in
            [("name", &manifest.name, self.name), ("version", &manifest.version, self.version)]
        {
            if declared != own {
                found.push(format!("{what} is {declared:?}, the program says {own:?}"));
            }
        }
        let own: Vec<StepInfo> = self.steps.iter().map(|step| step.info()).collect();
        if own != manifest.steps {
            found.push(format!("steps are {:?}, the program says {own:?}", manifest.steps));
        }
        found
    }
}

impl Who {
    /// A failure that they can mend: what went wrong, and what they should do.
    #[must_use]
    pub fn problem(self, message: impl Into<String>, remedy: &str) -> Problem {
        (message.into(), Failed { who: self, remedy: remedy.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::{Context, Step, Success};
    use crate::wire::Request;

    const MANIFEST: &str = r#"{
        "name": "hello", "version": "1.0.0", "protocol": 1, "exec": ["hello"],
        "steps": [{"name": "greet", "interface": "deploy", "safety": "read_only"}]
    }"#;

    struct Declared(&'static str);

    impl Step for Declared {
        fn info(&self) -> StepInfo {
            StepInfo::declared(MANIFEST, self.0)
        }

        fn plan(&self, _: &Request) -> Result<Vec<String>, Problem> {
            Err(Who::Order.problem("nobody is there", "say whom to greet"))
        }

        fn run(&self, _: &Request, _: &Context) -> Result<Success, Problem> {
            Ok(Success::Unchanged(String::new(), serde_json::Value::Null))
        }
    }

    #[test]
    fn a_program_that_says_what_its_manifest_says_does_not_differ_and_others_are_told_in_what() {
        let plugin = |name, version, steps| Plugin { name, version, steps };
        let good = plugin("hello", "1.0.0", &[&Declared("greet")]);
        assert_eq!(good.differences(MANIFEST), [""; 0]);
        for (plugin, manifest, words) in [
            (plugin("hallo", "1.0.0", &[&Declared("greet")]), MANIFEST, "name is \"hello\""),
            (plugin("hello", "1.1.0", &[&Declared("greet")]), MANIFEST, "version is \"1.0.0\""),
            (plugin("hello", "1.0.0", &[&Declared("dance")]), MANIFEST, "name: \"dance\""),
            (plugin("hello", "1.0.0", &[]), MANIFEST, "steps are"),
            (plugin("hello", "1.0.0", &[]), "{", "it is no manifest"),
        ] {
            let found = plugin.differences(manifest).join("; ");
            assert!(found.contains(words), "{words}: {found}");
        }
        assert_eq!(Declared("greet").plan(&request()).unwrap_err().1.who, Who::Order);
    }

    fn request() -> Request {
        serde_json::from_str(r#"{"op":"plan"}"#).unwrap_or_else(|error| panic!("{error}"))
    }
}
