//! Our own maker of qcow2 images, for layouts QEMU does not make on request: every structure at a random place.

use ironwright_qcow2::MAGIC;

/// What one guest cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cluster {
    Absent,
    Zero,
    Plain(u8),
    Compressed(u8),
    /// Extended L2 only: which subclusters are stored and which are zero.
    Parts {
        fill: u8,
        stored: u32,
        zero: u32,
    },
}

/// A recipe.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub(super) cluster_bits: u32,
    pub(super) extended: bool,
    pub(super) zstd: bool,
    pub(super) clusters: Vec<Cluster>,
    /// Bytes missing from the last cluster, multiple of 512.
    pub(super) short: usize,
    /// Decides where things lie.
    pub(super) seed: u64,
}

impl Recipe {
    fn cluster_bytes(&self) -> usize {
        1 << self.cluster_bits
    }

    fn virtual_bytes(&self) -> usize {
        self.clusters.len() * self.cluster_bytes() - self.short
    }

    /// The content of a stored cluster: half pattern, half counting, so that it compresses but not to nothing.
    fn content(&self, index: usize, fill: u8) -> Vec<u8> {
        let mut state = (index as u64).wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(fill);
        (0..self.cluster_bytes())
            .map(|at| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if at % 8 < 5 { fill } else { state.to_be_bytes()[0] }
            })
            .collect()
    }

    /// The guest bytes.
    pub(super) fn expected(&self) -> Vec<u8> {
        let mut guest = Vec::new();
        for (index, cluster) in self.clusters.iter().enumerate() {
            match *cluster {
                Cluster::Absent | Cluster::Zero => {
                    guest.resize(guest.len() + self.cluster_bytes(), 0);
                }
                Cluster::Plain(fill) | Cluster::Compressed(fill) => {
                    guest.extend(self.content(index, fill));
                }
                Cluster::Parts { fill, stored, .. } => {
                    let mut content = self.content(index, fill);
                    for (part, bytes) in content.chunks_mut(self.cluster_bytes() / 32).enumerate() {
                        if stored >> part & 1 == 0 {
                            bytes.fill(0);
                        }
                    }
                    guest.extend(content);
                }
            }
        }
        guest.truncate(self.virtual_bytes());
        guest
    }

    /// The file.
    pub(super) fn build(&self) -> Vec<u8> {
        let size = self.cluster_bytes();
        let entry_bytes = if self.extended { 16 } else { 8 };
        let per_table = size / entry_bytes;
        let tables = self.clusters.len().div_ceil(per_table);
        let packed = self.pack();
        let packed_clusters = packed.bytes.len().div_ceil(size);
        let plain = self
            .clusters
            .iter()
            .filter(|cluster| matches!(cluster, Cluster::Plain(_) | Cluster::Parts { .. }))
            .count();
        let l1_clusters = (tables * 8).div_ceil(size).max(1);

        // One slot for each structure, in random order after the header's cluster.
        let mut slots: Vec<(usize, usize)> = Vec::new();
        slots.push((0, l1_clusters));
        slots.push((1, packed_clusters.max(1)));
        slots.push((2, 1));
        slots.extend((0..tables + plain).map(|index| (3 + index, 1)));
        shuffle(&mut slots, self.seed);
        let mut offsets = vec![0; slots.len()];
        let mut next = size;
        for (slot, clusters) in slots {
            offsets[slot] = next;
            next += clusters * size;
        }
        let mut file = vec![0; next];
        self.put_header(&mut file, offsets[0], offsets[2], tables);
        file[offsets[1]..offsets[1] + packed.bytes.len()].copy_from_slice(&packed.bytes);

        let mut plain_slot = 3 + tables;
        for (index, cluster) in self.clusters.iter().enumerate() {
            let (mut word, mut bitmap) = (0_u64, 0_u64);
            match *cluster {
                Cluster::Absent => {}
                Cluster::Zero if self.extended => bitmap = u64::MAX << 32,
                Cluster::Zero => word = 1,
                Cluster::Plain(fill) | Cluster::Parts { fill, .. } => {
                    let at = offsets[plain_slot];
                    plain_slot += 1;
                    file[at..at + size].copy_from_slice(&self.content(index, fill));
                    word = at as u64 | 1 << 63;
                    bitmap = 0xffff_ffff;
                }
                Cluster::Compressed(_) => word = packed.entry(index, offsets[1], self.cluster_bits),
            }
            if let Cluster::Parts { stored, zero, .. } = *cluster {
                bitmap = u64::from(stored) | u64::from(zero) << 32;
            }
            let table = offsets[3 + index / per_table];
            let at = table + index % per_table * entry_bytes;
            file[at..at + 8].copy_from_slice(&word.to_be_bytes());
            if self.extended {
                file[at + 8..at + 16].copy_from_slice(&bitmap.to_be_bytes());
            }
            let l1 = offsets[0] + index / per_table * 8;
            file[l1..l1 + 8].copy_from_slice(&(table as u64 | 1 << 63).to_be_bytes());
        }
        file
    }

    fn put_header(&self, file: &mut [u8], l1: usize, refcounts: usize, tables: usize) {
        file[..4].copy_from_slice(&MAGIC);
        let features = u32::from(self.zstd) << 3 | u32::from(self.extended) << 4;
        let tables = u32::try_from(tables).unwrap();
        for (offset, value) in [
            (4, 3_u32),
            (20, self.cluster_bits),
            (36, tables),
            (56, 1),
            (76, features),
            (96, 4),
            (100, 112),
            (104, u32::from(self.zstd) << 24),
        ] {
            file[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
        }
        for (offset, value) in [(24, self.virtual_bytes()), (40, l1), (48, refcounts)] {
            file[offset..offset + 8].copy_from_slice(&(value as u64).to_be_bytes());
        }
    }

    /// Compressed clusters one after the other, sharing sectors.
    fn pack(&self) -> Packed {
        let mut packed = Packed { bytes: Vec::new(), places: vec![(0, 0); self.clusters.len()] };
        for (index, cluster) in self.clusters.iter().enumerate() {
            if let Cluster::Compressed(fill) = *cluster {
                let compressed = self.compress(&self.content(index, fill));
                packed.places[index] = (packed.bytes.len(), compressed.len());
                packed.bytes.extend(compressed);
            }
        }
        packed
    }

    fn compress(&self, content: &[u8]) -> Vec<u8> {
        if self.zstd {
            return zstd::bulk::compress(content, 3).unwrap();
        }
        let mut deflate = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut compressed = vec![0; deflate.deflate_compress_bound(content.len())];
        let len = deflate.deflate_compress(content, &mut compressed).unwrap();
        compressed.truncate(len);
        compressed
    }
}

struct Packed {
    bytes: Vec<u8>,
    places: Vec<(usize, usize)>,
}

impl Packed {
    fn entry(&self, index: usize, base: usize, cluster_bits: u32) -> u64 {
        let (start, len) = self.places[index];
        let first = base + start;
        let sectors = (first + len - 1) / 512 - first / 512;
        1 << 62 | (sectors as u64) << (62 - (cluster_bits - 8)) | first as u64
    }
}

/// Fisher-Yates with a small generator.
pub(super) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for index in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (index as u64 + 1)).unwrap();
        items.swap(index, other);
    }
}
