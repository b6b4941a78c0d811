//! What the coordinator asks of an agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::certificate::Category;
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
    /// What the node's record says of its arrays; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raid: Option<Box<NodeRaid>>,
}

/// A node's arrays, by its record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRaid {
    /// `target_raid_config`: what `create_configuration` is to build; null: nothing.
    #[serde(default)]
    pub target: serde_json::Value,
    /// `raid_config`: what was built. Its root volume is where a deploy goes.
    #[serde(default)]
    pub config: serde_json::Value,
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
    /// Perform service steps on a machine that keeps its instance. Agents before it refuse it as unknown.
    Service(Service),
    /// Become a rescue system: let somebody in.
    Rescue(Rescue),
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
    /// Steps besides the image, by priority among [`WRITE_IMAGE_PRIORITY`] and [`BOOT_ENTRY_PRIORITY`], highest first. An
    /// agent before extra steps ignores them and finishes all the same: only a step whose end was reported was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<DeployStep>,
    /// How disks are erased by those steps, and which disks are left alone (the image never goes to one of them).
    #[serde(default)]
    pub erase: EraseSettings,
    /// Plugins whose steps stand in the catalogue beside the agent's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginBundle>,
}

/// Ironic's priority of the image: extra deploy steps above it come before the image, all others after the partition table.
pub const WRITE_IMAGE_PRIORITY: u32 = 80;

/// Ironic's priority of making the disk bootable (`prepare_instance_boot`): steps at or below it come after the boot entry.
pub const BOOT_ENTRY_PRIORITY: u32 = 60;

/// A deploy step besides the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployStep {
    /// Ironic interface: `deploy`, `raid` ...
    pub interface: String,
    /// Step name.
    pub step: String,
    /// Arguments.
    #[serde(default)]
    pub args: serde_json::Value,
    /// When it comes; at least 1.
    pub priority: u32,
}

/// A rescue order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescue {
    /// The hash of the password of the account `rescue`, as [`crate::hash_password`] makes it.
    pub password_hash: String,
}

impl std::fmt::Debug for Rescue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rescue { password_hash: ****** }")
    }
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
    /// How the servers are reached; absent: directly and without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<ImageAccess>,
    /// Present: the image is one file system, not a whole disk. An agent before it would take it for a whole disk and fail,
    /// since it has no partition table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionImage>,
}

/// What is made around a partition image. UEFI only: the image brings its loader below `/boot/efi`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionImage {
    /// Length of the root partition, MiB; 0: all that is left.
    #[serde(default)]
    pub root_mib: u64,
    /// Length of the swap partition, MiB; 0: none.
    #[serde(default)]
    pub swap_mib: u64,
}

/// How image servers are reached. Secrets: travels only over TLS, never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageAccess {
    /// The whole value of the `Authorization` header (`Basic ...`, `Bearer ...`), sent to the hosts of
    /// [`Image::urls`] only, never after a redirect to another host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    /// Proxy for http URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<String>,
    /// Proxy for https URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_proxy: Option<String>,
    /// Hosts reached without a proxy, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
    /// PEM of certificate authorities, trusted besides the ramdisk's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

impl std::fmt::Debug for ImageAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageAccess")
            .field("authorization", &self.authorization.as_ref().map(|_| "******"))
            .finish_non_exhaustive()
    }
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

/// A clean order. Manual cleaning names its steps; automated cleaning lets the agent choose from its catalogue.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Clean {
    /// Manual: the steps in the order to run them. Automated: for agents that do not know [`Clean::automated`].
    pub steps: Vec<CleanStep>,
    /// Present: automated cleaning; the agent runs its catalogue's steps of priority above 0, highest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automated: Option<Automated>,
    /// How disks are erased.
    #[serde(default)]
    pub erase: EraseSettings,
    /// Plugins whose steps stand in the catalogue beside the agent's own. An agent before plugins in orders ignores them: its
    /// plan then does not name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginBundle>,
}

/// A service order: steps on a machine whose instance stays, in the order to run them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Service {
    /// The steps.
    pub steps: Vec<CleanStep>,
    /// Root device hints for a step that puts an image, as in [`Deploy::root_device`].
    #[serde(default)]
    pub root_device: serde_json::Value,
    /// How disks are erased by a step that does so, and which disks are left alone.
    #[serde(default)]
    pub erase: EraseSettings,
    /// Plugins whose steps stand in the catalogue beside the agent's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginBundle>,
}

/// A plugin's signed bundle and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginBundle {
    /// SHA-256 of its payload, lower-case hexadecimal: its name.
    pub sha256: String,
    /// The key that signed it.
    pub key_id: String,
    /// Length of the whole file, bytes.
    pub bytes: u64,
    /// Where it is, a path on the coordinator that gave the order.
    pub url: String,
}

/// What automated cleaning changes in the agent's catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Automated {
    /// Priorities by `interface.step` that replace the catalogue's; 0 switches a step off.
    #[serde(default)]
    pub priorities: BTreeMap<String, u32>,
    /// Arguments of steps by `interface.step`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, serde_json::Value>,
}

/// How disks are erased; the operator's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EraseSettings {
    /// Whether a method of a weaker category may follow one that the disk offers and that failed.
    pub allow_weaker: bool,
    /// The weakest category that may be used at all.
    pub least: Category,
    /// Disks erased at once, at least 1.
    pub concurrency: u32,
    /// Whether read-only disks are left out rather than failed.
    pub skip_read_only: bool,
    /// Disks left alone: root device hints in Ironic's form, one object a disk (`properties.skip_block_devices`).
    pub skip: Vec<serde_json::Value>,
}

impl Default for EraseSettings {
    fn default() -> Self {
        Self {
            allow_weaker: false,
            least: Category::Clear,
            concurrency: 4,
            skip_read_only: false,
            skip: Vec::new(),
        }
    }
}

/// One clean or service step by Ironic's names.
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
