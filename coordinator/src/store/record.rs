//! Records that the coordinator keeps for its clients: one shape for every kind that is no node and no port.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::node::Object;

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// A group of nodes.
    Chassis,
    /// Ports that work as one.
    Portgroup,
    /// How a node reaches volumes.
    VolumeConnector,
    /// A volume of a node.
    VolumeTarget,
    /// Deploy steps by trait.
    DeployTemplate,
    /// Clean or service steps by trait.
    Runbook,
    /// What inspection data leads to.
    InspectionRule,
    /// A node taken for somebody.
    Allocation,
    /// What a boot of the ramdisk found.
    Inventory,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Chassis,
        Self::Portgroup,
        Self::VolumeConnector,
        Self::VolumeTarget,
        Self::DeployTemplate,
        Self::Runbook,
        Self::InspectionRule,
        Self::Allocation,
        Self::Inventory,
    ];

    /// Its name in the database.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Chassis => "chassis",
            Self::Portgroup => "portgroup",
            Self::VolumeConnector => "volume_connector",
            Self::VolumeTarget => "volume_target",
            Self::DeployTemplate => "deploy_template",
            Self::Runbook => "runbook",
            Self::InspectionRule => "inspection_rule",
            Self::Allocation => "allocation",
            Self::Inventory => "inventory",
        }
    }

    /// Its name in Ironic's sentences.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Chassis => "Chassis",
            Self::Portgroup => "Portgroup",
            Self::VolumeConnector => "Volume connector",
            Self::VolumeTarget => "Volume target",
            Self::DeployTemplate => "Deploy template",
            Self::Runbook => "Runbook",
            Self::InspectionRule => "Inspection rule",
            Self::Allocation => "Allocation",
            Self::Inventory => "Inventory",
        }
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Of which kind.
    pub kind: RecordKind,
    /// Identifier, unique in its kind.
    pub uuid: Uuid,
    /// Name, unique in its kind.
    #[serde(default)]
    pub name: Option<String>,
    /// The node it belongs to and goes with.
    #[serde(default)]
    pub node: Option<Uuid>,
    /// What else is unique in its kind, in words for people: an address, a node and a boot index.
    #[serde(default)]
    pub key: Option<String>,
    /// Everything else, by Ironic's names.
    #[serde(default)]
    pub fields: Object,
    /// Created.
    pub created_at: Timestamp,
    /// Changed.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
}

impl Record {
    /// Text under `name`; none where there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(serde_json::Value::as_str)
    }
}
