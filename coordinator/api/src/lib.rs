//! What the agent and the coordinator say to each other: Ironic's lookup and heartbeat with our additions.
//!
//! The coordinator serves this contract, so it lives here. The Ironic half (`/v1/lookup`, `/v1/heartbeat`) is Ironic's
//! own shape; everything of ours is under the key `ironwright`, so either side still works against a real Ironic peer.
//! Every closed set has an `Unknown` catch-all: an agent one version newer or older must not break the other side.
#![forbid(unsafe_code)]

mod bundle;
mod canonical;
mod certificate;
mod crypt;
mod device;
mod ed25519;
mod evidence;
mod order;
mod report;

pub use bundle::{
    BUNDLE_FORMAT, BundleHeader, MAX_BUNDLE_HEADER, MAX_BUNDLE_PAYLOAD, PLUGIN_KEYS_DIR,
    PLUGIN_PUBLIC_KEY,
};
pub use certificate::{
    CERTIFICATE_VERSION, Category, Certificate, DiskIdentity, EraseMethod, EraseResult, PassedOver,
    Sample, Seal, SignedCertificate, Verification,
};
pub use crypt::{hash_password, is_password_hash};
pub use device::is_on_disk;
pub use ed25519::is_sound_key;
pub use evidence::{
    Committed, Configured, Erased, Evidence, Mirrored, PluginOutcome, PluginResult, Readback,
    ReadbackMode, Written,
};
pub use order::{
    Automated, BOOT_ENTRY_PRIORITY, Checksum, ChecksumAlgorithm, Clean, CleanStep, Deploy,
    DeployStep, EraseSettings, Image, ImageAccess, NodeRaid, Order, PartitionImage, PluginBundle,
    Rescue, Service, WRITE_IMAGE_PRIORITY, Work,
};
pub use report::{
    Blame, DiskProgress, Event, Failure, PlannedStep, PluginProgress, Progress, Reboot, Report,
    StepRecord,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Version of the `ironwright` part of the protocol. One version apart must still work.
pub const PROTOCOL: u32 = 1;

/// Request header of a lookup: the one-time nonce from the boot script (hexadecimal).
pub const NONCE_HEADER: &str = "x-ironwright-nonce";

/// Request header of a lookup: the agent's boot identifier (a UUID it made at start).
pub const BOOT_ID_HEADER: &str = "x-ironwright-boot-id";

/// Answer to `GET /v1/lookup?addresses=MAC,MAC[&node_uuid=U]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookupReply {
    /// The node these addresses belong to.
    pub node: LookupNode,
    /// How to talk to this server.
    pub config: LookupConfig,
}

/// The part of a node that a ramdisk may see.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookupNode {
    /// The node's identifier.
    pub uuid: Uuid,
    /// `properties` of the node (root device hints live here).
    #[serde(default)]
    pub properties: serde_json::Value,
    /// `instance_info`, secrets masked.
    #[serde(default)]
    pub instance_info: serde_json::Value,
    /// `driver_internal_info`, secrets masked.
    #[serde(default)]
    pub driver_internal_info: serde_json::Value,
    /// Links, as in every Ironic answer.
    #[serde(default)]
    pub links: serde_json::Value,
}

/// Settings handed to the agent at lookup (Ironic's names; unknown ones are kept out).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookupConfig {
    /// Seconds without a heartbeat after which Ironic gives an agent up.
    pub heartbeat_timeout: u64,
    /// The token of this boot; the literal `******` means it was handed out before.
    #[serde(default)]
    pub agent_token: Option<String>,
    /// Whether heartbeats must carry the token.
    #[serde(default)]
    pub agent_token_required: bool,
    /// Present when the server is an Ironwright coordinator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ironwright: Option<Native>,
}

/// Marks an Ironwright coordinator: the agent opens no port and takes orders from heartbeat replies.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Native {
    /// The coordinator's [`PROTOCOL`].
    pub protocol: u32,
    /// Milliseconds between heartbeats while nothing new is to be said.
    pub heartbeat_interval_ms: u64,
}

