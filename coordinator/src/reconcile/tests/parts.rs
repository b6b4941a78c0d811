//! Work in parts: the coordinator's own steps between orders of one agent, or without any.

use ironwright_api::{Blame, CleanStep, DeployStep, Failure};
use serde_json::{Value, json};

use super::boot;
use super::sim::{Faults, Rig};
use crate::actions::Request;
use crate::node::lifecycle::Verb;
use crate::node::{PowerState, ProvisionState};
use crate::power::{BootDevice, Command};

const NETWORK: [Command; 3] = [
    Command::Off,
    Command::Boot(crate::power::Boot { device: BootDevice::Pxe, persistent: false, efi: true }),
    Command::On,
];

fn steps(names: &[&str]) -> Vec<CleanStep> {
    let step = |name: &&str| match name.strip_prefix("wait ") {
        Some(seconds) => ("wait".to_owned(), json!({"seconds": seconds.parse::<u64>().unwrap()})),
        None => ((*name).to_owned(), Value::Null),
    };
    let step = |name| {
        let (step, args) = step(name);
        CleanStep { interface: "deploy".into(), step, args }
    };
    names.iter().map(step).collect()
}

fn with(verb: Verb, names: &[&str]) -> Request {
    Request { steps: steps(names), ..Request::plain(verb) }
}

fn from_disk() -> [Command; 3] {
    [Command::Off, boot(BootDevice::Disk, true), Command::On]
}

#[tokio::test]
async fn a_held_cleaning_keeps_its_agent_and_goes_on_in_the_same_boot() {
    let mut rig = Rig::new(ProvisionState::Manageable, Faults::default()).await;
    rig.request(with(Verb::Clean, &["a", "hold", "b"])).await;
    rig.pass_while(|_, node| node.provision_state != ProvisionState::CleanHold).await;
    let node = rig.record().await;
    assert_eq!(node.clean_step["step"], "hold");
    assert_eq!(node.work.unwrap().steps.len(), 1, "only the first step was done");
    for _ in 0..100 {
        rig.tick().await;
    }
    rig.restart();
    assert_eq!(rig.record().await.provision_state, ProvisionState::CleanHold, "it waits");
    assert_eq!(rig.machine().power, PowerState::On);
    rig.ask(Verb::Unhold).await;
    let node = rig.until(ProvisionState::Manageable).await;
    assert!(node.clean_step.is_empty() && node.last_error.is_none(), "{node:?}");
    assert_eq!(rig.machine().log, [&NETWORK[..], &[Command::Off]].concat(), "one boot");
    let history = rig.history().await;
    assert!(history.contains("step a ended") && history.contains("step b ended"), "{history}");
}

#[tokio::test]
async fn a_held_deploy_begins_its_instance_only_when_it_may_go_on() {
    let mut rig = Rig::new(ProvisionState::Available, Faults::default()).await;
    let step = |step: &str, priority| DeployStep {
        interface: "deploy".into(),
        step: step.into(),
        args: Value::Null,
        priority,
    };
    let deploy_steps = vec![step("hold", 50), step("after", 40), step("before", 90)];
    rig.request(Request { deploy_steps, ..Request::plain(Verb::Active) }).await;
    rig.pass_while(|_, node| node.provision_state != ProvisionState::DeployHold).await;
    let done = rig.record().await.work.unwrap().steps;
    let done: Vec<&str> = done.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(done, ["before", "work"], "the image is written");
    assert!(!rig.machine().runs_from_disk);
    rig.ask(Verb::Unhold).await;
    rig.until(ProvisionState::Active).await;
    assert_eq!(rig.machine().log, [&NETWORK[..], &from_disk()].concat());
    assert!(rig.history().await.contains("step after ended"));
}

#[tokio::test]
async fn a_service_reboots_its_ramdisk_waits_and_ends_on_the_instance_s_disk() {
    let mut rig = Rig::new(ProvisionState::Active, Faults::default()).await;
    rig.request(with(Verb::Service, &["a", "reboot", "b", "wait 60", "c"])).await;
    rig.pass_while(|_, node| node.work.as_ref().is_none_or(|work| work.done.len() < 2)).await;
    let waiting = rig.record().await;
    rig.until(ProvisionState::Active).await;
    let log = rig.machine().log.clone();
    assert_eq!(log, [&NETWORK[..], &[Command::Off], &NETWORK, &from_disk()].concat());
    assert!(rig.machine().runs_from_disk);
    assert!(waiting.provision_state.is_waiting(), "{waiting:?}");
}

#[tokio::test]
async fn without_a_ramdisk_the_power_is_what_the_steps_make_it() {
    for (verb, begin, end, names, log) in [
        (
            Verb::Service,
            ProvisionState::Active,
            ProvisionState::Active,
            &["wait 5", "reboot"][..],
            &[Command::Off, Command::On][..],
        ),
        (
            Verb::Clean,
            ProvisionState::Manageable,
            ProvisionState::Manageable,
            &["power_on"],
            &[Command::On],
        ),
    ] {
        let mut rig = Rig::new(begin, Faults::default()).await;
        rig.request(Request { without_ramdisk: true, ..with(verb, names) }).await;
        let node = rig.until(end).await;
        assert_eq!((rig.machine().log.as_slice(), node.last_error), (log, None));
    }
}

#[tokio::test]
async fn a_hold_ends_by_abort_and_the_machine_is_off() {
    let mut rig = Rig::new(ProvisionState::Active, Faults::default()).await;
    rig.request(with(Verb::Service, &["a", "hold"])).await;
    rig.pass_while(|_, node| node.provision_state != ProvisionState::ServiceHold).await;
    assert_eq!(rig.record().await.other["service_step"]["step"], "hold");
    rig.ask(Verb::Abort).await;
    let node = rig.until(ProvisionState::ServiceFailed).await;
    assert!(!node.maintenance && !node.other.contains_key("service_step"), "{node:?}");
    assert_eq!(rig.machine().power, PowerState::Off);
    rig.ask(Verb::Abort).await;
    rig.until(ProvisionState::Active).await;
}

#[tokio::test]
async fn a_service_step_that_fails_puts_the_node_into_maintenance() {
    let failure = Failure {
        step: "a".into(),
        message: "the disk is on fire".into(),
        remedy: "Replace it.".into(),
        blame: Blame::Hardware,
    };
    let faults = Faults { failure: Some(failure), ..Faults::default() };
    let mut rig = Rig::new(ProvisionState::Active, faults).await;
    rig.request(with(Verb::Service, &["a"])).await;
    let node = rig.until(ProvisionState::ServiceFailed).await;
    assert_eq!(node.fault.as_deref(), Some("service failure"));
    assert!(node.maintenance && node.last_error.unwrap().contains("Replace it."));
}
