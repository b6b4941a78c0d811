//! Plugin: what RAID controllers of the storcli family have. The vendor's tool is not free to pass on: whoever has it puts it into the
//! bundle, and the plugin says plainly where it is not there.
#![forbid(unsafe_code)]

mod answer;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use ironwright_plugin::{Context, Plugin, Problem, Request, Step, StepInfo, Success, Who, serve};

/// The manifest says what each step is; the program must not say anything else.
const MANIFEST: &str = include_str!("../manifest.json");
/// The vendor's tool, by the names it has.
const TOOLS: [&str; 3] = ["/opt/storcli64", "/opt/perccli64", "/opt/storcli2"];

/// The tool in the bundle.
fn tool() -> Result<&'static str, Problem> {
    TOOLS.into_iter().find(|path| Path::new(path).is_file()).ok_or_else(|| {
        let message = format!("the vendor's tool is not in this bundle: none of {} is there", TOOLS.join(", "));
        let remedy = "get it from the controller's vendor, put it into root/opt of the plugin's folder, and build the bundle again";
        Who::Order.problem(message, remedy)
    })
}

#[expect(clippy::disallowed_methods, reason = "a plugin is the place that starts its tools")]
fn show(tool: &str) -> Result<String, Problem> {
    let output = Command::new(tool)
        .args(["/call", "show", "all", "J", "nolog"])
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| {
        let remedy = "put the tool for this machine's processor into the bundle";
        Who::Order.problem(format!("cannot start {tool}: {error}"), remedy)
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Show;

impl Step for Show {
    fn info(&self) -> StepInfo {
        StepInfo::declared(MANIFEST, "show_storcli")
    }

    fn plan(&self, _: &Request) -> Result<Vec<String>, Problem> {
        tool().map(|tool| vec![format!("ask {tool} for all controllers")])
    }

    fn run(&self, _: &Request, _: &Context) -> Result<Success, Problem> {
        let found = answer::read(&show(tool()?)?).map_err(|words| {
            let remedy = "check that the machine has a controller which this tool drives";
            Who::Hardware.problem(words, remedy)
        })?;
        Ok(Success::Unchanged("the controllers were asked".to_owned(), found))
    }
}

const PLUGIN: Plugin<'_> =
    Plugin { name: "raid-storcli", version: env!("CARGO_PKG_VERSION"), steps: &[&Show] };

fn main() -> ExitCode {
    serve(&PLUGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_good_and_the_missing_tool_is_named_with_what_to_do() {
        assert_eq!(PLUGIN.differences(MANIFEST), [""; 0]);
        let (message, failed) = tool().unwrap_err();
        assert!(message.contains("vendor's tool is not in this bundle"), "{message}");
        assert!(failed.remedy.contains("root/opt"), "{failed:?}");
    }
}
