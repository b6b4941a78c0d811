//! Compressed clusters to guest bytes, in a buffer of the thread's own.

use std::ops::Range;

use ironwright_qcow2::{Compression, Item};
use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer, ResetDirective};

use super::error::ImageError;
use super::write::Codec;
use crate::sys::disk::AlignedBuffer;

/// Guest bytes in one batch, unless one cluster is longer.
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// Compressed clusters that are neighbours on the disk, with their compressed bytes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    clusters: Vec<(Item, Range<usize>)>,
    input: Vec<u8>,
}

impl Batch {
    /// Adds a cluster; the caller has asked [`Batch::fits`].
    pub(super) fn push(&mut self, item: Item, compressed: &[u8]) {
        let start = self.input.len();
        self.input.extend_from_slice(compressed);
        self.clusters.push((item, start..self.input.len()));
    }

    /// Whether a cluster follows the last one on the disk and the batch has room.
    pub(super) fn fits(&self, item: &Item, cluster_bytes: usize) -> bool {
        let Some((last, _)) = self.clusters.last() else { return true };
        last.guest_offset() + last.guest_bytes() == item.guest_offset()
            && (self.clusters.len() + 1) * cluster_bytes <= BATCH_BYTES
            && self.input.len() <= BATCH_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    pub(super) fn guest_offset(&self) -> u64 {
        self.clusters.first().map_or(0, |(item, _)| item.guest_offset())
    }
}

/// Decompressors and the buffer they fill.
pub(super) struct Inflater {
    codec: Codec,
    deflate: libdeflater::Decompressor,
    zstd: DCtx<'static>,
    output: AlignedBuffer,
}

impl Inflater {
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            deflate: libdeflater::Decompressor::new(),
            zstd: DCtx::create(),
            output: AlignedBuffer::new(BATCH_BYTES.max(codec.cluster_bytes)),
        }
    }

    /// The guest bytes of a batch.
    pub(super) fn inflate(&mut self, batch: &Batch) -> Result<&[u8], ImageError> {
        let mut filled = 0;
        for (item, range) in &batch.clusters {
            let compressed = batch.input.get(range.clone()).unwrap_or_default();
            let output = self.output.get_mut(filled..filled + self.codec.cluster_bytes);
            let whole = output.is_some_and(|output| match self.codec.compression {
                Compression::Zlib => self
                    .deflate
                    .deflate_decompress(compressed, output)
                    .is_ok_and(|bytes| bytes == output.len()),
                Compression::Zstd => inflate_zstd(&mut self.zstd, compressed, output),
            });
            if !whole {
                return Err(ImageError::Inflate {
                    host_offset: item.host_offset(),
                    guest_offset: item.guest_offset(),
                });
            }
            // Only the image's last cluster can be shorter on the disk.
            filled += usize::try_from(item.guest_bytes()).unwrap_or(0);
        }
        Ok(self.output.get(..filled).unwrap_or_default())
    }
}

/// One frame, then padding: stop when the cluster is full.
fn inflate_zstd(context: &mut DCtx<'static>, compressed: &[u8], output: &mut [u8]) -> bool {
    let want = output.len();
    if context.reset(ResetDirective::SessionOnly).is_err() {
        return false;
    }
    let mut input = InBuffer { src: compressed, pos: 0 };
    let mut output = OutBuffer::around(output);
    let mut more = 1;
    while output.pos() < want {
        let before = (input.pos, output.pos());
        match context.decompress_stream(&mut output, &mut input) {
            Ok(hint) if before != (input.pos, output.pos()) => more = hint,
            Ok(_) | Err(_) => return false,
        }
    }
    // As in QEMU: a frame that is longer than the cluster is damage.
    more == 0
}
