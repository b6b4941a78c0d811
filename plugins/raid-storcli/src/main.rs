//! Plugin: what RAID controllers of the storcli family have. The vendor's tool is not free to pass on: whoever has it puts it into the
//! bundle, and the plugin says plainly where it is not there.
#![forbid(unsafe_code)]

mod answer;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use ironwright_plugin::{
    Context, Failed, Manifest, Plugin, Problem, Request, Safety, Step, StepInfo, Success, Who,
    serve,
};

/// The manifest says what each step is; the program must not say anything else.
const MANIFEST: &str = include_str!("../manifest.json");
/// The vendor's tool, by the names it has.
const TOOLS: [&str; 3] = ["/opt/storcli64", "/opt/perccli64", "/opt/storcli2"];

/// The tool in the bundle.
fn tool() -> Result<&'static str, Problem> {
    TOOLS.into_iter().find(|path| Path::new(path).is_file()).ok_or_else(|| {
        let message = format!("the vendor's tool is not in this bundle: none of {} is there", TOOLS.join(", "));
        let remedy = "get it from the controller's vendor, put it into root/opt of the plugin's folder, and build the bundle again";
        (message, Failed { who: Who::Order, remedy: remedy.to_owned() })
    })
}

#[expect(clippy::disallowed_methods, reason = "a plugin is the place that starts its tools")]
fn show(tool: &str) -> Result<String, Problem> {
    let output = Command::new(tool)
        .args(["/call", "show", "all", "J", "nolog"])
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| {
        let remedy = "put the tool for this machine's processor into the bundle".to_owned();
        (format!("cannot start {tool}: {error}"), Failed { who: Who::Order, remedy })
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Show;

impl Step for Show {
    fn info(&self) -> StepInfo {
        let manifest = serde_json::from_str::<Manifest>(MANIFEST).ok();
        manifest.and_then(|manifest| manifest.steps.into_iter().next()).unwrap_or_else(|| {
            StepInfo {
                name: "show_storcli".to_owned(),
                interface: "raid".to_owned(),
                priority: 0,
                argsinfo: std::collections::BTreeMap::new(),
                abortable: false,
                safety: Safety::ReadOnly,
            }
        })
    }

    fn plan(&self, _: &Request) -> Result<Vec<String>, Problem> {
        tool().map(|tool| vec![format!("ask {tool} for all controllers")])
    }

    fn run(&self, _: &Request, _: &Context) -> Result<Success, Problem> {
        let found = answer::read(&show(tool()?)?).map_err(|words| {
            let remedy =
                "check that the machine has a controller which this tool drives".to_owned();
            (words, Failed { who: Who::Hardware, remedy })
        })?;
        Ok(Success::Unchanged("the controllers were asked".to_owned(), found))
    }
}

fn main() -> ExitCode {
    serve(&Plugin { name: "raid-storcli", version: env!("CARGO_PKG_VERSION"), steps: &[&Show] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_good_and_the_missing_tool_is_named_with_what_to_do() {
        let manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
        assert_eq!(manifest.problems(), []);
        assert_eq!(
            (manifest.steps.len(), manifest.version.as_str()),
            (1, env!("CARGO_PKG_VERSION"))
        );
        let (message, failed) = tool().unwrap_err();
        assert!(message.contains("vendor's tool is not in this bundle"), "{message}");
        assert!(failed.remedy.contains("root/opt"), "{failed:?}");
    }
}
