//! `EFI_LOAD_OPTION` and its device path, byte by byte (UEFI specification 2.10, 3.1.3 and 10.3).

/// `LOAD_OPTION_ACTIVE`.
const ACTIVE: u32 = 1;

/// How a disk is partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Mbr,
    Gpt,
}

/// Names a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct HardDrive {
    /// Partition number, from 1.
    pub(super) number: u32,
    /// First logical block.
    pub(super) first_lba: u64,
    /// Logical blocks.
    pub(super) lbas: u64,
    /// Partition GUID, or the MBR's identifier in the first four bytes.
    pub(super) signature: [u8; 16],
    /// Which of the two.
    pub(super) format: Format,
}

/// A load option: attributes, length of the path, description, path.
pub(super) fn build(description: &str, device_path: &[u8]) -> Vec<u8> {
    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend(length(device_path.len()));
    option.extend(utf16(description));
    option.extend(device_path);
    option
}

/// The description of a load option; `None` when it has none that ends.
pub(super) fn description(option: &[u8]) -> Option<String> {
    let units = option.get(6..)?.as_chunks::<2>().0;
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let end = units.iter().position(|unit| *unit == 0)?;
    Some(String::from_utf16_lossy(units.get(..end)?))
}

/// Hard drive node, file path node, end node.
pub(super) fn device_path(drive: &HardDrive, file: &str) -> Vec<u8> {
    let (format, signature_type) = match drive.format {
        Format::Mbr => (1, 1),
        Format::Gpt => (2, 2),
    };
    let mut body = drive.number.to_le_bytes().to_vec();
    body.extend(drive.first_lba.to_le_bytes());
    body.extend(drive.lbas.to_le_bytes());
    body.extend(drive.signature);
    body.extend([format, signature_type]);
    let mut path = node(4, 1, &body);
    path.extend(node(4, 4, &utf16(file)));
    path.extend(node(0x7F, 0xFF, &[]));
    path
}

/// A device path node: type, subtype, length with its header.
fn node(kind: u8, subtype: u8, body: &[u8]) -> Vec<u8> {
    let mut node = vec![kind, subtype];
    node.extend(length(body.len() + 4));
    node.extend(body);
    node
}

/// A 16-bit length. Labels and paths are at most 64 and some 200 characters, so it always fits.
fn length(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes()
}

/// UTF-16LE with a closing NUL.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_option_has_the_bytes_of_the_specification() {
        let drive = HardDrive {
            number: 2,
            first_lba: 0x800,
            lbas: 0x1000,
            signature: [0xAB; 16],
            format: Format::Gpt,
        };
        let option = build("A", &device_path(&drive, "\\B"));
        let mut expected = vec![1, 0, 0, 0, 56, 0, b'A', 0, 0, 0];
        expected.extend([4, 1, 42, 0, 2, 0, 0, 0]);
        expected.extend([0, 8, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]);
        expected.extend([0xAB; 16]);
        expected.extend([2, 2]);
        expected.extend([4, 4, 10, 0, b'\\', 0, b'B', 0, 0, 0]);
        expected.extend([0x7F, 0xFF, 4, 0]);
        assert_eq!(option, expected);
        assert_eq!(description(&option).as_deref(), Some("A"));
    }

    #[test]
    fn descriptions_without_an_end_are_none() {
        for bytes in [&[][..], &[1, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 0, b'A', 0], &[0; 7]] {
            assert_eq!(description(bytes), None);
        }
    }
}
