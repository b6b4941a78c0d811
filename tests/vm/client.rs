//! The seed's session, line by line, with today's real client.

use lab::Firmware;
use lab::client::Client;
use lab::lab::{Lab, LabSpec, MachineSpec};
use lab::{bmc, net};

use crate::stage::sha256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a virtual machine: cargo lab test"]
async fn the_real_client_enrols_validates_deploys_and_undeploys() {
    let lab = Lab::start(&LabSpec::new(vec![MachineSpec::new(Firmware::Bios)])).await.unwrap();
    tokio::task::block_in_place(|| session(&lab)).unwrap();
}

fn session(lab: &Lab) -> anyhow::Result<()> {
    let client = Client::new("http://127.0.0.1:6385")?;
    let machine = &lab.rack.machines[0];
    let address = format!("ipmi_address={}", net::bmc(0).ip());
    let (user, password) =
        (format!("ipmi_username={}", bmc::USERNAME), format!("ipmi_password={}", bmc::PASSWORD));
    let create = |driver: &'static str| {
        vec![
            "node",
            "create",
            "--driver",
            driver,
            "--driver-info",
            &user,
            "--driver-info",
            &password,
            "--driver-info",
            &address,
            "--property",
            "cpus=4",
            "--property",
            "memory_mb=8192",
            "--property",
            "local_gb=4",
            "--extra",
            "note=spare server",
            "--name",
            "mytest",
        ]
    };
    let refusal = client.refused(&create("agent_ipmitool"))?;
    assert!(refusal.contains("ipmi"), "{refusal}");
    let node = client.json(&create("ipmi"))?;
    assert_eq!(node["driver_info"]["ipmi_password"], "******");
    let uuid = node["uuid"].as_str().unwrap_or_default();
    client.good(&["port", "create", "--node", uuid, &machine.spec().mac])?;

    let report = client.good(&["node", "validate", "mytest"])?;
    assert!(report.contains("image_source"), "{report}");
    let image = lab.inputs.image_small.clone().unwrap();
    let source = format!("image_source={}", lab.images.add(&image)?);
    let md5 = "image_checksum=e1d99d6d0ef2144a8d672b0420c547b5";
    client.good(&["node", "set", "mytest", "--instance-info", &source, "--instance-info", md5])?;
    let report = client.good(&["node", "validate", "mytest"])?;
    assert!(report.contains("sha256") || report.contains("SHA-256"), "{report}");
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

    client.good(&["node", "manage", "db01.example", "--wait", "60"])?;
    client.good(&["node", "provide", "db01.example", "--wait", "300"])?;
    client.good(&["node", "maintenance", "set", "db01.example", "--reason", "replacing disks"])?;
    let refusal = client.refused(&["node", "deploy", "db01.example"])?;
    assert!(refusal.contains("because it's in maintenance mode"), "{refusal}");
    client.good(&["node", "maintenance", "unset", "db01.example"])?;
    let drive = r##"{"meta_data": {"hostname": "db01"}, "user_data": "#!/bin/sh\necho SEED-SAYS-$(hostname) > /dev/ttyS0\n"}"##;
    client.good(&["node", "deploy", "db01.example", "--config-drive", drive, "--wait", "420"])?;
    let node = client.json(&["node", "show", "db01.example"])?;
    assert_eq!(node["provision_state"], "active");
    assert_eq!(node["power_state"], "power on");
    let console = machine.console();
    let waiting = console.wait_for("SEED-SAYS-db01", std::time::Duration::from_secs(120));
    let words = tokio::runtime::Handle::current().block_on(waiting)?;
    println!("console: {}", words.trim());
    client.good(&["node", "undeploy", "db01.example", "--wait", "300"])?;
    let node = client.json(&["node", "show", "db01.example"])?;
    assert_eq!(node["provision_state"], "available");
    Ok(())
}
