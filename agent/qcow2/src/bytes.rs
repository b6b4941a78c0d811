//! Big-endian fields of untrusted bytes, and arithmetic that cannot wrap.

use crate::error::{FormatError, Region};

/// The field at `offset`, or which region was too short for it.
fn field<const N: usize>(
    bytes: &[u8],
    offset: usize,
    region: Region,
) -> Result<[u8; N], FormatError> {
    let end = offset.saturating_add(N);
    bytes
        .get(offset..end)
        .and_then(|slice| <[u8; N]>::try_from(slice).ok())
        .ok_or(FormatError::Truncated { region, need_bytes: end, have_bytes: bytes.len() })
}

pub(crate) fn be_u32(bytes: &[u8], offset: usize, region: Region) -> Result<u32, FormatError> {
    field(bytes, offset, region).map(u32::from_be_bytes)
}

pub(crate) fn be_u64(bytes: &[u8], offset: usize, region: Region) -> Result<u64, FormatError> {
    field(bytes, offset, region).map(u64::from_be_bytes)
}

/// Whether `value` is a multiple of `unit`; nothing is a multiple of zero.
pub(crate) fn aligned(value: u64, unit: u64) -> bool {
    value.checked_rem(unit) == Some(0)
}
