//! Small valid images to begin with, made field by field.

/// Cluster size of the images, bytes, by cluster bits.
fn cluster(bits: u32) -> usize {
    1_usize.checked_shl(bits).unwrap_or(0)
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(room) = bytes.get_mut(offset..offset.saturating_add(value.len())) {
        room.copy_from_slice(value);
    }
}

/// What makes the seeds different: version, cluster bits, incompatible features, compression type.
const KINDS: [(u32, u32, u64, u8); 5] =
    [(2, 9, 0, 0), (3, 9, 0, 0), (3, 12, 1, 0), (3, 9, 8, 1), (3, 14, 16, 0)];

/// Header in cluster 0, refcount table in 1, L1 table in 2, one L2 table in 3; 5 clusters of data; 20 of disk.
fn header(kind: (u32, u32, u64, u8)) -> Vec<u8> {
    let (version, bits, incompatible, compression) = kind;
    let size = u64::try_from(cluster(bits)).unwrap_or(0);
    let mut bytes = vec![0; 112];
    put(&mut bytes, 0, &crate::MAGIC);
    for (offset, value) in [(4, version), (20, bits), (36, 1), (56, 1)] {
        put(&mut bytes, offset, &value.to_be_bytes());
    }
    let disk = size.saturating_mul(20).saturating_sub(512);
    for (offset, value) in [(24, disk), (40, size.saturating_mul(2)), (48, size)] {
        put(&mut bytes, offset, &value.to_be_bytes());
    }
    if version > 2 {
        put(&mut bytes, 72, &incompatible.to_be_bytes());
        put(&mut bytes, 96, &4_u32.to_be_bytes());
        put(&mut bytes, 100, &112_u32.to_be_bytes());
        put(&mut bytes, 104, &[compression]);
    }
    bytes
}

/// L2 entries: stored, absent, zero (version 3), compressed; with 32 subclusters each where the features say so.
fn entries(kind: (u32, u32, u64, u8)) -> Vec<u8> {
    let (version, bits, incompatible, _) = kind;
    let size = u64::try_from(cluster(bits)).unwrap_or(0);
    let at = |index: u64| size.saturating_mul(index) | (1 << 63);
    let zero = if version > 2 { 1 } else { 0 };
    let compressed = (1 << 62) | size.saturating_mul(8);
    let next = (1 << 62) | size.saturating_mul(8).saturating_add(300);
    let words = [at(4), at(5), 0, at(7), zero, at(6), compressed, next, 0, zero];
    let extended = incompatible & 16 != 0;
    let entry = |word: u64| {
        let word = if extended { word & !1 } else { word };
        let bitmap = if word & (3 << 62) == 1 << 63 { 0x0f00_0000_00ff_f00f_u64 } else { 0 };
        let mut bytes = word.to_be_bytes().to_vec();
        bytes.extend(extended.then(|| bitmap.to_be_bytes()).into_iter().flatten());
        bytes
    };
    words.into_iter().flat_map(entry).collect()
}

/// For [`super::header`].
#[must_use]
pub fn headers() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = KINDS.into_iter().map(header).collect();
    // One with the names of its features and an end.
    let mut named = header(KINDS[1]);
    named.extend_from_slice(&0x6803_f857_u32.to_be_bytes());
    named.extend_from_slice(&48_u32.to_be_bytes());
    named.extend_from_slice(b"\0\x05a feature\0");
    named.resize(512, 0);
    all.push(named);
    all
}

/// For [`super::tables`].
#[must_use]
pub fn tables() -> Vec<Vec<u8>> {
    KINDS.into_iter().map(|kind| [header(kind), entries(kind)].concat()).collect()
}

/// For [`super::whole_image`].
#[must_use]
pub fn images() -> Vec<Vec<u8>> {
    let image = |kind: (u32, u32, u64, u8)| {
        let size = cluster(kind.1);
        let at = |index: usize| size.saturating_mul(index);
        let mut image = vec![0; at(9).saturating_add(size / 2)];
        put(&mut image, 0, &header(kind));
        put(&mut image, at(2), &u64::try_from(at(3)).unwrap_or(0).to_be_bytes());
        put(&mut image, at(3), &entries(kind));
        for index in 4..9 {
            put(&mut image, at(index), &vec![u8::try_from(index).unwrap_or(0); size]);
        }
        image
    };
    KINDS.into_iter().map(image).collect()
}