/// Body of `POST /v1/heartbeat/{node}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Where Ironic may reach the agent; empty in native mode.
    #[serde(default)]
    pub callback_url: String,
    /// The token from lookup.
    #[serde(default)]
    pub agent_token: String,
    /// The agent's version.
    #[serde(default)]
    pub agent_version: String,
    /// Our additions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ironwright: Option<Beat>,
}

/// The native part of a heartbeat.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Beat {
    /// The agent's [`PROTOCOL`].
    pub protocol: u32,
    /// Made by the supervisor at boot; names this boot of the ramdisk.
    pub boot_id: Uuid,
    /// Reports not acknowledged yet, oldest first. Repeated until acknowledged.
    #[serde(default)]
    pub reports: Vec<Report>,
    /// What is happening now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The inventory in Ironic's shape; sent with the first heartbeat of an agent process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<serde_json::Value>,
    /// When the boot reached its stages; sent with the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// The Ed25519 public key (hexadecimal) with which this agent process signs certificates; in every heartbeat, the first
    /// one with the token registers it for this boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erase_key: Option<String>,
}

/// When this boot reached its stages, in milliseconds of kernel uptime (`/proc/uptime`), and what memory it used.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Timing {
    /// PID 1 started.
    #[serde(default)]
    pub init_ms: u64,
    /// Modules were loaded.
    #[serde(default)]
    pub modules_ms: u64,
    /// The network was up.
    #[serde(default)]
    pub network_ms: u64,
    /// The agent process started.
    #[serde(default)]
    pub agent_ms: u64,
    /// This heartbeat was built.
    #[serde(default)]
    pub heartbeat_ms: u64,
    /// Total memory of the machine, bytes.
    #[serde(default)]
    pub memory_total: u64,
    /// What of it was available when this heartbeat was built, bytes; 0 from agents that do not say it.
    #[serde(default)]
    pub memory_available: u64,
}

/// Body of the 202 answer to a native heartbeat. Ironic's own answer is empty, which reads as the default.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// Work to do. Repeated in every reply until the order's `Finished` report was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Every report with `seq <= acknowledged` is stored; the agent forgets them.
    #[serde(default)]
    pub acknowledged: u64,
    /// The order to stop before its next destructive or committing action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_foreign_reply_is_no_order() {
        for text in ["{}", r#"{"future_field": 1}"#] {
            let reply: HeartbeatReply = serde_json::from_str(text).unwrap();
            assert!(reply.order.is_none());
            assert_eq!(reply.acknowledged, 0);
        }
    }

    #[test]
    fn work_of_a_newer_coordinator_is_unknown_and_not_an_error() {
        let order: Order = serde_json::from_str(
            r#"{"order_id":"7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f","attempt":1,"work":{"kind":"teleport","to":"mars"}}"#,
        )
        .unwrap();
        assert!(matches!(order.work, Work::Unknown));
    }

    #[test]
    fn a_deploy_of_an_older_coordinator_has_no_extra_steps() {
        let order = r#"{"kind":"deploy","image":{"urls":[],"checksum":{"algorithm":"sha256","value":""}},
            "node_uuid":"7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f"}"#;
        let Work::Deploy(deploy) = serde_json::from_str(order).unwrap() else { panic!("{order}") };
        assert!(deploy.steps.is_empty() && deploy.plugins.is_empty());
        assert_eq!(deploy.erase, EraseSettings::default());
        let service = serde_json::from_str(r#"{"kind":"service","steps":[],"later":1}"#).unwrap();
        assert!(matches!(service, Work::Service(_)));
    }

    #[test]
    fn an_ironic_lookup_has_no_native_part() {
        let config: LookupConfig =
            serde_json::from_str(r#"{"heartbeat_timeout":300,"agent_token":"x","metrics":{}}"#)
                .unwrap();
        assert!(config.ironwright.is_none());
    }
}
