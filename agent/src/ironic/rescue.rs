//! `finalize_rescue`: the account of the machine's owner, for what the ramdisk starts next.

use crate::sys::{Effect, System};

/// Where Ironic's agent leaves the hash.
const PASSWORD: &str = "etc/ipa-rescue-config/ipa-rescue-password";
/// That this boot is a rescue.
const RESCUED: &str = "etc/.rescued";

/// Whether this boot of the ramdisk is its owner's already. Never in a sandbox.
#[must_use]
pub fn is_rescued(system: &System) -> bool {
    system.named_disks().is_none() && system.root().join(RESCUED).exists()
}

/// Leaves the hash of the password for the rescue account.
///
/// # Errors
/// Why it cannot be left.
pub(super) fn prepare(system: &System, hash: &str) -> Result<(), String> {
    if !system.may(Effect::Rescue) {
        return Ok(());
    }
    let words = |error: std::io::Error| error.to_string();
    system.write_secret(PASSWORD, hash).map_err(words)?;
    system.write_secret(RESCUED, "").map_err(words)
}
