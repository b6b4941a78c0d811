//! The qcow2 format: which bytes of an image file belong to which bytes of the disk it describes.
//!
//! Pure decoding: no I/O, no unsafe, no panic on any input. The caller brings the header, the L1 table and the L2
//! tables; it gets [`Item`]s (host range to guest range) and ranges that read as zeros. Inflating clusters is the caller's.
//! Internal snapshots are ignored; what needs another file or a key is refused by [`Header::parse`].
//!
//! Source of every offset and bit: QEMU, `docs/interop/qcow2.rst`; limits as in QEMU's `block/qcow2.c`.
#![forbid(unsafe_code)]
#![warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)]

mod bytes;
mod error;
mod extension;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod header;
mod item;
mod map;
mod table;

#[cfg(test)]
mod tests;

pub use error::{FormatError, Region};
pub use header::{Compression, Header, MAGIC};
pub use item::{Item, Kind, MAX_EXTENT_BYTES, Piece};
pub use map::{Map, Mapped};
pub use table::{L1Entry, Table};
