//! Does what was decided, and writes the result if the record still wants it.

use super::decide::{self, Todo};
use super::settle::{Mark, asked, fail, happened, settle};
use super::wording;
use super::{between, play};
use crate::agent::reports;
use crate::allocation;
use crate::app::{App, Severity};
use crate::node::deadline::{For, Waiting};
use crate::node::lifecycle::Event;
use crate::node::transition;
use crate::node::{Boot, Node, Phase, PowerTarget, ProvisionState};
use crate::power::{self, BmcError, BootDevice, Command, Performed, boots_efi};
use crate::store::StoreError;

/// Does one thing.
///
/// # Errors
///
/// The store's. What the BMC refuses becomes the node's failure.
pub(super) async fn perform(app: &App, node: &Node, todo: Todo) -> Result<(), StoreError> {
    let mark = Mark::of(node);
    match todo {
        Todo::Nothing => Ok(()),
        Todo::RememberHeartbeat(at) => settle(app, &mark, |node| {
            if let Some(work) = &mut node.work {
                work.boot.last_heartbeat = Some(at);
            }
            Ok(())
        })
        .await
        .map(drop),
        Todo::Power(target) => change_power(app, node, &mark, target).await,
        Todo::ReadPower => read_power(app, node, &mark).await,
        Todo::TearDown => tear_down(app, node, &mark).await,
        Todo::LeaveRescue => leave_rescue(app, node, &mark).await,
        Todo::SkipCleaning => happened(app, &mark, Event::CleaningSkipped, None).await,
        Todo::StartRamdisk => start_ramdisk(app, node, &mark).await,
        Todo::NextPart(part) => between::next_part(app, node, &mark, part).await,
        Todo::PartDone => between::part_done(app, &mark).await,
        Todo::LastPart => between::last_part(app, node, &mark).await,
        Todo::AgentDone => happened(app, &mark, Event::AgentDone, None).await,
        Todo::AgentFailed(failure) => fail(app, &mark, reports::sentence(&failure)).await,
        Todo::Restart => happened(app, &mark, Event::BootAgain, None).await,
        Todo::Finish => finish(app, node, &mark).await,
        Todo::Abandon => abandon(app, node, &mark).await,
        Todo::Pretend => play::pretend(app, node, &mark).await,
        Todo::GoOn => happened(app, &mark, Event::AgentDone, None).await,
        Todo::HeldTooLong => {
            let text = format!(
                "nobody asked for unhold within {} s; ask for the action again",
                app.settings.deadlines.hold
            );
            fail(app, &mark, text).await
        }
        Todo::Late(waiting) => late(app, node, &mark, waiting).await,
        Todo::Broken => {
            let text = "the record of the work was lost; ask for the action again".to_owned();
            fail(app, &mark, text).await
        }
    }
}

/// Performs commands on the node's BMC and records what it did not confirm.
pub(super) async fn command(
    app: &App,
    node: &Node,
    commands: &[Command],
) -> Result<Performed, BmcError> {
    if commands.is_empty() {
        return Ok(Performed::default());
    }
    let performed = app.power.bmc(node)?.perform(commands).await?;
    for remark in &performed.remarks {
        app.note(node.uuid, Severity::Info, "power", remark.clone()).await;
    }
    Ok(performed)
}

async fn change_power(
    app: &App,
    node: &Node,
    mark: &Mark,
    target: PowerTarget,
) -> Result<(), StoreError> {
    let commands: &[Command] = match target {
        PowerTarget::On => &[Command::On],
        PowerTarget::Off => &[Command::Off],
        PowerTarget::Reboot => &[Command::Off, Command::On],
        PowerTarget::SoftOff => &[Command::SoftOff],
        PowerTarget::SoftReboot => &[Command::SoftOff, Command::On],
    };
    let result = command(app, node, commands).await;
    let (power, problem) = match &result {
        Ok(performed) => (performed.power, None),
        Err(error) => (
            None,
            Some(wording::bmc(&format!("Failed to change the power to {}", target.text()), error)),
        ),
    };
    let settled = settle(app, mark, |node| {
        node.power_request = None;
        node.power_timeout = None;
        node.target_power_state = None;
        node.power_state = power.or(node.power_state);
        if problem.is_some() || !node.provision_state.is_failed() {
            node.last_error.clone_from(&problem);
        }
        Ok(())
    })
    .await?;
    match problem {
        Some(problem) if settled => app.note(mark.node, Severity::Error, "power", problem).await,
        Some(_) => {}
        None => {
            app.note(mark.node, Severity::Info, "power", format!("{} done", target.text())).await;
        }
    }
    Ok(())
}

