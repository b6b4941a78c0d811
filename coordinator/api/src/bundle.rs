//! The first line of a plugin's bundle: what coordinator and agent both check. Pure; who may sign is decided elsewhere.

use serde::{Deserialize, Serialize};

/// The form of bundles that this version makes and reads.
pub const BUNDLE_FORMAT: u32 = 1;
/// Longest header line, bytes.
pub const MAX_BUNDLE_HEADER: usize = 4096;
/// Largest payload, bytes: compressed, all of it in memory while the agent checks it.
pub const MAX_BUNDLE_PAYLOAD: u64 = 128 << 20;
/// First word of the file of a public key, before 32 bytes (RFC 8032, 5.1.5) in base64.
pub const PLUGIN_PUBLIC_KEY: &str = "ironwright-plugin-public-key-1";
/// Where the ramdisk has its trusted public keys; a small cpio beside the initrd puts them there.
pub const PLUGIN_KEYS_DIR: &str = "/etc/ironwright/plugin-keys";

/// The first line of a bundle, one JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleHeader {
    /// [`BUNDLE_FORMAT`].
    pub format: u32,
    /// The key: the first 16 hexadecimal digits of the SHA-256 of its public half.
    pub key_id: String,
    /// SHA-256 of the payload, lower-case hexadecimal: the bundle's name in orders.
    pub sha256: String,
    /// Length of the payload, bytes.
    pub bytes: u64,
    /// Ed25519 (RFC 8032) over [`BundleHeader::signed_text`], base64.
    pub signature: String,
}

impl BundleHeader {
    /// What is signed for a payload: says what it is for, so that no other signature of the key can stand in for it.
    #[must_use]
    pub fn signed_text(sha256: &str, bytes: u64) -> Vec<u8> {
        format!("ironwright plugin bundle {BUNDLE_FORMAT}\nsha256 {sha256}\nbytes {bytes}\n")
            .into_bytes()
    }
}
