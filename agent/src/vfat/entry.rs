//! Directory entries of FAT, long names included (FAT specification 1.03, "Long Directory Entries").

use crate::layout::bytes::put;

/// Length of a slot, bytes.
pub(super) const ENTRY_BYTES: usize = 32;
/// Attribute: volume label.
const LABEL: u8 = 0x08;
/// Attribute: directory.
const DIRECTORY: u8 = 0x10;
/// Attribute: slot of a long name.
const LONG_NAME: u8 = 0x0F;
/// 1980-01-01, the first day FAT knows.
const EPOCH: [u8; 2] = 0x0021u16.to_le_bytes();
/// Longest name, UTF-16 units.
const MAX_UNITS: usize = 255;
/// Where a slot of a long name keeps its 13 UTF-16 units, bytes.
const UNITS_AT: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// The volume label, case kept: cloud-init and `blkid -L` look for `config-2` as it is written.
pub(super) fn label_entry(label: &str) -> [u8; ENTRY_BYTES] {
    slot(&padded(label.as_bytes()), LABEL, 0, 0)
}

/// `.` or `..` of a directory; the root is cluster 0.
pub(super) fn dot_entry(name: &[u8], cluster: u16) -> [u8; ENTRY_BYTES] {
    slot(&padded(name), DIRECTORY, cluster, 0)
}

/// How many slots an entry of this name takes.
pub(super) fn slots(name: &str) -> usize {
    name.encode_utf16().count().div_ceil(UNITS_AT.len()) + 1
}

/// The slots of a file (`length` is its bytes) or a directory (`None`): long name, then the short one, made unique by
/// `index`, which must differ for all entries of a directory. `None` for a name that FAT cannot have.
pub(super) fn directory_entry(
    name: &str,
    index: usize,
    cluster: u16,
    length: Option<u32>,
) -> Option<Vec<[u8; ENTRY_BYTES]>> {
    let forbidden = |sign: char| sign.is_control() || "\"*/:<>?\\|".contains(sign);
    if name.is_empty() || name.encode_utf16().count() > MAX_UNITS || name.contains(forbidden) {
        return None;
    }
    let short = short_name(name, index);
    let checksum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(UNITS_AT.len()) {
        units.push(0);
    }
    let mut slots = Vec::new();
    for (order, piece) in (1u8..).zip(units.chunks(UNITS_AT.len())) {
        let mut slot = [0xFF; ENTRY_BYTES];
        slot[0] = order;
        slot[11] = LONG_NAME;
        slot[12] = 0;
        slot[13] = checksum;
        slot[26..28].fill(0);
        for (at, unit) in UNITS_AT.into_iter().zip(piece) {
            put(&mut slot, at, &unit.to_le_bytes());
        }
        slots.push(slot);
    }
    // Long names are stored back to front; the slot with the name's end is marked.
    slots.reverse();
    if let Some(last) = slots.first_mut() {
        last[0] |= 0x40;
    }
    let attribute = if length.is_some() { 0 } else { DIRECTORY };
    slots.push(slot(&short, attribute, cluster, length.unwrap_or(0)));
    Some(slots)
}

/// `META_D~1JSO` for `meta_data.json`.
fn short_name(name: &str, index: usize) -> [u8; 11] {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let number = format!("~{}", index + 1);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let stem = stem.bytes().filter(plain).take(8_usize.saturating_sub(number.len()));
    let mut short = padded(&[]);
    for (to, from) in short.iter_mut().take(8).zip(stem.chain(number.bytes())) {
        *to = from.to_ascii_uppercase();
    }
    for (to, from) in short[8..].iter_mut().zip(extension.bytes().filter(plain)) {
        *to = from.to_ascii_uppercase();
    }
    short
}

/// A name of at most 11 bytes, padded with spaces.
fn padded(name: &[u8]) -> [u8; 11] {
    let mut padded = [b' '; 11];
    for (to, from) in padded.iter_mut().zip(name) {
        *to = *from;
    }
    padded
}

/// A slot with a short name.
fn slot(name: &[u8; 11], attribute: u8, cluster: u16, length: u32) -> [u8; ENTRY_BYTES] {
    let mut slot = [0; ENTRY_BYTES];
    put(&mut slot, 0, name);
    slot[11] = attribute;
    for date_at in [16, 18, 24] {
        put(&mut slot, date_at, &EPOCH);
    }
    put(&mut slot, 26, &cluster.to_le_bytes());
    put(&mut slot, 28, &length.to_le_bytes());
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_unique_and_upper_case() {
        for (name, index, short) in [
            ("meta_data.json", 0, b"META_D~1JSO"),
            ("user_data", 1, b"USER_D~2   "),
            ("2012-08-10", 2, b"2012-0~3   "),
            ("a.b", 8, b"A~9     B  "),
            ("grub.x86 64.efi", 999, b"GRU~1000EFI"),
        ] {
            assert_eq!(&short_name(name, index), short, "{name}");
        }
    }

    #[test]
    fn a_name_of_a_whole_number_of_slots_has_no_terminator() {
        for (length, slots) in [(1, 1), (12, 1), (13, 1), (14, 2), (26, 2), (27, 3)] {
            let entry = directory_entry(&"x".repeat(length), 0, 2, None).unwrap();
            assert_eq!(
                (entry.len(), super::slots(&"x".repeat(length))),
                (slots + 1, slots + 1),
                "{length} characters"
            );
        }
    }
}
