//! Telling the firmware of a system that is on the root disk already.

use ironwright_api::{Blame, Failure};

use super::RootDisk;
use super::perform::{committed_layout, hold, tell_firmware};
use crate::boot::Outcome;
use crate::sys::System;

/// Tells the firmware to start what is on `root`, and says what was done: on a machine that did not boot by UEFI, or whose firmware
/// takes no entry, nothing (`\\EFI\\BOOT` is started without one).
///
/// # Errors
/// The [`Failure`] to report: a disk without a good partition table, or without an EFI system partition.
pub fn tell(system: &System, root: &RootDisk) -> Result<String, Failure> {
    if !system.root().join("sys/firmware/efi").exists() {
        return Ok("the machine was booted by BIOS firmware: nothing to tell it".to_owned());
    }
    let disk = hold(system, root)?;
    let layout = committed_layout(disk.as_ref())?;
    if !layout.entries.iter().any(|partition| partition.esp) {
        return Err(Failure {
            step: String::new(),
            message: format!("{} has no EFI system partition", root.path.display()),
            remedy: "deploy an image that UEFI firmware can start, or set boot_mode:bios"
                .to_owned(),
            blame: Blame::Order,
        });
    }
    Ok(match tell_firmware(system, disk.as_ref(), &layout) {
        Outcome::Written(entry) => format!("boot entry {entry}"),
        Outcome::None(reason) => format!("no boot entry: {reason}"),
    })
}
