//! A plugin as one signed file.
//!
//! ```text
//! {"format":1,"key_id":"…","sha256":"…","bytes":N,"signature":"…"}\n     one line of JSON, at most 4 KiB
//! N bytes: a cpio of manifest.json and root/, compressed with zstd
//! ```
//!
//! The signature is over a fixed text, the digest and the length. Nothing of the payload is looked at before the digest
//! and the signature fit: no decompressor and no parser meets a stranger's bytes.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ironwright_api::{
    BUNDLE_FORMAT as FORMAT, BundleHeader as Header, MAX_BUNDLE_HEADER as MAX_HEADER,
    MAX_BUNDLE_PAYLOAD as MAX_PAYLOAD,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::cpio::{self, ArchiveError};
use super::folder::{Folder, FolderError};
use super::key::{SigningKey, TrustedKeys};

/// Largest unpacked tree, bytes; a manifest's `files_mib` may be less.
const MAX_UNPACKED: u64 = 1 << 30;
/// Largest zstd window, log2 bytes: 8 MiB, what every level up to 19 uses.
const WINDOW_LOG: u32 = 23;

/// Why a bundle was not made or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It could not be read or written.
    #[error("{op} the bundle {}", path.display())]
    File {
        /// `reading`, `writing`.
        op: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The first line is not a bundle's.
    #[error("this is not a plugin bundle: its first line is not a bundle's header")]
    Header,
    /// A newer or older form.
    #[error("the bundle has format {found}, this agent reads format {FORMAT}")]
    Format {
        /// What the header says.
        found: u32,
    },
    /// Cut, or with something after its end.
    #[error("the bundle's header promises {promised} bytes, {found} are there")]
    Length {
        /// In the header.
        promised: u64,
        /// In the file.
        found: u64,
    },
    /// Larger than any bundle may be.
    #[error("the bundle has {bytes} bytes, the most is {MAX_PAYLOAD}")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// Other bytes than ordered or than the header says.
    #[error("the bundle's sha256 is {found}, {by} says {expected}")]
    Digest {
        /// Of the bytes that are there.
        found: String,
        /// What it should be.
        expected: String,
        /// `the order` or `its header`.
        by: &'static str,
    },
    /// Signed with a key that is not trusted here.
    #[error(
        "the bundle is signed with the key {key_id}, which is not trusted here (trusted: {})",
        list(trusted)
    )]
    Untrusted {
        /// The key.
        key_id: String,
        /// Those that are.
        trusted: Vec<String>,
    },
    /// Not signed by that key.
    #[error(
        "the bundle's signature is not by the key {key_id} that it names: it was changed, or forged"
    )]
    Signature {
        /// The key.
        key_id: String,
    },
    /// The archive.
    #[error("unpacking the bundle")]
    Archive(#[from] ArchiveError),
    /// What was in it is no plugin.
    #[error("the bundle holds no usable plugin")]
    Plugin(#[from] FolderError),
}

impl BundleError {
    /// What to do about it, one sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Untrusted { .. } => {
                "sign the bundle with a trusted key, or add its public key to the ramdisk's keys"
            }
            Self::Signature { .. } | Self::Digest { .. } => {
                "do not use this file; take the bundle from its author again and compare its sha256"
            }
            Self::Header | Self::Length { .. } => {
                "copy the bundle again, or make it with `plugin bundle`"
            }
            Self::Format { .. } => "use an agent and a bundle of the same version",
            Self::TooLarge { .. } | Self::Archive(_) => {
                "make the plugin's tree smaller, of plain files only"
            }
            Self::Plugin(_) => {
                "mend the plugin's folder with `plugin check DIR`, then bundle it again"
            }
            Self::File { .. } => "check the path and its permissions",
        }
    }
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "no key at all".to_owned() } else { ids.join(", ") }
}

/// What was made of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    /// SHA-256 of the payload: the bundle's name in orders.
    pub sha256: String,
    /// The key's name.
    pub key_id: String,
    /// Bytes of the whole file.
    pub bytes: u64,
}

