//! Our own programs, built by cargo.

use std::path::{Path, PathBuf};

use super::command::Program;
use super::{ArtifactError, workspace};

/// The agent as it is in the ramdisk: static, optimised.
pub(super) fn agent() -> Result<PathBuf, ArtifactError> {
    agent_in(&workspace(), None)
}

/// The agent of the sources in `folder`, as it is in the ramdisk; built in `target` where that is given.
pub(super) fn agent_in(folder: &Path, target: Option<&Path>) -> Result<PathBuf, ArtifactError> {
    // With a named target the flags apply to the agent only, not to build scripts and macros.
    let program = build_in(folder, target, "ironwright-agent")
        .args(["--release", "--target", "x86_64-unknown-linux-gnu"])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    executable("ironwright-agent", &program.run()?)
}

/// A plugin of ours in Rust: static, optimised.
pub(super) fn plugin(name: &str) -> Result<PathBuf, ArtifactError> {
    let program = build(name)
        .args(["--release", "--target", "x86_64-unknown-linux-gnu"])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    executable(name, &program.run()?)
}

/// An example of the plugins' SDK: static, optimised.
pub(super) fn plugin_example(name: &'static str) -> Result<PathBuf, ArtifactError> {
    let program = build("ironwright-plugin")
        .args(["--release", "--target", "x86_64-unknown-linux-gnu", "--example", name])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    executable(name, &program.run()?)
}

/// An example of the agent, for `cargo lab bench`.
pub(super) fn agent_example(name: &'static str) -> Result<PathBuf, ArtifactError> {
    let program = build("ironwright-agent").args(["--release", "--example", name]);
    executable(name, &program.run()?)
}

/// The coordinator, for development. Built together with the lab, so that both share the features of their dependencies and
/// nothing is compiled twice.
pub(super) fn coordinator() -> Result<PathBuf, ArtifactError> {
    let program = build("ironwright-coordinator").args(["--package", "lab", "--bins"]);
    executable("ironwright-coordinator", &program.run()?)
}

/// The coordinator, optimised, for `cargo lab bench`.
pub(super) fn coordinator_release() -> Result<PathBuf, ArtifactError> {
    let program = build("ironwright-coordinator").arg("--release");
    executable("ironwright-coordinator", &program.run()?)
}

/// Agent and coordinator of the sources in `folder`, for development.
pub(super) fn pair(
    folder: &Path,
    target: Option<&Path>,
) -> Result<(PathBuf, PathBuf), ArtifactError> {
    let program = build_in(folder, target, "ironwright-agent");
    // With the lab, as for [`coordinator`].
    let program =
        program.args(["--package", "ironwright-coordinator", "--package", "lab", "--bins"]);
    let report = program.run()?;
    let find = |name| executable(name, &report);
    Ok((find("ironwright-agent")?, find("ironwright-coordinator")?))
}

fn build(package: &str) -> Program {
    build_in(&workspace(), None, package)
}

fn build_in(folder: &Path, target: Option<&Path>, package: &str) -> Program {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let program = Program::new(cargo);
    let program = match target {
        Some(target) => program.env("CARGO_TARGET_DIR", target),
        None => program,
    };
    program
        .args([
            "build",
            "--quiet",
            "--message-format=json-render-diagnostics",
            "--package",
            package,
        ])
        .folder(folder)
        .visible()
}

/// The program called `name` in cargo's report, one JSON object a line.
fn executable(name: &str, report: &str) -> Result<PathBuf, ArtifactError> {
    let messages = report.lines().filter_map(|line| serde_json::from_str(line).ok());
    messages
        .filter(|message: &serde_json::Value| message["target"]["name"] == name)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .ok_or_else(|| ArtifactError::NoProgram(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_where_cargo_says_it_is() {
        let report = r#"{"reason":"compiler-artifact","target":{"name":"ironwright_agent"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"ironwright-agent"},"executable":"/t/release/ironwright-agent"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            executable("ironwright-agent", report).unwrap(),
            PathBuf::from("/t/release/ironwright-agent")
        );
        assert!(executable("ironwright-coordinator", report).is_err());
    }
}
