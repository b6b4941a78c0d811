//! Header extensions: what follows the header in the first cluster.

use crate::bytes::be_u32;
use crate::error::{FormatError, Region};

/// The list's end.
const END: u32 = 0;
/// Names of feature bits.
const FEATURE_NAMES: u32 = 0x6803_f857;
/// Format of the backing file; QEMU keeps 16 bytes for it with the final zero.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// Longest name of a backing format, bytes.
const BACKING_FORMAT_BYTES: u32 = 15;
/// Where the LUKS header is; images with `crypt_method` 2 have it and no others.
const ENCRYPTION_HEADER: u32 = 0x0537_be77;
/// Where the persistent bitmaps are.
const BITMAPS: u32 = 0x2385_2875;
/// Length of [`BITMAPS`].
const BITMAPS_BYTES: u32 = 24;

/// Walks the extensions of an image that is not encrypted as QEMU does and refuses what it refuses, as far as `prefix`
/// goes. Their content is of no use to a reader.
pub(crate) fn check(
    prefix: &[u8],
    header_bytes: u32,
    cluster_bytes: u64,
) -> Result<(), FormatError> {
    let mut offset = u64::from(header_bytes);
    while offset < cluster_bytes {
        let Ok(at) = usize::try_from(offset) else { return Ok(()) };
        let word = |at| be_u32(prefix, at, Region::Header);
        let (Ok(kind), Ok(bytes)) = (word(at), word(at.saturating_add(4))) else { return Ok(()) };
        let room = cluster_bytes.saturating_sub(offset).checked_sub(8);
        let reason = match kind {
            _ if room.is_none_or(|room| u64::from(bytes) > room) => {
                Some("it ends after the first cluster")
            }
            END => return Ok(()),
            BACKING_FORMAT if bytes > BACKING_FORMAT_BYTES => Some("the name is too long"),
            ENCRYPTION_HEADER => Some("the image is not encrypted with LUKS"),
            BITMAPS if bytes != BITMAPS_BYTES => Some("must be 24 bytes long"),
            _ => None,
        };
        if let Some(reason) = reason {
            return Err(FormatError::HeaderExtension { kind, offset, bytes, reason });
        }
        offset = offset.saturating_add(8).saturating_add(u64::from(bytes).next_multiple_of(8));
    }
    Ok(())
}

/// Names of the incompatible feature bits in `bits`, from the image's own feature name table where it has one.
pub(crate) fn feature_names(prefix: &[u8], header_bytes: u32, bits: u64) -> String {
    let table = feature_table(prefix, header_bytes).unwrap_or_default();
    let names = (0..64_u8).filter(|bit| bits.checked_shr(u32::from(*bit)).unwrap_or(0) & 1 == 1);
    let names = names.map(|bit| {
        let entry = table.chunks_exact(48).find(|entry| entry.starts_with(&[0, bit]));
        match entry.and_then(|entry| entry.get(2..)).map(printable) {
            Some(name) if !name.is_empty() => format!("{name} (bit {bit})"),
            Some(_) | None => format!("bit {bit}"),
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// The content of the feature name table among the header extensions.
fn feature_table(prefix: &[u8], header_bytes: u32) -> Option<&[u8]> {
    let mut offset = usize::try_from(header_bytes).ok()?;
    loop {
        let kind = be_u32(prefix, offset, Region::Header).ok()?;
        let bytes = be_u32(prefix, offset.checked_add(4)?, Region::Header).ok()?;
        let start = offset.checked_add(8)?;
        let bytes = usize::try_from(bytes).ok()?;
        match kind {
            0 => return None,
            FEATURE_NAMES => return prefix.get(start..start.checked_add(bytes)?),
            _ => offset = start.checked_add(bytes.checked_next_multiple_of(8)?)?,
        }
    }
}

/// The printable part of text from an untrusted file.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    text.iter()
        .take(200)
        .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' })
        .collect()
}
