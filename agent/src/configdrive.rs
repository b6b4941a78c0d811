//! The config drive: JSON or base64(gzip(ISO)) to a file system labelled config-2, validated before, read back after.
//!
//! [`validate`] refuses what can be refused before a byte of the disk changes; [`build`] makes the file system in memory;
//! [`write()`] puts it into its partition. Fetching a URL is the caller's business. Contents may be secret: no error, log or
//! `Debug` output here shows them.

mod error;
mod form;
mod packed;
mod volume;

use ironwright_api::Configured;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use error::ConfigDriveError;
pub use form::{Documents, Form};

use crate::layout::Range;
use crate::layout::bytes::hex;
use crate::sys::disk::BlockDevice;

/// Largest config drive, bytes, as a file system (Ironic's `MAX_CONFIG_DRIVE_SIZE_MB`).
pub const MAX_BYTES: u64 = 64 << 20;

/// A file system ready to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigDrive {
    /// Its bytes, from its first sector.
    pub bytes: Vec<u8>,
    /// `iso9660` or `vfat`.
    pub filesystem: &'static str,
}

impl std::fmt::Debug for ConfigDrive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConfigDrive({}, {} bytes)", self.filesystem, self.bytes.len())
    }
}

/// Checks the order's config drive: closed schema of the object form, or everything down to the label of the text form.
///
/// # Errors
/// [`ConfigDriveError`]
pub fn validate(value: &serde_json::Value) -> Result<Form, ConfigDriveError> {
    let form = Form::parse(value)?;
    if let Form::Text(text) = &form {
        packed::unpack(text.as_bytes())?;
    }
    Ok(form)
}

/// Makes the file system for a disk with sectors of `sector_bytes`. `fetched` is what the URL form's address served.
/// `None` when the order has no config drive.
///
/// # Errors
/// [`ConfigDriveError`]
pub fn build(
    value: &serde_json::Value,
    node_name: &str,
    node_uuid: Uuid,
    sector_bytes: u32,
    fetched: Option<&[u8]>,
) -> Result<Option<ConfigDrive>, ConfigDriveError> {
    match Form::parse(value)? {
        Form::Absent => Ok(None),
        Form::Object(documents) => {
            let files = documents.files(node_name, node_uuid)?;
            let bytes = volume::make(&files, sector_bytes, node_uuid)?;
            Ok(Some(ConfigDrive { bytes, filesystem: "vfat" }))
        }
        Form::Text(text) => packed::unpack(text.as_bytes())?.for_sectors(sector_bytes).map(Some),
        Form::Url(_) => {
            let fetched = fetched.ok_or(ConfigDriveError::NotFetched)?;
            packed::unpack_fetched(fetched)?.for_sectors(sector_bytes).map(Some)
        }
    }
}

/// Writes `drive` to the start of `range`, zeros the rest of the partition, flushes, reads back and compares.
///
/// # Errors
/// [`ConfigDriveError`]
pub fn write(
    disk: &dyn BlockDevice,
    range: Range,
    drive: &ConfigDrive,
) -> Result<Configured, ConfigDriveError> {
    let drive_bytes = drive.bytes.len() as u64;
    if drive_bytes > range.bytes || range.end() > disk.bytes() {
        return Err(ConfigDriveError::Partition {
            drive_bytes,
            offset: range.offset,
            bytes: range.bytes,
            disk_bytes: disk.bytes(),
        });
    }
    disk.write_at(range.offset, &drive.bytes)?;
    // Stale superblocks behind a small file system could win a label search.
    disk.zero(range.offset + drive_bytes, range.bytes - drive_bytes)?;
    disk.flush()?;
    let expected = hex(&Sha256::digest(&drive.bytes));
    let actual = read_digest(disk, Range { offset: range.offset, bytes: drive_bytes })?;
    if actual != expected {
        return Err(ConfigDriveError::ReadBack { offset: range.offset, expected, actual });
    }
    Ok(Configured {
        offset: range.offset,
        bytes: range.bytes,
        sha256: expected,
        filesystem: drive.filesystem.to_owned(),
    })
}

/// SHA-256 of what the disk returns for `range`, read in pieces of at most 1 MiB.
fn read_digest(disk: &dyn BlockDevice, range: Range) -> Result<String, ConfigDriveError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = range.offset;
    while at < range.end() {
        let length = usize::try_from(range.end() - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = &mut buffer[..length];
        disk.read_at(at, piece)?;
        hash.update(&piece);
        at += length as u64;
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
pub(crate) mod tests;
