//! A plain mutator for where no coverage-guided fuzzer is: the same seeds, the same bytes, on every run.

/// A reproducible stream of numbers (Knuth's 64-bit linear congruential generator, upper half).
struct Random(u64);

impl Random {
    /// Below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        let (factor, step) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);
        self.0 = self.0.wrapping_mul(factor).wrapping_add(step);
        usize::try_from(self.0 >> 33).unwrap_or(0).checked_rem(limit).unwrap_or(0)
    }
}

/// Values that fields and entries dislike.
const WORDS: [u64; 10] = [
    0,
    1,
    u64::MAX,
    1 << 62,
    1 << 63,
    (1 << 62) | 0x3fff_ffff_ffff,
    0x00ff_ffff_ffff_fe00,
    512,
    0x8000_0000_0000_0200,
    0xffff_ffff,
];

/// Calls `target` with every seed and then with `count` changed ones.
pub fn run(seeds: &[Vec<u8>], count: usize, mut target: impl FnMut(&[u8])) {
    for seed in seeds {
        target(seed);
    }
    let mut random = Random(1);
    for _ in 0..count {
        let Some(seed) = seeds.get(random.below(seeds.len())) else { return };
        let mut bytes = seed.clone();
        for _ in 0..=random.below(4) {
            change(&mut bytes, &mut random);
        }
        target(&bytes);
    }
}

/// One change: a bit, a byte, a big-endian word, a copied word, a shorter file.
fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    let len = bytes.len();
    // Most of what matters is in the first bytes of a cluster.
    let cluster = random.below((len / 512).saturating_add(1)).saturating_mul(512);
    let at = cluster.saturating_add(random.below(128)).min(len.saturating_sub(1));
    let word_at = at & !7;
    match random.below(6) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1_u8.checked_shl(u32::try_from(random.below(8)).unwrap_or(0)).unwrap_or(1);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(random.below(256)).unwrap_or(0);
            }
        }
        2 | 3 => {
            let word = WORDS.get(random.below(WORDS.len())).copied().unwrap_or(0);
            let end = word_at.saturating_add(8);
            if let Some(room) = bytes.get_mut(word_at..end) {
                room.copy_from_slice(&word.to_be_bytes());
            }
        }
        4 => {
            let from = random.below(len.max(8)) & !7;
            let word = bytes.get(from..from.saturating_add(8)).map(<[u8]>::to_vec);
            if let (Some(word), Some(room)) =
                (word, bytes.get_mut(word_at..word_at.saturating_add(8)))
            {
                room.copy_from_slice(&word);
            }
        }
        _ if random.below(8) == 0 => bytes.truncate(random.below(len.max(1))),
        _ => {}
    }
}
