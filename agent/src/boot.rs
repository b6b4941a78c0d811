//! UEFI boot entries and their order; BIOS machines need nothing.
//!
//! [`plan`] only reads: it finds the loader on the deployed disk's EFI system partition and says which variables would
//! change. [`perform`] writes them and must only be called in the ramdisk; a sandbox records the plan instead. Nothing here is
//! an error: firmware also boots `\EFI\BOOT` without an entry, so a machine that refuses one still starts its disk.

mod efivars;
pub(crate) mod fat;
mod loader;
pub mod nvram;
mod option;

use std::path::Path;

use crate::layout::{Layout, Partition};
use crate::sys::disk::BlockDevice;

use efivars::{Change, Store};

/// What is to be done about boot entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Write an entry and put it first.
    Entry(Entry),
    /// Nothing, with the reason.
    Nothing {
        /// Why, one sentence.
        reason: String,
    },
}

/// A boot entry to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The #### of `Boot####`.
    pub number: u16,
    /// What the firmware's menu shows.
    pub label: String,
    /// Path on the EFI system partition, with backslashes.
    pub loader: String,
    changes: Vec<Change>,
}

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The entry is written and first; text for [`ironwright_api::Committed::boot_entry`].
    Written(String),
    /// There is no entry, with the reason.
    None(String),
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Boot{:04X} {} {}", self.number, self.label, self.loader)
    }
}

/// Whether a firmware would find something to start on the EFI system partition `esp` of `disk`.
///
/// # Errors
/// Why not.
pub(crate) fn has_loader(disk: &dyn BlockDevice, esp: &Partition) -> Result<(), String> {
    loader::find(disk, esp).map(drop)
}

/// Decides on a boot entry for the committed `layout` on `disk`. `root` is the folder above `sys` (`/` in the ramdisk).
#[must_use]
pub fn plan(root: &Path, disk: &dyn BlockDevice, layout: &Layout) -> Plan {
    plan_labelled(root, disk, layout, "")
}

/// The same with `suffix` after the entry's label: for disks that are equal and have an entry each.
#[must_use]
pub fn plan_labelled(root: &Path, disk: &dyn BlockDevice, layout: &Layout, suffix: &str) -> Plan {
    match entry(root, disk, layout, suffix) {
        Ok(entry) => Plan::Entry(entry),
        Err(reason) => Plan::Nothing { reason },
    }
}

/// Writes the plan's variables and reads them back. Only for the ramdisk.
#[must_use]
pub fn perform(root: &Path, plan: &Plan) -> Outcome {
    match plan {
        Plan::Nothing { reason } => Outcome::None(reason.clone()),
        Plan::Entry(entry) => match Store::new(root).apply(&entry.changes) {
            Ok(()) => Outcome::Written(entry.to_string()),
            Err(error) => {
                Outcome::None(format!("the firmware did not take the boot entry: {error}"))
            }
        },
    }
}

/// The entry to write, or why there is none.
fn entry(
    root: &Path,
    disk: &dyn BlockDevice,
    layout: &Layout,
    suffix: &str,
) -> Result<Entry, String> {
    let store = Store::new(root);
    let existing = store.entries()?;
    let esp = layout.entries.iter().find(|partition| partition.esp);
    let esp = esp.ok_or("the disk has no EFI system partition")?;
    let mut loader = loader::find(disk, esp)?;
    loader.label.push_str(suffix);
    let device_path = device_path(disk, layout, esp, &loader.path);
    let option = option::build(&loader.label, &device_path);
    let same: Vec<u16> = existing
        .iter()
        .filter(|(_, description)| *description == loader.label)
        .map(|(number, _)| *number)
        .collect();
    let free = || (0..=u16::MAX).find(|number| existing.iter().all(|(used, _)| used != number));
    let number = same.first().copied().or_else(free).ok_or("all 65536 boot entries are in use")?;
    let stale = same.get(1..).unwrap_or_default();
    let mut order = vec![number];
    order.extend(store.order().into_iter().filter(|old| *old != number && !stale.contains(old)));
    let mut changes = vec![Change::entry(number, &option), Change::order(&order)];
    changes.extend(stale.iter().map(|number| Change::remove(*number)));
    Ok(Entry { number, label: loader.label, loader: loader.path, changes })
}

/// Hard drive, file path, end (UEFI 2.10, 10.3.5.1 and 10.3.5.4).
fn device_path(disk: &dyn BlockDevice, layout: &Layout, esp: &Partition, path: &str) -> Vec<u8> {
    let sector = u64::from(disk.sector_bytes().max(1));
    let (signature, format) = match esp.guid {
        Some(guid) => (guid.to_bytes_le(), option::Format::Gpt),
        None => {
            // The MBR's own identifier.
            let mut signature = [0; 16];
            for (to, from) in signature.iter_mut().zip(layout.head.iter().skip(440).take(4)) {
                *to = *from;
            }
            (signature, option::Format::Mbr)
        }
    };
    let drive = option::HardDrive {
        number: esp.number,
        first_lba: esp.range.offset / sector,
        lbas: esp.range.bytes / sector,
        signature,
        format,
    };
    option::device_path(&drive, path)
}

#[cfg(test)]
mod tests;
