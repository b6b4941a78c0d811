//! The header: what an image is, and every reason to refuse it before anything else is read.

use crate::bytes::{aligned, be_u32, be_u64};
use crate::error::{FormatError, Region};
use crate::extension;

/// The first four bytes of every qcow2 file.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

/// QEMU's `QCOW_MAX_L1_SIZE` (32 MiB) in entries.
const MAX_L1_ENTRIES: u64 = 4 << 20;
/// QEMU's `QCOW_MAX_REFTABLE_SIZE`, bytes.
const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
/// QEMU's `QCOW_MAX_SNAPSHOTS`.
const MAX_SNAPSHOTS: u64 = 65_536;

/// Length of a version 2 header.
const VERSION_2_BYTES: u32 = 72;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;

/// Autoclear feature bit 1, `data_file_raw`: only valid with an external data file.
const RAW_EXTERNAL_DATA: u64 = 1 << 1;

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate, window of 4 KiB.
    Zlib,
    /// One zstd frame, then padding.
    Zstd,
}

/// What a reader needs of a header that passed every check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// log2 of the cluster size, 9 to 21.
    pub cluster_bits: u32,
    /// Cluster size in bytes.
    pub cluster_bytes: u64,
    /// Size of the disk the image describes, bytes.
    pub virtual_bytes: u64,
    /// Where the L1 table starts.
    pub l1_offset: u64,
    /// L1 entries that describe the disk (the file may have more: saved machine state).
    pub l1_entries: u64,
    /// How compressed clusters are compressed.
    pub compression: Compression,
    /// Whether L2 entries are 16 bytes with 32 subclusters each.
    pub extended_l2: bool,
    /// Where the refcount table starts; its content is not used.
    pub refcount_table_offset: u64,
    /// Length of the refcount table.
    pub refcount_table_bytes: u64,
}

impl Header {
    /// Parses the start of an image; [`FormatError::Truncated`] when `prefix` is too short. Names of unknown features and
    /// of a backing file are complete when `prefix` holds the first cluster.
    ///
    /// # Errors
    /// Every [`FormatError`] that a header alone can cause.
    pub fn parse(prefix: &[u8]) -> Result<Self, FormatError> {
        let u32_at = |offset| be_u32(prefix, offset, Region::Header);
        let u64_at = |offset| be_u64(prefix, offset, Region::Header);
        let found = u32_at(0)?;
        if found != u32::from_be_bytes(MAGIC) {
            return Err(FormatError::Magic { found });
        }
        let version = u32_at(4)?;
        if !(2..=3).contains(&version) {
            return Err(FormatError::Version { found: version });
        }
        let cluster_bits = u32_at(20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(FormatError::ClusterBits { found: cluster_bits });
        }
        let cluster_bytes = power_of_two(cluster_bits);
        let features = Features::parse(prefix, version, cluster_bits)?;
        refuse_foreign_content(prefix, u64_at(8)?, u32_at(16)?, u32_at(32)?)?;
        extension::check(prefix, features.header_bytes, cluster_bytes)?;
        let refcount_table_bytes = u64::from(u32_at(56)?).saturating_mul(cluster_bytes);
        let mut header = Self {
            version,
            cluster_bits,
            cluster_bytes,
            virtual_bytes: u64_at(24)?,
            l1_offset: u64_at(40)?,
            l1_entries: u64::from(u32_at(36)?),
            compression: features.compression,
            extended_l2: features.extended_l2,
            refcount_table_offset: u64_at(48)?,
            refcount_table_bytes,
        };
        header.check_l1()?;
        header.check_refcount_table()?;
        header.check_snapshots(u64::from(u32_at(60)?), u64_at(64)?)?;
        header.check_overlap()?;
        Ok(header)
    }

    /// Checks that the tables named by the header are inside a file of `file_bytes`.
    ///
    /// # Errors
    /// [`FormatError::Outside`].
    pub fn check_file(&self, file_bytes: u64) -> Result<(), FormatError> {
        for (region, offset, bytes) in [
            (Region::L1Table, self.l1_offset, self.l1_bytes()),
            (Region::RefcountTable, self.refcount_table_offset, self.refcount_table_bytes),
        ] {
            if offset.checked_add(bytes).is_none_or(|end| end > file_bytes) {
                return Err(FormatError::Outside { region, offset, bytes, file_bytes });
            }
        }
        Ok(())
    }

    /// Length of the part of the L1 table that describes the disk, bytes.
    #[must_use]
    pub fn l1_bytes(&self) -> u64 {
        self.l1_entries.saturating_mul(8)
    }

    /// Guest bytes that one L2 table describes.
    #[must_use]
    pub fn l2_coverage_bytes(&self) -> u64 {
        let entry_bits = if self.extended_l2 { 4 } else { 3 };
        power_of_two(self.cluster_bits.saturating_mul(2).saturating_sub(entry_bits))
    }

    /// The smallest run of guest bytes that is mapped on its own: a cluster, or a subcluster with extended L2 entries.
    #[must_use]
    pub fn unit_bytes(&self) -> u64 {
        if self.extended_l2 {
            power_of_two(self.cluster_bits.saturating_sub(5))
        } else {
            self.cluster_bytes
        }
    }

    fn check_l1(&mut self) -> Result<(), FormatError> {
        let (found, coverage) = (self.l1_entries, self.l2_coverage_bytes());
        if found > MAX_L1_ENTRIES {
            return Err(FormatError::TableSize {
                region: Region::L1Table,
                found,
                limit: MAX_L1_ENTRIES,
            });
        }
        let need = self.virtual_bytes.div_ceil(coverage.max(1));
        if found < need {
            return Err(FormatError::L1TooSmall { found, need, virtual_bytes: self.virtual_bytes });
        }
        self.l1_entries = need;
        self.check_aligned(Region::L1Table, self.l1_offset)
    }

