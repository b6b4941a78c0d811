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

/// Where a load option leads, in the words of `efibootmgr`: `HD(1,GPT,GUID,0x800,0x1000)/File(\\EFI\\debian\\shimx64.efi)`; nodes
/// of other kinds as `Path(type,subtype)`. Bounded by the option; what is cut off in it is left out.
pub(super) fn shown_path(option: &[u8]) -> Option<String> {
    let length = usize::from(u16::from_le_bytes([*option.get(4)?, *option.get(5)?]));
    let units = option.get(6..)?.as_chunks::<2>().0;
    let end = units.iter().position(|unit| *unit == [0, 0])?;
    let mut rest = option.get(6 + (end + 1) * 2..)?;
    rest = rest.get(..length.min(rest.len()))?;
    let mut parts = Vec::new();
    while let [kind, subtype, low, high, ..] = *rest {
        let length = usize::from(u16::from_le_bytes([low, high]));
        let Some((node, after)) = rest.split_at_checked(length).filter(|_| length >= 4) else {
            break;
        };
        if kind == 0x7F {
            break;
        }
        parts.push(shown_node(kind, subtype, node.get(4..).unwrap_or_default()));
        rest = after;
    }
    Some(parts.join("/"))
}

fn shown_node(kind: u8, subtype: u8, body: &[u8]) -> String {
    let number = |at: usize, bytes: usize| {
        let field = body.get(at..at + bytes).unwrap_or_default();
        field.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
    };
    match (kind, subtype) {
        (4, 1) if body.len() >= 38 => {
            let (first, blocks) = (number(4, 8), number(12, 8));
            let signature = match body.get(37) {
                Some(2) => {
                    let guid = body.get(20..36).and_then(|guid| guid.try_into().ok());
                    format!("GPT,{}", uuid::Uuid::from_bytes_le(guid.unwrap_or_default()))
                }
                _ => format!("MBR,{:#x}", number(20, 4)),
            };
            format!("HD({},{signature},{first:#x},{blocks:#x})", number(0, 4))
        }
        (4, 4) => {
            let units = body.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
            let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
            format!("File({})", String::from_utf16_lossy(&units))
        }
        _ => format!("Path({kind},{subtype})"),
    }
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
        let guid = "abababab-abab-abab-abab-abababababab";
        assert_eq!(shown_path(&option), Some(format!("HD(2,GPT,{guid},0x800,0x1000)/File(\\B)")));
        for cut in 0..option.len() {
            shown_path(&option[..cut]);
        }
    }

    #[test]
    fn descriptions_without_an_end_are_none() {
        for bytes in [&[][..], &[1, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 0, b'A', 0], &[0; 7]] {
            assert_eq!(description(bytes), None);
        }
    }
}
