//! Whole lives of a node over a simulated machine, in virtual time.

mod parts;
mod sim;

use ironwright_api::{Blame, Failure};

use self::sim::{Faults, MAC, Rig, heartbeat, lookup, peer};
use crate::actions;
use crate::agent::{self, AgentError, BootDecision};
use crate::node::lifecycle::Verb;
use crate::node::{Node, Phase, PowerState, PowerTarget, ProvisionState};
use crate::power::{Boot, BootDevice, Command};

fn boot(device: BootDevice, persistent: bool) -> Command {
    Command::Boot(Boot { device, persistent, efi: true })
}

#[tokio::test]
async fn an_aborted_agent_has_a_moment_to_stop_before_its_power_is_cut() {
    let mut rig = Rig::new(ProvisionState::Manageable, Faults::default()).await;
    rig.ask(Verb::Provide).await;
    rig.until_ordered().await;
    rig.ask(Verb::Abort).await;
    rig.tick().await;
    let node = rig.record().await;
    assert_eq!(node.provision_state, ProvisionState::CleanFailed);
    assert_eq!(rig.machine().power, PowerState::On, "it was cut off at once");
    let order = node.work.unwrap().order.order_id;
    let cancel =
        rig.machine().agent.as_ref().map(|agent| (agent.last.cancel, agent.last.order.is_some()));
    // The simulated agent names no order in its progress, so it is told by the order's absence.
    assert_eq!(cancel, Some((None, false)), "{order}");
    rig.until(ProvisionState::CleanFailed).await;
    assert_eq!(rig.machine().power, PowerState::Off);
}

#[tokio::test]
async fn a_machine_goes_from_enrolment_to_a_running_instance_and_back() {
    let mut rig = Rig::new(ProvisionState::Enroll, Faults::default()).await;
    rig.ask(Verb::Manage).await;
    assert_eq!(rig.until(ProvisionState::Manageable).await.power_state, Some(PowerState::Off));
    rig.ask(Verb::Provide).await;
    rig.until(ProvisionState::Available).await;
    let network = [Command::Off, boot(BootDevice::Pxe, false), Command::On];
    assert_eq!(
        rig.machine().log,
        [&network[..], &[Command::Off]].concat(),
        "cleaned, then powered off"
    );

    rig.machine().log.clear();
    rig.ask(Verb::Active).await;
    let node = rig.until(ProvisionState::Active).await;
    let disk = [Command::Off, boot(BootDevice::Disk, true), Command::On];
    assert_eq!(rig.machine().log, [network, disk].concat());
    assert!(rig.machine().runs_from_disk);
    assert_eq!(
        (node.power_state, node.last_error, node.target_provision_state),
        (Some(PowerState::On), None, None)
    );

    rig.machine().log.clear();
    rig.ask(Verb::Deleted).await;
    let node = rig.until(ProvisionState::Available).await;
    assert!(node.instance_info.is_empty());
    assert_eq!(
        rig.machine().log,
        [&[Command::Off], &network[..], &[Command::Off]].concat(),
        "cleaned again"
    );
}

#[tokio::test]
async fn a_power_cut_leads_to_a_second_attempt_that_knows_the_first() {
    let mut rig =
        Rig::new(ProvisionState::Available, Faults { power_cut: true, ..Faults::default() }).await;
    rig.ask(Verb::Active).await;
    rig.until(ProvisionState::WaitCallBack).await;
    let first = |node: &Node| node.work.as_ref().is_some_and(|work| work.order.attempt == 1);
    rig.pass_while(|_, node| first(node)).await;
    rig.until(ProvisionState::WaitCallBack).await;
    rig.until_ordered().await;
    let order = rig.machine().agent.as_ref().unwrap().last.order.clone().unwrap();
    assert_eq!(
        (order.attempt, order.steps.len(), order.steps[0].ended),
        (2, 1, false),
        "the step in doubt is told"
    );
    rig.until(ProvisionState::Active).await;
    let history = rig.history().await;
    assert!(
        history.contains("silent for 60 s; the machine's power is off; booting again"),
        "{history}"
    );
}

#[tokio::test]
async fn an_agent_that_dies_with_power_on_is_booted_again() {
    let mut rig =
        Rig::new(ProvisionState::Available, Faults { agent_dies: true, ..Faults::default() }).await;
    rig.ask(Verb::Active).await;
    rig.until(ProvisionState::Active).await;
    assert!(rig.history().await.contains("started into the ramdisk, attempt 2"));
}