    fn check_refcount_table(&self) -> Result<(), FormatError> {
        let limit = MAX_REFCOUNT_TABLE_BYTES.checked_div(self.cluster_bytes).unwrap_or(0);
        let found = self.refcount_table_bytes.checked_div(self.cluster_bytes).unwrap_or(0);
        if found == 0 || found > limit {
            return Err(FormatError::TableSize { region: Region::RefcountTable, found, limit });
        }
        self.check_aligned(Region::RefcountTable, self.refcount_table_offset)
    }

    fn check_snapshots(&self, found: u64, offset: u64) -> Result<(), FormatError> {
        if found > MAX_SNAPSHOTS {
            let limit = MAX_SNAPSHOTS;
            return Err(FormatError::TableSize { region: Region::SnapshotTable, found, limit });
        }
        self.check_aligned(Region::SnapshotTable, offset)
    }

    fn check_aligned(&self, region: Region, offset: u64) -> Result<(), FormatError> {
        if aligned(offset, self.cluster_bytes) {
            return Ok(());
        }
        Err(FormatError::Unaligned { region, offset, cluster_bytes: self.cluster_bytes })
    }

    /// Header, L1 table and refcount table must not share a byte.
    fn check_overlap(&self) -> Result<(), FormatError> {
        let header = (Region::Header, 0, self.cluster_bytes);
        let l1 = (Region::L1Table, self.l1_offset, self.l1_bytes());
        let refcounts =
            (Region::RefcountTable, self.refcount_table_offset, self.refcount_table_bytes);
        for (one, other) in [(header, l1), (header, refcounts), (l1, refcounts)] {
            if one.2 > 0
                && other.2 > 0
                && one.1 < other.1.saturating_add(other.2)
                && other.1 < one.1.saturating_add(one.2)
            {
                return Err(FormatError::Overlap {
                    first: one.0,
                    first_offset: one.1,
                    second: other.0,
                    second_offset: other.1,
                });
            }
        }
        Ok(())
    }
}

/// The features that change how an image is read.
struct Features {
    /// Where the header ends and its extensions begin.
    header_bytes: u32,
    compression: Compression,
    extended_l2: bool,
}

impl Features {
    fn parse(prefix: &[u8], version: u32, cluster_bits: u32) -> Result<Self, FormatError> {
        if version < 3 {
            let compression = Compression::Zlib;
            return Ok(Self { header_bytes: VERSION_2_BYTES, compression, extended_l2: false });
        }
        let incompatible = be_u64(prefix, 72, Region::Header)?;
        let refcount_order = be_u32(prefix, 96, Region::Header)?;
        let length = be_u32(prefix, 100, Region::Header)?;
        let fits = u64::from(length) <= power_of_two(cluster_bits);
        if length < 104 || !aligned(u64::from(length), 8) || !fits {
            return Err(FormatError::HeaderLength { found: length });
        }
        if incompatible & !KNOWN != 0 {
            let names = extension::feature_names(prefix, length, incompatible & !KNOWN);
            return Err(FormatError::UnknownFeatures { names });
        }
        if incompatible & CORRUPT != 0 {
            return Err(FormatError::MarkedCorrupt);
        }
        if incompatible & EXTERNAL_DATA != 0 {
            return Err(FormatError::ExternalData);
        }
        if be_u64(prefix, 88, Region::Header)? & RAW_EXTERNAL_DATA != 0 {
            return Err(FormatError::RawExternalData);
        }
        let extended_l2 = incompatible & EXTENDED_L2 != 0;
        if extended_l2 && cluster_bits < 14 {
            return Err(FormatError::ExtendedL2ClusterBits { found: cluster_bits });
        }
        if refcount_order > 6 {
            return Err(FormatError::RefcountOrder { found: refcount_order });
        }
        let bit = incompatible & COMPRESSION_TYPE != 0;
        let found = if length > 104 { compression_byte(prefix)? } else { 0 };
        let compression = match (found, bit) {
            (0, false) => Compression::Zlib,
            (1, true) => Compression::Zstd,
            (found, bit) => return Err(FormatError::CompressionType { found, bit }),
        };
        Ok(Self { header_bytes: length, compression, extended_l2 })
    }
}

/// `1 << bits` for the bounded shifts of this format.
fn power_of_two(bits: u32) -> u64 {
    1_u64.checked_shl(bits).unwrap_or(0)
}

fn compression_byte(prefix: &[u8]) -> Result<u8, FormatError> {
    be_u32(prefix, 104, Region::Header).map(|word| word.to_be_bytes()[0])
}

/// Refuses content that lives in another file or needs a key.
fn refuse_foreign_content(
    prefix: &[u8],
    backing_offset: u64,
    backing_bytes: u32,
    crypt_method: u32,
) -> Result<(), FormatError> {
    if backing_offset != 0 {
        let start = usize::try_from(backing_offset).unwrap_or(usize::MAX);
        let bytes = usize::try_from(backing_bytes.min(1023)).unwrap_or(0);
        let name = prefix.get(start..start.saturating_add(bytes)).unwrap_or_default();
        return Err(FormatError::BackingFile { name: extension::printable(name) });
    }
    if crypt_method != 0 {
        return Err(FormatError::Encrypted { method: crypt_method });
    }
    Ok(())
}
