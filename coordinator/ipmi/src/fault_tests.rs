//! The client against a BMC that misbehaves ([`crate::fake`]), one fault a test.

use std::time::{Duration, Instant};

use secrecy::SecretString;

use crate::auth::Suite;
use crate::command::{BootDevice, BootFlags, Control};
use crate::error::IpmiError;
use crate::fake::{Fake, Fault, PASSWORD, Setup};
use crate::raw::{RAW_DATA_MAX, RawRequest, Reset, Resetting};
use crate::session::Session;
use crate::target::{Limits, Privilege, Target};
use crate::wire::Payload;

/// Close Session's number.
const CLOSE: u8 = 0x3c;

/// Long waits that a good answer never needs, so that a loaded machine changes nothing.
fn limits() -> Limits {
    Limits { busy: Duration::from_millis(2), ..Limits::default() }
}

/// For tests that wait for an answer that does not come.
fn brief() -> Limits {
    Limits { reply: Duration::from_millis(40), message: Duration::from_millis(200), ..limits() }
}

async fn open(fake: &Fake) -> Result<Session, IpmiError> {
    Session::open(&fake.target(), &limits()).await
}

async fn poll(target: &Target) -> Result<bool, IpmiError> {
    poll_within(target, &limits()).await
}

/// A whole life: log in, read the state, log out.
async fn poll_within(target: &Target, limits: &Limits) -> Result<bool, IpmiError> {
    let mut session = Session::open(target, limits).await?;
    let on = session.power_state().await?;
    session.close().await?;
    Ok(on)
}

/// Datagrams sent from `drop` are taken by the fake a moment later.
async fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(5), "did not happen within 5 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn the_strongest_suite_is_taken_and_everything_works_in_both() {
    for suite in [Suite::Suite17, Suite::Suite3] {
        let fake = Fake::start(Setup { suites: vec![suite], ..Setup::default() }).await;
        let mut session = open(&fake).await.unwrap();
        assert_eq!(session.suite(), suite);
        let flags = BootFlags { persistent: true, efi: true };
        session.set_boot_device(BootDevice::Disk, flags).await.unwrap();
        let options = session.boot_device().await.unwrap();
        assert_eq!(
            (options.valid, options.flags, options.device),
            (true, flags, Some(BootDevice::Disk))
        );
        session.chassis_control(Control::On).await.unwrap();
        assert!(session.power_state().await.unwrap());
        session.identify(0).await.unwrap();
        assert_eq!(session.device_id().await.unwrap().manufacturer, 10876);
        session.close().await.unwrap();
        assert_eq!(fake.sessions(), (1, 1, 0));
    }
    let fake = Fake::with(Fault::None).await;
    assert_eq!(open(&fake).await.unwrap().suite(), Suite::Suite17);
}

#[tokio::test]
async fn privilege_is_raised_once_and_only_when_needed() {
    let fake = Fake::with(Fault::None).await;
    let mut session = open(&fake).await.unwrap();
    session.power_state().await.unwrap();
    session.chassis_control(Control::On).await.unwrap();
    session.set_boot_device(BootDevice::Network, BootFlags::default()).await.unwrap();
    session.close().await.unwrap();
    let sent: Vec<_> = fake.commands().into_iter().map(|c| (c.net_fn, c.number, c.body)).collect();
    let close = 1_u32.to_le_bytes().to_vec();
    assert_eq!(
        sent,
        [
            (0, 0x01, vec![]),
            (6, 0x3b, vec![4]),
            (0, 0x02, vec![1]),
            (0, 0x08, vec![3, 0x08]),
            (0, 0x08, vec![5, 0x80, 0x04, 0, 0, 0]),
            (6, CLOSE, close),
        ]
    );
}

fn raw(net_fn: u8, command: u8, data: &[u8]) -> RawRequest {
    RawRequest::new(net_fn, command, data.to_vec()).unwrap()
}

