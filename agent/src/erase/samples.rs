//! Proof by samples for erases that the device does by itself: what was at some places before must not be there afterwards.
//!
//! At half of the places, the first and the last block always among them, a random value is written, flushed and read back past
//! the cache: a disk that does not keep those proves nothing by losing them. At the others the data that is there is
//! remembered by its digest, so that a device which treats fresh writes differently is caught too.

use ironwright_api::Sample;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use super::ladder::Reads;
use crate::sys::disk::{AlignedBuffer, BlockDevice, DiskError};

/// Places beside the first and the last block.
const PLACES: usize = 64;

/// Longest pattern that counts as one, bytes.
const PATTERN: usize = 16;

/// Places, and what was there.
#[derive(Debug)]
pub struct Samples {
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    lba: u64,
    /// `nonce` or `data`.
    before: &'static str,
    digest: [u8; 32],
}

/// Why an erase of this disk could not be verified by samples.
#[derive(Debug, thiserror::Error)]
pub enum Unverifiable {
    /// No random bytes.
    #[error("the kernel gives no random bytes for samples")]
    Random,
    /// The disk refused.
    #[error("preparing samples")]
    Disk(#[from] DiskError),
    /// It does not keep what is written.
    #[error("LBA {lba} does not hold the random value that was written and flushed there")]
    Dropped {
        /// The block.
        lba: u64,
    },
    /// Nothing to look at.
    #[error("the disk has no whole block")]
    Empty,
}

/// What samples show after an erase.
#[derive(Debug)]
pub struct Looked {
    /// Every place.
    pub samples: Vec<Sample>,
    /// Bytes read.
    pub bytes: u64,
    /// The first place that is not as it must be, in words; none: all are.
    pub problem: Option<String>,
}

impl Samples {
    /// Chooses places, writes and checks the random values, remembers the rest.
    ///
    /// # Errors
    /// [`Unverifiable`].
    pub fn plant(disk: &dyn BlockDevice) -> Result<Self, Unverifiable> {
        let random = SystemRandom::new();
        let block = u64::from(disk.sector_bytes().max(1));
        let mut buffer = AlignedBuffer::new(usize::try_from(block).unwrap_or(512));
        let mut places = Vec::new();
        for (number, lba) in choose(disk.bytes() / block, &random)?.into_iter().enumerate() {
            disk.read_at(lba * block, &mut buffer)?;
            let ends = lba == 0 || lba == disk.bytes() / block - 1;
            let keeps = !ends && number % 2 == 1 && !is_pattern(&buffer);
            if !keeps {
                random.fill(&mut buffer).map_err(|_| Unverifiable::Random)?;
                disk.write_at(lba * block, &buffer)?;
            }
            let before = if keeps { "data" } else { "nonce" };
            places.push(Place { lba, before, digest: Sha256::digest(&buffer[..]).into() });
        }
        disk.flush()?;
        for place in &places {
            buffer.fill(0);
            disk.read_at(place.lba * block, &mut buffer)?;
            if <[u8; 32]>::from(Sha256::digest(&buffer[..])) != place.digest {
                return Err(Unverifiable::Dropped { lba: place.lba });
            }
        }
        Ok(Self { places })
    }

