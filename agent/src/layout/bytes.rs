//! Little-endian fields (and hexadecimal) in byte buffers; outside the buffer reads as `None` and writes nothing.

/// Reads `N` bytes at `offset`.
pub(crate) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// Reads a 32-bit field; zero when outside.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    array(bytes, offset).map_or(0, u32::from_le_bytes)
}

/// Reads a 64-bit field; zero when outside.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    array(bytes, offset).map_or(0, u64::from_le_bytes)
}

/// Copies `field` to `offset`; nothing happens when it does not fit.
pub(crate) fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    if let Some(end) = offset.checked_add(field.len())
        && let Some(target) = bytes.get_mut(offset..end)
    {
        target.copy_from_slice(field);
    }
}

/// Zeros the part of `[start, end)` that lies in a buffer whose first byte is at `base`; all are bytes of the disk.
pub(crate) fn zero(bytes: &mut [u8], base: u64, start: u64, end: u64) {
    let index = |offset: u64| usize::try_from(offset.saturating_sub(base)).unwrap_or(usize::MAX);
    let end = index(end).min(bytes.len());
    if let Some(part) = bytes.get_mut(index(start)..end) {
        part.fill(0);
    }
}

/// Lowercase hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