#[tokio::test]
async fn a_silent_bmc_fails_the_deploy_and_names_its_address() {
    let mut rig =
        Rig::new(ProvisionState::Available, Faults { bmc_silent: true, ..Faults::default() }).await;
    rig.ask(Verb::Active).await;
    let node = rig.until(ProvisionState::DeployFailed).await;
    let error = node.last_error.unwrap();
    assert!(
        error.contains("start the machine into the ramdisk") && error.contains("192.0.2.7:623"),
        "{error}"
    );
    assert_eq!(node.target_provision_state, Some(ProvisionState::Active));

    rig.machine().faults.bmc_silent = false;
    rig.ask(Verb::Active).await;
    assert_eq!(
        rig.until(ProvisionState::Active).await.last_error,
        None,
        "a new try clears the error"
    );
}

#[tokio::test]
async fn an_unreachable_bmc_leaves_the_node_in_enroll() {
    let mut rig =
        Rig::new(ProvisionState::Enroll, Faults { bmc_silent: true, ..Faults::default() }).await;
    rig.ask(Verb::Manage).await;
    let node = rig.until(ProvisionState::Enroll).await;
    assert!(node.last_error.unwrap().contains("192.0.2.7:623"));
}

#[tokio::test]
async fn an_agent_that_never_calls_fails_after_all_attempts_with_irons_words() {
    let mut rig =
        Rig::new(ProvisionState::Available, Faults { no_network: true, ..Faults::default() }).await;
    rig.ask(Verb::Active).await;
    let node = rig.until(ProvisionState::DeployFailed).await;
    let error = node.last_error.unwrap();
    let ironic = format!("Timeout reached while waiting for callback for node {}", node.uuid);
    assert!(
        error.starts_with(&ironic)
            && error.contains("after 3 boots")
            && error.contains("check DHCP"),
        "{error}"
    );
    assert_eq!((rig.machine().power, node.power_state), (PowerState::Off, Some(PowerState::Off)));
}

#[tokio::test]
async fn the_agents_failure_is_the_last_error_and_the_machine_is_powered_off() {
    let failure = Failure {
        step: "write_image".into(),
        message: "image sha256 is a, order says b".into(),
        remedy: "Check image_checksum.".into(),
        blame: Blame::Order,
    };
    let mut rig =
        Rig::new(ProvisionState::Available, Faults { failure: Some(failure), ..Faults::default() })
            .await;
    rig.ask(Verb::Active).await;
    let node = rig.until(ProvisionState::DeployFailed).await;
    assert_eq!(
        node.last_error.unwrap(),
        "write_image: image sha256 is a, order says b. Check image_checksum."
    );
    assert_eq!(rig.machine().power, PowerState::Off);
    assert!(!node.maintenance);

    actions::power(&rig.app, &rig.node.to_string(), PowerTarget::On, None).await.unwrap();
    rig.pass_while(|_, node| node.power_request.is_some()).await;
    let node = rig.record().await;
    assert_eq!(node.power_state, Some(PowerState::On));
    assert!(node.last_error.is_some(), "a look at the machine erases why it failed");
}

#[tokio::test]
async fn a_failed_cleaning_sets_maintenance_and_never_leads_to_available() {
    let failure = Failure {
        step: "erase".into(),
        message: "m".into(),
        remedy: String::new(),
        blame: Blame::Hardware,
    };
    let mut rig = Rig::new(
        ProvisionState::Manageable,
        Faults { failure: Some(failure), ..Faults::default() },
    )
    .await;
    rig.ask(Verb::Provide).await;
    let node = rig.until(ProvisionState::CleanFailed).await;
    assert_eq!((node.maintenance, node.fault.as_deref()), (true, Some("clean failure")));
    assert_eq!(node.maintenance_reason.as_deref(), Some("erase: m"));
    rig.ask(Verb::Manage).await;
    rig.until(ProvisionState::Manageable).await;
}

#[tokio::test]
async fn a_lost_reply_to_the_final_report_changes_nothing() {
    let mut rig =
        Rig::new(ProvisionState::Available, Faults { final_replies_lost: 3, ..Faults::default() })
            .await;
    rig.ask(Verb::Active).await;
    rig.until(ProvisionState::Active).await;
    let offs = rig.machine().log.iter().filter(|command| **command == Command::Off).count();
    assert_eq!(offs, 2, "started once, finished once");
}