/// Makes a bundle of the plugin in `folder`.
///
/// # Errors
/// [`BundleError`].
pub fn make(folder: &Folder, key: &SigningKey, out: &Path) -> Result<Made, BundleError> {
    let broken = |source| BundleError::File { op: "writing", path: out.to_path_buf(), source };
    let mut packer = zstd::Encoder::new(Vec::new(), 19).map_err(broken)?;
    packer.window_log(WINDOW_LOG).map_err(broken)?;
    cpio::pack(folder.dir(), &mut packer)?;
    let payload = packer.finish().map_err(broken)?;
    let bytes = payload.len() as u64;
    if bytes > MAX_PAYLOAD {
        return Err(BundleError::TooLarge { bytes });
    }
    let sha256 = hex(&payload);
    let signature = key.sign(&Header::signed_text(&sha256, bytes));
    let header = Header { format: FORMAT, key_id: key.id(), sha256, bytes, signature };
    let mut file = serde_json::to_vec(&header).map_err(|error| broken(error.into()))?;
    file.push(b'\n');
    file.extend_from_slice(&payload);
    fs::File::create(out).and_then(|mut to| to.write_all(&file)).map_err(broken)?;
    Ok(Made { sha256: header.sha256, key_id: header.key_id, bytes: file.len() as u64 })
}

/// Reads a bundle's file, at most as much as the largest bundle has.
///
/// # Errors
/// [`BundleError::File`], [`BundleError::TooLarge`].
pub fn read(path: &Path) -> Result<Vec<u8>, BundleError> {
    let broken = |source| BundleError::File { op: "reading", path: path.to_path_buf(), source };
    let most = MAX_PAYLOAD + MAX_HEADER as u64;
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path).map_err(broken)?.take(most + 1);
    file.read_to_end(&mut bytes).map_err(broken)?;
    let found = bytes.len() as u64;
    if found > most { Err(BundleError::TooLarge { bytes: found }) } else { Ok(bytes) }
}

/// A bundle whose digest and signature were checked.
#[derive(Debug)]
pub struct Verified<'a> {
    payload: &'a [u8],
    /// Its name in orders.
    pub sha256: String,
    /// Who signed it.
    pub key_id: String,
}

/// Checks a bundle: is it whole, is it the one that was `ordered` (its sha256), is it signed with a trusted key.
///
/// # Errors
/// [`BundleError`], before a byte of the payload was looked at.
pub fn verify<'a>(
    file: &'a [u8],
    trusted: &TrustedKeys,
    ordered: Option<&str>,
) -> Result<Verified<'a>, BundleError> {
    let end =
        file.iter().take(MAX_HEADER).position(|byte| *byte == b'\n').ok_or(BundleError::Header)?;
    let (line, payload) = file.split_at_checked(end).ok_or(BundleError::Header)?;
    let payload = payload.strip_prefix(b"\n").ok_or(BundleError::Header)?;
    let header: Header = serde_json::from_slice(line).map_err(|_| BundleError::Header)?;
    let found = payload.len() as u64;
    if header.format != FORMAT {
        return Err(BundleError::Format { found: header.format });
    }
    if found > MAX_PAYLOAD {
        return Err(BundleError::TooLarge { bytes: found });
    }
    if header.bytes != found {
        return Err(BundleError::Length { promised: header.bytes, found });
    }
    let sha256 = hex(payload);
    for (expected, by) in [(ordered, "the order"), (Some(header.sha256.as_str()), "its header")] {
        if let Some(expected) = expected.filter(|expected| *expected != sha256) {
            return Err(BundleError::Digest { found: sha256, expected: expected.to_owned(), by });
        }
    }
    let text = Header::signed_text(&sha256, found);
    match trusted.verify(&header.key_id, &text, &header.signature) {
        None => Err(BundleError::Untrusted { key_id: header.key_id, trusted: trusted.ids() }),
        Some(false) => Err(BundleError::Signature { key_id: header.key_id }),
        Some(true) => Ok(Verified { payload, sha256, key_id: header.key_id }),
    }
}

impl Verified<'_> {
    /// Unpacks it into the empty folder `dir` and reads its manifest.
    ///
    /// # Errors
    /// [`BundleError::Archive`], [`BundleError::Plugin`].
    pub fn unpack(&self, dir: &Path) -> Result<Folder, BundleError> {
        let mut decoder = zstd::Decoder::new(self.payload).map_err(ArchiveError::Stream)?;
        decoder.window_log_max(WINDOW_LOG).map_err(ArchiveError::Stream)?;
        cpio::unpack(&mut decoder, dir, MAX_UNPACKED)?;
        Ok(Folder::read(dir)?)
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
