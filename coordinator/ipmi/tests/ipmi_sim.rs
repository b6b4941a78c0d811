//! The client against an independent BMC: OpenIPMI's `ipmi_sim` (suite 3) on 127.0.0.1.
//!
//! Needs the Debian package `openipmi`; each test says so and passes without it.
#![expect(clippy::print_stderr, reason = "a skipped test must say why")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ironwright_ipmi::{
    BootDevice, BootFlags, Control, IpmiError, Limits, Privilege, Session, Suite, Target,
};
use tempfile::TempDir;

const EMULATED_BMC: &str = "\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";

/// Keeps the chassis in files: `power` is 0 or 1, `boot` a device, `log` every order.
const CHASSIS: &str = r#"#!/bin/sh
dir=$1; op=$2; shift 2
if [ "$op" = get ]; then
  for name in "$@"; do
    case $name in
      power) echo "power:$(cat "$dir/power")" ;;
      boot) echo "boot:$(cat "$dir/boot")" ;;
    esac
  done
else
  echo "$*" >> "$dir/log"
  case $1 in
    power|boot) echo "$2" > "$dir/$1" ;;
  esac
fi
"#;

/// A running `ipmi_sim` with users admin/secret (administrator) and guest/guestpw (user).
struct Bmc {
    child: Child,
    dir: TempDir,
    port: u16,
}

impl Bmc {
    /// `None`, with the reason printed, where `ipmi_sim` is not installed.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        write_settings(dir.path(), port);
        #[expect(clippy::disallowed_methods, reason = "the test owns this simulator")]
        let started = std::process::Command::new("ipmi_sim")
            .args(["-n", "-c", "lan.conf", "-f", "bmc.emu", "-s", "state"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Some(Self { child, dir, port }),
            Err(error) => {
                eprintln!(
                    "skipped: ipmi_sim cannot be started ({error}); install the package openipmi"
                );
                None
            }
        }
    }

    fn target(&self) -> Target {
        Target { port: self.port, ..Target::new("127.0.0.1", "admin", "secret".into()) }
    }

