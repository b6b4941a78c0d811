//! Plays the part of an agent for Ironic's `fake` interfaces: power and boot device are set as after the real work, the steps
//! are walked through, nothing else happens.

use super::perform::command;
use super::settle::{Mark, asked, fail, settle};
use super::wording;
use crate::app::{App, Severity};
use crate::node::lifecycle::Event;
use crate::node::{Node, ProvisionState, pretend, transition};
use crate::power::{Boot, BootDevice, Command, boots_efi};
use crate::store::StoreError;

/// Goes through the node's steps up to the next `hold` or the end.
///
/// # Errors
///
/// The store's.
pub(super) async fn pretend(app: &App, node: &Node, mark: &Mark) -> Result<(), StoreError> {
    let power = match command(app, node, &commands(node)).await {
        Ok(performed) => performed.power,
        Err(error) => {
            let text = wording::bmc("Failed to set the power of a fake machine", &error);
            return fail(app, mark, text).await;
        }
    };
    let mut state = None;
    let settled = settle(app, mark, |node| {
        let event = if pretend::walk(node) { Event::Held } else { done(node) };
        node.power_state = power.or(node.power_state);
        transition::apply(node, event, &asked(app))?;
        state = Some(node.provision_state);
        Ok(())
    })
    .await?;
    if let (true, Some(state)) = (settled, state) {
        let sentence = format!("the node is {state} (fake interface)");
        app.note(mark.node, Severity::Info, "provisioning", sentence).await;
    }
    Ok(())
}

/// What the real work leaves behind.
fn commands(node: &Node) -> Vec<Command> {
    use ProvisionState as State;
    let start = |device, persistent| {
        let boot = Boot { device, persistent, efi: boots_efi(node) };
        vec![Command::Off, Command::Boot(boot), Command::On]
    };
    let state = node.provision_state;
    if matches!(state, State::Deploying | State::Unrescuing | State::Servicing) {
        start(BootDevice::Disk, true)
    } else if state == State::Rescuing {
        start(BootDevice::Pxe, false)
    } else {
        vec![Command::Off]
    }
}

fn done(node: &Node) -> Event {
    match (node.provision_state, node.target_provision_state) {
        (ProvisionState::Cleaning, Some(ProvisionState::Manageable)) => Event::CleanedManually,
        (ProvisionState::Cleaning, _) => Event::Cleaned,
        _ => Event::Done,
    }
}
