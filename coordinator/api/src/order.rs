//! What the coordinator asks of an agent.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::evidence::ReadbackMode;
use crate::report::StepRecord;

/// One piece of work for one machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// Names the work; the same over all attempts.
    pub order_id: Uuid,
    /// Counts the boots that tried it, from 1. Reports of an older attempt are dropped.
    pub attempt: u32,
    /// What to do.
    pub work: Work,
    /// Steps that earlier attempts began or ended, in order.
    #[serde(default)]
    pub steps: Vec<StepRecord>,
}

/// The kinds of work.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// Report the inventory, change nothing.
    Inspect,
    /// Put an image and a config drive on the root disk.
    Deploy(Box<Deploy>),
    /// Perform clean steps.
    Clean(Clean),
    /// Something a newer coordinator knows; the agent refuses it by name.
    #[serde(other)]
    Unknown,
}

/// A deploy order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deploy {
    /// The image.
    pub image: Image,
    /// Root device hints in Ironic's form (`{"serial": "s== X", "size": ">= 10"}`); null or absent: the smallest disk
    /// of at least 4 GiB.
    #[serde(default)]
    pub root_device: serde_json::Value,
    /// The config drive: an object (`meta_data`, `user_data`, `network_data`, `vendor_data`), or text: base64 of a gzipped
    /// ISO, or an http(s) URL of one of these. Absent: none.
    #[serde(default)]
    pub configdrive: serde_json::Value,
    /// How the written disk is proven.
    #[serde(default)]
    pub readback: ReadbackMode,
    /// The node's name, default of `meta_data.name`.
    #[serde(default)]
    pub node_name: String,
    /// The node's identifier, default of `meta_data.uuid`.
    pub node_uuid: Uuid,
}

/// Where an image is and how it is recognised.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// http(s) URLs of the same bytes; the next one is tried when one fails.
    pub urls: Vec<String>,
    /// The digest of the file as served.
    pub checksum: Checksum,
    /// `raw` or `qcow2` when the operator declared it; must agree with what the bytes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_format: Option<String>,
}

/// A digest to compare with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// Which digest.
    pub algorithm: ChecksumAlgorithm,
    /// Lowercase hexadecimal, or an http(s) URL of a checksum file.
    pub value: String,
}

/// The digests we accept as proof. md5 is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumAlgorithm {
    /// SHA-256, 64 hexadecimal digits.
    Sha256,
    /// SHA-512, 128 hexadecimal digits.
    Sha512,
}

impl ChecksumAlgorithm {
    /// Ironic's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of its digest in hexadecimal digits.
    #[must_use]
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A clean order: steps in the order to run them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Clean {
    /// The steps.
    pub steps: Vec<CleanStep>,
}

/// One clean step by Ironic's names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanStep {
    /// Ironic interface, `deploy` for the built-in ones.
    pub interface: String,
    /// Step name, e.g. `erase_devices_metadata`.
    pub step: String,
    /// Arguments.
    #[serde(default)]
    pub args: serde_json::Value,
}
