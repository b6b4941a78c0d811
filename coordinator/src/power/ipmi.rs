//! Driver `ipmi`: one session an action.

use super::{Answer, Bmc, BmcError, BootDevice, Command, Performed};
use crate::node::{Node, PowerState};
use crate::settings::Settings;

/// All BMCs that are spoken to by IPMI.
#[derive(Debug)]
pub struct IpmiBmcs;

impl IpmiBmcs {
    /// With the pacing and limits of `settings`.
    #[must_use]
    pub fn new(_settings: &Settings) -> Self {
        Self
    }

    /// The BMC that `driver_info` names.
    ///
    /// # Errors
    ///
    /// [`BmcError::Setting`].
    pub fn of(&self, _node: &Node) -> Result<IpmiBmc, BmcError> {
        Err(BmcError::UnknownDriver { driver: "ipmi".into() })
    }
}

/// One BMC.
#[derive(Debug)]
pub struct IpmiBmc;

impl Bmc for IpmiBmc {
    fn power_state(&self) -> Answer<'_, PowerState> {
        Box::pin(async { Err(BmcError::UnknownDriver { driver: "ipmi".into() }) })
    }
    fn perform<'a>(&'a self, _commands: &'a [Command]) -> Answer<'a, Performed> {
        Box::pin(async { Err(BmcError::UnknownDriver { driver: "ipmi".into() }) })
    }
    fn boot_device(&self) -> Answer<'_, (Option<BootDevice>, Option<bool>)> {
        Box::pin(async { Err(BmcError::UnknownDriver { driver: "ipmi".into() }) })
    }
}
