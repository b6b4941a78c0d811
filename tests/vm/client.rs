//! The seed's session, line by line, with today's real client.

use std::time::Duration;

use lab::Firmware;
use lab::client::Client;
use lab::lab::{Lab, LabSpec, MachineSpec};
use lab::{bmc, net};

use crate::stage::sha256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a virtual machine: cargo lab test"]
async fn the_real_client_enrols_validates_deploys_and_undeploys() {
    let lab = Lab::start(&LabSpec::new(vec![MachineSpec::new(Firmware::Bios)])).await.unwrap();
    tokio::task::block_in_place(|| {
        let client = Client::new("http://127.0.0.1:6385")?;
        enrols(&lab, &client)?;
        validates(&lab, &client)?;
        deploys_and_undeploys(&lab, &client)
    })
    .unwrap();
}

fn enrols(lab: &Lab, client: &Client) -> anyhow::Result<()> {
    let address = format!("ipmi_address={}", net::bmc(0).ip());
    let user = format!("ipmi_username={}", bmc::USERNAME);
    let password = format!("ipmi_password={}", bmc::PASSWORD);
    let facts = [&user, &password, &address].map(|fact| ["--driver-info", fact]);
    let properties = ["cpus=4", "memory_mb=8192", "local_gb=4"].map(|fact| ["--property", fact]);
    let create = |driver: &'static str| {
        let first = ["node", "create", "--driver", driver];
        let last = ["--extra", "note=spare server", "--name", "mytest"];
        [&first[..], facts.as_flattened(), properties.as_flattened(), &last].concat()
    };
    let refusal = client.refused(&create("agent_ipmitool"))?;
    assert!(refusal.contains("ipmi"), "{refusal}");
    let node = client.json(&create("ipmi"))?;
    assert_eq!(node["driver_info"]["ipmi_password"], "******");
    let uuid = node["uuid"].as_str().unwrap_or_default();
    client.good(&["port", "create", "--node", uuid, &lab.rack.machines[0].spec().mac])?;
    Ok(())
}

fn validates(lab: &Lab, client: &Client) -> anyhow::Result<()> {
    let report = client.good(&["node", "validate", "mytest"])?;
    assert!(report.contains("image_source"), "{report}");
    let image = lab.inputs.image_small.clone().unwrap();
    let source = format!("image_source={}", lab.images.add(&image)?);
    let md5 = "image_checksum=e1d99d6d0ef2144a8d672b0420c547b5";
    client.good(&["node", "set", "mytest", "--instance-info", &source, "--instance-info", md5])?;
    let report = client.good(&["node", "validate", "mytest"])?;
    assert!(report.contains("sha256"), "{report}");
    let checksum = format!("image_checksum={}", sha256(&image));
    client.good(&["node", "set", "mytest", "--instance-info", &checksum])?;
    client.good(&[
        "node",
        "set",
        "mytest",
        "--extra",
        "note=database",
        "--name",
        "db01.example",
    ])?;
    let rows = client.json(&["node", "validate", "db01.example"])?;
    for row in rows.as_array().into_iter().flatten() {
        let interface = row["Interface"].as_str().unwrap_or_default();
        if ["boot", "deploy", "management", "power"].contains(&interface) {
            assert_eq!(row["Result"], true, "{row}");
        }
    }
    Ok(())
}

/// `words` about the node, and `more`.
fn on<'a>(words: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [words, &["db01.example"], more].concat()
}

fn deploys_and_undeploys(lab: &Lab, client: &Client) -> anyhow::Result<()> {
    client.good(&on(&["node", "manage"], &["--wait", "60"]))?;
    client.good(&on(&["node", "inspect"], &["--wait", "300"]))?;
    let inventory = client.good(&on(&["node", "inventory", "save"], &[]))?;
    assert!(inventory.contains(&lab.rack.machines[0].spec().mac), "{inventory}");
    client.good(&on(&["node", "provide"], &["--wait", "300"]))?;
    let reason = ["--reason", "replacing disks"];
    client.good(&on(&["node", "maintenance", "set"], &reason))?;
    let refusal = client.refused(&on(&["node", "deploy"], &[]))?;
    assert!(refusal.contains("because it's in maintenance mode"), "{refusal}");
    client.good(&on(&["node", "maintenance", "unset"], &[]))?;
    let drive = r##"{"meta_data": {"hostname": "db01"}, "user_data": "#!/bin/sh\necho SEED-SAYS-$(hostname) > /dev/ttyS0\n"}"##;
    client.good(&on(&["node", "deploy"], &["--config-drive", drive, "--wait", "420"]))?;
    let node = client.json(&on(&["node", "show"], &[]))?;
    assert_eq!(node["provision_state"], "active");
    assert_eq!(node["power_state"], "power on");
    let console = lab.rack.machines[0].console();
    let waiting = console.wait_for("SEED-SAYS-db01", Duration::from_secs(120));
    let words = tokio::runtime::Handle::current().block_on(waiting)?;
    println!("console: {}", words.trim());
    // The ramdisk, the power cut between two boots of it, and the instance's disk again.
    let reboot = r#"[{"interface": "power", "step": "reboot"}]"#;
    client.good(&on(&["node", "service"], &["--service-steps", reboot, "--wait", "300"]))?;
    client.good(&on(&["node", "rebuild"], &["--wait", "420"]))?;
    client.good(&on(&["node", "undeploy"], &["--wait", "300"]))?;
    let node = client.json(&on(&["node", "show"], &[]))?;
    assert_eq!(node["provision_state"], "available");
    Ok(())
}
