//! Proofs: what a step can show for itself.

use serde::{Deserialize, Serialize};

/// The proof of one step.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "proof", rename_all = "snake_case")]
pub enum Evidence {
    /// An image was written.
    Written(Box<Written>),
    /// A config drive was written.
    Configured(Configured),
    /// The partition table was written last and read back.
    Committed(Committed),
    /// Disks were erased, or their metadata was.
    Erased {
        /// One record a disk.
        disks: Vec<Erased>,
    },
    /// What starts the system is on every member of an array.
    Mirrored(Mirrored),
    /// A plugin's step ended well.
    Plugin(Box<PluginResult>),
    /// From a newer agent.
    #[serde(other)]
    Unknown,
}

/// What a plugin's step did, in the plugin's words: its author's signature stands for them, nobody else proved them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PluginResult {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bundle.
    pub sha256: String,
    /// The key that signed it.
    pub key_id: String,
    /// Whether the machine was changed.
    pub outcome: PluginOutcome,
    /// What was done, one sentence.
    #[serde(default)]
    pub message: String,
    /// What it shows for it: versions before and after, serial numbers, what was read back.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub data: serde_json::Value,
    /// The agent's words on what did not limit the plugin: its memory where the kernel cannot, all of it where it was not
    /// confined. One sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How a plugin's step ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginOutcome {
    /// The machine is as asked, and was not before.
    Changed,
    /// The machine was as asked already.
    Unchanged,
    /// From a newer agent.
    #[serde(other)]
    Unknown,
}

/// How the written disk is compared with what was decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadbackMode {
    /// Every chunk.
    #[default]
    Full,
    /// A seeded sample of chunks: the result is not proven.
    Sampled,
    /// Nothing: the result is not proven.
    None,
}

/// What was written and how it was proven.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Written {
    /// The device node.
    pub device: String,
    /// The disk's serial number, empty when it has none.
    #[serde(default)]
    pub serial: String,
    /// The URL that served the last byte, credentials removed.
    pub url: String,
    /// `raw` or `qcow2`, as detected.
    pub format: String,
    /// Digest algorithm.
    pub algorithm: String,
    /// Digest the order names.
    pub expected: String,
    /// Digest of the bytes received.
    pub streamed: String,
    /// Bytes received (the file's length).
    pub image_bytes: u64,
    /// Bytes of the disk that equal the image (its virtual size).
    pub virtual_bytes: u64,
    /// How the disk was compared.
    pub readback: Readback,
    /// Whether everything above was compared and equal.
    pub proven: bool,
    /// What an operator should know though it is no failure: identifiers found on another disk too, a tail that keeps
    /// earlier data, ... One sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Times the connection was resumed.
    #[serde(default)]
    pub resumes: u32,
    /// Seconds for the whole step.
    pub seconds: f64,
}

/// The comparison of the disk with what was decoded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Readback {
    /// What was asked for.
    pub mode: ReadbackMode,
    /// Chunks compared, all equal.
    pub chunks: u64,
    /// Bytes compared.
    pub bytes: u64,
    /// The seed, for `sampled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Seconds it took.
    pub seconds: f64,
}

/// The config drive on the disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Configured {
    /// First byte of the partition on the disk.
    pub offset: u64,
    /// Length of the partition, bytes.
    pub bytes: u64,
    /// SHA-256 of the file system written, equal to what was read back.
    pub sha256: String,
    /// `iso9660` or `vfat`.
    pub filesystem: String,
}

/// The partition table, written last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Committed {
    /// `gpt`, `mbr`.
    pub table: String,
    /// Partitions in the table, config-2 included.
    pub partitions: u32,
    /// SHA-256 of the disk's first MiB as read back.
    pub head_sha256: String,
    /// UEFI boot entry written, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_entry: Option<String>,
}

/// The boot parts of a system on an array, on each of its members.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mirrored {
    /// `efi_system_partition` or `bios_boot_partition`.
    pub what: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// Its SHA-256, equal to what was read back from each member.
    pub sha256: String,
    /// The members.
    pub devices: Vec<String>,
}

/// One disk erased.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Erased {
    /// The device node.
    pub device: String,
    /// Serial number, empty when it has none.
    #[serde(default)]
    pub serial: String,
    /// Capacity, bytes.
    pub disk_bytes: u64,
    /// [`crate::EraseMethod`] by name.
    pub method: String,
    /// Bytes overwritten.
    pub bytes: u64,
    /// Bytes read back as zero.
    pub verified_bytes: u64,
    /// The signed certificate; absent from agents before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Box<crate::certificate::SignedCertificate>>,
}
