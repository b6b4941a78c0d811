//! The unit of mapping: one host range and the guest range it fills.

/// Longest extent, bytes: longer runs are several items.
pub const MAX_EXTENT_BYTES: u64 = 1 << 30;

/// Bit of `host_len` that marks a compressed cluster. Lengths stay below it.
const COMPRESSED: u32 = 1 << 31;

/// How an item's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As they are.
    Plain,
    /// Compressed; one item is one cluster.
    Compressed,
}

/// A host range and the guest range it fills; 24 bytes, ordered by host offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    host_offset: u64,
    guest_offset: u64,
    host_len: u32,
    guest_len: u32,
}

impl Item {
    /// An extent of bytes stored as they are; `bytes` is capped at [`MAX_EXTENT_BYTES`].
    #[must_use]
    pub fn plain(host_offset: u64, guest_offset: u64, bytes: u64) -> Self {
        let len = clamp(bytes);
        Self { host_offset, guest_offset, host_len: len, guest_len: len }
    }

    /// A compressed cluster.
    pub(crate) fn compressed(
        host_offset: u64,
        host_bytes: u64,
        guest_offset: u64,
        guest_bytes: u64,
    ) -> Self {
        Self {
            host_offset,
            guest_offset,
            host_len: clamp(host_bytes) | COMPRESSED,
            guest_len: clamp(guest_bytes),
        }
    }

    /// First byte in the file.
    #[must_use]
    pub fn host_offset(&self) -> u64 {
        self.host_offset
    }

    /// Bytes in the file.
    #[must_use]
    pub fn host_bytes(&self) -> u64 {
        u64::from(self.host_len & !COMPRESSED)
    }

    /// First byte after it in the file.
    #[must_use]
    pub fn host_end(&self) -> u64 {
        self.host_offset.saturating_add(self.host_bytes())
    }

    /// First byte on the disk.
    #[must_use]
    pub fn guest_offset(&self) -> u64 {
        self.guest_offset
    }

    /// Bytes on the disk.
    #[must_use]
    pub fn guest_bytes(&self) -> u64 {
        u64::from(self.guest_len)
    }

    /// How the bytes are stored.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.host_len & COMPRESSED == 0 { Kind::Plain } else { Kind::Compressed }
    }

    /// A plain item without its first `bytes`; `None` when nothing is left or it is compressed.
    #[must_use]
    pub fn advanced(&self, bytes: u64) -> Option<Self> {
        let left = self.host_bytes().checked_sub(bytes).filter(|left| *left > 0)?;
        match self.kind() {
            Kind::Plain => Some(Self::plain(
                self.host_offset.checked_add(bytes)?,
                self.guest_offset.checked_add(bytes)?,
                left,
            )),
            Kind::Compressed => None,
        }
    }

    /// A compressed item cut to a file of `file_bytes`: the last sector of the last cluster may be short.
    pub(crate) fn clipped(&self, file_bytes: u64) -> Self {
        match self.kind() {
            Kind::Plain => *self,
            Kind::Compressed => Self {
                host_len: clamp(self.host_bytes().min(file_bytes.saturating_sub(self.host_offset)))
                    | COMPRESSED,
                ..*self
            },
        }
    }
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item")
            .field("kind", &self.kind())
            .field("host_offset", &self.host_offset)
            .field("host_bytes", &self.host_bytes())
            .field("guest_offset", &self.guest_offset)
            .field("guest_bytes", &self.guest_bytes())
            .finish()
    }
}

fn clamp(bytes: u64) -> u32 {
    u32::try_from(bytes.min(MAX_EXTENT_BYTES)).unwrap_or(0)
}

/// What a run of guest bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Stored in the file.
    Stored(Item),
    /// Reads as zeros: unallocated, or a zero cluster.
    Zero {
        /// First byte on the disk.
        guest_offset: u64,
        /// Bytes on the disk.
        bytes: u64,
    },
}