#[tokio::test]
async fn a_coordinator_killed_at_any_call_to_the_bmc_goes_on_after_its_restart() {
    for hang_after_effect in [false, true] {
        for call in 0..7 {
            let faults = Faults { hang_at: Some(call), hang_after_effect, ..Faults::default() };
            let mut rig = Rig::new(ProvisionState::Enroll, faults).await;
            for (verb, state) in [
                (Verb::Manage, ProvisionState::Manageable),
                (Verb::Provide, ProvisionState::Available),
                (Verb::Active, ProvisionState::Active),
                (Verb::Deleted, ProvisionState::Available),
            ] {
                rig.ask(verb).await;
                let node = rig.until(state).await;
                assert_eq!(node.last_error, None, "call {call}");
            }
            assert_eq!(rig.restarts, 1, "call {call} exists");
        }
    }
}

#[tokio::test]
async fn a_coordinator_killed_every_few_seconds_still_deploys() {
    let mut rig = Rig::new(ProvisionState::Available, Faults::default()).await;
    rig.ask(Verb::Active).await;
    for _ in 0..200 {
        rig.tick().await;
        if rig.record().await.provision_state == ProvisionState::Active {
            break;
        }
        rig.restart();
    }
    let node = rig.until(ProvisionState::Active).await;
    assert_eq!(node.last_error, None);
    assert!(rig.restarts > 3);
}

#[tokio::test]
async fn an_agent_survives_a_coordinator_that_was_away_longer_than_the_silence_it_allows() {
    let mut rig = Rig::new(ProvisionState::Available, Faults::default()).await;
    rig.ask(Verb::Active).await;
    rig.until_ordered().await;
    rig.app.clock.advance(std::time::Duration::from_secs(600));
    rig.restart();
    rig.until(ProvisionState::Active).await;
    assert_eq!(rig.record().await.evidence.len(), 0);
    assert!(!rig.history().await.contains("attempt 2"));
}

/// Brings a rig to the moment where the boot script was fetched; returns its nonce.
async fn script_fetched(rig: &mut Rig) -> String {
    rig.machine().faults.no_network = true;
    rig.ask(Verb::Active).await;
    rig.until(ProvisionState::WaitCallBack).await;
    match agent::expect_boot(&rig.app, MAC).await.unwrap() {
        BootDecision::Ramdisk { nonce, .. } => nonce,
        BootDecision::LocalDisk => panic!("the ramdisk is expected"),
    }
}

#[tokio::test]
async fn a_second_taker_of_the_nonce_is_refused_and_recorded_with_its_address() {
    let mut rig = Rig::new(ProvisionState::Available, Faults::default()).await;
    let nonce = script_fetched(&mut rig).await;
    let boot_id = uuid::Uuid::new_v4();
    let first = agent::lookup(&rig.app, &lookup(&nonce, boot_id), peer(7)).await.unwrap();
    let again = agent::lookup(&rig.app, &lookup(&nonce, boot_id), peer(7)).await.unwrap();
    assert_ne!(
        first.config.agent_token, again.config.agent_token,
        "the same boot gets a fresh one"
    );
    let stranger = agent::lookup(&rig.app, &lookup(&nonce, uuid::Uuid::new_v4()), peer(66)).await;
    assert!(matches!(stranger, Err(AgentError::Forbidden(_))));
    let history = rig.history().await;
    assert!(history.contains("refused 192.0.2.66: the nonce was taken before"), "{history}");
    assert!(matches!(agent::expect_boot(&rig.app, MAC).await.unwrap(), BootDecision::LocalDisk));
}

