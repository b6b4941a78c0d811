//! Picks the BMC of a node by its driver.

use std::sync::Arc;

use super::fake::FakeBmcs;
use super::ipmi::IpmiBmcs;
use super::{Bmc, BmcError, Power};
use crate::node::Node;
use crate::settings::Settings;

/// The drivers this coordinator has.
#[derive(Debug)]
pub struct Drivers {
    ipmi: IpmiBmcs,
    fake: FakeBmcs,
}

/// The names of the drivers, as nodes say them.
pub const NAMES: [&str; 2] = ["ipmi", "fake-hardware"];

impl Drivers {
    /// With the pacing and time limits of `settings`.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { ipmi: IpmiBmcs::new(settings), fake: FakeBmcs::default() }
    }
}

impl Power for Drivers {
    fn bmc(&self, node: &Node) -> Result<Arc<dyn Bmc>, BmcError> {
        match node.driver.as_str() {
            "ipmi" => Ok(Arc::new(self.ipmi.of(node)?)),
            "fake-hardware" => Ok(Arc::new(self.fake.of(node.uuid))),
            driver => Err(BmcError::UnknownDriver { driver: driver.to_owned() }),
        }
    }
}
