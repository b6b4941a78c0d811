//! The numbers that bound time and memory. Tests shrink them; nobody else changes them.

use std::time::Duration;

/// Bounds of one image write.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    /// A body that sends nothing for this long counts as cut.
    pub(crate) stall: Duration,
    /// Bytes that must come in [`Tuning::stall`] of waiting; a trickle below it counts as cut. 1 KiB a second by default,
    /// at which a small image would take days.
    pub(crate) stall_bytes: u64,
    /// Failures in a row, without [`Tuning::progress_bytes`] between them, before the next URL is tried.
    pub(crate) attempts: u32,
    /// Pause before the second attempt; doubles up to 16 times itself.
    pub(crate) backoff: Duration,
    /// Bytes that make earlier failures forgotten.
    pub(crate) progress_bytes: u64,
    /// Bytes of the image looked at before the disk is touched.
    pub(crate) prefix_bytes: usize,
    /// Pieces of a qcow2 map (24 bytes each).
    pub(crate) map_pieces: usize,
    /// L2 tables whose place is remembered (about 32 bytes each).
    pub(crate) tables: usize,
    /// Range requests for tables; past it the image is decoded as it arrives.
    pub(crate) table_requests: usize,
    /// Bytes of tables read ahead.
    pub(crate) table_bytes: u64,
    /// Bytes kept because their role is not known yet.
    pub(crate) ring_bytes: usize,
    /// Times an image may be read because its tables come late.
    pub(crate) passes: u32,
    /// Bytes in buffers on their way to the disk.
    pub(crate) pool_bytes: usize,
    /// An image whose length nobody says may have twice the disk's bytes (snapshots, clusters left unused) and so many more.
    pub(crate) excess_bytes: u64,
    /// Seed of sampled read-back; random when none.
    pub(crate) sample_seed: Option<u64>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(30),
            stall_bytes: 30 << 10,
            attempts: 6,
            backoff: Duration::from_millis(500),
            progress_bytes: 1 << 20,
            prefix_bytes: 1 << 20,
            map_pieces: (32 << 20) / 24,
            tables: 1 << 20,
            table_requests: 1000,
            table_bytes: 64 << 20,
            ring_bytes: 12 << 20,
            passes: 4,
            pool_bytes: 8 << 20,
            excess_bytes: 1 << 30,
            sample_seed: None,
        }
    }
}
