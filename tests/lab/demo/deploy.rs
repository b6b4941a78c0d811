//! One deploy as an operator does it, told step by step.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Options;
use super::view::{View, say};
use crate::lab::{Lab, LabSpec, MachineSpec};
use crate::machine::{Firmware, Machine};
use crate::runs::Inputs;

/// Longest wait for a clean, a deploy, and for the deployed system's own words; emulated machines on a busy host are slow.
const CLEAN_LIMIT: Duration = Duration::from_secs(600);
const DEPLOY_LIMIT: Duration = Duration::from_secs(1800);
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// What the deployed system is told to say.
struct Marker {
    hostname: String,
    secret: String,
}

/// Starts a lab with one machine, deploys it, and shows the proof.
pub(super) async fn show(options: &Options) -> anyhow::Result<()> {
    let firmware = options.firmware.unwrap_or(Firmware::Bios);
    let image = options.image_of(&Inputs::of_this_run()?)?;
    let mut machine = MachineSpec::new(firmware);
    machine.memory_mib = options.memory;
    let lab = Lab::start(&LabSpec::new(vec![machine])).await?;
    let (machine, bmc) = (&lab.rack.machines[0], lab.rack.bmcs[0].address());
    say(&format!(
        "a machine stands ready: {firmware:?} firmware, {} MiB, an empty {} GiB disk, powered off, BMC at {bmc}",
        options.memory,
        machine.spec().disks[0].bytes >> 30
    ));
    deploy(&lab, machine, &image).await.map_err(|error| {
        let said = machine.console().tail();
        let log = crate::host::tail(&lab.coordinator.log(), 20);
        error.context(format!("the machine's console ends with:\n{said}\nthe coordinator's log ends with:\n{log}\nthe demo failed"))
    })
}

async fn deploy(lab: &Lab, machine: &Machine, image: &Path) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut view = View::new();
    let node = lab.enrol(0, "demo").await?.uuid;
    say(&format!("enrolled as node {node}"));
    provision(lab, &mut view, node, "manage", &json!({}), ("manageable", CLEAN_LIMIT)).await?;
    provision(lab, &mut view, node, "provide", &json!({}), ("available", CLEAN_LIMIT)).await?;
    view.evidence(&lab.api.evidence(node).await?);
    say(&format!("ready for tenants after {:.1} s", start.elapsed().as_secs_f64()));

    let digest = sha256(image)?;
    let fields = [
        ("/instance_info/image_source", json!(lab.images.add(image)?)),
        ("/instance_info/image_os_hash_algo", json!("sha256")),
        ("/instance_info/image_os_hash_value", json!(digest)),
    ];
    lab.api.set(node, &fields).await?;
    let marker = Marker {
        hostname: format!("demo-{:x}", rand::random::<u16>()),
        secret: format!("IRONWRIGHT-{:016x}", rand::random::<u64>()),
    };
    let more = json!({ "configdrive": configdrive(&marker, node) });
    let ordered = (Instant::now(), Timestamp::now());
    provision(lab, &mut view, node, "active", &more, ("active", DEPLOY_LIMIT)).await?;
    let written = ordered.0.elapsed();

    say("the image is on the disk and the machine boots it; waiting for its own words");
    let heard = machine.console().wait_for(&marker.secret, BOOT_LIMIT).await?;
    let total = ordered.0.elapsed();
    say(&format!("on its serial console the deployed system says:\n      {heard}"));
    anyhow::ensure!(
        heard.contains(&marker.hostname),
        "the deployed system does not have the host name {} of its config drive",
        marker.hostname
    );
    view.evidence(&lab.api.evidence(node).await?);
    view.timing(ordered.1, written, total);
    Ok(())
}

/// Asks for a provision state and shows the way there.
async fn provision(
    lab: &Lab,
    view: &mut View,
    node: Uuid,
    target: &str,
    more: &serde_json::Value,
    (state, limit): (&str, Duration),
) -> anyhow::Result<()> {
    say(&format!("operator: {target}"));
    lab.api.provision(node, target, more).await?;
    let each = |node: &_, progress: &_| view.update(node, progress);
    let result = lab.api.wait_for_state(node, state, limit, each).await;
    view.clear();
    result.map(drop)
}

/// The config drive: a host name and a script that proves it was read, by words made up a moment ago.
fn configdrive(marker: &Marker, node: Uuid) -> serde_json::Value {
    let (hostname, secret) = (&marker.hostname, &marker.secret);
    let script = format!(
        "#!/bin/sh\n. /etc/os-release\necho \"$(cat /proc/sys/kernel/hostname): {secret} from $PRETTY_NAME\" > /dev/ttyS0\n"
    );
    json!({
        "meta_data": { "uuid": node, "name": hostname, "hostname": hostname, "local-hostname": hostname },
        "user_data": script,
    })
}

fn sha256(file: &Path) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    use std::io::Read;
    let mut input =
        std::fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match input.read(&mut buffer)? {
            0 => break,
            length => digest.update(&buffer[..length]),
        }
    }
    let mut hex = String::new();
    for byte in digest.finalize() {
        write!(hex, "{byte:02x}")?;
    }
    Ok(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_drive_carries_a_script_that_says_the_marker() {
        let marker = Marker { hostname: "h-1".into(), secret: "S-2".into() };
        let drive = configdrive(&marker, Uuid::nil());
        assert_eq!(drive["meta_data"]["hostname"], "h-1");
        let script = drive["user_data"].as_str().unwrap();
        assert!(script.starts_with("#!/bin/sh\n") && script.contains("S-2"), "{script}");
        assert!(!script.contains("h-1"), "the name must come from the system itself");
    }

    #[test]
    fn a_file_is_hashed_as_sha256sum_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "abc").unwrap();
        assert_eq!(
            sha256(&file).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