#[tokio::test]
async fn a_raw_command_is_raised_sent_once_and_answered_with_its_data() {
    let fake = Fake::with(Fault::None).await;
    let mut session = open(&fake).await.unwrap();
    let id = session.raw(&raw(6, 0x01, &[])).await.unwrap();
    assert_eq!(id, [0x20, 1, 2, 0x31, 2, 0, 0x7c, 0x2a, 0, 1, 0]);
    session.raw(&raw(0, 0x08, &[5, 0xe0, 0x08, 0, 0, 0])).await.unwrap();
    assert_eq!(session.raw(&raw(0, 0x09, &[5, 0, 0])).await.unwrap(), [1, 5, 0xe0, 0x08, 0, 0, 0]);
    let error = session.raw(&raw(0x30, 0x70, &[0xaa; RAW_DATA_MAX])).await.unwrap_err();
    assert!(matches!(error, IpmiError::Completion { code: 0xc1, .. }), "{error}");
    session.close().await.unwrap();
    let sent: Vec<_> = fake.commands().into_iter().map(|c| (c.net_fn, c.number)).collect();
    assert_eq!(sent, [(6, 0x3b), (6, 1), (0, 8), (0, 9), (0x30, 0x70), (6, CLOSE)]);
    assert_eq!(fake.commands()[4].body, [0xaa; RAW_DATA_MAX]);
}

#[tokio::test]
async fn a_raw_command_without_an_answer_is_not_repeated_and_a_reset_without_one_is_no_failure() {
    for (number, reset) in [(0x02, Reset::Cold), (0x03, Reset::Warm)] {
        let fake = Fake::with(Fault::Silent(number)).await;
        let mut session = Session::open(&fake.target(), &brief()).await.unwrap();
        let error = session.raw(&raw(6, number, &[])).await.unwrap_err();
        assert!(matches!(error, IpmiError::NoAnswer { sent: 1, .. }), "{error}");
        assert_eq!(session.reset(reset).await.unwrap(), Resetting::Silent);
        session.close().await.unwrap();
        let came = fake.commands().iter().filter(|c| (c.net_fn, c.number) == (6, number)).count();
        assert_eq!(came, 2, "each once");
    }
}

