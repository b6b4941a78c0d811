//! Reading FAT12, FAT16 and FAT32, for the EFI system partition of an image nobody vouches for: every length is bounded,
//! whatever makes no sense is `None`. Structure: Microsoft's FAT specification 1.03.

use crate::layout::Range;
use crate::layout::bytes::array;
use crate::sys::disk::BlockDevice;

/// Longest directory read, bytes: the specification's limit of 65536 slots of 32 bytes.
const MAX_DIRECTORY_BYTES: usize = 2 << 20;
/// Length of a directory slot, bytes.
const SLOT: usize = 32;
/// Most clusters read for one file or directory: a chain may be a loop.
const MAX_CLUSTERS: usize = 8192;

/// Width of an entry of the allocation table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fat12,
    Fat16,
    Fat32,
}

/// A file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its long name, or the short one.
    pub(crate) name: String,
    /// Whether it is a directory.
    pub(crate) directory: bool,
    cluster: u32,
    bytes: u32,
}

/// A FAT file system in a range of a disk.
#[derive(Debug)]
pub(crate) struct Fat<'a> {
    disk: &'a dyn BlockDevice,
    range: Range,
    kind: Kind,
    cluster_bytes: u64,
    clusters: u32,
    /// Offset of the allocation table in the range, bytes.
    table: u64,
    /// Offset and length of the root directory of FAT12 and FAT16, bytes.
    root: (u64, u64),
    /// Offset of the first cluster, bytes.
    first: u64,
    /// First cluster of FAT32's root directory.
    root_cluster: u32,
}

impl<'a> Fat<'a> {
    /// Reads the boot sector; `None` when it is none.
    pub(crate) fn open(disk: &'a dyn BlockDevice, range: Range) -> Option<Self> {
        let mut boot = [0; 512];
        if range.bytes < 512 || range.end() > disk.bytes() {
            return None;
        }
        disk.read_at(range.offset, &mut boot).ok()?;
        let u8_at = |at: usize| u64::from(boot[at]);
        let u16_at = |at: usize| array(&boot, at).map_or(0, |b| u64::from(u16::from_le_bytes(b)));
        let u32_at = |at: usize| array(&boot, at).map_or(0, |b| u64::from(u32::from_le_bytes(b)));
        let or = |first: u64, second: u64| if first == 0 { second } else { first };
        let (sector, per_cluster) = (u16_at(11), u8_at(13));
        let sane = boot[510..] == [0x55, 0xAA]
            && matches!(sector, 512 | 1024 | 2048 | 4096)
            && per_cluster.is_power_of_two()
            && matches!(u8_at(16), 1 | 2);
        if !sane {
            return None;
        }
        let table = u16_at(14) * sector;
        let root_at = table + u8_at(16) * or(u16_at(22), u32_at(36)) * sector;
        let root_bytes = (u16_at(17) * SLOT as u64).next_multiple_of(sector);
        let first = root_at + root_bytes;
        let total = (or(u16_at(19), u32_at(32)) * sector).min(range.bytes);
        let cluster_bytes = per_cluster * sector;
        let clusters = u32::try_from(total.checked_sub(first)? / cluster_bytes).ok()?;
        let kind = match clusters {
            0..4085 => Kind::Fat12,
            4085..65525 => Kind::Fat16,
            65525.. => Kind::Fat32,
        };
        let root_cluster = u32::try_from(u32_at(44)).ok()?;
        Some(Self {
            disk,
            range,
            kind,
            cluster_bytes,
            clusters,
            table,
            root: (root_at, root_bytes),
            first,
            root_cluster,
        })
    }

    /// The root directory.
    pub(crate) fn root(&self) -> Option<Vec<Node>> {
        Some(nodes(&self.root_bytes()?))
    }

    fn root_bytes(&self) -> Option<Vec<u8>> {
        match self.kind {
            Kind::Fat32 => self.chain(self.root_cluster, MAX_DIRECTORY_BYTES),
            Kind::Fat12 | Kind::Fat16 => {
                let length = usize::try_from(self.root.1).ok()?.min(MAX_DIRECTORY_BYTES);
                self.bytes(self.root.0, length)
            }
        }
    }

    /// Its name, as the root directory has it.
    pub(crate) fn label(&self) -> Option<String> {
        let bytes = self.root_bytes()?;
        let mut slots = bytes.as_chunks::<SLOT>().0.iter().take_while(|slot| slot[0] != 0);
        // A slot of a long name has this bit too, with three others.
        let label = slots.find(|slot| slot[0] != 0xE5 && slot[11] & 0x3F == 0x08)?;
        Some(String::from_utf8_lossy(&label[..11]).trim_end().to_owned())
    }

