//! The text form: base64 of gzip of a file system. Every size is bounded and the label is checked.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;

use super::{ConfigDrive, ConfigDriveError, MAX_BYTES};
use crate::layout::CONFIG_NAME;

/// First bytes of a gzip file (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1F, 0x8B];
/// Where an ISO 9660 volume descriptor begins: sector 16 of 2048 bytes (ECMA-119, 6.2.1 and 8.4).
const ISO_DESCRIPTOR: usize = 16 * 2048;
/// A primary volume descriptor's type, identifier and version.
const ISO_PRIMARY: &[u8] = b"\x01CD001\x01";
/// Block size of every ISO 9660 file system we take, bytes.
const ISO_BLOCK: u32 = 2048;

/// Decodes the text form and checks what it holds.
pub(super) fn unpack(text: &[u8]) -> Result<Unpacked, ConfigDriveError> {
    // White space is how mail and YAML wrap base64; Python's decoder, which Ironic uses, skips it too.
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    // 4/3 for base64; gzip of incompressible bytes is hardly longer than them.
    if text.len() as u64 > MAX_BYTES / 3 * 4 + (1 << 20) {
        return Err(ConfigDriveError::TooLarge { limit: MAX_BYTES });
    }
    let packed = STANDARD
        .decode(&text)
        .map_err(|source| ConfigDriveError::Base64 { length: text.len(), source })?;
    recognise(inflate(&packed)?)
}

/// Checks what a URL served: the file system, gzip of it, or the text form.
pub(super) fn unpack_fetched(bytes: &[u8]) -> Result<Unpacked, ConfigDriveError> {
    if bytes.starts_with(&GZIP) {
        return recognise(inflate(bytes)?);
    }
    if label(bytes).is_some() {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ConfigDriveError::TooLarge { limit: MAX_BYTES });
        }
        return recognise(bytes.to_vec());
    }
    unpack(bytes)
}

/// A file system labelled config-2.
#[derive(Debug)]
pub(super) struct Unpacked {
    drive: ConfigDrive,
    block_bytes: u32,
}

impl Unpacked {
    /// The drive, when a disk with such sectors can be mounted from.
    pub(super) fn for_sectors(self, sector_bytes: u32) -> Result<ConfigDrive, ConfigDriveError> {
        if self.block_bytes < sector_bytes {
            return Err(ConfigDriveError::Blocks {
                filesystem: self.drive.filesystem,
                block_bytes: self.block_bytes,
                sector_bytes,
            });
        }
        Ok(self.drive)
    }
}

/// Unpacks gzip, at most [`MAX_BYTES`] of it.
fn inflate(packed: &[u8]) -> Result<Vec<u8>, ConfigDriveError> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed)
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ConfigDriveError::Gzip { length: packed.len(), source })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigDriveError::TooLarge { limit: MAX_BYTES });
    }
    Ok(bytes)
}

/// Accepts a file system with the right label.
fn recognise(bytes: Vec<u8>) -> Result<Unpacked, ConfigDriveError> {
    let Some((filesystem, block_bytes, label)) = label(&bytes) else {
        return Err(ConfigDriveError::Filesystem { length: bytes.len() });
    };
    if !label.eq_ignore_ascii_case(CONFIG_NAME) {
        return Err(ConfigDriveError::Label { filesystem, label });
    }
    Ok(Unpacked { drive: ConfigDrive { bytes, filesystem }, block_bytes })
}

/// Kind, block size and label of a file system.
fn label(bytes: &[u8]) -> Option<(&'static str, u32, String)> {
    let text = |range: std::ops::Range<usize>| {
        let label = String::from_utf8_lossy(bytes.get(range)?);
        Some(label.trim_end_matches(['\0', ' ']).to_owned())
    };
    let at = |range: std::ops::Range<usize>| bytes.get(range).unwrap_or_default();
    if at(ISO_DESCRIPTOR..ISO_DESCRIPTOR + ISO_PRIMARY.len()) == ISO_PRIMARY {
        return Some(("iso9660", ISO_BLOCK, text(ISO_DESCRIPTOR + 40..ISO_DESCRIPTOR + 72)?));
    }
    // Boot sector of FAT12/16 and of FAT32 (Microsoft's FAT specification 1.03, "BPB").
    let sector = u32::from(u16::from_le_bytes(bytes.get(11..13)?.try_into().ok()?));
    if at(510..512) == [0x55, 0xAA] && at(54..57) == b"FAT" {
        return Some(("vfat", sector, text(43..54)?));
    }
    if at(510..512) == [0x55, 0xAA] && at(82..87) == b"FAT32" {
        return Some(("vfat", sector, text(71..82)?));
    }
    None
}
