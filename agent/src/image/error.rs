//! Why an image did not reach the disk, who can mend it and how.

use ironwright_api::Blame;
use ironwright_qcow2::FormatError;

use super::digest::DigestError;
use super::source::SourceError;
use super::starter::StillStarts;
use crate::sys::disk::DiskError;

/// Why an image did not reach the disk.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The order names no source.
    #[error("the order has no image URL")]
    NoUrl,
    /// The image is larger than the disk.
    #[error("image needs {image_bytes} bytes, disk has {disk_bytes}")]
    TooLarge {
        /// Virtual size of the image, bytes.
        image_bytes: u64,
        /// Capacity of the disk, bytes.
        disk_bytes: u64,
    },
    /// There is nothing to write.
    #[error("image describes a disk of 0 bytes")]
    Empty,
    /// A compressed image, or one whose length the server does not say, goes on after the disk's end.
    #[error("the image goes on after {disk_bytes} bytes, the end of the disk")]
    Grows {
        /// Capacity of the disk, bytes.
        disk_bytes: u64,
    },
    /// A file whose length the server does not say has no end in sight.
    #[error("the file does not end: {bytes} bytes have come, for a disk of {disk_bytes}")]
    Endless {
        /// Bytes received.
        bytes: u64,
        /// Capacity of the disk, bytes.
        disk_bytes: u64,
    },
    /// What was compressed is no raw image.
    #[error("the {packed} image holds {detected}, only raw images are unpacked on the way")]
    Inside {
        /// How it is compressed.
        packed: &'static str,
        /// From its first bytes.
        detected: String,
    },
    /// A compressed image cannot be unpacked.
    #[error("cannot unpack the {packed} image after {bytes} bytes of the disk")]
    Unpack {
        /// How it is compressed.
        packed: &'static str,
        /// Bytes that came out before.
        bytes: u64,
        /// What the decompressor says.
        source: std::io::Error,
    },
    /// The bytes received are not the bytes ordered.
    #[error("image {algorithm} is {actual}, order says {expected}")]
    Checksum {
        /// `sha256` or `sha512`.
        algorithm: &'static str,
        /// Of the bytes received, lowercase hexadecimal.
        actual: String,
        /// From the order, lowercase hexadecimal.
        expected: String,
    },
    /// The expected digest cannot be told.
    #[error("cannot tell the image's checksum")]
    Digest(#[from] DigestError),
    /// The bytes cannot be had.
    #[error("cannot fetch the image")]
    Source(#[from] SourceError),
    /// The order declares a format that is not written.
    #[error("order declares disk_format {declared:?}, raw and qcow2 can be written")]
    UnknownFormat {
        /// From the order.
        declared: String,
    },
    /// The order declares something else than the bytes are.
    #[error("order declares disk_format {declared}, the image is {detected}")]
    FormatMismatch {
        /// From the order.
        declared: String,
        /// From the bytes.
        detected: &'static str,
    },
    /// The bytes are something that is not written.
    #[error("the image is {detected}, raw and qcow2 can be written")]
    Unsupported {
        /// From the bytes.
        detected: &'static str,
    },
    /// The image is not what it says it is.
    #[error("cannot read the qcow2 image")]
    Format(#[from] FormatError),
    /// A compressed cluster is damaged.
    #[error(
        "the compressed cluster at offset {host_offset} does not inflate to guest offset {guest_offset}"
    )]
    Inflate {
        /// In the file.
        host_offset: u64,
        /// On the disk.
        guest_offset: u64,
    },
    /// A table read ahead differs from the same bytes of the image.
    #[error("the table at offset {offset} was other bytes when it was read ahead")]
    MetadataChanged {
        /// In the file.
        offset: u64,
    },
    /// The tables come so late that the bytes they describe are gone again and again.
    #[error(
        "{pieces} pieces of the image come before the tables that describe them, in {passes} passes"
    )]
    OutOfOrder {
        /// Pieces left.
        pieces: usize,
        /// Times the image was read.
        passes: u32,
    },
    /// The image was other bytes when it was read once more.
    #[error("image changed between two passes")]
    ChangedBetweenPasses,
    /// The disk refused.
    #[error("cannot write the image")]
    Disk(#[from] DiskError),
    /// The disk returns other bytes than were written.
    #[error("{device} returns other bytes than were written, in {bytes} bytes at offset {offset}")]
    ReadBack {
        /// Device node or file.
        device: String,
        /// First byte of the chunk.
        offset: u64,
        /// Length of the chunk.
        bytes: u64,
    },
    /// What else starts the disk's old system could not be taken away.
    #[error(transparent)]
    StillStarts(#[from] StillStarts),
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// A thread could not be started or died.
    #[error("thread {thread} {what}")]
    Thread {
        /// Its name.
        thread: &'static str,
        /// What happened to it.
        what: String,
    },
    /// Any of the others, after the disk was changed.
    #[error("no image on {device}, which was left without a partition table")]
    Wiped {
        /// Device node or file.
        device: String,
        /// What went wrong.
        source: Box<Self>,
    },
    /// Any of the others, and then the disk refused to be cleared.
    #[error("no image on {device}, whose partition table may be incomplete ({clear})")]
    Unclean {
        /// Device node or file.
        device: String,
        /// Why it could not be cleared.
        clear: String,
        /// What went wrong.
        source: Box<Self>,
    },
}

impl ImageError {
    /// Who can mend it.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::NoUrl
            | Self::TooLarge { .. }
            | Self::Empty
            | Self::Checksum { .. }
            | Self::UnknownFormat { .. }
            | Self::FormatMismatch { .. }
            | Self::Unsupported { .. }
            | Self::Format(_)
            | Self::Inflate { .. }
            | Self::Grows { .. }
            | Self::Endless { .. }
            | Self::Inside { .. }
            | Self::Unpack { .. }
            | Self::OutOfOrder { .. } => Blame::Order,
            Self::MetadataChanged { .. } | Self::ChangedBetweenPasses | Self::Cancelled => {
                Blame::Environment
            }
            Self::Digest(error) => error.blame(),
            Self::Source(error) => error.blame(),
            Self::Disk(_) | Self::ReadBack { .. } | Self::StillStarts(_) => Blame::Hardware,
            Self::Thread { .. } => Blame::Internal,
            Self::Wiped { source, .. } | Self::Unclean { source, .. } => source.blame(),
        }
    }

    /// Whether the bytes that came are to blame: another mirror may have better ones. What cannot be had at all was asked of every
    /// mirror already.
    pub(super) fn is_of_the_bytes(&self) -> bool {
        if let Self::Wiped { source, .. } = self {
            return source.is_of_the_bytes();
        }
        let before_any = matches!(
            self,
            Self::NoUrl | Self::UnknownFormat { .. } | Self::Digest(_) | Self::Source(_)
        );
        let ended = before_any || matches!(self, Self::Cancelled | Self::Unclean { .. });
        !ended && matches!(self.blame(), Blame::Order | Blame::Environment)
    }

    /// What to do next, one sentence.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NoUrl => "name the image's URL in the order".into(),
            Self::TooLarge { .. } | Self::Grows { .. } => "choose a larger disk or shrink the image".into(),
            Self::Endless { .. } => {
                "serve the file with its length (Content-Length), and check that the URL leads to a file".into()
            }
            Self::Empty => "check how the image was built".into(),
            Self::Inside { .. } => {
                "publish what is inside uncompressed: qcow2 has compression of its own".into()
            }
            Self::Unpack { source, .. } if super::unpack::is_too_much(source) => {
                format!(
                    "compress it so that it unpacks within {} MiB (xz up to -9, zstd without --long and --ultra)",
                    super::unpack::MEMORY_BYTES >> 20
                )
            }
            Self::Unpack { .. } => {
                "check the file with its own program (gzip -t, xz -t, zstd -t) and its checksum; it is damaged or incomplete".into()
            }
            Self::Checksum { .. } => {
                "compare the file on the server with the order's checksum: one of them is wrong".into()
            }
            Self::Digest(error) => error.remedy(),
            Self::Source(error) => error.remedy(),
            Self::Unsupported { detected: "an HTML page" } => {
                "correct the URL: it leads to a web page, a login or an error page".into()
            }
            Self::UnknownFormat { .. } | Self::Unsupported { .. } => {
                "convert the image with `qemu-img convert -O qcow2` and publish the result".into()
            }
            Self::FormatMismatch { .. } => {
                "correct disk_format in the order, or check that the server serves the intended file"
                    .into()
            }
            Self::Format(error) => error.remedy().to_owned(),
            Self::Inflate { .. } => {
                "check the file with `qemu-img check` and its checksum; it is damaged".into()
            }
            Self::MetadataChanged { .. } | Self::ChangedBetweenPasses => {
                "make sure that nobody replaces the file while it is served, then try again".into()
            }
            Self::OutOfOrder { .. } => {
                "rewrite the image with `qemu-img convert -O qcow2` and publish the result".into()
            }
            Self::Disk(_) | Self::ReadBack { .. } => {
                "check the disk, its cable and controller, and replace what is broken".into()
            }
            Self::StillStarts(_) => StillStarts::REMEDY.into(),
            Self::Cancelled => "send the order again when the image is wanted".into(),
            Self::Thread { .. } => "report this with the agent's log".into(),
            Self::Wiped { source, .. } | Self::Unclean { source, .. } => source.remedy(),
        }
    }
}
