//! Memory that `O_DIRECT` accepts, without unsafe.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Alignment of every buffer: the largest logical sector and a page.
pub const ALIGN: usize = 4096;

/// A fixed-length buffer whose first byte is at a multiple of [`ALIGN`].
pub struct AlignedBuffer {
    storage: Box<[u8]>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zero bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let storage = vec![0_u8; len.saturating_add(ALIGN)].into_boxed_slice();
        let start = storage.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { storage, start, len }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.storage.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.storage.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len)
    }
}

/// Whether `O_DIRECT` accepts the slice as memory of a transfer.
#[must_use]
pub fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(ALIGN) == 0
}

/// The first byte that is not zero, and where. Looks at a page at a time without a branch, which compilers turn into vector
/// instructions: verifying an erase must not be slower than the disk.
#[must_use]
pub fn first_non_zero(bytes: &[u8]) -> Option<(usize, u8)> {
    const PAGE: usize = 4096;
    let dirty = |page: &[u8]| page.iter().fold(0, |seen, byte| seen | byte) != 0;
    let page = bytes.chunks(PAGE).position(dirty)? * PAGE;
    let rest = bytes.get(page..)?;
    let place = rest.iter().position(|byte| *byte != 0)?;
    rest.get(place).map(|byte| (page + place, *byte))
}
