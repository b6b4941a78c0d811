//! Our IPMI client against the lab's own BMC, which shares no code with it (and is itself checked with ipmitool and FreeIPMI).

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ironwright_ipmi::{BootDevice, BootFlags, Control, IpmiError, Limits, Session, Suite, Target};
use lab::lab_bmc::{Account, LabBmc, PaperChassis};

async fn bmc(suites: &[u8]) -> (LabBmc, Arc<PaperChassis>) {
    let chassis = Arc::new(PaperChassis::default());
    let account = Account { username: "admin".into(), password: "labpassword".into() };
    let bmc =
        LabBmc::start((Ipv4Addr::LOCALHOST, 0).into(), account, suites, chassis.clone()).await;
    (bmc.unwrap(), chassis)
}

fn target(bmc: &LabBmc, password: &str) -> Target {
    let mut target = Target::new("127.0.0.1", "admin", password.to_owned().into());
    target.port = bmc.address().port();
    target
}

fn brisk() -> Limits {
    Limits {
        reply: Duration::from_millis(50),
        message: Duration::from_millis(400),
        ..Limits::default()
    }
}

#[tokio::test]
async fn suite_17_is_preferred_and_suite_3_taken_where_it_is_all_there_is() {
    for (offered, taken) in
        [(&[3, 17][..], Suite::Suite17), (&[17], Suite::Suite17), (&[3], Suite::Suite3)]
    {
        let (bmc, chassis) = bmc(offered).await;
        let mut session = Session::open(&target(&bmc, "labpassword"), &brisk()).await.unwrap();
        assert_eq!(session.suite(), taken);
        assert!(!session.power_state().await.unwrap());
        session.chassis_control(Control::On).await.unwrap();
        assert!(session.power_state().await.unwrap());
        let flags = BootFlags { persistent: true, efi: true };
        session.set_boot_device(BootDevice::Disk, flags).await.unwrap();
        let read = session.boot_device().await.unwrap();
        assert_eq!((read.valid, read.device, read.flags), (true, Some(BootDevice::Disk), flags));
        session.close().await.unwrap();
        assert!(chassis.told().contains(&"On".to_owned()), "{:?}", chassis.told());
        assert_eq!(bmc.counters().closed.load(Ordering::Relaxed), 1, "a session was left open");
    }
}

#[tokio::test]
async fn a_wrong_password_is_named_and_never_shown() {
    let (bmc, _) = bmc(&[17]).await;
    let error = Session::open(&target(&bmc, "wrong-lab-password"), &brisk()).await.unwrap_err();
    assert!(matches!(error, IpmiError::WrongPassword { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong-lab-password"));
}

#[tokio::test]
async fn a_silent_a_full_and_a_busy_bmc_are_told_apart() {
    let (bmc, _) = bmc(&[17]).await;
    bmc.faults().silent.store(true, Ordering::Relaxed);
    let error = Session::open(&target(&bmc, "labpassword"), &brisk()).await.unwrap_err();
    assert!(matches!(error, IpmiError::NoAnswer { .. }), "{error}");
    bmc.faults().silent.store(false, Ordering::Relaxed);

    bmc.faults().no_sessions.store(1000, Ordering::Relaxed);
    let error = Session::open(&target(&bmc, "labpassword"), &brisk()).await.unwrap_err();
    assert!(matches!(error, IpmiError::OutOfSessions { .. }), "{error}");
    bmc.faults().no_sessions.store(0, Ordering::Relaxed);

    bmc.faults().busy.store(2, Ordering::Relaxed);
    let mut session = Session::open(&target(&bmc, "labpassword"), &brisk()).await.unwrap();
    assert!(!session.power_state().await.unwrap(), "busy twice, then the answer");
    session.close().await.unwrap();
}

#[tokio::test]
async fn lost_datagrams_do_not_lose_a_poll() {
    let (bmc, _) = bmc(&[17]).await;
    bmc.faults().drop_every.store(7, Ordering::Relaxed);
    for _ in 0..20 {
        let mut session = Session::open(&target(&bmc, "labpassword"), &brisk()).await.unwrap();
        session.power_state().await.unwrap();
        session.close().await.unwrap();
    }
}
