//! Partition tables in memory: where the config drive goes and what is written last.
//!
//! [`plan`] is pure: it takes the sectors that the image writer held back and returns every byte that is still missing
//! on the disk. [`commit()`] puts them there, LBA 0 last, so that no cut leaves a bootable disk without its config drive.
//! It never looks inside file systems; an existing config drive is recognised by its GPT name only.

mod ahead;
pub(crate) mod bytes;
mod commit;
mod error;
mod fresh;
mod gpt;
#[cfg(test)]
mod hostile;
mod mbr;
#[cfg(test)]
pub(crate) mod testing;

use uuid::Uuid;

pub use commit::{CommitError, commit};
pub use error::LayoutError;
pub use fresh::{Purpose, Wanted, fresh};

use mbr::Mbr;

/// Partitions are aligned to this, in bytes; also the length of [`Layout::head`] (what every partitioning tool does).
pub const MIB: u64 = 1 << 20;

/// Smallest config-2 partition, bytes (Ironic's `MAX_CONFIG_DRIVE_SIZE_MB`).
pub const CONFIG_BYTES: u64 = 64 * MIB;

/// Name of the config drive's partition and label of its file system.
pub const CONFIG_NAME: &str = "config-2";

/// Smallest disk a table is planned for, bytes: head and tail must not meet.
const MIN_DISK_BYTES: u64 = 4 * MIB;

/// A piece of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Range {
    /// First byte after it.
    #[must_use]
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// One partition of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Number as the kernel counts it, from 1.
    pub number: u32,
    /// Where it is.
    pub range: Range,
    /// GPT name; empty in an MBR.
    pub name: String,
    /// Whether it is an EFI system partition.
    pub esp: bool,
    /// Whether it holds a BIOS boot loader (GPT only).
    pub bios: bool,
    /// GPT unique partition GUID; `None` in an MBR.
    pub guid: Option<Uuid>,
}

/// Everything that is still missing on the disk after the image was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Where the config drive goes, when there is one.
    pub config: Option<Range>,
    /// The disk's final first MiB.
    pub head: Vec<u8>,
    /// Final bytes at the image's end: its own, less a backup GPT that moved away.
    pub tail: Vec<u8>,
    /// Where [`Self::tail`] begins, bytes.
    pub tail_offset: u64,
    /// The backup GPT at the very end of the disk; empty for an MBR.
    pub disk_tail: Vec<u8>,
    /// Where [`Self::disk_tail`] begins, bytes.
    pub disk_tail_offset: u64,
    /// `gpt` or `mbr`.
    pub table: &'static str,
    /// Partitions in the table, config-2 included; an MBR's logical partitions are not counted.
    pub partitions: u32,
    /// The partitions of the final table, in the table's order.
    pub entries: Vec<Partition>,
}

/// What [`plan_with`] works from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The image's first MiB (all of a smaller image).
    pub held_head: &'a [u8],
    /// Where `held_tail` begins in the image, bytes.
    pub tail_offset: u64,
    /// The image's last bytes, up to its end.
    pub held_tail: &'a [u8],
    /// Length of the image, bytes.
    pub image_bytes: u64,
    /// Capacity of the disk, bytes.
    pub disk_bytes: u64,
    /// Logical sector size of the disk: 512 or 4096 bytes.
    pub sector_bytes: u32,
    /// Length of the config drive's file system in bytes, when there is one.
    pub config_drive_bytes: Option<u64>,
    /// GUID of a new config-2 partition.
    pub guid: Uuid,
}

/// [`plan_with`] with a random GUID for the config-2 partition.
///
/// # Errors
/// [`LayoutError`]
pub fn plan(
    held_head: &[u8],
    tail_offset: u64,
    held_tail: &[u8],
    image_bytes: u64,
    disk_bytes: u64,
    sector_bytes: u32,
    config_drive_bytes: Option<u64>,
) -> Result<Layout, LayoutError> {
    plan_with(&Request {
        held_head,
        tail_offset,
        held_tail,
        image_bytes,
        disk_bytes,
        sector_bytes,
        config_drive_bytes,
        guid: Uuid::new_v4(),
    })
}

