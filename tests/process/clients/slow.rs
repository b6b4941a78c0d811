//! What takes too long, or too much from PyPI, for every run of the tests: `cargo lab clients` runs it.

use std::path::Path;
use std::time::Duration;

use lab::host::Program;
use lab::venv;

use super::coordinator;

/// With the collection `openstack.cloud` in it. The collection asks openstacksdk for a name that later releases lack.
const ANSIBLE: &str = "ansible==12.3.0 openstacksdk<4.5";
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// How long schemathesis may make requests.
const FUZZING: Duration = Duration::from_secs(240);

/// Its checks that hold here without a premise: see `clients/README.md`.
const CHECKS: [&str; 9] = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
];

fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program of a virtual environment against a coordinator; what it printed.
async fn against(act: impl FnOnce(&str) -> anyhow::Result<String> + Send + 'static) -> String {
    let (running, endpoint, _dir) = coordinator(|_, _| {}).await;
    let told = tokio::task::spawn_blocking(move || act(&endpoint)).await.unwrap();
    running.stop().await;
    told.unwrap()
}

fn said(program: Program, words: &str) -> anyhow::Result<String> {
    let output = program.output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    anyhow::ensure!(output.status.success(), "{words} ended with {}:\n{text}", output.status);
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Ansible from PyPI, 400 MB: cargo lab clients"]
async fn ansibles_openstack_modules_enrol_deploy_and_undeploy_a_fake_machine() {
    let told = against(|endpoint| {
        let home = venv::install("ansible", ANSIBLE)?;
        let playbook = Program::new(home.join("bin/ansible-playbook"))
            .arg(tests().join("clients/ansible.yml"))
            .args(["-i", "localhost,", "-e", &format!("endpoint={endpoint}")])
            .arg("-e")
            .arg(format!("ansible_python_interpreter={}", home.join("bin/python").display()))
            .env("ANSIBLE_LOCALHOST_WARNING", "false");
        said(playbook, "ansible-playbook")
    })
    .await;
    println!("{told}");
    assert!(told.contains("failed=0") && told.contains("unreachable=0"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs schemathesis from PyPI and minutes: cargo lab clients"]
async fn schemathesis_finds_no_failure_of_ours_and_no_answer_outside_of_the_document() {
    let told = against(|endpoint| {
        let home = venv::install("schemathesis", SCHEMATHESIS)?;
        let dir = tempfile::tempdir()?;
        let run = Program::new(home.join("bin/schemathesis"))
            .arg("run")
            .arg(tests().join("../coordinator/openapi.json"))
            .args(["--url", endpoint, "--checks", &CHECKS.join(",")])
            .args(["--header", "X-OpenStack-Ironic-API-Version: 1.110", "--seed", "1"])
            .args(["--max-time", &FUZZING.as_secs().to_string(), "--request-timeout", "30"])
            .args(["--continue-on-failure", "--workers", "2", "--warnings", "off"])
            .dir(dir.path());
        said(run, "schemathesis")
    })
    .await;
    let lines: Vec<&str> = told.lines().collect();
    println!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
}