#[tokio::test]
async fn a_newer_boot_script_makes_the_older_nonce_worthless() {
    let mut rig = Rig::new(ProvisionState::Available, Faults::default()).await;
    let old = script_fetched(&mut rig).await;
    let BootDecision::Ramdisk { nonce, .. } = agent::expect_boot(&rig.app, MAC).await.unwrap()
    else {
        panic!()
    };
    let boot_id = uuid::Uuid::new_v4();
    assert!(matches!(
        agent::lookup(&rig.app, &lookup(&old, boot_id), peer(7)).await,
        Err(AgentError::Forbidden(_))
    ));
    agent::lookup(&rig.app, &lookup(&nonce, boot_id), peer(7)).await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_or_a_wrong_boot_is_refused_with_irons_words() {
    let mut rig = Rig::new(ProvisionState::Available, Faults::default()).await;
    rig.ask(Verb::Active).await;
    rig.pass_while(|machine, _| machine.agent.is_none()).await;
    let good = rig.machine().agent.as_ref().map(heartbeat).unwrap();
    let mut token = good.clone();
    token.agent_token = "x".repeat(43);
    let mut boot = good.clone();
    boot.ironwright.as_mut().unwrap().boot_id = uuid::Uuid::new_v4();
    for bad in [token, boot] {
        let error = agent::heartbeat(&rig.app, rig.node, bad, peer(66)).await.unwrap_err();
        assert_eq!(
            (error.status(), error.to_string().as_str()),
            (400, "Invalid or missing agent token received.")
        );
    }
    agent::heartbeat(&rig.app, rig.node, good, peer(7)).await.unwrap();
}

#[tokio::test]
async fn nothing_is_said_to_agents_in_the_clear_and_nothing_about_idle_nodes() {
    let mut rig = Rig::new(ProvisionState::Available, Faults::default()).await;
    let mut clear = peer(7);
    clear.secure = false;
    let idle = agent::lookup(&rig.app, &lookup("00", uuid::Uuid::new_v4()), peer(7)).await;
    assert_eq!(idle.unwrap_err().status(), 404);
    let nonce = script_fetched(&mut rig).await;
    let result = agent::lookup(&rig.app, &lookup(&nonce, uuid::Uuid::new_v4()), clear).await;
    assert!(result.unwrap_err().to_string().contains("HTTPS"));
}

#[tokio::test]
async fn an_aborted_deploy_ends_and_its_agent_is_powered_off() {
    let mut rig =
        Rig::new(ProvisionState::Available, Faults { no_network: true, ..Faults::default() }).await;
    rig.ask(Verb::Active).await;
    rig.until(ProvisionState::WaitCallBack).await;
    rig.ask(Verb::Abort).await;
    let node = rig.until(ProvisionState::DeployFailed).await;
    assert_eq!(node.last_error.as_deref(), Some("Deployment was aborted by request."));
    assert_eq!(rig.machine().power, PowerState::Off);
}

#[tokio::test]
async fn power_requests_are_carried_out_and_refused_while_the_node_is_cleaned() {
    let mut rig = Rig::new(ProvisionState::Manageable, Faults::default()).await;
    let ident = rig.node.to_string();
    for (target, state) in [
        (PowerTarget::On, PowerState::On),
        (PowerTarget::Reboot, PowerState::On),
        (PowerTarget::Off, PowerState::Off),
    ] {
        actions::power(&rig.app, &ident, target, None).await.unwrap();
        let node = rig.record().await;
        assert_eq!((node.power_request, node.target_power_state), (Some(target), Some(state)));
        rig.pass_while(|_, node| node.power_request.is_some()).await;
        let node = rig.record().await;
        assert_eq!((node.power_state, node.target_power_state), (Some(state), None));
    }
    assert_eq!(rig.machine().log, [Command::On, Command::Off, Command::On, Command::Off]);
    rig.ask(Verb::Provide).await;
    let refused = actions::power(&rig.app, &ident, PowerTarget::On, None).await.unwrap_err();
    assert_eq!(refused.status(), 400);
    assert!(refused.to_string().contains("\"power on\" can not be performed"), "{refused}");
}

#[tokio::test]
async fn without_automated_cleaning_a_node_is_available_at_once() {
    let mut rig = Rig::new(ProvisionState::Manageable, Faults::default()).await;
    let mut node = rig.record().await;
    node.automated_clean = Some(false);
    rig.app.save(&node).await.unwrap();
    rig.ask(Verb::Provide).await;
    rig.until(ProvisionState::Available).await;
    assert!(rig.machine().log.is_empty());
}

#[tokio::test]
async fn the_config_drive_travels_with_the_order_and_is_not_in_the_stored_one() {
    let mut rig = Rig::new(ProvisionState::Available, Faults::default()).await;
    rig.ask(Verb::Active).await;
    rig.until_ordered().await;
    let sent = serde_json::to_string(&rig.machine().agent.as_ref().unwrap().last.order).unwrap();
    assert!(sent.contains("hostname"));
    let work = rig.record().await.work.unwrap();
    assert_eq!(work.phase, Phase::Working);
    assert!(!serde_json::to_string(&work.order).unwrap().contains("hostname"));
}
