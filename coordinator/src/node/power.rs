//! How a machine's power is, and what may be asked of it.

use serde::{Deserialize, Serialize};

/// Ironic's power states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerState {
    /// `power on`
    #[serde(rename = "power on")]
    On,
    /// `power off`
    #[serde(rename = "power off")]
    Off,
    /// `error`: the BMC answered that it does not know.
    #[serde(rename = "error")]
    Error,
}
impl PowerState {
    /// The text on the wire.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::On => "power on",
            Self::Off => "power off",
            Self::Error => "error",
        }
    }
}

/// What an operator may ask of the power: the targets of `PUT states/power`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerTarget {
    /// `power on`
    #[serde(rename = "power on")]
    On,
    /// `power off`
    #[serde(rename = "power off")]
    Off,
    /// `rebooting`: off, then on.
    #[serde(rename = "rebooting")]
    Reboot,
    /// `soft power off`: the operating system is asked.
    #[serde(rename = "soft power off")]
    SoftOff,
    /// `soft rebooting`: the operating system is asked to power off, then on.
    #[serde(rename = "soft rebooting")]
    SoftReboot,
}

impl PowerTarget {
    /// Every target.
    pub const ALL: [Self; 5] = [Self::On, Self::Off, Self::Reboot, Self::SoftOff, Self::SoftReboot];

    /// The text on the wire.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::On => "power on",
            Self::Off => "power off",
            Self::Reboot => "rebooting",
            Self::SoftOff => "soft power off",
            Self::SoftReboot => "soft rebooting",
        }
    }

    /// The target with this wire text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.text() == text)
    }

    /// The power state it ends in.
    #[must_use]
    pub fn reaches(self) -> PowerState {
        match self {
            Self::On | Self::Reboot | Self::SoftReboot => PowerState::On,
            Self::Off | Self::SoftOff => PowerState::Off,
        }
    }
}
