//! The parts of a piece of work one after the other: the agent's orders, and the coordinator's own steps between them.

use super::perform::command;
use super::settle::{Mark, asked, fail, happened, settle};
use super::wording;
use crate::app::{App, Severity};
use crate::node::lifecycle::Event;
use crate::node::order;
use crate::node::program::{Own, Part};
use crate::node::transition;
use crate::node::{Boot, Node, Phase};
use crate::power::Command;
use crate::store::StoreError;

/// The agent did its part; what comes next is decided at the next look.
pub(super) async fn part_done(app: &App, mark: &Mark) -> Result<(), StoreError> {
    let now = app.clock.now();
    settle(app, mark, |node| {
        node.end_step();
        if let Some(work) = &mut node.work {
            (work.phase, work.since) = (Phase::Between, now);
        }
        Ok(())
    })
    .await
    .map(drop)
}

/// Begins the next part.
pub(super) async fn next_part(
    app: &App,
    node: &Node,
    mark: &Mark,
    part: Part,
) -> Result<(), StoreError> {
    match part {
        Part::Agent(work) => next_order(app, mark, *work).await,
        Part::Own(Own::Hold) => hold(app, mark).await,
        Part::Own(Own::Wait(_)) => own_done(app, mark, None).await,
        Part::Own(own) => power(app, node, mark, own).await,
    }
}

/// All parts are done: as after an order, or, where no agent took part, as it is.
pub(super) async fn last_part(app: &App, node: &Node, mark: &Mark) -> Result<(), StoreError> {
    if node.provision_state.is_waiting() {
        return happened(app, mark, Event::AgentDone, None).await;
    }
    settle(app, mark, |node| {
        if let Some(work) = &mut node.work {
            work.phase = Phase::Finish;
        }
        Ok(())
    })
    .await
    .map(drop)
}

/// Gives the agent its next order, or boots one that takes it.
async fn next_order(
    app: &App,
    mark: &Mark,
    mut work: ironwright_api::Work,
) -> Result<(), StoreError> {
    // It was made when the work was asked for, perhaps long before a hold ended.
    order::offer(&mut work, app.plugins.bundles());
    let order = order::order(work);
    let now = app.clock.now();
    settle(app, mark, |node| {
        node.end_step();
        let waits = node.provision_state.is_waiting();
        let Some(record) = &mut node.work else { return Ok(()) };
        record.later.remove(0);
        record.go_on_with(order.clone());
        record.since = now;
        if waits && record.has_agent() {
            record.phase = Phase::Working;
            record.boot.last_heartbeat = Some(now);
            return Ok(());
        }
        if !waits {
            record.phase = Phase::StartRamdisk;
            return Ok(());
        }
        // The boot counts as the first of this order.
        record.order.attempt = 0;
        transition::apply(node, Event::BootAgain, &asked(app))
    })
    .await
    .map(drop)
}

async fn hold(app: &App, mark: &Mark) -> Result<(), StoreError> {
    let now = app.clock.now();
    let held = settle(app, mark, |node| {
        if let Some(work) = &mut node.work {
            work.later.remove(0);
            work.since = now;
        }
        node.show_step(Own::Hold.shown());
        transition::apply(node, Event::Held, &asked(app))
    })
    .await?;
    if held {
        let text = "held by a step; ask for unhold to go on, or for abort".to_owned();
        app.note(mark.node, Severity::Info, "provisioning", text).await;
    }
    Ok(())
}

async fn power(app: &App, node: &Node, mark: &Mark, own: Own) -> Result<(), StoreError> {
    let commands: &[Command] = match own {
        Own::PowerOn => &[Command::On],
        Own::PowerOff => &[Command::Off],
        Own::Reboot => &[Command::Off, Command::On],
        Own::Hold | Own::Wait(_) => &[],
    };
    match command(app, node, commands).await {
        Ok(performed) => own_done(app, mark, Some(performed)).await,
        Err(error) => {
            let step = own.shown()["step"].clone();
            let what = format!("Failed to perform step {step}");
            fail(app, mark, wording::bmc(&what, &error)).await
        }
    }
}

async fn own_done(
    app: &App,
    mark: &Mark,
    performed: Option<crate::power::Performed>,
) -> Result<(), StoreError> {
    let now = app.clock.now();
    settle(app, mark, |node| {
        node.end_step();
        if let Some(performed) = &performed {
            node.power_state = performed.power.or(node.power_state);
        }
        if let Some(work) = &mut node.work {
            work.later.remove(0);
            work.since = now;
            // An agent does not survive a power cut.
            if performed.is_some() {
                work.boot = Boot::default();
            }
        }
        Ok(())
    })
    .await
    .map(drop)
}
