//! The real disk over regular files: ragged edges, both ways of opening.

use std::sync::Arc;

use super::{Access, AlignedBuffer, BlockDevice, DiskOp, RealDisk, first_non_zero, is_aligned};

/// A file of `bytes` with a pattern, and the pattern.
fn disk(bytes: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..bytes).map(|index| u8::try_from(index % 251).unwrap()).collect();
    std::fs::write(file.path(), &content).unwrap();
    (file, content)
}

#[test]
fn ragged_reads_writes_and_zeros_change_exactly_their_bytes() {
    // The second length is no multiple of a block: such a file goes through the page cache.
    for length in [1 << 21, (1 << 21) + 700] {
        let (file, mut model) = disk(length);
        let real = RealDisk::open(file.path(), Access::Write).unwrap();
        assert_eq!(real.bytes(), length as u64);
        for (offset, len) in
            [(0, 1), (511, 2), (4095, 4098), (4096, 8192), (5000, 1_100_000), (length - 3, 3)]
        {
            let bytes = vec![0xa5; len];
            real.write_at(offset as u64, &bytes).unwrap();
            model[offset..offset + len].copy_from_slice(&bytes);
            let zero_at = (offset + len / 2).min(length - 1);
            let zero_len = (len / 3).min(length - zero_at);
            real.zero(zero_at as u64, zero_len as u64).unwrap();
            model[zero_at..zero_at + zero_len].fill(0);
            let mut read = vec![0; len];
            real.read_at(offset as u64, &mut read).unwrap();
            assert_eq!(read, model[offset..offset + len], "at {offset} of {length}");
        }
        real.flush().unwrap();
        assert!(std::fs::read(file.path()).unwrap() == model, "length {length}");
    }
}

#[test]
fn two_writers_of_one_block_do_not_lose_bytes() {
    let (file, mut model) = disk(1 << 16);
    let real = Arc::new(RealDisk::open(file.path(), Access::Write).unwrap());
    std::thread::scope(|scope| {
        for lane in 0..4_usize {
            let real = &real;
            scope.spawn(move || {
                for block in 0..16_u64 {
                    let piece = vec![u8::try_from(lane).unwrap() + 1; 1024];
                    real.write_at(block * 4096 + lane as u64 * 1024, &piece).unwrap();
                }
            });
        }
    });
    for (index, byte) in model.iter_mut().enumerate() {
        *byte = u8::try_from(index % 4096 / 1024).unwrap() + 1;
    }
    assert!(std::fs::read(file.path()).unwrap() == model);
}

#[test]
fn access_beyond_the_end_is_refused_and_never_lengthens_the_file() {
    let (file, _) = disk(8192);
    let real = RealDisk::open(file.path(), Access::Write).unwrap();
    for error in [
        real.write_at(8000, &[1; 400]).unwrap_err(),
        real.zero(8192, 1).unwrap_err(),
        real.read_at(u64::MAX, &mut [0; 2]).unwrap_err(),
    ] {
        assert_eq!(error.source.to_string(), "beyond the end of the disk at 8192");
    }
    assert_eq!(std::fs::metadata(file.path()).unwrap().len(), 8192);
}

#[test]
fn a_folder_is_not_a_disk() {
    let error = RealDisk::open("/tmp", Access::Read).unwrap_err();
    assert_eq!(error.op, DiskOp::Open);
    assert_eq!(error.to_string(), "open of /tmp");
    assert_eq!(error.source.to_string(), "neither a block device nor a regular file");
}

#[test]
fn aligned_buffers_are_aligned_at_every_length() {
    for len in [0, 1, 511, 4096, 1 << 20] {
        let buffer = AlignedBuffer::new(len);
        assert!(is_aligned(&buffer) && buffer.len() == len, "{len}");
    }
}

#[test]
fn the_first_byte_that_is_not_zero_is_found_wherever_it_is() {
    let mut bytes = vec![0; 10_000];
    assert_eq!(first_non_zero(&bytes), None);
    assert_eq!(first_non_zero(&[]), None);
    for place in [9_999, 8_192, 8_191, 4_096, 4_095, 1, 0] {
        bytes[place] = 7;
        assert_eq!(first_non_zero(&bytes), Some((place, 7)));
    }
}