/// Computes the final partition table of the disk from the image's own.
///
/// # Errors
/// [`LayoutError`]: the image has no usable partition table, or the config drive does not fit beside its partitions.
pub fn plan_with(request: &Request<'_>) -> Result<Layout, LayoutError> {
    let (head, tail_offset, tail) = held(request)?;
    let mbr = Mbr::parse(&head);
    if gpt::present(&head, request.sector_bytes, mbr.as_ref())? {
        return gpt::plan(request, head, tail_offset, tail);
    }
    match mbr {
        Some(mbr) => mbr.plan(request, head, tail_offset, tail),
        None => Err(LayoutError::NoTable),
    }
}

/// Checks the request and lays the held bytes out: first MiB padded with zeros, tail after it.
fn held(request: &Request<'_>) -> Result<(Vec<u8>, u64, Vec<u8>), LayoutError> {
    let Request { image_bytes, disk_bytes, sector_bytes, .. } = *request;
    if !matches!(sector_bytes, 512 | 4096) {
        return Err(LayoutError::Sector { sector_bytes });
    }
    if disk_bytes < MIN_DISK_BYTES {
        return Err(LayoutError::DiskTooSmall { disk_bytes, needed_bytes: MIN_DISK_BYTES });
    }
    if image_bytes > disk_bytes {
        return Err(LayoutError::ImageTooLarge { image_bytes, disk_bytes });
    }
    let head_bytes = usize::try_from(MIB).unwrap_or(usize::MAX);
    let expected = usize::try_from(image_bytes).unwrap_or(usize::MAX).min(head_bytes);
    let tail_end = request.tail_offset.checked_add(request.held_tail.len() as u64);
    let tail_fits = request.held_tail.is_empty() || tail_end == Some(image_bytes);
    if request.held_head.len() != expected || !tail_fits {
        return Err(LayoutError::Held {
            head: request.held_head.len(),
            tail: request.held_tail.len(),
            tail_offset: request.tail_offset,
            image_bytes,
        });
    }
    let mut head = request.held_head.to_vec();
    head.resize(head_bytes, 0);
    // In an image below 2 MiB the tail begins inside the head: both hold the same bytes there.
    let skip = usize::try_from(MIB.saturating_sub(request.tail_offset)).unwrap_or(usize::MAX);
    let tail = request.held_tail.get(skip..).unwrap_or_default().to_vec();
    Ok((head, request.tail_offset.max(MIB), tail))
}

/// Length of the config-2 partition for a file system of `drive_bytes`: 64 MiB, or more in whole MiB.
fn config_bytes(drive_bytes: u64) -> u64 {
    drive_bytes.max(CONFIG_BYTES).checked_next_multiple_of(MIB).unwrap_or(u64::MAX)
}

/// The last aligned range of `bytes` that ends at or before `limit` and begins at or after `floor`.
fn place_at_end(bytes: u64, floor: u64, limit: u64) -> Result<Range, LayoutError> {
    let no_room =
        LayoutError::NoRoom { needed_bytes: bytes, free_bytes: limit.saturating_sub(floor) };
    let Some(latest) = limit.checked_sub(bytes) else { return Err(no_room) };
    let offset = latest / MIB * MIB;
    if offset < floor.max(MIB) {
        return Err(no_room);
    }
    Ok(Range { offset, bytes })
}

/// Refuses partitions that share a sector. Sorts by start.
fn check_overlap(partitions: &[Partition]) -> Result<(), LayoutError> {
    let mut sorted: Vec<&Partition> = partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.range.offset);
    for pair in sorted.windows(2) {
        if let [first, second] = pair
            && second.range.offset < first.range.end()
        {
            return Err(LayoutError::Overlap { first: first.number, second: second.number });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
