//! L1 and L2 tables: from entries to pieces.

use crate::bytes::{aligned, be_u64};
use crate::error::{FormatError, Region};
use crate::header::Header;
use crate::item::{Item, Kind, MAX_EXTENT_BYTES, Piece};

/// Offset bits of an L1 or standard L2 entry (`L1E_OFFSET_MASK`, `L2E_OFFSET_MASK`).
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// One L2 table: where it is and what it describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table {
    /// First byte in the file; the table is one cluster long.
    pub host_offset: u64,
    /// First guest byte it describes.
    pub guest_offset: u64,
}

/// What one L1 entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L1Entry {
    /// An L2 table describes these guest bytes.
    Table(Table),
    /// They read as zeros.
    Zero {
        /// First byte on the disk.
        guest_offset: u64,
        /// Bytes on the disk.
        bytes: u64,
    },
}

impl Header {
    /// Walks the L1 table and calls `sink` with every entry in guest order.
    ///
    /// # Errors
    /// [`FormatError::Truncated`], [`FormatError::Unaligned`], [`FormatError::Outside`] (when `file_bytes` is known), and
    /// what `sink` returns.
    pub fn decode_l1<E: From<FormatError>>(
        &self,
        l1: &[u8],
        file_bytes: Option<u64>,
        sink: impl FnMut(L1Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let need_bytes = usize::try_from(self.l1_bytes()).unwrap_or(usize::MAX);
        let short =
            FormatError::Truncated { region: Region::L1Table, need_bytes, have_bytes: l1.len() };
        let l1 = l1.get(..need_bytes).ok_or(short)?;
        self.decode_l1_part(0, l1, file_bytes, sink)
    }

    /// As [`Self::decode_l1`] for `part`, whole entries of the table from entry `first` on.
    ///
    /// # Errors
    /// As there.
    pub fn decode_l1_part<E: From<FormatError>>(
        &self,
        first: u64,
        part: &[u8],
        file_bytes: Option<u64>,
        mut sink: impl FnMut(L1Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let coverage = self.l2_coverage_bytes();
        let mut guest_offset = first.saturating_mul(coverage);
        for entry in part.chunks_exact(8) {
            let host_offset = be_u64(entry, 0, Region::L1Table)? & OFFSET_MASK;
            if host_offset == 0 {
                let bytes = self.clip(guest_offset, coverage);
                sink(L1Entry::Zero { guest_offset, bytes })?;
            } else {
                self.check_cluster(Region::L2Table, host_offset, file_bytes)?;
                sink(L1Entry::Table(Table { host_offset, guest_offset }))?;
            }
            guest_offset = guest_offset.saturating_add(coverage);
        }
        Ok(())
    }

    /// Walks one L2 table and calls `sink` with its pieces in guest order, neighbours merged.
    ///
    /// # Errors
    /// [`FormatError`] for an entry that cannot be, and what `sink` returns.
    pub fn decode_l2<E: From<FormatError>>(
        &self,
        guest_offset: u64,
        table: &[u8],
        file_bytes: Option<u64>,
        sink: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        let need_bytes = usize::try_from(self.cluster_bytes).unwrap_or(usize::MAX);
        let short =
            FormatError::Truncated { region: Region::L2Table, need_bytes, have_bytes: table.len() };
        let table = table.get(..need_bytes).ok_or(short)?;
        let mut merge = Merge { pending: None, sink };
        let mut guest = guest_offset;
        for entry in table.chunks_exact(if self.extended_l2 { 16 } else { 8 }) {
            if guest >= self.virtual_bytes {
                break;
            }
            let word = be_u64(entry, 0, Region::L2Table)?;
            if word & COMPRESSED != 0 {
                merge.push(self.compressed(word, guest, file_bytes)?)?;
            } else if self.extended_l2 {
                let bitmap = be_u64(entry, 8, Region::L2Table)?;
                self.subclusters(word, bitmap, guest, file_bytes, &mut merge)?;
            } else {
                merge.push(self.standard(word, guest, file_bytes)?)?;
            }
            guest = guest.saturating_add(self.cluster_bytes);
        }
        merge.finish()
    }

    /// A standard, uncompressed entry.
    fn standard(
        &self,
        word: u64,
        guest_offset: u64,
        file_bytes: Option<u64>,
    ) -> Result<Piece, FormatError> {
        let bytes = self.clip(guest_offset, self.cluster_bytes);
        let host_offset = word & OFFSET_MASK;
        if word & ZERO != 0 && self.version < 3 {
            let reason = "a zero cluster in a version 2 image";
            return Err(FormatError::L2Entry { entry: word, guest_offset, reason });
        }
        if host_offset != 0 {
            self.check_cluster(Region::Data, host_offset, file_bytes)?;
        }
        if word & ZERO != 0 || host_offset == 0 {
            return Ok(Piece::Zero { guest_offset, bytes });
        }
        Ok(Piece::Stored(Item::plain(host_offset, guest_offset, bytes)))
    }

    /// An extended entry: 32 subclusters, each stored, zero or unallocated.
    fn subclusters<E: From<FormatError>, S: FnMut(Piece) -> Result<(), E>>(
        &self,
        word: u64,
        bitmap: u64,
        guest_offset: u64,
        file_bytes: Option<u64>,
        merge: &mut Merge<S>,
    ) -> Result<(), E> {
        let host_offset = word & OFFSET_MASK;
        let (stored, zero) = (bitmap & 0xffff_ffff, bitmap >> 32);
        let reason = if stored & zero != 0 {
            Some("a subcluster is both stored and zero")
        } else if host_offset == 0 && stored != 0 {
            Some("subclusters are stored nowhere")
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(FormatError::L2Entry { entry: word, guest_offset, reason }.into());
        }
        if host_offset != 0 {
            self.check_cluster(Region::Data, host_offset, file_bytes)?;
        }
        let unit = self.unit_bytes();
        for index in 0..32_u32 {
            let skipped = unit.saturating_mul(u64::from(index));
            let guest = guest_offset.saturating_add(skipped);
            let bytes = self.clip(guest, unit);
            if bytes == 0 {
                break;
            }
            merge.push(if stored.checked_shr(index).unwrap_or(0) & 1 == 1 {
                Piece::Stored(Item::plain(host_offset.saturating_add(skipped), guest, bytes))
            } else {
                Piece::Zero { guest_offset: guest, bytes }
            })?;
        }
        Ok(())
    }

    /// A compressed cluster: byte offset in the low bits, number of further 512-byte sectors above it.
    fn compressed(
        &self,
        word: u64,
        guest_offset: u64,
        file_bytes: Option<u64>,
    ) -> Result<Piece, FormatError> {
        let sector_bits = self.cluster_bits.saturating_sub(8);
        let offset_bits = 62_u32.saturating_sub(sector_bits);
        let mask = |bits: u32| 1_u64.checked_shl(bits).unwrap_or(0).wrapping_sub(1);
        let host_offset = word & mask(offset_bits);
        let sectors = word.checked_shr(offset_bits).unwrap_or(0) & mask(sector_bits);
        let bytes = sectors.saturating_add(1).saturating_mul(512);
        let bytes = bytes.saturating_sub(host_offset & 511);
        if host_offset < self.cluster_bytes {
            let reason = "the compressed cluster lies in the header";
            return Err(FormatError::L2Entry { entry: word, guest_offset, reason });
        }
        let guest_bytes = self.clip(guest_offset, self.cluster_bytes);
        let item = Item::compressed(host_offset, bytes, guest_offset, guest_bytes);
        match file_bytes {
            Some(file_bytes) if host_offset >= file_bytes => {
                let region = Region::CompressedData;
                Err(FormatError::Outside { region, offset: host_offset, bytes, file_bytes })
            }
            Some(file_bytes) => Ok(Piece::Stored(item.clipped(file_bytes))),
            None => Ok(Piece::Stored(item)),
        }
    }

    /// A cluster must be aligned and start inside the file. A data cluster may end after it: what is missing there reads
    /// as zeros, as in QEMU; a table may not.
    fn check_cluster(
        &self,
        region: Region,
        offset: u64,
        file_bytes: Option<u64>,
    ) -> Result<(), FormatError> {
        let (bytes, cluster_bytes) = (self.cluster_bytes, self.cluster_bytes);
        if !aligned(offset, cluster_bytes) {
            return Err(FormatError::Unaligned { region, offset, cluster_bytes });
        }
        let last = if region == Region::L2Table { bytes.saturating_sub(1) } else { 0 };
        match file_bytes {
            Some(file_bytes) if offset.saturating_add(last) >= file_bytes => {
                Err(FormatError::Outside { region, offset, bytes, file_bytes })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// `bytes`, or what is left of the disk after `guest_offset`.
    fn clip(&self, guest_offset: u64, bytes: u64) -> u64 {
        bytes.min(self.virtual_bytes.saturating_sub(guest_offset))
    }
}

/// Joins neighbouring pieces before they reach the sink.
struct Merge<S> {
    pending: Option<Piece>,
    sink: S,
}

impl<E, S: FnMut(Piece) -> Result<(), E>> Merge<S> {
    fn push(&mut self, piece: Piece) -> Result<(), E> {
        let joined = self.pending.and_then(|pending| join(pending, piece));
        if joined.is_none()
            && let Some(pending) = self.pending.take()
        {
            (self.sink)(pending)?;
        }
        self.pending = joined.or(Some(piece));
        Ok(())
    }

    fn finish(mut self) -> Result<(), E> {
        self.pending.take().map_or(Ok(()), |pending| (self.sink)(pending))
    }
}

/// The two as one piece when they touch on both sides.
pub(crate) fn join(first: Piece, second: Piece) -> Option<Piece> {
    match (first, second) {
        (Piece::Zero { guest_offset, bytes }, Piece::Zero { guest_offset: next, bytes: more })
            if guest_offset.saturating_add(bytes) == next =>
        {
            Some(Piece::Zero { guest_offset, bytes: bytes.saturating_add(more) })
        }
        (Piece::Stored(one), Piece::Stored(two))
            if one.kind() == Kind::Plain
                && two.kind() == Kind::Plain
                && one.host_end() == two.host_offset()
                && one.guest_offset().saturating_add(one.guest_bytes()) == two.guest_offset()
                && one.host_bytes().saturating_add(two.host_bytes()) <= MAX_EXTENT_BYTES =>
        {
            let bytes = one.host_bytes().saturating_add(two.host_bytes());
            Some(Piece::Stored(Item::plain(one.host_offset(), one.guest_offset(), bytes)))
        }
        _ => None,
    }
}
