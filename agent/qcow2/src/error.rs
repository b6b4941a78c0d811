//! Why an image is refused.

use std::fmt;

/// A part of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// The header and its cluster.
    Header,
    /// The active L1 table.
    L1Table,
    /// One L2 table.
    L2Table,
    /// The table of refcount blocks.
    RefcountTable,
    /// The table of internal snapshots.
    SnapshotTable,
    /// A cluster of guest bytes.
    Data,
    /// A compressed cluster of guest bytes.
    CompressedData,
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::L1Table => "L1 table",
            Self::L2Table => "L2 table",
            Self::RefcountTable => "refcount table",
            Self::SnapshotTable => "snapshot table",
            Self::Data => "data cluster",
            Self::CompressedData => "compressed cluster",
        })
    }
}

/// Why an image is refused. Offsets are bytes from the start of the file unless they say guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No qcow2 file.
    #[error("magic is {found:#010x}, qcow2 has 0x514649fb")]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// Fewer bytes than a structure needs.
    #[error("{region} needs {need_bytes} bytes, {have_bytes} are there")]
    Truncated {
        /// The structure.
        region: Region,
        /// Its length.
        need_bytes: usize,
        /// Bytes at hand.
        have_bytes: usize,
    },
    /// A version this reader does not know.
    #[error("qcow2 version is {found}, versions 2 and 3 are read")]
    Version {
        /// The header's version.
        found: u32,
    },
    /// Cluster size out of the format's bounds.
    #[error("cluster_bits is {found}, must be 9 to 21")]
    ClusterBits {
        /// The header's value.
        found: u32,
    },
    /// Header length that cannot be.
    #[error(
        "header says it is {found} bytes long, must be a multiple of 8 from 104 up to the cluster size"
    )]
    HeaderLength {
        /// The header's value.
        found: u32,
    },
    /// Content is in another file: a way to read files the image does not own.
    #[error("image needs a backing file ({name})")]
    BackingFile {
        /// Its name, printable characters only.
        name: String,
    },
    /// Content is in another file: a way to read files the image does not own.
    #[error("image keeps its data in an external file")]
    ExternalData,
    /// The specification forbids it.
    #[error("image says its data is raw in an external file, but names no external file")]
    RawExternalData,
    /// A header extension that cannot be.
    #[error(
        "header extension {kind:#010x} at offset {offset} of {bytes} bytes is invalid: {reason}"
    )]
    HeaderExtension {
        /// Its type.
        kind: u32,
        /// Where it starts.
        offset: u64,
        /// The length it claims.
        bytes: u32,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// Encrypted content.
    #[error("image is encrypted (method {method})")]
    Encrypted {
        /// The header's `crypt_method`: 1 AES, 2 LUKS.
        method: u32,
    },
    /// QEMU found the image damaged and marked it.
    #[error("image is marked corrupt")]
    MarkedCorrupt,
    /// Features that change how the image is read.
    #[error("image uses unknown incompatible features: {names}")]
    UnknownFeatures {
        /// Their names from the image's own table, or bit numbers.
        names: String,
    },
    /// Unknown compression, or a type that its feature bit contradicts.
    #[error(
        "compression type is {found} with feature bit {bit}, known are 0 (zlib) without and 1 (zstd) with it"
    )]
    CompressionType {
        /// The header's value.
        found: u8,
        /// Whether the incompatible feature bit 3 is set.
        bit: bool,
    },
    /// Extended L2 entries need 32 subclusters of at least 512 bytes.
    #[error("extended L2 entries with cluster_bits {found}, need at least 14")]
    ExtendedL2ClusterBits {
        /// The header's value.
        found: u32,
    },
    /// Refcount width out of bounds.
    #[error("refcount_order is {found}, must be at most 6")]
    RefcountOrder {
        /// The header's value.
        found: u32,
    },
    /// A table of absurd size.
    #[error("{region} has {found} entries, at most {limit} are possible")]
    TableSize {
        /// The table.
        region: Region,
        /// Entries (clusters for the refcount table).
        found: u64,
        /// Upper bound.
        limit: u64,
    },
    /// The L1 table does not cover the disk.
    #[error("L1 table has {found} entries, a disk of {virtual_bytes} bytes needs {need}")]
    L1TooSmall {
        /// The header's value.
        found: u64,
        /// Entries needed.
        need: u64,
        /// Virtual size.
        virtual_bytes: u64,
    },
    /// Something that must start at a cluster does not.
    #[error("{region} at offset {offset} is not aligned to {cluster_bytes} bytes")]
    Unaligned {
        /// What.
        region: Region,
        /// Where.
        offset: u64,
        /// Cluster size.
        cluster_bytes: u64,
    },
    /// Something lies outside the file.
    #[error(
        "{region} at offset {offset} of {bytes} bytes is outside the file of {file_bytes} bytes"
    )]
    Outside {
        /// What.
        region: Region,
        /// Where.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// Length of the file.
        file_bytes: u64,
    },
    /// Two things claim the same bytes of the file.
    #[error("{first} at offset {first_offset} overlaps {second} at offset {second_offset}")]
    Overlap {
        /// One.
        first: Region,
        /// Where it starts.
        first_offset: u64,
        /// The other.
        second: Region,
        /// Where it starts.
        second_offset: u64,
    },
    /// Two L1 entries name one L2 table.
    #[error("two L1 entries name the L2 table at offset {offset}")]
    SharedL2Table {
        /// Where it is.
        offset: u64,
    },
    /// An L2 entry contradicts itself.
    #[error("L2 entry {entry:#018x} for guest offset {guest_offset} is invalid: {reason}")]
    L2Entry {
        /// The first word.
        entry: u64,
        /// Guest offset it describes.
        guest_offset: u64,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The map would not fit its memory.
    #[error("image is in more than {limit} pieces")]
    TooManyPieces {
        /// Upper bound.
        limit: usize,
    },
}

impl FormatError {
    /// What the owner of the image can do, one sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::BackingFile { .. } | Self::ExternalData => {
                "flatten the image with `qemu-img convert -O qcow2` and publish the result"
            }
            Self::Encrypted { .. } => {
                "decrypt the image with `qemu-img convert` and publish the result"
            }
            Self::UnknownFeatures { .. }
            | Self::Version { .. }
            | Self::CompressionType { .. }
            | Self::TooManyPieces { .. } => {
                "rewrite the image with `qemu-img convert -O qcow2` and publish the result"
            }
            Self::MarkedCorrupt => {
                "repair the image with `qemu-img check -r all` or build it again"
            }
            Self::Magic { .. }
            | Self::Truncated { .. }
            | Self::ClusterBits { .. }
            | Self::HeaderLength { .. }
            | Self::RawExternalData
            | Self::HeaderExtension { .. }
            | Self::ExtendedL2ClusterBits { .. }
            | Self::RefcountOrder { .. }
            | Self::TableSize { .. }
            | Self::L1TooSmall { .. }
            | Self::Unaligned { .. }
            | Self::Outside { .. }
            | Self::Overlap { .. }
            | Self::SharedL2Table { .. }
            | Self::L2Entry { .. } => {
                "check the file with `qemu-img check`; it is damaged, cut short or not made by QEMU"
            }
        }
    }
}
