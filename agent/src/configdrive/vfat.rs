//! A FAT16 file system in memory with the object form's files.
//!
//! FAT and not ISO 9660: it can have the disk's own sector size, so disks with 4096-byte sectors can be mounted from. Written
//! here and not with the fatfs crate, whose directories begin with long names of `.` and `..`, which fsck.vfat calls damage.
//! Structure: Microsoft's FAT specification 1.03.

mod entry;

use uuid::Uuid;

use self::entry::{ENTRY_BYTES, directory_entry, dot_entry, label_entry};
use super::{ConfigDriveError, MAX_BYTES};
use crate::layout::bytes::put;
use crate::layout::{CONFIG_NAME, MIB};

/// Where OpenStack puts the documents; cloud-init takes the newest version it knows, old readers the dated one.
const FOLDERS: [&str; 2] = ["latest", "2012-08-10"];
/// Slots of the root directory.
const ROOT_ENTRIES: usize = 512;
/// Copies of the allocation table.
const FATS: usize = 2;
/// Marks the last cluster of a chain.
const END_OF_CHAIN: u16 = 0xFFFF;
/// Clusters 0 and 1 do not exist: the table's first two entries are its head.
const FIRST_CLUSTER: u16 = 2;

/// Makes the file system. The same input gives the same bytes: times are FAT's epoch, the volume identifier is the node's.
pub(super) fn make(
    files: &[(&'static str, Vec<u8>)],
    sector_bytes: u32,
    node_uuid: Uuid,
) -> Result<Vec<u8>, ConfigDriveError> {
    let too_large = ConfigDriveError::TooLarge { limit: MAX_BYTES };
    let contents: u64 = files.iter().map(|(_, content)| content.len() as u64).sum();
    let Some(shape) = Shape::fitting(contents * FOLDERS.len() as u64, sector_bytes) else {
        return Err(too_large);
    };
    let mut volume = Volume::format(shape, node_uuid.as_fields().0);
    volume.fill(files).ok_or(too_large)?;
    Ok(volume.bytes)
}

/// Sizes of a file system.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Logical sector, bytes.
    sector: usize,
    /// Cluster, bytes.
    cluster: usize,
    /// The whole file system, bytes.
    total: usize,
    /// One allocation table, bytes.
    fat: usize,
}

impl Shape {
    /// Room for `contents` bytes of files; `None` when that is more than a config drive may have.
    ///
    /// FAT16 is defined by its number of clusters, 4085 to 65524. The cluster and the smallest total keep it there.
    fn fitting(contents: u64, sector_bytes: u32) -> Option<Self> {
        let (sector, min_bytes) =
            if sector_bytes == 4096 { (4096, 20 * MIB) } else { (512, 8 * MIB) };
        // Tables, directories and half-empty clusters need far less than 1 MiB.
        let total = (contents + MIB).next_multiple_of(MIB).max(min_bytes);
        if total > MAX_BYTES {
            return None;
        }
        let cluster = if total > 32 * MIB { 2048 } else { 1024 }.max(sector);
        let total = usize::try_from(total).ok()?;
        let fat = ((total / cluster + usize::from(FIRST_CLUSTER)) * 2).next_multiple_of(sector);
        Some(Self { sector, cluster, total, fat })
    }

    /// Offset of the root directory, bytes.
    fn root(self) -> usize {
        self.sector + FATS * self.fat
    }

    /// Offset of a cluster, bytes.
    fn offset(self, cluster: u16) -> usize {
        let data = self.root() + ROOT_ENTRIES * ENTRY_BYTES;
        data + usize::from(cluster - FIRST_CLUSTER) * self.cluster
    }
}

/// A file system being filled: clusters are taken one after the other.
struct Volume {
    shape: Shape,
    bytes: Vec<u8>,
    next: u16,
}

impl Volume {
    /// An empty file system labelled config-2.
    fn format(shape: Shape, volume_id: u32) -> Self {
        let mut volume = Self { shape, bytes: vec![0; shape.total], next: FIRST_CLUSTER };
        let label = label_entry(CONFIG_NAME);
        volume.boot_sector(volume_id, &label[..11]);
        volume.set_fat(0, 0xFFF8);
        volume.set_fat(1, END_OF_CHAIN);
        put(&mut volume.bytes, shape.root(), &label);
        volume
    }

    /// Fields of the boot sector ("BPB").
    fn boot_sector(&mut self, volume_id: u32, label: &[u8]) {
        let Shape { sector, cluster, total, fat } = self.shape;
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

    /// Makes the folders and their files; `None` when they do not fit.
    fn fill(&mut self, files: &[(&'static str, Vec<u8>)]) -> Option<()> {
        let openstack = self.take(1)?;
        let mut folders = vec![dot_entry(b".", openstack), dot_entry(b"..", 0)];
        for (index, name) in FOLDERS.into_iter().enumerate() {
            let folder = self.take(1)?;
            let mut entries = vec![dot_entry(b".", folder), dot_entry(b"..", openstack)];
            for (index, (name, content)) in files.iter().enumerate() {
                let first = self.store(content)?;
                let length = u32::try_from(content.len()).ok()?;
                entries.extend(directory_entry(name, index, first, Some(length)));
            }
            self.put_directory(folder, &entries)?;
            folders.extend(directory_entry(name, index, folder, None));
        }
        self.put_directory(openstack, &folders)?;
        let root = directory_entry("openstack", 0, openstack, None).concat();
        put(&mut self.bytes, self.shape.root() + ENTRY_BYTES, &root);
        Some(())
    }

    /// Writes a directory of at most one cluster.
    fn put_directory(&mut self, cluster: u16, entries: &[[u8; ENTRY_BYTES]]) -> Option<()> {
        let bytes = entries.concat();
        if bytes.len() > self.shape.cluster {
            return None;
        }
        put(&mut self.bytes, self.shape.offset(cluster), &bytes);
        Some(())
    }

    /// Stores a file's content; its first cluster, 0 for an empty file.
    fn store(&mut self, content: &[u8]) -> Option<u16> {
        if content.is_empty() {
            return Some(0);
        }
        let first = self.take(content.len().div_ceil(self.shape.cluster))?;
        put(&mut self.bytes, self.shape.offset(first), content);
        Some(first)
    }

    /// Takes `count` consecutive clusters and chains them; `None` when there are not so many.
    fn take(&mut self, count: usize) -> Option<u16> {
        let first = self.next;
        let end = first.checked_add(u16::try_from(count).ok()?)?;
        if self.shape.offset(end) > self.shape.total {
            return None;
        }
        for cluster in first..end {
            self.set_fat(cluster, if cluster + 1 == end { END_OF_CHAIN } else { cluster + 1 });
        }
        self.next = end;
        Some(first)
    }

    /// Sets an entry in both allocation tables.
    fn set_fat(&mut self, cluster: u16, value: u16) {
        for copy in 0..FATS {
            let at = self.shape.sector + copy * self.shape.fat + 2 * usize::from(cluster);
            put(&mut self.bytes, at, &value.to_le_bytes());
        }
    }
}
