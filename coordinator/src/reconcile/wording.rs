//! The sentences that become `last_error` and history. Pure.

use crate::app::chain;
use crate::node::deadline::{For, Waiting};
use crate::node::{Node, PowerState, ProvisionState};
use crate::power::BmcError;

/// What failed and what the BMC said; the BMC's sentence names its address and what to do.
pub(super) fn bmc(what: &str, error: &BmcError) -> String {
    format!("{what}: {}.", chain(error))
}

/// Why a deadline passed, as far as it can be told from here.
pub(super) fn late(node: &Node, waiting: Waiting, power: &Result<PowerState, BmcError>) -> String {
    let seconds = waiting.until.duration_since(waiting.since).as_secs();
    let mut text = match waiting.what {
        For::FirstHeartbeat => {
            format!("no agent called within {seconds} s of power on ({})", reached(node))
        }
        For::NextHeartbeat => format!("the agent was silent for {seconds} s"),
        For::Progress => format!("the agent's work did not go forward for {seconds} s"),
    };
    match power {
        Ok(PowerState::On) => {}
        Ok(PowerState::Off) => text.push_str("; the machine's power is off"),
        Ok(PowerState::Error) => text.push_str("; the BMC does not know the power state"),
        Err(error) => text.push_str(&format!("; the BMC could not be asked: {}", chain(error))),
    }
    text
}

fn reached(node: &Node) -> &'static str {
    let moments = node.work.as_ref().map(|work| &work.boot.moments);
    let has = |name: &str| moments.is_some_and(|moments| moments.contains_key(name));
    if has("lookup") {
        "it looked the node up, then fell silent"
    } else if has("ramdisk") {
        "it fetched the ramdisk; see the machine's console"
    } else if has("kernel") {
        "it fetched the kernel but not the ramdisk"
    } else if has("script") {
        "it fetched its boot script but not the kernel"
    } else {
        "it never fetched its boot script; check DHCP, the boot order and the MAC addresses of its ports"
    }
}

/// Ironic's timeout text, then the reason and what to do.
pub(super) fn timeout(node: &Node, reason: &str) -> String {
    let ironic = if node.provision_state == ProvisionState::CleanWait {
        "Timeout reached while cleaning the node".to_owned()
    } else if node.provision_state == ProvisionState::InspectWait {
        "Timeout reached while inspecting the node".to_owned()
    } else {
        format!("Timeout reached while waiting for callback for node {}", node.uuid)
    };
    let attempts = node.work.as_ref().map_or(0, |work| work.order.attempt);
    let boots = if attempts == 1 { "boot".to_owned() } else { format!("{attempts} boots") };
    format!(
        "{ironic}: after {boots}, {reason}. Look at the machine's console, then ask for the action again."
    )
}
