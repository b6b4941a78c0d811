//! A disk as it will be after the commit, while it still lacks what is held back.

use super::{Layout, Range, bytes};
use crate::sys::disk::{BlockDevice, DiskError};

impl Layout {
    /// Reads what the image's partitions on `disk` will hold after [`super::commit()`]: they may reach into the first and the last
    /// MiB of the image, which are not on the disk yet.
    ///
    /// # Errors
    /// [`DiskError`]
    pub fn read_ahead(
        &self,
        disk: &dyn BlockDevice,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), DiskError> {
        disk.read_at(offset, buffer)?;
        for (at, held) in [(0, &self.head), (self.tail_offset, &self.tail)] {
            let (start, end) =
                (offset.max(at), (offset + buffer.len() as u64).min(at + held.len() as u64));
            let index = |place: u64, base: u64| usize::try_from(place - base).unwrap_or(usize::MAX);
            if start < end
                && let Some(to) = buffer.get_mut(index(start, offset)..index(end, offset))
                && let Some(from) = held.get(index(start, at)..index(end, at))
            {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// Zeroes the part of `range` that the commit would write.
    pub fn blank(&mut self, range: Range) {
        bytes::zero(&mut self.head, 0, range.offset, range.end());
        bytes::zero(&mut self.tail, self.tail_offset, range.offset, range.end());
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ESP, LINUX, TestImage};
    use super::super::{MIB, commit, plan_with};
    use super::*;

    /// An image whose first partition begins in its first MiB, and whose last one ends in its last MiB.
    fn image() -> TestImage {
        let parts = [(LINUX, 64, 4095, "root"), (ESP, 4096, 8 * 2048 - 64, "esp")];
        TestImage::gpt(512, 8 * MIB, &parts)
    }

    #[test]
    fn partitions_read_before_the_commit_as_after_it() {
        let image = image();
        let disk = image.written(20 * MIB);
        let layout = plan_with(&image.request(20 * MIB, None)).unwrap();
        let read = |offset: u64, length: usize| {
            let mut buffer = vec![9; length];
            layout.read_ahead(&disk, offset, &mut buffer).unwrap();
            buffer
        };
        let pieces: Vec<(u64, usize)> = layout
            .entries
            .iter()
            .flat_map(|entry| {
                let Range { offset, bytes } = entry.range;
                let all = usize::try_from(bytes).unwrap();
                [(offset, all), (offset + 512, 4096), (offset + bytes - 512, 512)]
            })
            .collect();
        let before: Vec<Vec<u8>> = pieces.iter().map(|(at, length)| read(*at, *length)).collect();
        commit(&disk, &layout).unwrap();
        for ((at, length), before) in pieces.iter().zip(before) {
            let start = usize::try_from(*at).unwrap();
            assert!(disk.contents()[start..start + length] == before, "{length} bytes at {at}");
            assert!(before.iter().all(|byte| *byte != 0), "the case this test is for");
        }
    }

    #[test]
    fn what_was_blanked_is_not_written_by_the_commit() {
        let image = image();
        let disk = image.written(20 * MIB);
        let mut layout = plan_with(&image.request(20 * MIB, None)).unwrap();
        layout.blank(Range { offset: 64 * 512, bytes: 4096 });
        layout.blank(Range { offset: 8 * MIB - 64 * 1024, bytes: 512 });
        layout.blank(Range { offset: 3 * MIB, bytes: 512 });
        commit(&disk, &layout).unwrap();
        let after = disk.contents();
        assert!(after[64 * 512..64 * 512 + 4096].iter().all(|byte| *byte == 0));
        let last = (8 << 20) - (64 << 10);
        assert!(after[last..last + 512].iter().all(|byte| *byte == 0));
        assert_eq!((after[64 * 512 + 4096], after[last - 1], after[3 << 20]), (1, 2, 2));
    }
}