    /// A directory's contents.
    pub(crate) fn list(&self, node: &Node) -> Option<Vec<Node>> {
        node.directory.then(|| self.chain(node.cluster, MAX_DIRECTORY_BYTES))?.map(|b| nodes(&b))
    }

    /// A file's contents; `None` when it is longer than `limit` bytes.
    pub(crate) fn read(&self, node: &Node, limit: usize) -> Option<Vec<u8>> {
        let length = usize::try_from(node.bytes).ok().filter(|length| *length <= limit)?;
        let mut bytes = if length == 0 { Vec::new() } else { self.chain(node.cluster, length)? };
        bytes.truncate(length);
        (bytes.len() == length).then_some(bytes)
    }

    /// A chain of clusters, up to the first one past `limit` bytes.
    fn chain(&self, mut cluster: u32, limit: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let length = usize::try_from(self.cluster_bytes).ok()?;
        for _ in 0..MAX_CLUSTERS {
            if bytes.len() >= limit {
                break;
            }
            let index = cluster.checked_sub(2).filter(|index| *index < self.clusters)?;
            bytes.extend(self.bytes(self.first + u64::from(index) * self.cluster_bytes, length)?);
            let (next, end) = self.next(cluster)?;
            if next >= end {
                break;
            }
            cluster = next;
        }
        Some(bytes)
    }

    /// The allocation table's entry of a cluster, and from where on such an entry means the end.
    fn next(&self, cluster: u32) -> Option<(u32, u32)> {
        let cluster_at = u64::from(cluster);
        let at = |offset: u64, length: usize| self.bytes(self.table + offset, length);
        Some(match self.kind {
            Kind::Fat12 => {
                let pair = u16::from_le_bytes(array(&at(cluster_at + cluster_at / 2, 2)?, 0)?);
                (u32::from(if cluster.is_multiple_of(2) { pair & 0xFFF } else { pair >> 4 }), 0xFF8)
            }
            Kind::Fat16 => (u16::from_le_bytes(array(&at(cluster_at * 2, 2)?, 0)?).into(), 0xFFF8),
            Kind::Fat32 => {
                // The upper four bits are reserved.
                (u32::from_le_bytes(array(&at(cluster_at * 4, 4)?, 0)?) & 0x0FFF_FFFF, 0x0FFF_FFF8)
            }
        })
    }

    /// Bytes of the range.
    fn bytes(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        if offset.checked_add(length as u64)? > self.range.bytes {
            return None;
        }
        let mut bytes = vec![0; length];
        self.disk.read_at(self.range.offset + offset, &mut bytes).ok()?;
        Some(bytes)
    }
}

/// The entries of a directory, `.`, `..` and labels left out.
fn nodes(directory: &[u8]) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut long: Vec<u16> = Vec::new();
    for slot in directory.as_chunks::<SLOT>().0 {
        match (slot[0], slot[11] & 0x3F) {
            (0, _) => break,
            (0xE5, _) => long.clear(),
            (_, 0x0F) => long = [long_units(slot), std::mem::take(&mut long)].concat(),
            (b'.', _) => long.clear(),
            (_, attributes) if attributes & 0x08 != 0 => long.clear(),
            (_, attributes) => {
                let word = |at: usize| u16::from_le_bytes([slot[at], slot[at + 1]]);
                let end = long.iter().position(|unit| *unit == 0).unwrap_or(long.len());
                let name = match long.get(..end) {
                    Some(units) if !units.is_empty() => String::from_utf16_lossy(units),
                    _ => short_name(slot),
                };
                nodes.push(Node {
                    name,
                    directory: attributes & 0x10 != 0,
                    cluster: u32::from(word(20)) << 16 | u32::from(word(26)),
                    bytes: u32::from(word(30)) << 16 | u32::from(word(28)),
                });
                long.clear();
            }
        }
    }
    nodes
}

/// The thirteen units of a slot of a long name; the slots come back to front.
fn long_units(slot: &[u8; SLOT]) -> Vec<u16> {
    let fields = [&slot[1..11], &slot[14..26], &slot[28..32]].concat();
    fields.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect()
}

/// `BOOTX64.EFI` from `BOOTX64 EFI`.
fn short_name(slot: &[u8; SLOT]) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (stem, extension) = (part(&slot[..8]), part(&slot[8..11]));
    if extension.is_empty() { stem } else { format!("{stem}.{extension}") }
}
