//! The first bytes of an image file: which format, how large, may it be written.

/// Formats the agent writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Bytes as they go to the disk.
    Raw,
    /// The same, compressed as a whole with gzip, xz or zstd; how large it is shows when it is unpacked.
    PackedRaw,
    /// QEMU's format, version 2 or 3.
    Qcow2,
}

impl Format {
    /// Ironic's `disk_format` of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw | Self::PackedRaw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why these bytes are no image the agent writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Another format.
    #[error("it is a {0} file; convert it to qcow2 or raw")]
    Foreign(&'static str),
    /// It refers to another file, which is a way to read other people's files.
    #[error("it has a backing file, which is refused; flatten it with qemu-img convert")]
    BackingFile,
    /// The same by another way.
    #[error("its data is in another file, which is refused; convert it with qemu-img convert")]
    DataFile,
    /// Encrypted.
    #[error("it is encrypted (method {0})")]
    Encrypted(u32),
    /// A version that is not read.
    #[error("it is qcow2 version {0}; versions 2 and 3 are supported")]
    Version(u32),
    /// The file ends inside its header.
    #[error("it has only {0} bytes")]
    Short(usize),
    /// A web page instead of an image.
    #[error("the server sent a web page, not an image")]
    WebPage,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) format: Format,
    /// Bytes needed on the disk; none where the header does not say.
    pub(super) virtual_bytes: Option<u64>,
}

const QCOW: u32 = 0x5146_49fb;
/// Incompatible feature bit 2: external data file.
const EXTERNAL_DATA: u64 = 1 << 2;
/// First bytes of gzip (RFC 1952), xz (its file format 1.2) and zstd (RFC 8878).
const PACKED: [&[u8]; 3] =
    [&[0x1f, 0x8b], &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];
const FOREIGN: [(&[u8], &str); 6] = [
    (b"BZh", "bzip2"),
    (b"KDMV", "VMDK"),
    (b"# Disk DescriptorFile", "VMDK"),
    (b"vhdxfile", "VHDX"),
    (b"conectix", "VHD"),
    (b"PK\x03\x04", "zip"),
];

/// Reads the first bytes of a file. Offsets are those of the qcow2 specification, section "Header" (QEMU
/// `docs/interop/qcow2.rst`).
pub(super) fn read(bytes: &[u8]) -> Result<Seen, HeaderError> {
    let short = || HeaderError::Short(bytes.len());
    if bytes.len() < 512 && be_u32(bytes, 0) != Some(QCOW) {
        return Err(short());
    }
    if PACKED.iter().any(|magic| bytes.starts_with(magic)) {
        return Ok(Seen { format: Format::PackedRaw, virtual_bytes: None });
    }
    if let Some((_, name)) = FOREIGN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(HeaderError::Foreign(name));
    }
    if be_u32(bytes, 0) != Some(QCOW) {
        let text =
            String::from_utf8_lossy(bytes.get(..64).unwrap_or(bytes)).trim_start().to_lowercase();
        let page = text.starts_with("<!doctype html") || text.starts_with("<html");
        return if page {
            Err(HeaderError::WebPage)
        } else {
            Ok(Seen { format: Format::Raw, virtual_bytes: None })
        };
    }
    let version = be_u32(bytes, 4).ok_or_else(short)?;
    if !matches!(version, 2 | 3) {
        return Err(HeaderError::Version(version));
    }
    if be_u64(bytes, 8).ok_or_else(short)? != 0 {
        return Err(HeaderError::BackingFile);
    }
    let size = be_u64(bytes, 24).ok_or_else(short)?;
    match be_u32(bytes, 32).ok_or_else(short)? {
        0 => {}
        method => return Err(HeaderError::Encrypted(method)),
    }
    if version == 3 && be_u64(bytes, 72).ok_or_else(short)? & EXTERNAL_DATA != 0 {
        return Err(HeaderError::DataFile);
    }
    Ok(Seen { format: Format::Qcow2, virtual_bytes: Some(size) })
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 3 header with one field changed.
    fn qcow2(at: usize, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..4].copy_from_slice(&QCOW.to_be_bytes());
        bytes[4..8].copy_from_slice(&3_u32.to_be_bytes());
        bytes[24..32].copy_from_slice(&(5_u64 << 30).to_be_bytes());
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    }

    #[test]
    fn a_qcow2_header_tells_the_virtual_size() {
        assert_eq!(
            read(&qcow2(0, &[])),
            Ok(Seen { format: Format::Qcow2, virtual_bytes: Some(5 << 30) })
        );
    }

    #[test]
    fn a_compressed_raw_image_has_no_size_yet() {
        for magic in PACKED {
            let seen = Seen { format: Format::PackedRaw, virtual_bytes: None };
            assert_eq!(read(&[magic, &[0; 600]].concat()), Ok(seen));
        }
    }

    #[test]
    fn what_must_not_be_written_is_refused_by_its_reason() {
        for (bytes, expected) in [
            (qcow2(8, &1_u64.to_be_bytes()), HeaderError::BackingFile),
            (qcow2(32, &2_u32.to_be_bytes()), HeaderError::Encrypted(2)),
            (qcow2(72, &EXTERNAL_DATA.to_be_bytes()), HeaderError::DataFile),
            (qcow2(4, &1_u32.to_be_bytes()), HeaderError::Version(1)),
            (qcow2(0, &[])[..20].to_vec(), HeaderError::Short(20)),
            (vec![0; 100], HeaderError::Short(100)),
            ([&b"BZh9"[..], &[0; 600]].concat(), HeaderError::Foreign("bzip2")),
            ([&b"KDMV"[..], &[0; 600]].concat(), HeaderError::Foreign("VMDK")),
            ([&b"\n<!DOCTYPE html>"[..], &[b' '; 600]].concat(), HeaderError::WebPage),
        ] {
            assert_eq!(read(&bytes), Err(expected));
        }
    }
}
