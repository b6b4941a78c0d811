//! What an image file is, from its content. A declared format must agree; nothing is believed because of a name.

use super::error::ImageError;

/// A format that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes as they are.
    Raw,
    /// QEMU's format, versions 2 and 3.
    Qcow2,
    /// Raw, compressed as a whole.
    Packed(Packing),
}

/// How a raw image is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// RFC 1952, several members allowed.
    Gzip,
    /// The xz format 1.2, several streams allowed.
    Xz,
    /// RFC 8878, several frames allowed.
    Zstd,
}

impl Format {
    /// As in Ironic's `disk_format`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Packed(Packing::Gzip) => "raw.gz",
            Self::Packed(Packing::Xz) => "raw.xz",
            Self::Packed(Packing::Zstd) => "raw.zst",
        }
    }
}

/// First bytes of what is unpacked on the way.
const PACKED: [(&[u8], Packing); 3] = [
    (b"\x1f\x8b", Packing::Gzip),
    (b"\xfd7zXZ\0", Packing::Xz),
    (b"\x28\xb5\x2f\xfd", Packing::Zstd),
];

/// Signatures of what is not written: offset, bytes, name.
const UNSUPPORTED: [(usize, &[u8], &str); 10] = [
    (0, b"BZh", "compressed with bzip2"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"QED\0", "QED"),
    (0, b"KDMV", "VMDK"),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0x40, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"LUKS\xba\xbe", "a LUKS container"),
    (257, b"ustar", "a tar archive"),
];

/// Decides what `prefix`, the start of the file, is.
///
/// # Errors
/// [`ImageError::Unsupported`], [`ImageError::UnknownFormat`], [`ImageError::FormatMismatch`].
pub(super) fn detect(prefix: &[u8], declared: Option<&str>) -> Result<Format, ImageError> {
    let declared = declared.filter(|declared| !declared.is_empty());
    if let Some(other) = declared.filter(|declared| !matches!(*declared, "raw" | "qcow2")) {
        return Err(ImageError::UnknownFormat { declared: other.to_owned() });
    }
    let unsupported = UNSUPPORTED.iter().find(|(offset, magic, _)| {
        prefix.get(*offset..).is_some_and(|rest| rest.starts_with(magic))
    });
    if let Some((_, _, detected)) = unsupported {
        return Err(ImageError::Unsupported { detected });
    }
    if is_html(prefix) {
        return Err(ImageError::Unsupported { detected: "an HTML page" });
    }
    let packing = PACKED.iter().find(|(magic, _)| prefix.starts_with(magic));
    let format = match packing {
        Some((_, packing)) => Format::Packed(*packing),
        None if prefix.starts_with(&ironwright_qcow2::MAGIC) => Format::Qcow2,
        None => Format::Raw,
    };
    let disk_format = if format == Format::Qcow2 { "qcow2" } else { "raw" };
    match declared {
        Some(declared) if declared != disk_format => Err(ImageError::FormatMismatch {
            declared: declared.to_owned(),
            detected: format.name(),
        }),
        Some(_) | None => Ok(format),
    }
}

/// Portals and error pages come with status 200 too.
fn is_html(prefix: &[u8]) -> bool {
    let start = prefix.trim_ascii_start();
    ["<!doctype html", "<html"].iter().any(|tag| {
        start.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_content_and_the_declared_one_must_agree() {
        let mut vdi = vec![0; 0x40];
        vdi.extend_from_slice(b"\x7f\x10\xda\xbe");
        for (prefix, declared, expected) in [
            (b"QFI\xfb\0\0\0\x03".to_vec(), None, "qcow2"),
            (b"QFI\xfb\0\0\0\x03".to_vec(), Some("qcow2"), "qcow2"),
            (vec![0; 512], Some("raw"), "raw"),
            (vec![0; 512], Some(""), "raw"),
            (
                b"QFI\xfb".to_vec(),
                Some("raw"),
                "order declares disk_format raw, the image is qcow2",
            ),
            (vec![0; 512], Some("qcow2"), "order declares disk_format qcow2, the image is raw"),
            (
                vec![0; 512],
                Some("vmdk"),
                "order declares disk_format \"vmdk\", raw and qcow2 can be written",
            ),
            (b"\x1f\x8b\x08".to_vec(), None, "raw.gz"),
            (b"\xfd7zXZ\0".to_vec(), Some("raw"), "raw.xz"),
            (b"\x28\xb5\x2f\xfd".to_vec(), Some(""), "raw.zst"),
            (
                b"\x1f\x8b\x08".to_vec(),
                Some("qcow2"),
                "order declares disk_format qcow2, the image is raw.gz",
            ),
            (
                b"BZh9".to_vec(),
                None,
                "the image is compressed with bzip2, raw and qcow2 can be written",
            ),
            (
                b"\n <!DOCTYPE HTML><p>".to_vec(),
                None,
                "the image is an HTML page, raw and qcow2 can be written",
            ),
            (vdi, None, "the image is VDI, raw and qcow2 can be written"),
        ] {
            let found = match detect(&prefix, declared) {
                Ok(format) => format.name().to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected);
        }
    }
}
