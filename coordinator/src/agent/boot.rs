//! The boot script's question: what may the machine with this address boot?

use super::{AgentError, BootDecision};
use crate::app::App;
use uuid::Uuid;

/// Decides what the machine with this MAC address boots, and issues the nonce if it is the ramdisk.
///
/// # Errors
///
/// [`AgentError::Store`]; an unknown address is not an error but boots its local disk.
pub async fn expect_boot(_app: &App, _mac: &str) -> Result<BootDecision, AgentError> {
    Ok(BootDecision::LocalDisk)
}

/// Records that the expected boot reached a named moment (`kernel`, `ramdisk`); the first time counts.
pub async fn moment(_app: &App, _node: Uuid, _name: &'static str) {}
