//! Power and boot device of one machine through its BMC.
//!
//! A [`Bmc`] performs one action (a few [`Command`]s) in one session and confirms each by reading back. Who may do what
//! when is not decided here.

pub mod drivers;
pub mod fake;
pub mod ipmi;
pub mod sync;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ironwright_ipmi::{RawRequest, Reset};

use crate::node::{Node, PowerState};

pub use drivers::Drivers;

/// What a BMC call returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BmcError>> + Send + 'a>>;

/// Why a BMC did not do it. No variant carries a password.
#[derive(Debug, thiserror::Error)]
pub enum BmcError {
    /// The node's driver is none of ours.
    #[error("driver {driver} is unknown; use ipmi or fake-hardware")]
    UnknownDriver {
        /// As the node says.
        driver: String,
    },
    /// `driver_info` lacks a value or has a wrong one.
    #[error("driver_info/{key} {problem}")]
    Setting {
        /// The key.
        key: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The node's driver has no raw commands and no reset.
    #[error("the node's driver has no vendor commands; use driver ipmi")]
    NoVendorCommands,
    /// The client's own sentence, which names the BMC's address and what to do.
    #[error(transparent)]
    Client(Box<dyn std::error::Error + Send + Sync>),
    /// The command was taken, but its effect did not show.
    #[error(
        "the BMC at {address} took the command to {what}, but after {seconds} s it still reports {found}"
    )]
    NotConfirmed {
        /// Host and port.
        address: String,
        /// What was asked.
        what: String,
        /// What it reports.
        found: String,
        /// How long it was asked.
        seconds: u64,
    },
}

/// Boot devices by Ironic's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootDevice {
    /// `pxe`: the network.
    Pxe,
    /// `disk`
    Disk,
    /// `cdrom`
    Cdrom,
    /// `bios`: the set-up program.
    Bios,
    /// `safe`: the disk, in safe mode.
    Safe,
}

impl BootDevice {
    /// Every device.
    pub const ALL: [Self; 5] = [Self::Pxe, Self::Disk, Self::Cdrom, Self::Bios, Self::Safe];

    /// Ironic's name.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Pxe => "pxe",
            Self::Disk => "disk",
            Self::Cdrom => "cdrom",
            Self::Bios => "bios",
            Self::Safe => "safe",
        }
    }

    /// The device with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|device| device.text() == text)
    }
}

/// What to boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// The device.
    pub device: BootDevice,
    /// For every boot, not only the next.
    pub persistent: bool,
    /// In UEFI mode.
    pub efi: bool,
}

/// One command of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Power on and see it on; nothing is sent when it is on.
    On,
    /// Cut the power and see it off; nothing is sent when it is off.
    Off,
    /// Ask the operating system to power off and see it off.
    SoftOff,
    /// Set the boot device and read it back.
    Boot(Boot),
}

/// What an action did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Performed {
    /// The power state last read; none when no command needed it.
    pub power: Option<PowerState>,
    /// What the BMC did not confirm although it refused nothing, e.g. a boot flag that reads back otherwise.
    pub remarks: Vec<String>,
}

/// What only some BMCs do, on an operator's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vendor {
    /// A command by its numbers, sent once.
    Raw(RawRequest),
    /// A reset of the BMC itself.
    Reset(Reset),
    /// A diagnostic interrupt (NMI) of the machine, for a crash dump.
    Interrupt,
    /// The chassis' identify light, on until it is switched off.
    Identify(bool),
}

/// What a BMC said to a [`Vendor`] command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VendorReply {
    /// The data of its answer.
    Data(Vec<u8>),
    /// Nothing, as is usual for one that is being reset.
    Silent,
}

/// The management controller of one machine.
pub trait Bmc: Send + Sync + Debug {
    /// Reads the power state.
    fn power_state(&self) -> Answer<'_, PowerState>;
    /// Performs `commands` in order in one session, confirming each; stops at the first that fails.
    fn perform<'a>(&'a self, commands: &'a [Command]) -> Answer<'a, Performed>;
    /// Reads the boot device and whether it is persistent; none where the BMC cannot say.
    fn boot_device(&self) -> Answer<'_, (Option<BootDevice>, Option<bool>)>;
    /// Does what only some BMCs do.
    fn vendor<'a>(&'a self, _command: &'a Vendor) -> Answer<'a, VendorReply> {
        Box::pin(async { Err(BmcError::NoVendorCommands) })
    }
}

/// Finds a node's BMC; does not talk to it.
pub trait Power: Send + Sync + Debug {
    /// The BMC that the node's driver and `driver_info` name.
    ///
    /// # Errors
    ///
    /// [`BmcError::UnknownDriver`], [`BmcError::Setting`].
    fn bmc(&self, node: &Node) -> Result<Arc<dyn Bmc>, BmcError>;
}

/// Whether the node boots in UEFI mode: `instance_info/deploy_boot_mode`, else `properties/capabilities` `boot_mode:…`,
/// else yes (Ironic's default).
#[must_use]
pub fn boots_efi(node: &Node) -> bool {
    let asked = node.instance_info.get("deploy_boot_mode").and_then(|mode| mode.as_str());
    let mode = asked.map(str::to_owned).or_else(|| capability(node, "boot_mode"));
    mode.as_deref() != Some("bios")
}

/// One of `properties/capabilities`, which Ironic takes as `name:value,name:value` or as an object.
fn capability(node: &Node, name: &str) -> Option<String> {
    let capabilities = node.properties.get("capabilities")?;
    if let Some(object) = capabilities.as_object() {
        return object.get(name)?.as_str().map(str::to_owned);
    }
    capabilities
        .as_str()?
        .split(',')
        .filter_map(|entry| entry.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}
