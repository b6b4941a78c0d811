//! FAT16 file systems in memory: config drives, and the EFI system partition of a partition image.
//!
//! FAT and not ISO 9660: it can have the disk's own sector size, so disks with 4096-byte sectors can be mounted from. Written
//! here and not with the fatfs crate, whose directories begin with long names of `.` and `..`, which fsck.vfat calls damage.
//! Structure: Microsoft's FAT specification 1.03.

mod entry;
#[cfg(test)]
mod tests;

use self::entry::{ENTRY_BYTES, directory_entry, dot_entry, label_entry, slots};
use crate::layout::bytes::put;

/// Slots of the root directory.
const ROOT_ENTRIES: usize = 512;
/// Copies of the allocation table.
const FATS: usize = 2;
/// Marks the last cluster of a chain.
const END_OF_CHAIN: u16 = 0xFFFF;
/// Clusters 0 and 1 do not exist: the table's first two entries are its head.
const FIRST_CLUSTER: u16 = 2;

/// A file or folder to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name, at most 255 UTF-16 units.
    pub(crate) name: String,
    /// What it is.
    pub(crate) content: Content,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file's bytes.
    File(Vec<u8>),
    /// A folder's entries.
    Folder(Vec<Entry>),
}

/// A file system to be made. The same input gives the same bytes: times are FAT's epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format<'a> {
    /// Volume label, at most 11 bytes, case kept.
    pub(crate) label: &'a str,
    /// Volume identifier.
    pub(crate) volume_id: u32,
    /// Logical sector, bytes.
    pub(crate) sector: usize,
    /// Cluster, bytes; so that there are 4085 to 65524 of them, which is what makes it FAT16.
    pub(crate) cluster: usize,
    /// The whole file system, bytes.
    pub(crate) total: usize,
}

impl Format<'_> {
    /// Its bytes up to the last one that is not zero by itself: what follows, up to `total`, must read as zeros. `None` when
    /// the entries do not fit.
    pub(crate) fn make(self, entries: &[Entry]) -> Option<Vec<u8>> {
        let mut volume = Volume::format(self);
        volume.fill(entries)?;
        Some(volume.bytes)
    }

    /// One allocation table, bytes.
    fn fat(self) -> usize {
        ((self.total / self.cluster + usize::from(FIRST_CLUSTER)) * 2).next_multiple_of(self.sector)
    }

    /// Offset of the root directory, bytes.
    fn root(self) -> usize {
        self.sector + FATS * self.fat()
    }

    /// Offset of a cluster, bytes.
    fn offset(self, cluster: u16) -> usize {
        let data = self.root() + ROOT_ENTRIES * ENTRY_BYTES;
        data + usize::from(cluster - FIRST_CLUSTER) * self.cluster
    }
}

/// FAT's names differ by more than case, and end in neither a dot nor a space.
fn are_distinct(entries: &[Entry]) -> bool {
    let mut names: Vec<String> = entries.iter().map(|entry| entry.name.to_lowercase()).collect();
    let ends_well = names.iter().all(|name| !name.ends_with(['.', ' ']));
    names.sort();
    ends_well && names.windows(2).all(|pair| pair[0] != pair[1])
}

/// A file system being filled: clusters are taken one after the other.
struct Volume<'a> {
    format: Format<'a>,
    bytes: Vec<u8>,
    next: u16,
}

impl<'a> Volume<'a> {
    /// An empty file system.
    fn format(format: Format<'a>) -> Self {
        let bytes = vec![0; format.offset(FIRST_CLUSTER)];
        let mut volume = Self { format, bytes, next: FIRST_CLUSTER };
        let label = label_entry(format.label);
        volume.boot_sector(&label[..11]);
        volume.set_fat(0, 0xFFF8);
        volume.set_fat(1, END_OF_CHAIN);
        put(&mut volume.bytes, format.root(), &label);
        volume
    }

