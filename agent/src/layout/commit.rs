//! The last action of a deploy: the held bytes go to the disk, LBA 0 at the very end.

use ironwright_api::Committed;
use sha2::{Digest, Sha256};

use super::bytes::hex;
use super::{Layout, Range};
use crate::sys::disk::{BlockDevice, DiskError};

/// Why a partition table did not reach the disk. The disk's first MiB was zeroed again, unless it is said that it was not.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The layout was made for another disk.
    #[error(
        "the layout ends at byte {end}, {device} has {disk_bytes} bytes: it was planned for another disk"
    )]
    WrongDisk {
        /// Device node.
        device: String,
        /// First byte after the layout's last piece.
        end: u64,
        /// Capacity.
        disk_bytes: u64,
    },
    /// The disk refused.
    #[error("committing the {piece} at offset {offset}")]
    Disk {
        /// Which piece.
        piece: &'static str,
        /// Where it begins, bytes.
        offset: u64,
        /// Why.
        source: DiskError,
    },
    /// The disk returned other bytes than were written.
    #[error(
        "the {piece} reads back different at offset {offset}: wrote {wrote:#04x}, read {read:#04x}; the disk does not \
         keep what is written, replace it"
    )]
    Differs {
        /// Which piece.
        piece: &'static str,
        /// First byte that differs.
        offset: u64,
        /// What was written there.
        wrote: u8,
        /// What came back.
        read: u8,
    },
    /// Any of the others, and then the disk refused to be cleared.
    #[error(
        "{failure}; and what was written of it could not be taken away again: the disk may start"
    )]
    Unclean {
        /// What went wrong.
        failure: Box<Self>,
        /// Why it could not be cleared.
        source: DiskError,
    },
}

/// Consecutive bytes to write.
struct Piece<'a> {
    name: &'static str,
    offset: u64,
    bytes: &'a [u8],
}

/// Writes `layout` to `disk`: image tail, backup GPT, the rest of the first MiB, LBA 0 last, each flushed; then reads
/// everything back and compares. On failure the first MiB is zeroed again so that the disk does not boot.
///
/// # Errors
/// [`CommitError`]
pub fn commit(disk: &dyn BlockDevice, layout: &Layout) -> Result<Committed, CommitError> {
    let pieces = pieces(layout, disk.sector_bytes() as usize);
    let end = pieces.iter().map(|piece| piece.offset + piece.bytes.len() as u64).max().unwrap_or(0);
    if end > disk.bytes() {
        let device = disk.path().display().to_string();
        return Err(CommitError::WrongDisk { device, end, disk_bytes: disk.bytes() });
    }
    if let Err(error) = write_and_compare(disk, &pieces) {
        let cleared = disk.zero(0, layout.head.len() as u64).and_then(|()| disk.flush());
        return Err(match cleared {
            Ok(()) => error,
            Err(source) => CommitError::Unclean { failure: Box::new(error), source },
        });
    }
    Ok(Committed {
        table: layout.table.to_owned(),
        partitions: layout.partitions,
        head_sha256: hex(&Sha256::digest(&layout.head)),
        boot_entry: None,
    })
}

/// Writes all pieces in order, flushing after each, then compares all of them.
fn write_and_compare(disk: &dyn BlockDevice, pieces: &[Piece<'_>]) -> Result<(), CommitError> {
    for piece in pieces {
        disk.write_at(piece.offset, piece.bytes)
            .and_then(|()| disk.flush())
            .map_err(|source| piece.error(source))?;
    }
    for piece in pieces {
        let mut read = vec![0; piece.bytes.len()];
        disk.read_at(piece.offset, &mut read).map_err(|source| piece.error(source))?;
        let differ = piece.bytes.iter().zip(&read).zip(piece.offset..);
        if let Some(((wrote, read), offset)) = differ.into_iter().find(|((w, r), _)| w != r) {
            let (piece, wrote, read) = (piece.name, *wrote, *read);
            return Err(CommitError::Differs { piece, offset, wrote, read });
        }
    }
    Ok(())
}

/// What is written, in order. The tail leaves out what the config drive and the backup GPT own.
fn pieces(layout: &Layout, sector: usize) -> Vec<Piece<'_>> {
    let disk_tail = Range { offset: layout.disk_tail_offset, bytes: layout.disk_tail.len() as u64 };
    let tail = Piece { name: "image tail", offset: layout.tail_offset, bytes: &layout.tail };
    let mut pieces = vec![tail];
    for hole in [Some(disk_tail), layout.config].into_iter().flatten() {
        pieces = pieces.into_iter().flat_map(|piece| piece.without(hole)).collect();
    }
    let (lba0, rest) = layout.head.split_at(sector.min(layout.head.len()));
    pieces.extend([
        Piece { name: "backup GPT", offset: disk_tail.offset, bytes: &layout.disk_tail },
        Piece { name: "first MiB", offset: lba0.len() as u64, bytes: rest },
        Piece { name: "LBA 0", offset: 0, bytes: lba0 },
    ]);
    pieces.retain(|piece| !piece.bytes.is_empty());
    pieces
}

impl<'a> Piece<'a> {
    /// The parts of it before and after `hole`.
    fn without(self, hole: Range) -> [Piece<'a>; 2] {
        let index = |offset: u64| {
            usize::try_from(offset.saturating_sub(self.offset))
                .unwrap_or(usize::MAX)
                .min(self.bytes.len())
        };
        let (start, end) = (index(hole.offset), index(hole.end()));
        let (before, after) = (&self.bytes[..start], &self.bytes[end..]);
        [
            Piece { bytes: before, ..self },
            Piece { name: self.name, offset: self.offset + end as u64, bytes: after },
        ]
    }

    /// The disk's refusal with the piece's name and place.
    fn error(&self, source: DiskError) -> CommitError {
        CommitError::Disk { piece: self.name, offset: self.offset, source }
    }
}

#[cfg(test)]
mod tests;
