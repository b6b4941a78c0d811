//! The certificate of one erased disk: what was done, what its controller said, what was verified.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Version of [`Certificate`].
pub const CERTIFICATE_VERSION: u32 = 1;

/// What the agent says about one disk. Numbers are integers and times are RFC 3339 in UTC, so that its canonical text
/// (object keys sorted, no white space) is the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// [`CERTIFICATE_VERSION`].
    pub version: u32,
    /// The node; nil when the erase was asked for by hand.
    pub node_uuid: Uuid,
    /// The order; nil when by hand.
    pub order_id: Uuid,
    /// This boot of the ramdisk; nil when by hand.
    pub boot_id: Uuid,
    /// Which disk.
    pub disk: DiskIdentity,
    /// `erase_devices`, `erase_devices_metadata` or `erase_devices_express`.
    pub step: String,
    /// What was done.
    pub method: EraseMethod,
    /// What that is worth.
    pub category: Category,
    /// Better methods that were not used, and why, best first.
    #[serde(default)]
    pub passed_over: Vec<PassedOver>,
    /// The controller's own words before and after (status, log pages, hexadecimal), by name.
    #[serde(default)]
    pub device_log: BTreeMap<String, String>,
    /// When the erase of this disk began.
    pub started: String,
    /// When its verification ended.
    pub ended: String,
    /// What was compared.
    pub verification: Verification,
    /// How it ended.
    pub result: EraseResult,
    /// Version of the agent.
    pub agent_version: String,
}

/// Which disk a certificate speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskIdentity {
    /// Device node at the time.
    pub path: String,
    /// Model, empty when unknown.
    #[serde(default)]
    pub model: String,
    /// Vendor, empty when unknown.
    #[serde(default)]
    pub vendor: String,
    /// Serial number, empty when it has none.
    #[serde(default)]
    pub serial: String,
    /// World-wide name, empty when it has none.
    #[serde(default)]
    pub wwn: String,
    /// `nvme`, `sata`, `sas`, `virtio`, ...; empty when unknown.
    #[serde(default)]
    pub transport: String,
    /// Capacity, bytes.
    pub bytes: u64,
    /// Logical sector, bytes.
    pub sector_bytes: u32,
    /// Whether it turns, as the kernel says.
    #[serde(default)]
    pub rotational: bool,
}

/// How a disk can be erased, best first within a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EraseMethod {
    /// NVMe Sanitize, crypto erase.
    NvmeSanitizeCrypto,
    /// NVMe Sanitize, block erase.
    NvmeSanitizeBlock,
    /// NVMe Sanitize, overwrite.
    NvmeSanitizeOverwrite,
    /// NVMe Format, secure erase setting 2 (cryptographic), every namespace.
    NvmeFormatCrypto,
    /// NVMe Format, secure erase setting 1 (user data), every namespace.
    NvmeFormatUserData,
    /// ATA CRYPTO SCRAMBLE EXT.
    AtaSanitizeCrypto,
    /// ATA BLOCK ERASE EXT.
    AtaSanitizeBlock,
    /// ATA OVERWRITE EXT.
    AtaSanitizeOverwrite,
    /// ATA SECURITY ERASE UNIT, enhanced.
    AtaSecurityEraseEnhanced,
    /// ATA SECURITY ERASE UNIT, normal.
    AtaSecurityErase,
    /// SCSI SANITIZE, cryptographic erase.
    ScsiSanitizeCrypto,
    /// SCSI SANITIZE, block erase.
    ScsiSanitizeBlock,
    /// SCSI SANITIZE, overwrite.
    ScsiSanitizeOverwrite,
    /// Deallocation by a device that promises zeros afterwards.
    Discard,
    /// Zeros written to every addressable byte.
    Overwrite,
    /// Partition tables and signatures only.
    Metadata,
}

/// NIST SP 800-88 Rev. 1, 2.5: what a method is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Data stays readable to who looks for it.
    None,
    /// Protects against simple recovery through the normal interface.
    Clear,
    /// Protects against laboratory recovery.
    Purge,
}

impl EraseMethod {
    /// What it is worth (NIST SP 800-88 Rev. 1, appendix A, tables) on a disk that turns or does not: the security
    /// feature set purges magnetic disks only, flash keeps spare blocks that it need not reach.
    #[must_use]
    pub fn category(self, rotational: bool) -> Category {
        match self {
            Self::AtaSecurityEraseEnhanced if !rotational => Category::Clear,
            Self::Metadata => Category::None,
            Self::AtaSecurityErase | Self::Discard | Self::Overwrite => Category::Clear,
            Self::NvmeSanitizeCrypto
            | Self::NvmeSanitizeBlock
            | Self::NvmeSanitizeOverwrite
            | Self::NvmeFormatCrypto
            | Self::NvmeFormatUserData
            | Self::AtaSanitizeCrypto
            | Self::AtaSanitizeBlock
            | Self::AtaSanitizeOverwrite
            | Self::AtaSecurityEraseEnhanced
            | Self::ScsiSanitizeCrypto
            | Self::ScsiSanitizeBlock
            | Self::ScsiSanitizeOverwrite => Category::Purge,
        }
    }

    /// Whether the old data reads as noise afterwards rather than as zeros.
    #[must_use]
    pub fn is_crypto(self) -> bool {
        matches!(
            self,
            Self::NvmeSanitizeCrypto
                | Self::NvmeFormatCrypto
                | Self::AtaSanitizeCrypto
                | Self::ScsiSanitizeCrypto
        )
    }
}

/// A better method that was not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// The method.
    pub method: EraseMethod,
    /// Why not: the device does not offer it, it failed, a setting forbids it.
    pub reason: String,
}

/// What was compared before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// `full`: every byte read back; `sampled`: the samples below; `none`: nothing could be verified.
    pub mode: String,
    /// Bytes read back after the erase.
    pub bytes_read: u64,
    /// Places looked at, first and last LBA always among them.
    #[serde(default)]
    pub samples: Vec<Sample>,
}

/// One place on the disk, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Logical block address.
    pub lba: u64,
    /// `nonce`: a random value written and read back before; `data`: what was there, remembered by its digest.
    pub before: String,
    /// `zero`, `different` or `unchanged`.
    pub after: String,
}

/// How the erase of one disk ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum EraseResult {
    /// Done and verified.
    Erased,
    /// Not done, or not proven.
    Failed {
        /// Why, with the LBA where there is one.
        reason: String,
    },
}

/// A certificate and who vouches for it. Signatures are Ed25519 over the canonical text of `certificate`, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCertificate {
    /// What is signed.
    pub certificate: Certificate,
    /// The agent's signature, by the key that it made at boot.
    pub agent: Seal,
    /// The coordinator's, over the agent's signature and the canonical text; absent until it is stored there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<Seal>,
}

/// A signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Ed25519 public key, hexadecimal.
    pub public_key: String,
    /// Signature, hexadecimal.
    pub signature: String,
}
