//! Why a partition table was refused.

/// Why no final partition table can be made. Offsets and lengths are bytes unless a name says `lba`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The disk has a sector size we do not know.
    #[error("the disk's logical sectors are {sector_bytes} bytes; only 512 and 4096 are supported")]
    Sector {
        /// As the disk says.
        sector_bytes: u32,
    },
    /// The caller handed over the wrong pieces of the image.
    #[error(
        "held back {head} bytes at the start and {tail} at {tail_offset} of an image of {image_bytes} bytes: expected \
         its first MiB and its last bytes"
    )]
    Held {
        /// Length of the head.
        head: usize,
        /// Length of the tail.
        tail: usize,
        /// Where the tail begins.
        tail_offset: u64,
        /// Length of the image.
        image_bytes: u64,
    },
    /// The disk is too small for any table.
    #[error("the disk has {disk_bytes} bytes, at least {needed_bytes} are needed")]
    DiskTooSmall {
        /// Capacity of the disk.
        disk_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// The image is larger than the disk.
    #[error("the image needs {image_bytes} bytes, the disk has {disk_bytes}; choose a larger disk")]
    ImageTooLarge {
        /// Virtual size of the image.
        image_bytes: u64,
        /// Capacity of the disk.
        disk_bytes: u64,
    },
    /// There is no partition table.
    #[error(
        "the image has no partition table; a whole-disk image needs at least one partition (a bare file system or an \
         installer medium cannot be deployed)"
    )]
    NoTable,
    /// There is a table without partitions.
    #[error("the image's {table} partition table is empty; it needs at least one partition")]
    NoPartitions {
        /// `gpt` or `mbr`.
        table: &'static str,
    },
    /// The table counts in other sectors than the disk.
    #[error(
        "the image's partition table was made for {image_sector_bytes}-byte sectors, the disk has \
         {disk_sector_bytes}-byte sectors; use an image built for {disk_sector_bytes}-byte sectors or another disk"
    )]
    SectorMismatch {
        /// What the image's table was made for.
        image_sector_bytes: u32,
        /// What the disk has.
        disk_sector_bytes: u32,
    },
    /// A field of the table makes no sense.
    #[error("the image's {table} is broken: {field} is {value}")]
    Malformed {
        /// Which structure.
        table: &'static str,
        /// Which field.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// A checksum of the GPT is wrong.
    #[error(
        "the image's GPT {part} has CRC32 {actual:#010x}, its header says {expected:#010x}; the image is damaged, build \
         or download it again"
    )]
    Crc {
        /// `header` or `partition entries`.
        part: &'static str,
        /// As stored.
        expected: u32,
        /// As computed.
        actual: u32,
    },
    /// A partition lies outside the image.
    #[error(
        "partition {number} of the image spans bytes {start} to {end}, allowed are {floor} to {limit}; the image is \
         damaged or was cut short"
    )]
    OutOfRange {
        /// Partition number.
        number: u32,
        /// Its first byte.
        start: u64,
        /// First byte after it.
        end: u64,
        /// First allowed byte.
        floor: u64,
        /// First byte that is not allowed any more.
        limit: u64,
    },
    /// The backup table does not fit behind the last partition.
    #[error(
        "partition {number} of the image ends at byte {end}, but the disk must keep everything from {limit} for the \
         backup partition table; choose a larger disk"
    )]
    NoRoomForBackup {
        /// Partition number.
        number: u32,
        /// First byte after it.
        end: u64,
        /// Where the backup begins.
        limit: u64,
    },
    /// Two partitions share sectors.
    #[error(
        "partitions {first} and {second} of the image overlap; the image's partition table is damaged"
    )]
    Overlap {
        /// The one that begins first.
        first: u32,
        /// The other.
        second: u32,
    },
    /// The config drive does not fit behind the image's partitions.
    #[error(
        "the config drive needs {needed_bytes} bytes behind the image's last partition, {free_bytes} are free; use a \
         larger disk or an image with a smaller last partition"
    )]
    NoRoom {
        /// Length of its partition.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The table has no free entry.
    #[error(
        "the image's {table} partition table has all of its {entries} entries in use, none is free for the config \
         drive; use an image with fewer partitions{hint}"
    )]
    TableFull {
        /// `gpt` or `mbr`.
        table: &'static str,
        /// Entries in it.
        entries: u32,
        /// More to do, or nothing.
        hint: &'static str,
    },
    /// The image's own config-2 partition cannot take the config drive.
    #[error(
        "partition {number} of the image is named config-2 but has {bytes} bytes from byte {offset}; the config drive \
         needs {needed_bytes} bytes behind the first MiB; remove or enlarge it in the image"
    )]
    ConfigUnusable {
        /// Partition number.
        number: u32,
        /// Where it begins.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// Length of the config drive.
        needed_bytes: u64,
    },
    /// Several partitions are named config-2.
    #[error(
        "partitions {first} and {second} of the image are both named config-2; at most one may be"
    )]
    ConfigTwice {
        /// The first.
        first: u32,
        /// The second.
        second: u32,
    },
}
