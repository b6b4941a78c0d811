//! A GPT of our own making, for images that bring none: partition images.

use uuid::Uuid;

use super::gpt::Gpt;
use super::{Layout, LayoutError, MIB, MIN_DISK_BYTES, Range, mbr};

/// What a new partition is for. Its number is its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// EFI system partition.
    Esp,
    /// Swap.
    Swap,
    /// The config drive.
    Config,
    /// The operating system.
    Root,
}

impl Purpose {
    /// The name of its partition.
    pub(crate) fn name(self) -> &'static str {
        self.entry().0
    }

    /// GPT name and type (UEFI specification 2.10, table 5-7; the others are of the Discoverable Partitions Specification).
    fn entry(self) -> (&'static str, Uuid) {
        match self {
            Self::Esp => ("esp", super::gpt::TYPE_ESP),
            Self::Swap => ("swap", Uuid::from_u128(0x0657_FD6D_A4AB_43C4_84E5_0933_C84B_4F4F)),
            Self::Config => (super::CONFIG_NAME, super::gpt::TYPE_LINUX),
            Self::Root => ("root", super::gpt::TYPE_LINUX),
        }
    }
}

/// A partition to be made.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// What it is for.
    pub purpose: Purpose,
    /// Its length in whole MiB; `None`: all that is left, of which there must be one MiB at least.
    pub mib: Option<u64>,
}

/// A table with `wanted` one after the other, each on a MiB, and where each of them is.
///
/// # Errors
/// [`LayoutError`]: they do not fit, or the disk has sectors we do not know.
pub fn fresh(
    wanted: &[Wanted],
    disk_bytes: u64,
    sector_bytes: u32,
) -> Result<(Layout, Vec<Range>), LayoutError> {
    if !matches!(sector_bytes, 512 | 4096) {
        return Err(LayoutError::Sector { sector_bytes });
    }
    if disk_bytes < MIN_DISK_BYTES {
        return Err(LayoutError::DiskTooSmall { disk_bytes, needed_bytes: MIN_DISK_BYTES });
    }
    let (mut gpt, mut head) = Gpt::empty(u64::from(sector_bytes), Uuid::new_v4());
    let disk_lbas = disk_bytes / u64::from(sector_bytes);
    let backup = gpt.backup(disk_lbas);
    let ranges = ranges(wanted, backup.offset)?;
    let mut config = None;
    for (wanted, range) in wanted.iter().zip(&ranges) {
        let (name, kind) = wanted.purpose.entry();
        gpt.add(&mut head, *range, (name, kind, Uuid::new_v4()))?;
        if wanted.purpose == Purpose::Config {
            config = Some(*range);
        }
    }
    let disk_tail = gpt.seal(&mut head, disk_lbas, backup);
    mbr::protect(&mut head, disk_lbas);
    let layout = Layout {
        config,
        head,
        tail: Vec::new(),
        tail_offset: MIB,
        disk_tail,
        disk_tail_offset: backup.offset,
        table: "gpt",
        partitions: u32::try_from(wanted.len()).unwrap_or(u32::MAX),
        entries: gpt.partitions,
    };
    Ok((layout, ranges))
}

/// Where they go, from the first MiB to `limit`.
fn ranges(wanted: &[Wanted], limit: u64) -> Result<Vec<Range>, LayoutError> {
    let mut at = MIB;
    let mut ranges = Vec::new();
    for Wanted { mib, .. } in wanted {
        let left = limit.saturating_sub(at) / MIB * MIB;
        let bytes = mib.map_or(left.max(MIB), |mib| mib.saturating_mul(MIB));
        if bytes > left {
            return Err(LayoutError::NoRoom { needed_bytes: bytes, free_bytes: left });
        }
        ranges.push(Range { offset: at, bytes });
        at += bytes;
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sys::disk::{Access, BlockDevice as _, RealDisk};
    use crate::sys::partitions;

    #[test]
    fn a_fresh_table_is_read_back_as_it_was_made() {
        for sector in [512, 4096] {
            let wanted = [
                Wanted { purpose: Purpose::Esp, mib: Some(2) },
                Wanted { purpose: Purpose::Config, mib: Some(3) },
                Wanted { purpose: Purpose::Root, mib: None },
            ];
            let (layout, ranges) = fresh(&wanted, 64 * MIB, sector).unwrap();
            let mib = |offset, bytes| Range { offset: offset * MIB, bytes: bytes * MIB };
            assert_eq!(ranges, [mib(1, 2), mib(3, 3), mib(6, 57)]);
            assert_eq!(layout.config, Some(mib(3, 3)));
            let head = &layout.head[..];
            let mut disk = vec![0; 64 << 20];
            disk[..head.len()].copy_from_slice(head);
            let at = usize::try_from(layout.disk_tail_offset).unwrap();
            disk[at..].copy_from_slice(&layout.disk_tail);
            let again = super::super::plan(
                &disk[..1 << 20],
                63 * MIB,
                &disk[63 << 20..],
                64 * MIB,
                64 * MIB,
                sector,
                None,
            )
            .unwrap();
            assert_eq!(again.entries, layout.entries);
            assert_eq!((again.entries[0].esp, again.entries[2].esp), (true, false));
        }
    }

    #[test]
    fn a_fresh_table_is_committed_like_any_other() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(32 << 20).unwrap();
        let disk = Arc::new(RealDisk::open(file.path(), Access::Write).unwrap());
        let wanted = [Wanted { purpose: Purpose::Root, mib: Some(30) }];
        let (layout, _) = fresh(&wanted, disk.bytes(), 512).unwrap();
        super::super::commit(disk.as_ref(), &layout).unwrap();
        let found = partitions::table(disk.as_ref()).unwrap().unwrap();
        assert_eq!(found.entries, layout.entries);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let root = |mib| [Wanted { purpose: Purpose::Root, mib }];
        let error = fresh(&root(Some(31)), 32 * MIB, 512).unwrap_err();
        assert_eq!(error, LayoutError::NoRoom { needed_bytes: 31 * MIB, free_bytes: 30 * MIB });
        assert!(fresh(&root(Some(u64::MAX)), 32 * MIB, 512).is_err());
        assert!(fresh(&root(None), 3 * MIB, 512).is_err());
        assert!(fresh(&root(None), 32 * MIB, 520).is_err());
        let two = [root(Some(30))[0], root(None)[0]];
        assert!(matches!(fresh(&two, 32 * MIB, 512), Err(LayoutError::NoRoom { .. })));
    }
}
