//! The states of a node, by Ironic's names.

use serde::{Deserialize, Serialize};

/// Ironic's provision states, by their wire texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the wire text says it")]
pub enum ProvisionState {
    #[serde(rename = "enroll")]
    Enroll,
    #[serde(rename = "verifying")]
    Verifying,
    #[serde(rename = "manageable")]
    Manageable,
    #[serde(rename = "available")]
    Available,
    #[serde(rename = "active")]
    Active,
    #[serde(rename = "error")]
    Error,
    #[serde(rename = "deploying")]
    Deploying,
    #[serde(rename = "wait call-back")]
    WaitCallBack,
    #[serde(rename = "deploy failed")]
    DeployFailed,
    #[serde(rename = "cleaning")]
    Cleaning,
    #[serde(rename = "clean wait")]
    CleanWait,
    #[serde(rename = "clean failed")]
    CleanFailed,
    #[serde(rename = "deleting")]
    Deleting,
    #[serde(rename = "inspecting")]
    Inspecting,
    #[serde(rename = "inspect wait")]
    InspectWait,
    #[serde(rename = "inspect failed")]
    InspectFailed,
    #[serde(rename = "adopting")]
    Adopting,
    #[serde(rename = "adopt failed")]
    AdoptFailed,
    #[serde(rename = "clean hold")]
    CleanHold,
    #[serde(rename = "deploy hold")]
    DeployHold,
    #[serde(rename = "rescuing")]
    Rescuing,
    #[serde(rename = "rescue wait")]
    RescueWait,
    #[serde(rename = "rescue")]
    Rescue,
    #[serde(rename = "rescue failed")]
    RescueFailed,
    #[serde(rename = "unrescuing")]
    Unrescuing,
    #[serde(rename = "unrescue failed")]
    UnrescueFailed,
    #[serde(rename = "servicing")]
    Servicing,
    #[serde(rename = "service wait")]
    ServiceWait,
    #[serde(rename = "service failed")]
    ServiceFailed,
    #[serde(rename = "service hold")]
    ServiceHold,
}

impl ProvisionState {
    /// Every state.
    pub const ALL: [Self; 30] = [
        Self::Enroll,
        Self::Verifying,
        Self::Manageable,
        Self::Available,
        Self::Active,
        Self::Error,
        Self::Deploying,
        Self::WaitCallBack,
        Self::DeployFailed,
        Self::Cleaning,
        Self::CleanWait,
        Self::CleanFailed,
        Self::Deleting,
        Self::Inspecting,
        Self::InspectWait,
        Self::InspectFailed,
        Self::Adopting,
        Self::AdoptFailed,
        Self::CleanHold,
        Self::DeployHold,
        Self::Rescuing,
        Self::RescueWait,
        Self::Rescue,
        Self::RescueFailed,
        Self::Unrescuing,
        Self::UnrescueFailed,
        Self::Servicing,
        Self::ServiceWait,
        Self::ServiceFailed,
        Self::ServiceHold,
    ];

    /// The text on the wire.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Verifying => "verifying",
            Self::Manageable => "manageable",
            Self::Available => "available",
            Self::Active => "active",
            Self::Error => "error",
            Self::Deploying => "deploying",
            Self::WaitCallBack => "wait call-back",
            Self::DeployFailed => "deploy failed",
            Self::Cleaning => "cleaning",
            Self::CleanWait => "clean wait",
            Self::CleanFailed => "clean failed",
            Self::Deleting => "deleting",
            Self::Inspecting => "inspecting",
            Self::InspectWait => "inspect wait",
            Self::InspectFailed => "inspect failed",
            Self::Adopting => "adopting",
            Self::AdoptFailed => "adopt failed",
            Self::CleanHold => "clean hold",
            Self::DeployHold => "deploy hold",
            Self::Rescuing => "rescuing",
            Self::RescueWait => "rescue wait",
            Self::Rescue => "rescue",
            Self::RescueFailed => "rescue failed",
            Self::Unrescuing => "unrescuing",
            Self::UnrescueFailed => "unrescue failed",
            Self::Servicing => "servicing",
            Self::ServiceWait => "service wait",
            Self::ServiceFailed => "service failed",
            Self::ServiceHold => "service hold",
        }
    }

    /// The state with this wire text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.text() == text)
    }

    /// Whether the reconciler performs something in this state: nobody else may touch the machine's power.
    #[must_use]
    pub fn is_busy(self) -> bool {
        matches!(
            self,
            Self::Verifying
                | Self::Deploying
                | Self::Cleaning
                | Self::Deleting
                | Self::Inspecting
                | Self::Adopting
                | Self::Rescuing
                | Self::Unrescuing
                | Self::Servicing
        )
    }

    /// Whether the last action failed and a person has to decide.
    #[must_use]
    pub fn is_failed(self) -> bool {
        matches!(
            self,
            Self::DeployFailed
                | Self::CleanFailed
                | Self::InspectFailed
                | Self::AdoptFailed
                | Self::RescueFailed
                | Self::UnrescueFailed
                | Self::ServiceFailed
                | Self::Error
        )
    }

    /// Whether an agent is awaited or works in this state.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(
            self,
            Self::WaitCallBack
                | Self::CleanWait
                | Self::InspectWait
                | Self::RescueWait
                | Self::ServiceWait
        )
    }

    /// Whether steps stopped at a `hold` until an operator lets them go on.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Self::CleanHold | Self::DeployHold | Self::ServiceHold)
    }

    /// Whether a ramdisk may look the node up in this state (Ironic's list; others answer as if the node did not exist).
    #[must_use]
    pub fn allows_lookup(self) -> bool {
        self.is_waiting()
            || matches!(
                self,
                Self::Deploying
                    | Self::Cleaning
                    | Self::Inspecting
                    | Self::Rescuing
                    | Self::Servicing
            )
    }
}

impl std::fmt::Display for ProvisionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}
