//! Is a file a whole bundle, signed with a trusted key? Its payload is hashed and not looked into.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use ironwright_api::{
    BUNDLE_FORMAT, BundleHeader, MAX_BUNDLE_HEADER, MAX_BUNDLE_PAYLOAD, PluginBundle,
};
use sha2::{Digest as _, Sha256};

use super::key::TrustedKeys;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// Why a bundle is not offered.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error("cannot read it")]
    Read(#[from] std::io::Error),
    #[error(
        "its first line is not a bundle's header; make it with `ironwright-agent plugin bundle`"
    )]
    Header,
    #[error("it has format {found}, this coordinator reads format {BUNDLE_FORMAT}")]
    Format { found: u32 },
    #[error("its header promises {promised} bytes, {found} are there")]
    Length { promised: u64, found: u64 },
    #[error("it has {bytes} bytes, the most is {MAX_BUNDLE_PAYLOAD}")]
    TooLarge { bytes: u64 },
    #[error("its sha256 is {found}, its header says {promised}; do not use this file")]
    Digest { promised: String, found: String },
    #[error("it is signed with the key {key_id}, which is not among plugins.keys ({})", trusted.join(", "))]
    Untrusted { key_id: String, trusted: Vec<String> },
    #[error("its signature is not by the key {key_id} that it names: it was changed, or forged")]
    Signature { key_id: String },
}

/// The bundle in `path`, as an order names it.
pub(super) fn bundle(path: &Path, keys: &TrustedKeys) -> Result<PluginBundle, CheckError> {
    let mut file = BufReader::with_capacity(PIECE, File::open(path)?);
    let mut line = Vec::new();
    (&mut file).take(MAX_BUNDLE_HEADER as u64).read_until(b'\n', &mut line)?;
    let text = line.strip_suffix(b"\n").ok_or(CheckError::Header)?;
    let header: BundleHeader = serde_json::from_slice(text).map_err(|_| CheckError::Header)?;
    if header.format != BUNDLE_FORMAT {
        return Err(CheckError::Format { found: header.format });
    }
    let mut digest = Sha256::new();
    let mut found = 0;
    loop {
        let piece = file.fill_buf()?;
        let length = piece.len();
        if length == 0 {
            break;
        }
        digest.update(piece);
        file.consume(length);
        found += length as u64;
        if found > MAX_BUNDLE_PAYLOAD {
            return Err(CheckError::TooLarge { bytes: found });
        }
    }
    if found != header.bytes {
        return Err(CheckError::Length { promised: header.bytes, found });
    }
    let sha256: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if sha256 != header.sha256 {
        return Err(CheckError::Digest { promised: header.sha256, found: sha256 });
    }
    let signed = BundleHeader::signed_text(&sha256, found);
    match keys.verify(&header.key_id, &signed, &header.signature) {
        None => Err(CheckError::Untrusted { key_id: header.key_id, trusted: keys.ids() }),
        Some(false) => Err(CheckError::Signature { key_id: header.key_id }),
        Some(true) => Ok(PluginBundle {
            url: format!("/plugins/{sha256}"),
            sha256,
            key_id: header.key_id,
            bytes: found + line.len() as u64,
        }),
    }
}