#[tokio::test]
async fn a_reset_is_sent_again_only_where_the_bmc_says_that_it_did_not_begin() {
    for (code, agrees) in [(0xc0, true), (0xd2, true), (0xc3, false), (0xce, false)] {
        let fake = Fake::with(Fault::Completes(6, 0x02, code, 1)).await;
        let mut session = open(&fake).await.unwrap();
        let answer = session.reset(Reset::Cold).await;
        assert_eq!(answer.is_ok_and(|said| said == Resetting::Agreed), agrees, "{code:#x}");
        session.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_bmc_key_is_used_and_a_wrong_one_is_named() {
    let fake = Fake::start(Setup { kg: Some(vec![9; 20]), ..Setup::default() }).await;
    let right = Target { kg: Some(vec![9; 20]), ..fake.target() };
    assert!(!poll(&right).await.unwrap());
    for kg in [None, Some(vec![8; 20])] {
        let error = poll(&Target { kg, ..fake.target() }).await.unwrap_err();
        assert!(matches!(error, IpmiError::WrongBmcKey { .. }), "{error}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_told_apart_and_the_slot_is_given_back() {
    let fake = Fake::with(Fault::None).await;
    let target = Target { password: SecretString::from("guess-1234"), ..fake.target() };
    let start = Instant::now();
    let error = poll(&target).await.unwrap_err();
    assert!(matches!(error, IpmiError::WrongPassword { .. }), "{error}");
    assert!(start.elapsed() < limits().message, "a wrong password needs no time-out");
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("127.0.0.1") && !text.contains("guess-1234") && !text.contains(PASSWORD),
        "{text}"
    );
    until(|| fake.state.lock().unwrap().given_up == 1).await;

    let error = poll(&Target { username: "root".into(), ..fake.target() }).await.unwrap_err();
    assert!(matches!(error, IpmiError::WrongUsername { .. }), "{error}");
    assert_eq!(fake.sessions(), (0, 0, 0));
}

#[tokio::test]
async fn each_status_of_a_refusal_has_its_error() {
    type Expected = fn(&IpmiError) -> bool;
    let cases: [(Payload, u8, Expected); 8] = [
        (Payload::OpenRequest, 0x01, |e| matches!(e, IpmiError::OutOfSessions { status: 1, .. })),
        (Payload::OpenRequest, 0x11, |e| matches!(e, IpmiError::NoCommonSuite { .. })),
        (Payload::OpenRequest, 0x09, |e| matches!(e, IpmiError::PrivilegeRefused { .. })),
        (Payload::Rakp1, 0x0d, |e| matches!(e, IpmiError::WrongUsername { .. })),
        (Payload::Rakp1, 0x0a, |e| matches!(e, IpmiError::PrivilegeRefused { .. })),
        (Payload::Rakp1, 0x02, |e| matches!(e, IpmiError::HandshakeRefused { status: 2, .. })),
        (Payload::Rakp3, 0x0f, |e| matches!(e, IpmiError::WrongPassword { .. })),
        (Payload::Rakp3, 0x0b, |e| matches!(e, IpmiError::OutOfSessions { status: 0x0b, .. })),
    ];
    for (message, status, expected) in cases {
        let fake = Fake::with(Fault::Refuses(message, status)).await;
        let error = poll(&fake.target()).await.unwrap_err();
        assert!(expected(&error), "{message:?} {status:#x}: {error}");
    }
}

#[tokio::test]
async fn a_code_of_the_wrong_hash_does_not_panic_and_suite_3_is_tried() {
    let fake = Fake::with(Fault::ShortRakp2).await;
    let session = open(&fake).await.unwrap();
    assert_eq!(session.suite(), Suite::Suite3, "there 20 bytes are right");
    let strict = Target { suites: vec![Suite::Suite17], ..fake.target() };
    let error = poll(&strict).await.unwrap_err().to_string();
    assert!(error.contains("RAKP 2 has a code of 20 bytes, not 32"), "{error}");
}

#[tokio::test]
async fn an_answer_with_another_suite_than_proposed_is_not_accepted() {
    let fake = Fake::with(Fault::GrantsOnlySuite3).await;
    assert_eq!(open(&fake).await.unwrap().suite(), Suite::Suite3);
    let strict = Target { suites: vec![Suite::Suite17], ..fake.target() };
    let error = poll(&strict).await.unwrap_err();
    assert!(matches!(error, IpmiError::NoCommonSuite { .. }), "{error}");
    assert!(error.to_string().contains("suite 17: offers algorithms 1/1/1 instead"), "{error}");
}

#[tokio::test]
async fn suites_are_tried_in_order_whether_refused_or_ignored() {
    for fault in [Fault::None, Fault::IgnoresUnknownSuites] {
        let fake =
            Fake::start(Setup { suites: vec![Suite::Suite3], fault, ..Setup::default() }).await;
        let session = Session::open(&fake.target(), &brief()).await.unwrap();
        assert_eq!(session.suite(), Suite::Suite3);
        let mut proposals = fake.state.lock().unwrap().proposals.clone();
        proposals.dedup();
        assert_eq!(proposals, [3, 1], "authentication algorithms of suites 17 and 3, {fault:?}");
    }
}

#[tokio::test]
async fn silence_names_the_message_that_was_not_answered() {
    for (silent, expected) in [
        (Payload::OpenRequest as u8, "did not answer Open Session"),
        (Payload::Rakp1 as u8, "did not answer RAKP 1"),
        (Payload::Rakp3 as u8, "did not answer RAKP 3"),
        (0x01, "did not answer get chassis status"),
    ] {
        let fake = Fake::with(Fault::Silent(silent)).await;
        let error = poll_within(&fake.target(), &brief()).await.unwrap_err();
        assert!(matches!(error, IpmiError::NoAnswer { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn the_total_limit_ends_a_session_whatever_the_limit_of_a_message() {
    let fake = Fake::with(Fault::Silent(Payload::OpenRequest as u8)).await;
    let limits = Limits { total: Duration::from_millis(150), ..limits() };
    let start = Instant::now();
    let error = Session::open(&fake.target(), &limits).await.unwrap_err();
    assert!(matches!(error, IpmiError::NoAnswer { .. }), "{error}");
    assert!(start.elapsed() < limits.message, "{:?}", start.elapsed());
}

#[tokio::test]
async fn silence_after_close_counts_as_closed() {
    let fake = Fake::with(Fault::Silent(CLOSE)).await;
    assert!(!poll_within(&fake.target(), &brief()).await.unwrap());
    assert_eq!(fake.sessions(), (1, 1, 0));
}

#[tokio::test]
async fn a_dropped_session_and_one_that_failed_are_closed_too() {
    let fake = Fake::with(Fault::None).await;
    drop(open(&fake).await.unwrap());
    until(|| fake.sessions() == (1, 1, 0)).await;

    let fake = Fake::with(Fault::Completes(0, 1, 0xc1, 1)).await;
    let error = poll(&fake.target()).await.unwrap_err();
    assert!(matches!(error, IpmiError::Completion { code: 0xc1, .. }), "{error}");
    until(|| fake.sessions() == (1, 1, 0)).await;

    // A command that was cancelled half-way.
    let fake = Fake::with(Fault::Silent(0x01)).await;
    let mut session = open(&fake).await.unwrap();
    tokio::time::timeout(Duration::from_millis(20), session.power_state()).await.unwrap_err();
    drop(session);
    until(|| fake.sessions() == (1, 1, 0)).await;
}

#[tokio::test]
async fn a_full_bmc_is_named_and_usable_again_after_a_close() {
    let fake = Fake::start(Setup { slots: 1, ..Setup::default() }).await;
    let session = open(&fake).await.unwrap();
    let error = poll(&fake.target()).await.unwrap_err();
    assert!(matches!(error, IpmiError::OutOfSessions { .. }) && error.is_transient(), "{error}");
    session.close().await.unwrap();
    poll(&fake.target()).await.unwrap();
}

#[tokio::test]
async fn a_repetition_has_a_new_session_number_and_the_same_request_number() {
    let fake = Fake::with(Fault::IgnoresFirst).await;
    let limits = Limits { message: Duration::from_secs(5), ..brief() };
    let mut session = Session::open(&fake.target(), &limits).await.unwrap();
    session.power_state().await.unwrap();
    session.device_id().await.unwrap();
    let commands = fake.commands();
    for (n, command) in (1..).zip(&commands) {
        assert_eq!(command.session_sequence, n, "counts up: {commands:?}");
        let request = if command.net_fn == 0 { 1 } else { 2 };
        assert_eq!(command.request_sequence, request, "one for each command: {commands:?}");
    }
    assert!(commands.len() >= 4, "each sent again: {commands:?}");
}

#[tokio::test]
async fn an_old_answer_is_not_taken_when_its_request_number_comes_round_again() {
    let fake = Fake::with(Fault::Replays).await;
    let mut session = open(&fake).await.unwrap();
    assert!(!session.power_state().await.unwrap(), "request 1");
    session.chassis_control(Control::On).await.unwrap();
    for _ in 4..=64 {
        session.device_id().await.unwrap();
    }
    assert!(session.power_state().await.unwrap(), "request 1 again, and the fake repeats 'off'");
    assert_eq!(fake.commands().last().unwrap().request_sequence, 1);
}

#[tokio::test]
async fn repeated_and_mangled_answers_do_no_harm() {
    for fault in [Fault::Duplicates, Fault::Mangles] {
        let fake = Fake::with(fault).await;
        let mut session = open(&fake).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        for on in [true, false, true] {
            let control = if on { Control::On } else { Control::Off };
            session.chassis_control(control).await.unwrap();
            assert_eq!(session.power_state().await.unwrap(), on, "{fault:?}");
        }
        session.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_tenth_of_the_datagrams_may_be_lost() {
    let fake =
        Fake::start(Setup { slots: usize::MAX, fault: Fault::Loses(10), ..Setup::default() }).await;
    let target = fake.target();
    let limits =
        Limits { reply: Duration::from_millis(40), message: Duration::from_secs(4), ..limits() };
    let mut polls = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let target = target.clone();
        polls.spawn(async move { poll_within(&target, &limits).await });
    }
    while let Some(ended) = polls.join_next().await {
        ended.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_busy_bmc_is_asked_again_and_named_when_it_stays_busy() {
    for code in [0xc0, 0xc3, 0xce, 0xd2] {
        let fake = Fake::with(Fault::Completes(0, 1, code, 3)).await;
        assert!(!poll(&fake.target()).await.unwrap(), "{code:#x}");

        let fake = Fake::with(Fault::Completes(0, 1, code, u32::MAX)).await;
        let error = poll(&fake.target()).await.unwrap_err();
        assert!(matches!(error, IpmiError::Busy { code: got, .. } if got == code), "{error}");
        assert_eq!(fake.commands().iter().filter(|c| c.number == 1).count(), 5);
    }
    let fake = Fake::with(Fault::Completes(0, 1, 0xc1, 1)).await;
    poll(&fake.target()).await.unwrap_err();
    assert_eq!(
        fake.commands().iter().filter(|c| c.number == 1).count(),
        1,
        "an invalid command stays so"
    );
}

#[tokio::test]
async fn a_bmc_that_cannot_keep_flags_past_a_minute_still_gets_them() {
    let fake = Fake::with(Fault::Completes(0, 8, 0xcc, 1)).await;
    let mut session = open(&fake).await.unwrap();
    session.set_boot_device(BootDevice::Network, BootFlags::default()).await.unwrap();
    assert_eq!(session.boot_device().await.unwrap().device, Some(BootDevice::Network));
}

#[tokio::test]
async fn missing_privilege_is_named_whether_the_raise_or_the_command_is_refused() {
    let fake = Fake::with(Fault::OnlyUser).await;
    for privilege in [Privilege::Administrator, Privilege::User] {
        let target = Target { privilege, ..fake.target() };
        let mut session = Session::open(&target, &limits()).await.unwrap();
        assert!(!session.power_state().await.unwrap(), "reading is allowed");
        let error = session.chassis_control(Control::On).await.unwrap_err();
        assert!(matches!(error, IpmiError::PrivilegeRefused { .. }), "{error}");
    }
    assert!(!fake.state.lock().unwrap().on);
}

/// The other direction: an independent client logs in to the fake in suite 17, which no BMC simulator in Debian has.
/// What ipmitool accepts was made by this crate's framing, RAKP codes and keys.
#[tokio::test]
async fn ipmitool_accepts_our_suite_17() {
    let fake = Fake::with(Fault::None).await;
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    for (suite, order, expected) in [
        ("17", "status", "Chassis Power is off"),
        ("17", "on", "Chassis Power Control: Up/On"),
        ("3", "status", "Chassis Power is on"),
    ] {
        let ran = tokio::process::Command::new("ipmitool")
            .args(["-I", "lanplus", "-C", suite, "-H", "127.0.0.1", "-U", "admin", "-p"])
            .arg(fake.port.to_string())
            .arg("-f")
            .arg(&password)
            .args(["chassis", "power", order])
            .output()
            .await;
        let Ok(output) = ran else {
            println!("skipped: ipmitool cannot be started; install the package ipmitool");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(expected), "suite {suite}: {output:?}");
    }
    assert_eq!(fake.sessions(), (3, 3, 0));
}

#[tokio::test]
async fn a_session_can_be_used_from_a_spawned_task() {
    let fake = Fake::with(Fault::None).await;
    let target = fake.target();
    assert!(!tokio::spawn(async move { poll(&target).await }).await.unwrap().unwrap());
}
