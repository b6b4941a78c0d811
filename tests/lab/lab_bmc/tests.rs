//! The lab's BMC against independent clients: ipmitool and FreeIPMI.

use std::net::Ipv4Addr;
use std::process::Output;

use super::*;

#[expect(clippy::disallowed_methods, reason = "the independent client is a program")]
fn run(program: &str, args: &[&str]) -> Option<Output> {
    match std::process::Command::new(program)
        .args(args)
        .env("IPMI_PASSWORD", "labpassword")
        .output()
    {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: {program} is not installed ({error}); cargo lab test installs it");
            None
        }
    }
}

async fn bmc(suites: &[u8]) -> (LabBmc, Arc<PaperChassis>) {
    let chassis = Arc::new(PaperChassis::default());
    let account = Account { username: "admin".into(), password: "labpassword".into() };
    let bmc =
        LabBmc::start((Ipv4Addr::LOCALHOST, 0).into(), account, suites, chassis.clone()).await;
    (bmc.unwrap(), chassis)
}

async fn ipmitool(bmc: &LabBmc, suite: &str, command: &str) -> Option<String> {
    let port = bmc.address().port().to_string();
    let fixed = format!("-I lanplus -H 127.0.0.1 -p {port} -U admin -E -C {suite} {command}");
    let output =
        tokio::task::spawn_blocking(move || run("ipmitool", &fixed.split(' ').collect::<Vec<_>>()));
    let output = output.await.unwrap()?;
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipmitool_drives_power_and_boot_flags_with_suites_3_and_17() {
    let (bmc, chassis) = bmc(&[3, 17]).await;
    for suite in ["3", "17"] {
        let Some(off) = ipmitool(&bmc, suite, "chassis power off").await else { return };
        assert_eq!(off, "Chassis Power Control: Down/Off\n");
        assert_eq!(
            ipmitool(&bmc, suite, "chassis power status").await.unwrap(),
            "Chassis Power is off\n"
        );
        ipmitool(&bmc, suite, "chassis power on").await.unwrap();
        assert_eq!(
            ipmitool(&bmc, suite, "chassis power status").await.unwrap(),
            "Chassis Power is on\n"
        );
        ipmitool(&bmc, suite, "chassis bootdev pxe options=persistent,efiboot").await.unwrap();
        let flags = ipmitool(&bmc, suite, "chassis bootparam get 5").await.unwrap();
        for line in ["Options apply to all future boots", "BIOS EFI boot", "Force PXE"] {
            assert!(flags.contains(line), "suite {suite}: {flags}");
        }
    }
    let told = chassis.told();
    assert!(
        told.contains(&"BootFlags { valid: true, persistent: true, efi: true, device: 1 }".into()),
        "{told:?}"
    );
    assert_eq!(
        bmc.counters().opened.load(Ordering::Relaxed),
        bmc.counters().closed.load(Ordering::Relaxed)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suite_that_is_not_offered_is_refused() {
    let (bmc, _) = bmc(&[17]).await;
    let Some(answer) = ipmitool(&bmc, "3", "chassis power status").await else { return };
    assert!(answer.contains("Unable to establish"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freeipmi_reads_power_with_suite_17() {
    let (bmc, chassis) = bmc(&[17]).await;
    chassis.act(ChassisAction::On);
    let port = bmc.address().port();
    let host = format!("127.0.0.1:{port}");
    let output = tokio::task::spawn_blocking(move || {
        let fixed = ["-D", "LAN_2_0", "-h", &host, "-u", "admin", "-p", "labpassword", "-I", "17"];
        run("ipmi-chassis", &[&fixed[..], &["--get-chassis-status"]].concat())
    });
    let Some(output) = output.await.unwrap() else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("System Power                        : on"), "{text} {output:?}");
}