    /// Looks at every place again.
    ///
    /// # Errors
    /// [`DiskError`] when a place cannot be read.
    pub fn look(&self, disk: &dyn BlockDevice, expected: Reads) -> Result<Looked, DiskError> {
        let block = u64::from(disk.sector_bytes().max(1));
        let mut buffer = AlignedBuffer::new(usize::try_from(block).unwrap_or(512));
        let mut again = AlignedBuffer::new(buffer.len());
        let mut looked = Looked { samples: Vec::new(), bytes: 0, problem: None };
        for Place { lba, before, digest } in &self.places {
            // Twice into different bytes: a read that brings nothing must look neither like zeros nor like a change.
            buffer.fill(0);
            again.fill(0xff);
            disk.read_at(lba * block, &mut buffer)?;
            disk.read_at(lba * block, &mut again)?;
            looked.bytes += block;
            let unchanged = <[u8; 32]>::from(Sha256::digest(&buffer[..])) == *digest;
            let (after, words) = if unchanged {
                ("unchanged", Some("still holds what was there before"))
            } else if buffer[..] != again[..] {
                ("different", Some("reads differently each time: nothing can be said of it"))
            } else if buffer.iter().all(|byte| *byte == 0) {
                ("zero", None)
            } else if expected == Reads::Zero {
                ("different", Some("is not zero, though the method leaves zeros"))
            } else {
                ("different", None)
            };
            if let Some(words) = words
                && looked.problem.is_none()
            {
                looked.problem = Some(format!("LBA {lba} {words}"));
            }
            let (before, after) = ((*before).to_owned(), after.to_owned());
            looked.samples.push(Sample { lba: *lba, before, after });
        }
        Ok(looked)
    }
}

/// Whether a block is zeros, or any other short pattern again and again: an earlier erase may have left it, and the next one leaves
/// it again, so that it is no data whose staying proves anything.
fn is_pattern(block: &[u8]) -> bool {
    let first = block.get(..PATTERN).unwrap_or(block);
    block.chunks_exact(PATTERN).all(|chunk| chunk == first)
}

/// Different blocks in ascending order: the first, the last, and random ones between.
fn choose(blocks: u64, random: &SystemRandom) -> Result<Vec<u64>, Unverifiable> {
    let last = blocks.checked_sub(1).ok_or(Unverifiable::Empty)?;
    let mut chosen = std::collections::BTreeSet::from([0, last]);
    // A small disk has fewer blocks than places; a bounded number of draws finds almost all of them.
    for _ in 0..PLACES {
        let mut bytes = [0; 8];
        random.fill(&mut bytes).map_err(|_| Unverifiable::Random)?;
        chosen.insert(u64::from_le_bytes(bytes) % blocks);
    }
    Ok(chosen.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::testing::FakeDisk;

    fn full(bytes: u64) -> FakeDisk {
        let disk = FakeDisk::new(bytes, 512);
        let data: Vec<u8> = (0..bytes / 8).flat_map(u64::to_le_bytes).collect();
        disk.write_at(0, &data).unwrap();
        disk
    }

    #[test]
    fn the_ends_are_always_among_the_samples_and_both_kinds_are() {
        let disk = full(8 << 20);
        let samples = Samples::plant(&disk).unwrap();
        let looked = samples.look(&disk, Reads::Changed).unwrap().samples;
        assert!(looked.len() > 50 && looked.len() <= PLACES + 2, "{}", looked.len());
        assert_eq!((looked[0].lba, looked[looked.len() - 1].lba), (0, (8 << 11) - 1));
        for kind in ["nonce", "data"] {
            assert!(looked.iter().filter(|sample| sample.before == kind).count() > 20);
        }
        assert_eq!((looked[0].before.as_str(), looked[0].after.as_str()), ("nonce", "unchanged"));
    }

    #[test]
    fn a_fake_disk_that_was_zeroed_passes_and_one_with_one_old_block_is_named() {
        let disk = full(4 << 20);
        let samples = Samples::plant(&disk).unwrap();
        assert!(samples.look(&disk, Reads::Changed).unwrap().problem.unwrap().contains("LBA 0 "));
        let kept = samples.places[7].lba;
        let mut old = vec![0; 512];
        disk.read_at(kept * 512, &mut old).unwrap();
        disk.write_at(0, &vec![0; 4 << 20]).unwrap();
        assert_eq!(samples.look(&disk, Reads::Zero).unwrap().problem, None);
        disk.write_at(kept * 512, &old).unwrap();
        let problem = samples.look(&disk, Reads::Zero).unwrap().problem.unwrap();
        assert!(problem.starts_with(&format!("LBA {kept} still holds")), "{problem}");
    }

    #[test]
    fn a_pattern_that_an_earlier_erase_left_is_no_data() {
        let disk = FakeDisk::new(4 << 20, 512);
        disk.write_at(0, &vec![0xff; 4 << 20]).unwrap();
        let samples = Samples::plant(&disk).unwrap();
        assert!(samples.places.iter().all(|place| place.before == "nonce"));
        disk.write_at(0, &vec![0xff; 4 << 20]).unwrap();
        assert_eq!(samples.look(&disk, Reads::Changed).unwrap().problem, None);
    }

    #[test]
    fn noise_is_a_change_but_no_zero() {
        let disk = full(1 << 20);
        let samples = Samples::plant(&disk).unwrap();
        disk.write_at(0, &vec![0x5a; 1 << 20]).unwrap();
        assert_eq!(samples.look(&disk, Reads::Changed).unwrap().problem, None);
        let problem = samples.look(&disk, Reads::Zero).unwrap().problem.unwrap();
        assert!(problem.starts_with("LBA 0 is not zero"), "{problem}");
    }

    #[test]
    fn a_fake_disk_that_does_not_keep_the_random_values_is_unverifiable() {
        let mut disk = full(1 << 20);
        disk.flip_at = Some(5);
        let error = Samples::plant(&disk).unwrap_err();
        assert!(matches!(error, Unverifiable::Dropped { lba: 0 }), "{error}");
        assert!(matches!(Samples::plant(&FakeDisk::new(0, 512)), Err(Unverifiable::Empty)));
        Samples::plant(&FakeDisk::new(512, 512)).unwrap();
    }
}
