//! The SMBIOS table as structures (SMBIOS 3.7, 6.1): a header, formatted bytes, and strings that are named by number.
//!
//! The table is the firmware's word and may be cut or wrong: what does not parse ends the walk quietly.

use super::tree::{Tree, clean};

/// Structures read at most: a large server has some hundreds.
const STRUCTURES_MAX: usize = 8192;

/// One structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Structure<'a> {
    /// Its type.
    pub(super) kind: u8,
    /// Header and formatted bytes; offsets are those of the specification.
    formatted: &'a [u8],
    strings: &'a [u8],
}

/// The table's bytes.
pub(super) fn table(tree: &Tree) -> Vec<u8> {
    tree.bytes("sys/firmware/dmi/tables/DMI").unwrap_or_default()
}

/// All structures of `table`, in its order.
pub(super) fn structures(mut table: &[u8]) -> Vec<Structure<'_>> {
    let mut all = Vec::new();
    while let [kind, length, ..] = *table {
        let length = usize::from(length);
        let Some(formatted) = table.get(..length).filter(|_| length >= 4) else { break };
        // After the formatted part come strings, closed by two NULs.
        let rest = table.get(length..).unwrap_or_default();
        let Some(end) = rest.windows(2).position(|pair| pair == [0, 0]) else { break };
        let strings = rest.get(..end).unwrap_or_default();
        all.push(Structure { kind, formatted, strings });
        // 127: end of table.
        if kind == 127 || all.len() >= STRUCTURES_MAX {
            break;
        }
        table = rest.get(end + 2..).unwrap_or_default();
    }
    all
}

impl Structure<'_> {
    /// Length of header and formatted bytes.
    pub(super) fn length(&self) -> usize {
        self.formatted.len()
    }

    /// The handle by which others name it.
    pub(super) fn handle(&self) -> u16 {
        self.word(2).unwrap_or_default()
    }

    /// One byte.
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.formatted.get(at).copied()
    }

    /// Two bytes, little-endian.
    pub(super) fn word(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.formatted.get(at..at + 2)?.try_into().ok()?))
    }

    /// Four bytes, little-endian.
    pub(super) fn double(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.formatted.get(at..at + 4)?.try_into().ok()?))
    }

    /// Eight bytes, little-endian.
    pub(super) fn quad(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.formatted.get(at..at + 8)?.try_into().ok()?))
    }

    /// The string whose number stands at `at`; none where the number is 0 or the string is blank.
    pub(super) fn text(&self, at: usize) -> Option<String> {
        let number = usize::from(self.byte(at)?);
        clean(self.strings.split(|byte| *byte == 0).nth(number.checked_sub(1)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_show_their_numbers_and_strings_and_the_walk_ends_at_type_127() {
        let table =
            b"\x11\x08\x34\x12\x02\x01\x00\x09first\0second \0\0\x7f\x04\0\0\0\0\x01\x04\0\0\0\0";
        let all = structures(table);
        assert_eq!(all.iter().map(|one| one.kind).collect::<Vec<_>>(), [17, 127]);
        let one = all[0];
        assert_eq!((one.handle(), one.length(), one.word(4)), (0x1234, 8, Some(0x0102)));
        assert_eq!(one.text(4).as_deref(), Some("second"));
        assert_eq!(one.text(5).as_deref(), Some("first"));
        assert_eq!(
            (one.text(6), one.text(7), one.text(8), one.double(6)),
            (None, None, None, None)
        );
    }

    #[test]
    fn cut_tables_end_quietly() {
        let table = b"\x11\x08\x34\x12\x02\x01\x00\x09first\0second\0\0";
        for length in 0..table.len() {
            assert!(structures(&table[..length]).is_empty());
        }
        assert!(structures(&[17, 0, 0, 0, 0, 0]).is_empty());
        assert!(structures(&[17, 3, 0, 0, 0]).is_empty());
    }
}