async fn read_power(app: &App, node: &Node, mark: &Mark) -> Result<(), StoreError> {
    let read = match app.power.bmc(node) {
        Ok(bmc) => bmc.power_state().await,
        Err(error) => Err(error),
    };
    match read {
        Ok(power) => happened(app, mark, Event::Done, Some(power)).await,
        Err(error) => fail(app, mark, wording::bmc("Failed to read the power state", &error)).await,
    }
}

async fn tear_down(app: &App, node: &Node, mark: &Mark) -> Result<(), StoreError> {
    app.live.forget(node.uuid);
    match command(app, node, &[Command::Off]).await {
        Ok(performed) => {
            settle(app, mark, |node| {
                transition::forget_instance(node);
                node.power_state = performed.power.or(node.power_state);
                transition::apply(node, Event::Done, &asked(app))
            })
            .await?;
            allocation::forget(app, node.uuid).await?;
            app.note(node.uuid, Severity::Info, "provisioning", "the instance is gone".to_owned())
                .await;
            Ok(())
        }
        Err(error) => {
            fail(
                app,
                mark,
                wording::bmc("Failed to tear down: cannot power the machine off", &error),
            )
            .await
        }
    }
}

/// Power off, boot device to network once, power on: in this order, so that nothing but the new boot can use up the device.
async fn start_ramdisk(app: &App, node: &Node, mark: &Mark) -> Result<(), StoreError> {
    app.live.forget(node.uuid);
    let now = app.clock.now();
    // From here on the boot script hands out a nonce. A machine that asks before its power is cut gets one that the boot
    // which counts replaces.
    let expected = settle(app, mark, |node| {
        if let Some(work) = &mut node.work {
            work.boot = Boot::default();
            work.boot.moments.insert("power_on".to_owned(), now);
        }
        Ok(())
    })
    .await?;
    if !expected {
        return Ok(());
    }
    let boot = power::Boot { device: BootDevice::Pxe, persistent: false, efi: boots_efi(node) };
    match command(app, node, &[Command::Off, Command::Boot(boot), Command::On]).await {
        Ok(performed) => {
            let started = settle(app, mark, |node| {
                node.power_state = performed.power.or(node.power_state);
                let now = app.clock.now();
                if let Some(work) = &mut node.work {
                    work.phase = Phase::AwaitAgent;
                    work.since = now;
                    if !work.boot.moments.contains_key("script") {
                        work.boot.moments.insert("power_on".to_owned(), now);
                    }
                }
                transition::apply(node, Event::Waiting, &asked(app))
            })
            .await?;
            if started {
                let sentence = format!("started into the ramdisk, attempt {}", attempt(node));
                app.note(node.uuid, Severity::Info, "boot", sentence).await;
            }
            Ok(())
        }
        Err(error) => {
            fail(app, mark, wording::bmc("Failed to start the machine into the ramdisk", &error))
                .await
        }
    }
}

fn attempt(node: &Node) -> u32 {
    node.work.as_ref().map_or(0, |work| work.order.attempt)
}

/// What failed when the machine does not go off after cleaning or inspection.
const POWER_OFF: &str = "Failed to power the machine off";

/// Starts the machine from its own disk; with that the rescue system and its password are gone.
async fn leave_rescue(app: &App, node: &Node, mark: &Mark) -> Result<(), StoreError> {
    let disk = power::Boot { device: BootDevice::Disk, persistent: true, efi: boots_efi(node) };
    match command(app, node, &[Command::Off, Command::Boot(disk), Command::On]).await {
        Ok(performed) => happened(app, mark, Event::Done, performed.power).await,
        Err(error) => {
            let what = "Failed to start the rescued machine from its disk";
            fail(app, mark, wording::bmc(what, &error)).await
        }
    }
}

