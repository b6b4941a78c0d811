//! One pass from an image server to a disk: hash, decode, write, prove.
//!
//! Bytes flow `source` → (`digest` | `decode` → `write`), every queue bounded; `verify` reads the disk back and
//! `boot_area` is written last. Nothing here knows about orders, partitions or config drives.

mod boot_area;
mod decode;
mod detect;
mod digest;
mod error;
mod http;
mod inflate;
mod run;
mod source;
mod starter;
#[cfg(test)]
mod tests;
mod thread;
mod tuning;
mod unpack;
mod verify;
mod write;

use std::sync::Arc;

use ironwright_api::{Checksum, ReadbackMode, Written};

pub use detect::{Format, Packing};
pub use digest::DigestError;
pub(crate) use digest::is_address;
pub use error::ImageError;
pub use http::{BadAuthorization, Http};
pub use source::SourceError;
pub(crate) use source::public_url;
pub use starter::{Starter, StillStarts};
pub(crate) use starter::{clear as clear_starters, left_alone, sweep as sweep_starters};

use crate::sys::disk::BlockDevice;
use tuning::Tuning;

/// What is to be written and how it is recognised.
#[derive(Debug, Clone)]
pub struct Request {
    /// http(s) URLs of the same bytes; the next one is tried when one fails.
    pub urls: Vec<String>,
    /// The digest of the file as served.
    pub checksum: Checksum,
    /// `raw` or `qcow2` when declared; must agree with what the bytes are.
    pub disk_format: Option<String>,
    /// How the written disk is proven.
    pub readback: ReadbackMode,
    /// Who writes the boot area.
    pub hold: Hold,
    /// What else starts the disk's old system: cleared directly after its table, before the first byte of the image is written.
    pub starters: Vec<Starter>,
}

/// Who writes the image's first and last MiB, which hold its partition tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// [`write()`] does, as its last act, after the digest matched.
    Nothing,
    /// The caller does, from [`Held`], and reads it back: [`Written::proven`] speaks of everything else.
    BootArea,
}

/// Follows a write and may stop it.
pub trait Watch: Send + Sync {
    /// `bytes` of `total` are done in a phase: `write` (bytes of the image file received) or `verify` (bytes read back).
    fn progress(&self, phase: &'static str, bytes: u64, total: Option<u64>);
    /// Whether to stop.
    fn cancelled(&self) -> bool;
}

/// A finished write.
#[derive(Debug)]
pub struct Outcome {
    /// The proof; `serial` is the caller's to fill in.
    pub written: Written,
    /// The boot area: still unwritten with [`Hold::BootArea`], a copy with [`Hold::Nothing`].
    pub held: Held,
}

/// The parts of an image that make a disk bootable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Guest bytes from 0: 1 MiB, or the whole image when it is shorter.
    pub head: Vec<u8>,
    /// Guest offset of [`Held::tail`].
    pub tail_offset: u64,
    /// The image's last MiB as far as it is not in the head: its backup GPT is at its end, and before that may be guest
    /// data that has to be written too.
    pub tail: Vec<u8>,
}

/// What an image is, told without a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The URL that answered, credentials removed.
    pub url: String,
    /// From the content.
    pub format: Format,
    /// Length of the file, when the server says it.
    pub image_bytes: Option<u64>,
    /// Size of the disk the image describes; unknown for a raw image of unknown length.
    pub virtual_bytes: Option<u64>,
    /// Whether the server serves ranges.
    pub ranges: bool,
}

/// Writes an image so that the disk's bytes `[0, virtual size)` equal it.
///
/// What can be refused is refused before a byte changes. From then on the disk has no partition table until the digest
/// matched and the disk was read back; any failure, and a stop by `watch`, leaves it so and the error says so. No thread
/// outlives the returned future, which may be dropped: before the commit that leaves the disk without a partition table.
///
/// # Errors
/// [`ImageError`]; [`ImageError::blame`] and [`ImageError::remedy`] say what to do.
pub async fn write(
    request: &Request,
    disk: Arc<dyn BlockDevice>,
    watch: Arc<dyn Watch>,
    http: &Http,
) -> Result<Outcome, ImageError> {
    run::write(request, disk, watch, http, &Tuning::default()).await
}

/// Looks at the start of an image: reachable, of a format that can be written, not refused by its header.
///
/// # Errors
/// As [`write()`], before the disk is touched.
pub async fn probe(request: &Request, http: &Http) -> Result<Probe, ImageError> {
    run::probe(request, http, &Tuning::default()).await
}
