//! Why a config drive was refused or not written. Never shows contents.

use crate::sys::disk::DiskError;

/// Why a config drive was refused or not written.
#[derive(Debug, thiserror::Error)]
pub enum ConfigDriveError {
    /// Neither object nor text.
    #[error(
        "the config drive is {found}; it must be an object, base64 of a gzipped ISO, or an http(s) URL of one"
    )]
    Type {
        /// JSON type.
        found: &'static str,
    },
    /// The object form is closed.
    #[error(
        "the config drive has the unknown key {key:?}; known are meta_data, user_data, network_data and vendor_data"
    )]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A document of the object form has the wrong type.
    #[error("the config drive's {key} is {found}; it must be {expected}")]
    Document {
        /// Its key.
        key: &'static str,
        /// JSON type found.
        found: &'static str,
        /// JSON types allowed.
        expected: &'static str,
    },
    /// A document could not be printed as JSON.
    #[error("cannot print the config drive's {key}")]
    Print {
        /// Its key.
        key: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The text form is not base64.
    #[error(
        "the config drive's text of {length} characters is not base64; send base64 of a gzipped ISO"
    )]
    Base64 {
        /// Characters, white space left out.
        length: usize,
        /// Where it stops being base64.
        source: base64::DecodeError,
    },
    /// What was decoded is not gzip.
    #[error(
        "the config drive's {length} decoded bytes are not a complete gzip file; send base64 of a gzipped ISO"
    )]
    Gzip {
        /// Length, bytes.
        length: usize,
        /// Why.
        source: std::io::Error,
    },
    /// It is too large.
    #[error("the config drive needs more than {limit} bytes; make it smaller")]
    TooLarge {
        /// The limit, bytes.
        limit: u64,
    },
    /// Unpacked, it is no file system we know.
    #[error("the config drive unpacks to {length} bytes that are neither ISO 9660 nor FAT")]
    Filesystem {
        /// Length, bytes.
        length: usize,
    },
    /// The file system has another label.
    #[error(
        "the config drive's {filesystem} file system is labelled {label:?}; it must be config-2"
    )]
    Label {
        /// `iso9660` or `vfat`.
        filesystem: &'static str,
        /// As found.
        label: String,
    },
    /// The deployed system could not mount it.
    #[error(
        "the config drive is {filesystem} with blocks of {block_bytes} bytes, which cannot be mounted from a disk with \
         sectors of {sector_bytes} bytes; send the config drive as a JSON object"
    )]
    Blocks {
        /// `iso9660` or `vfat`.
        filesystem: &'static str,
        /// Its block size.
        block_bytes: u32,
        /// The disk's sector size.
        sector_bytes: u32,
    },
    /// The URL form without what its address served.
    #[error("the config drive is a URL and was not fetched")]
    NotFetched,
    /// The drive does not fit where it should go.
    #[error(
        "the config drive of {drive_bytes} bytes does not fit its partition of {bytes} bytes at offset {offset} on a disk \
         of {disk_bytes} bytes"
    )]
    Partition {
        /// Length of the drive.
        drive_bytes: u64,
        /// Start of the partition.
        offset: u64,
        /// Length of the partition.
        bytes: u64,
        /// Capacity of the disk.
        disk_bytes: u64,
    },
    /// The disk refused.
    #[error("cannot write the config drive")]
    Disk(#[from] DiskError),
    /// The disk returned something else than was written.
    #[error(
        "the config drive at offset {offset} reads back with sha256 {actual}, written was {expected}; the disk does not \
         keep what is written, replace it"
    )]
    ReadBack {
        /// Start of the partition, bytes.
        offset: u64,
        /// Of what was written.
        expected: String,
        /// Of what was read.
        actual: String,
    },
}