    /// Opens a session, waiting until the simulator listens.
    async fn open(&self, target: &Target) -> Result<Session, IpmiError> {
        let start = Instant::now();
        loop {
            match Session::open(target, &limits()).await {
                Err(IpmiError::Unreachable { .. }) if start.elapsed() < Duration::from_secs(10) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                ended => return ended,
            }
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap().trim().to_owned()
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn write_settings(dir: &Path, port: u16) {
    let lan = format!(
        r#"name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{0}/chassis.sh {0}"
  user 2 true "admin" "secret" admin 10 none md2 md5 straight
  user 3 true "guest" "guestpw" user 10 none md2 md5 straight
"#,
        dir.display()
    );
    for (name, text) in [("lan.conf", &*lan), ("bmc.emu", EMULATED_BMC), ("chassis.sh", CHASSIS)] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    for (name, text) in [("power", "0"), ("boot", "none"), ("log", "")] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    std::fs::create_dir(dir.join("state")).unwrap();
    std::fs::set_permissions(dir.join("chassis.sh"), PermissionsExt::from_mode(0o755)).unwrap();
}

fn limits() -> Limits {
    Limits {
        reply: Duration::from_millis(500),
        message: Duration::from_secs(3),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_machine_is_told_to_boot_from_the_network_and_switched_on() {
    let Some(bmc) = Bmc::start() else { return };
    let mut session = bmc.open(&bmc.target()).await.unwrap();
    assert_eq!(session.suite(), Suite::Suite3, "ipmi_sim refuses suite 17 with two bytes");
    assert!(!session.power_state().await.unwrap());

    session.set_boot_device(BootDevice::Network, BootFlags::default()).await.unwrap();
    assert_eq!(bmc.read("boot"), "pxe");
    let options = session.boot_device().await.unwrap();
    assert_eq!(options.device, Some(BootDevice::Network));
    assert!(!options.valid, "ipmi_sim never says that the flags are valid");

    session.chassis_control(Control::On).await.unwrap();
    assert!(session.power_state().await.unwrap());
    assert_eq!(bmc.read("power"), "1");
    session.close().await.unwrap();
}

#[tokio::test]
async fn every_control_reaches_the_chassis() {
    let Some(bmc) = Bmc::start() else { return };
    let mut session = bmc.open(&bmc.target()).await.unwrap();
    for (control, order) in [
        (Control::On, "power 1"),
        (Control::Reset, "reset 1"),
        (Control::SoftOff, "shutdown 1"),
        (Control::Off, "power 0"),
    ] {
        session.chassis_control(control).await.unwrap();
        assert!(bmc.read("log").ends_with(order), "{control:?}: {}", bmc.read("log"));
    }
    for (device, name) in [
        (BootDevice::Disk, "default"),
        (BootDevice::Cdrom, "cdrom"),
        (BootDevice::Setup, "bios"),
        (BootDevice::NoOverride, "none"),
    ] {
        let flags = BootFlags { persistent: true, efi: true };
        session.set_boot_device(device, flags).await.unwrap();
        assert_eq!(bmc.read("boot"), name);
        assert_eq!(session.boot_device().await.unwrap().device, Some(device));
    }
    session.identify(15).await.unwrap();
    assert!(bmc.read("log").contains("identify 15"), "{}", bmc.read("log"));
    session.close().await.unwrap();
}

#[tokio::test]
async fn the_device_id_names_the_manufacturer() {
    let Some(bmc) = Bmc::start() else { return };
    let mut session = bmc.open(&bmc.target()).await.unwrap();
    let id = session.device_id().await.unwrap();
    // As `ipmitool mc info` prints it for the same settings.
    assert_eq!((id.manufacturer, id.product), (4753, 3842));
    assert_eq!((id.revision, id.firmware, id.ipmi_version), (3, (9, 8), (2, 0)));
    session.close().await.unwrap();
}

#[tokio::test]
async fn wrong_name_and_wrong_password_are_told_apart() {
    let Some(bmc) = Bmc::start() else { return };
    bmc.open(&bmc.target()).await.unwrap().close().await.unwrap();

    let wrong = Target { password: "guess-1234".into(), ..bmc.target() };
    let error = bmc.open(&wrong).await.unwrap_err();
    assert!(matches!(error, IpmiError::WrongPassword { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("guess-1234"));

    let wrong = Target { username: "nobody".into(), ..bmc.target() };
    let error = bmc.open(&wrong).await.unwrap_err();
    assert!(matches!(error, IpmiError::WrongUsername { .. }), "{error}");
}

#[tokio::test]
async fn a_read_only_account_reads_the_power_state() {
    let Some(bmc) = Bmc::start() else { return };
    let guest = Target {
        username: "guest".into(),
        password: "guestpw".into(),
        privilege: Privilege::User,
        ..bmc.target()
    };
    // That it may do no more cannot be tested here: ipmi_sim lets it switch the power, also when ipmitool asks.
    let mut session = bmc.open(&guest).await.unwrap();
    assert!(!session.power_state().await.unwrap());
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_bmc_without_suite_17_is_named_when_only_17_is_allowed() {
    let Some(bmc) = Bmc::start() else { return };
    let strict = Target { suites: vec![Suite::Suite17], ..bmc.target() };
    let error = bmc.open(&strict).await.unwrap_err();
    assert!(matches!(error, IpmiError::NoCommonSuite { .. }), "{error}");
    assert!(error.to_string().contains("suite 17: status 0x"), "{error}");
}

#[tokio::test]
async fn neither_closed_nor_dropped_sessions_use_up_the_bmc() {
    let Some(bmc) = Bmc::start() else { return };
    // OpenIPMI has room for 64 sessions on a channel.
    for n in 0..150 {
        let mut session =
            bmc.open(&bmc.target()).await.unwrap_or_else(|error| panic!("{n}: {error}"));
        assert!(!session.power_state().await.unwrap());
        if n % 2 == 0 {
            session.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_reported_at_once() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = Target { port, ..Target::new("127.0.0.1", "admin", "secret".into()) };
    let start = Instant::now();
    let error = Session::open(&target, &Limits::default()).await.unwrap_err();
    assert!(matches!(error, IpmiError::Unreachable { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}