    /// Fields of the boot sector ("BPB").
    fn boot_sector(&mut self, label: &[u8]) {
        let Format { sector, cluster, total, volume_id, .. } = self.format;
        let fat = self.format.fat();
        let u16_of = |value: usize| u16::try_from(value).unwrap_or(0).to_le_bytes();
        let sectors = total / sector;
        let fields: [(usize, &[u8]); 16] = [
            (0, &[0xEB, 0x3C, 0x90]),
            (3, b"MSWIN4.1"),
            (11, &u16_of(sector)),
            (13, &u16_of(cluster / sector)[..1]),
            (14, &u16_of(1)),
            (16, &u16_of(FATS)[..1]),
            (17, &u16_of(ROOT_ENTRIES)),
            (19, &u16_of(sectors)),
            (21, &[0xF8]),
            (22, &u16_of(fat / sector)),
            (24, &[32, 0, 64, 0]),
            (36, &[0x80, 0, 0x29]),
            (39, &volume_id.to_le_bytes()),
            (43, label),
            (54, b"FAT16   "),
            (510, &[0x55, 0xAA]),
        ];
        for (at, field) in fields {
            put(&mut self.bytes, at, field);
        }
        // The 32-bit count is for what does not fit into 16 bits, which `u16_of` has left at zero.
        if u16::try_from(sectors).is_err() {
            put(&mut self.bytes, 32, &u32::try_from(sectors).unwrap_or(0).to_le_bytes());
        }
    }

    /// Stores the root directory's entries; `None` when they do not fit.
    fn fill(&mut self, entries: &[Entry]) -> Option<()> {
        let slots = self.entries(entries, 0)?;
        // The label has the first slot.
        if slots.len() >= ROOT_ENTRIES {
            return None;
        }
        put(&mut self.bytes, self.format.root() + ENTRY_BYTES, &slots.concat());
        Some(())
    }

    /// Stores entries of the directory at cluster `parent` (the root is 0); the directory's slots for them.
    fn entries(&mut self, entries: &[Entry], parent: u16) -> Option<Vec<[u8; ENTRY_BYTES]>> {
        let mut slots = Vec::new();
        if !are_distinct(entries) {
            return None;
        }
        for (index, Entry { name, content }) in entries.iter().enumerate() {
            let (first, length) = match content {
                Content::File(bytes) => {
                    (self.store(bytes)?, Some(u32::try_from(bytes.len()).ok()?))
                }
                Content::Folder(inside) => (self.folder(inside, parent)?, None),
            };
            slots.extend(directory_entry(name, index, first, length)?);
        }
        Some(slots)
    }

    /// Stores a folder; its first cluster.
    fn folder(&mut self, inside: &[Entry], parent: u16) -> Option<u16> {
        // Its place must be known before its folders', which point back to it.
        let count: usize = inside.iter().map(|entry| slots(&entry.name)).sum();
        let first = self.take(((2 + count) * ENTRY_BYTES).div_ceil(self.format.cluster))?;
        let mut slots = vec![dot_entry(b".", first), dot_entry(b"..", parent)];
        slots.extend(self.entries(inside, first)?);
        put(&mut self.bytes, self.format.offset(first), &slots.concat());
        Some(first)
    }

    /// Stores a file's content; its first cluster, 0 for an empty file.
    fn store(&mut self, content: &[u8]) -> Option<u16> {
        if content.is_empty() {
            return Some(0);
        }
        let first = self.take(content.len().div_ceil(self.format.cluster))?;
        put(&mut self.bytes, self.format.offset(first), content);
        Some(first)
    }

    /// Takes `count` consecutive clusters and chains them; `None` when there are not so many.
    fn take(&mut self, count: usize) -> Option<u16> {
        let first = self.next;
        let end = first.checked_add(u16::try_from(count).ok()?)?;
        let used = self.format.offset(end);
        if used > self.format.total {
            return None;
        }
        for cluster in first..end {
            self.set_fat(cluster, if cluster + 1 == end { END_OF_CHAIN } else { cluster + 1 });
        }
        self.bytes.resize(used, 0);
        self.next = end;
        Some(first)
    }

    /// Sets an entry in both allocation tables.
    fn set_fat(&mut self, cluster: u16, value: u16) {
        for copy in 0..FATS {
            let at = self.format.sector + copy * self.format.fat() + 2 * usize::from(cluster);
            put(&mut self.bytes, at, &value.to_le_bytes());
        }
    }
}