async fn finish(app: &App, node: &Node, mark: &Mark) -> Result<(), StoreError> {
    // The rescue system stays as it is: it is what was asked for.
    if node.provision_state == ProvisionState::Rescuing {
        app.live.forget(node.uuid);
        return happened(app, mark, Event::Done, None).await;
    }
    let bare = node.work.as_ref().is_some_and(|work| work.without_ramdisk);
    let starts =
        matches!(node.provision_state, ProvisionState::Deploying | ProvisionState::Servicing);
    let disk = power::Boot { device: BootDevice::Disk, persistent: true, efi: boots_efi(node) };
    let from_disk = [Command::Off, Command::Boot(disk), Command::On];
    let commands = match (bare, starts) {
        // The machine's power is as the steps left it.
        (true, _) => &[],
        (false, true) => &from_disk[..],
        (false, false) => &from_disk[..1],
    };
    let (event, what) = match (node.provision_state, node.target_provision_state) {
        _ if starts => (Event::Done, "Failed to start the machine from its disk"),
        (ProvisionState::Cleaning, Some(ProvisionState::Manageable)) => {
            (Event::CleanedManually, POWER_OFF)
        }
        (ProvisionState::Cleaning, _) => (Event::Cleaned, POWER_OFF),
        _ => (Event::Done, POWER_OFF),
    };
    match command(app, node, commands).await {
        Ok(performed) => {
            app.live.forget(node.uuid);
            happened(app, mark, event, performed.power).await
        }
        Err(error) => fail(app, mark, wording::bmc(what, &error)).await,
    }
}

async fn abandon(app: &App, node: &Node, mark: &Mark) -> Result<(), StoreError> {
    let bare = node.work.as_ref().is_some_and(|work| work.without_ramdisk);
    let commands = if bare { &[][..] } else { &[Command::Off] };
    let result = command(app, node, commands).await;
    app.live.forget(node.uuid);
    let problem = result.as_ref().err().map(|error| {
        wording::bmc("The machine could not be powered off and its ramdisk may still run", error)
    });
    let power = result.ok().and_then(|performed| performed.power);
    settle(app, mark, |node| {
        transition::forget(node);
        node.power_state = power.or(node.power_state);
        if let Some(problem) = &problem {
            let before = node.last_error.take().unwrap_or_default();
            node.last_error = Some(format!("{before} {problem}").trim_start().to_owned());
        }
        Ok(())
    })
    .await?;
    if let Some(problem) = problem {
        app.note(mark.node, Severity::Error, "power", problem).await;
    }
    Ok(())
}

/// A deadline has passed: the power state tells why, then the machine is booted again or the work is given up.
async fn late(app: &App, node: &Node, mark: &Mark, waiting: Waiting) -> Result<(), StoreError> {
    let power = match app.power.bmc(node) {
        Ok(bmc) => bmc.power_state().await,
        Err(error) => Err(error),
    };
    let reason = wording::late(node, waiting, &power);
    let restarts = node.work.as_ref().map_or(0, |work| work.restarts);
    let lost = attempt(node).saturating_sub(restarts);
    let again = waiting.what != For::Progress && lost < app.settings.boot.attempts;
    let timeout = wording::timeout(node, &reason);
    let mut still = false;
    let settled = settle(app, mark, |node| {
        let pulse = app.live.pulse(node.uuid);
        let now = app.clock.now();
        let todo = decide::decide(node, &app.settings, pulse.as_ref(), app.live.started(), now);
        still = matches!(todo, Todo::Late(_));
        if !still {
            return Ok(());
        }
        node.power_state = power.as_ref().ok().copied().or(node.power_state);
        if again {
            transition::apply(node, Event::BootAgain, &asked(app))
        } else {
            node.last_error = Some(timeout.clone());
            transition::apply(node, Event::Failed, &asked(app))
        }
    })
    .await?;
    if settled {
        let (severity, sentence) = if again {
            (Severity::Info, format!("{reason}; booting again"))
        } else {
            (Severity::Error, timeout)
        };
        app.note(mark.node, severity, "provisioning", sentence).await;
    }
    Ok(())
}
