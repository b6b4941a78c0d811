//! Ironic's real clients, `baremetal` and openstacksdk, against the real coordinator over fake-hardware. They come from PyPI,
//! so `cargo lab test` runs these tests, after it installed them; `cargo test` alone does not.

mod slow;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use ironwright_coordinator::serve::{self, Running};
use ironwright_coordinator::settings::{AuthStrategy, Settings};
use lab::client::{self, Client};
use lab::host::Program;
use tempfile::TempDir;

/// A hash of `fake-password`, made with `htpasswd -nbB -C 4`.
const USERS: &str = "admin:$2y$04$5qUS2ySteduUwovHPbYr9Ow2Iy1JVDbwoI1WfzC9qsOR0vAXBzJfG\n";

async fn coordinator(tune: impl FnOnce(&mut Settings, &Path)) -> (Running, String, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut settings = Settings { listen, ..Settings::default() };
    settings.enabled_hardware_types = vec!["fake-hardware".to_owned(), "ipmi".to_owned()];
    settings.database = dir.path().join("db");
    settings.state_dir = dir.path().join("state");
    tune(&mut settings, dir.path());
    let running = serve::start(settings).await.unwrap();
    let endpoint = format!("http://{}", running.operator);
    (running, endpoint, dir)
}

/// The walk of an operator; each command must end well, `--wait` included.
fn walk(client: &Client) -> anyhow::Result<()> {
    client.good(&["driver", "list"])?;
    client.good(&["conductor", "list"])?;
    client.good(&[
        "node",
        "create",
        "--driver",
        "fake-hardware",
        "--name",
        "n0",
        "--resource-class",
        "gold",
    ])?;
    let drive = r#"{"meta_data": {"hostname": "n0"}}"#;
    let steps = r#"[{"interface": "power", "step": "reboot"}]"#;
    for (command, state) in [
        (&["manage"][..], "manageable"),
        (&["inspect"], "manageable"),
        (&["clean", "--clean-steps", steps], "manageable"),
        (&["provide"], "available"),
        (&["deploy", "--config-drive", drive], "active"),
        (&["rescue", "--rescue-password", "fake-password"], "rescue"),
        (&["unrescue"], "active"),
        (&["rebuild"], "active"),
        (&["service", "--service-steps", steps], "active"),
        (&["undeploy"], "available"),
        (&["manage"], "manageable"),
        (&["adopt"], "active"),
        (&["undeploy"], "available"),
    ] {
        let mut args = vec!["node", command[0], "n0", "--wait", "30"];
        args.extend(&command[1..]);
        client.good(&args)?;
        let node = client.json(&["node", "show", "n0"])?;
        anyhow::ensure!(node["provision_state"] == state, "{command:?}: {node}");
        anyhow::ensure!(node["last_error"].is_null(), "{command:?}: {node}");
    }
    around(client)?;
    client.good(&["node", "delete", "n0"])?;
    Ok(())
}

/// What else an operator asks of a node and of the coordinator.
fn around(client: &Client) -> anyhow::Result<()> {
    let refused = client.refused(&["node", "rebuild", "n0"])?;
    anyhow::ensure!(refused.contains("can not be performed on node"), "{refused}");
    client.good(&["node", "validate", "n0"])?;
    client.good(&["node", "maintenance", "set", "n0", "--reason", "disks"])?;
    client.good(&["node", "maintenance", "unset", "n0"])?;
    for power in ["on", "off"] {
        client.good(&["node", "power", power, "n0"])?;
    }
    client.good(&["node", "add", "trait", "n0", "CUSTOM_GOLD"])?;
    client.good(&[
        "allocation",
        "create",
        "--resource-class",
        "gold",
        "--name",
        "mine",
        "--wait",
        "30",
    ])?;
    let mine = client.json(&["allocation", "show", "mine"])?;
    anyhow::ensure!(mine["state"] == "active", "{mine}");
    client.good(&["allocation", "delete", "mine"])?;
    client.good(&["chassis", "create", "--description", "rack 4"])?;
    client.good(&["chassis", "list", "--long"])?;
    let steps = r#"[{"interface": "bios", "step": "x", "args": {}, "priority": 1}]"#;
    client.good(&["deploy", "template", "create", "CUSTOM_T", "--steps", steps])?;
    client.good(&["deploy", "template", "list", "--long"])?;
    client.good(&["node", "history", "list", "n0"])?;
    client.good(&["node", "list", "--long"])?;
    client.good(&["node", "bios", "setting", "list", "n0"])?;
    client.good(&["node", "firmware", "list", "n0"])?;
    client.good(&["shard", "list"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the client from PyPI: cargo lab test installs it and runs this"]
async fn the_baremetal_client_walks_a_fake_machine_through_its_whole_life() {
    let (running, endpoint, _dir) = coordinator(|_, _| {}).await;
    let walked = tokio::task::spawn_blocking(move || walk(&Client::new(&endpoint)?)).await.unwrap();
    running.stop().await;
    walked.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openstacksdk from PyPI: cargo lab test installs it and runs this"]
async fn openstacksdk_and_every_call_of_nova_work_on_a_fake_machine() {
    let (running, endpoint, _dir) = coordinator(|_, _| {}).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/sdk.py");
    let told = tokio::task::spawn_blocking(move || -> anyhow::Result<String> {
        let python = client::install()?.with_file_name("python");
        Ok(Program::new(python).arg(script).arg(endpoint).text()?)
    });
    let told = told.await.unwrap();
    running.stop().await;
    let told = told.unwrap();
    println!("{told}");
    assert!(told.contains("none failed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the client from PyPI: cargo lab test installs it and runs this"]
async fn the_baremetal_client_signs_in_with_http_basic() {
    let (running, endpoint, _dir) = coordinator(|settings, dir| {
        let users = dir.join("users");
        std::fs::write(&users, USERS).unwrap();
        settings.auth_strategy = AuthStrategy::HttpBasic;
        settings.http_basic_auth_user_file = Some(users);
    })
    .await;
    let signed = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let program = client::install()?;
        let list = |password: &str| {
            Program::new(&program)
                .args(["node", "list"])
                .env("OS_AUTH_TYPE", "http_basic")
                .env("OS_ENDPOINT", &endpoint)
                .env("OS_USERNAME", "admin")
                .env("OS_PASSWORD", password)
                .output()
        };
        anyhow::ensure!(list("fake-password")?.status.success(), "the right password was refused");
        anyhow::ensure!(!list("fake-other")?.status.success(), "a wrong password was taken");
        Ok(())
    });
    let signed = signed.await.unwrap();
    running.stop().await;
    signed.unwrap();
}
