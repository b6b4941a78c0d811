//! Raw images compressed as a whole, and raw images without a length.

use std::io::Write as _;

use axum::http::StatusCode;

use super::disks::OLD;
use super::servers::Reply;
use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut packer = liblzma::write::XzEncoder::new(Vec::new(), 1);
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

type Packer = fn(&[u8]) -> Vec<u8>;

/// Every packing; in two parts too, as `cat a.gz b.gz` makes it.
fn packed(content: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (first, second) = content.split_at(content.len() / 3);
    let packers: [(&str, Packer); 3] = [("raw.gz", gzip), ("raw.xz", xz), ("raw.zst", zstd)];
    let each = |(name, pack): (&'static str, Packer)| {
        [(name, pack(content)), (name, [pack(first), pack(second)].concat())]
    };
    packers.into_iter().flat_map(each).collect()
}

/// Content with long and short runs of zeros and data at its very end, of a length that is no multiple of anything.
fn sparse_content() -> Vec<u8> {
    let mut content = mixed_content((5 << 20) + 700);
    content[(1 << 20) + 100..(4 << 20) + 5000].fill(0);
    content
}

#[tokio::test]
async fn packed_raw_images_are_written_and_proven_in_every_form() {
    let content = sparse_content();
    for (name, file) in packed(&content) {
        for ranges in [true, false] {
            let server = Server::good(file.clone(), ranges).await;
            let disk = Arc::new(MemoryDisk::new(8 << 20));
            let request = request(&server, &sha256_hex(&file));
            let outcome = write_to(&server, &disk, &request, &quick()).await.unwrap();
            let written = &outcome.written;
            assert_eq!((written.format.as_str(), written.proven), (name, true));
            assert_eq!(written.virtual_bytes, content.len() as u64);
            assert_eq!(written.readback.bytes, content.len() as u64);
            assert_eq!(written.image_bytes, file.len() as u64);
            let on_disk = disk.content();
            assert_eq!(on_disk[..content.len()], content);
            // What lies after the image is what was there, but for the disk's last MiB.
            assert!(on_disk[content.len()..7 << 20].iter().all(|byte| *byte == OLD));
            assert!(on_disk[7 << 20..].iter().all(|byte| *byte == 0));
            let tail_offset = content.len() - (1 << 20);
            assert_eq!(outcome.held.head, content[..1 << 20]);
            assert_eq!(outcome.held.tail_offset, tail_offset as u64);
            assert_eq!(outcome.held.tail, content[tail_offset..]);
        }
    }
}

#[tokio::test]
async fn nothing_bootable_is_written_before_the_end_and_lba_0_last() {
    let content = sparse_content();
    let file = gzip(&content);
    let server = Server::good(file.clone(), true).await;
    let disk = Arc::new(MemoryDisk::new(content.len() + 324));
    write_to(&server, &disk, &request(&server, &sha256_hex(&file)), &quick()).await.unwrap();
    let ops = disk.ops();
    let writes: Vec<_> =
        ops.iter().filter(|(op, ..)| *op == crate::sys::disk::DiskOp::Write).collect();
    let (last, earlier) = writes.split_last().unwrap();
    assert_eq!((last.1, last.2), (0, 512));
    // The rest of the first MiB and the disk's last MiB come right before it.
    let edge = disk.bytes() - (1 << 20);
    let held: Vec<_> =
        earlier.iter().filter(|(_, at, len)| *at < 1 << 20 || at + len > edge).collect();
    assert_eq!(held.len(), 2, "{held:?}");
    assert_eq!(disk.content()[..content.len()], content);
}

#[tokio::test]
async fn zeros_among_data_are_zeroed_and_not_written() {
    let content = sparse_content();
    let zeros = (1 << 20) + (64 << 10)..4 << 20;
    for (name, file) in [("raw", content.clone()), ("raw.zst", zstd(&content))] {
        let server = Server::good(file.clone(), true).await;
        let disk = Arc::new(MemoryDisk::new(8 << 20));
        let request = request(&server, &sha256_hex(&file));
        let outcome = write_to(&server, &disk, &request, &quick()).await.unwrap();
        assert_eq!((outcome.written.format.as_str(), outcome.written.proven), (name, true));
        assert_eq!(disk.content()[..content.len()], content);
        let inside = |op| {
            let ops = disk.ops().into_iter().filter(move |(other, ..)| *other == op);
            ops.map(|(_, at, len)| (at + len).min(zeros.end).saturating_sub(at.max(zeros.start)))
                .sum::<u64>()
        };
        assert_eq!(inside(crate::sys::disk::DiskOp::Write), 0, "{name}");
        assert!(inside(crate::sys::disk::DiskOp::Zero) >= zeros.end - zeros.start, "{name}");
    }
}

#[tokio::test]
async fn an_image_shorter_than_the_held_areas_is_written_too() {
    for len in [1, 511, 70_000, (1 << 20) + 1] {
        let content = mixed_content(len);
        let file = zstd(&content);
        let server = Server::good(file.clone(), true).await;
        let disk = Arc::new(MemoryDisk::new(3 << 20));
        let request = request(&server, &sha256_hex(&file));
        let outcome = write_to(&server, &disk, &request, &quick()).await.unwrap();
        assert_eq!(disk.content()[..len], content);
        assert_eq!(outcome.written.virtual_bytes, len as u64);
        assert_eq!([outcome.held.head, outcome.held.tail].concat(), content);
    }
}

#[tokio::test]
async fn a_raw_image_without_a_length_is_written_as_it_comes() {
    let (content, digest) = image();
    let file = content.clone();
    let server = Server::start(move |_| Reply { length: None, ..Reply::whole(&file) }).await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let outcome = write_to(&server, &disk, &request(&server, &digest), &quick()).await.unwrap();
    assert_eq!(disk.content()[..content.len()], content);
    assert_eq!(outcome.written.virtual_bytes, content.len() as u64);
}

#[tokio::test]
async fn bad_packed_images_leave_no_partition_table_and_say_why() {
    let content = sparse_content();
    let cut = |file: Vec<u8>| file[..file.len() - 9].to_vec();
    let with = |mut file: Vec<u8>, more: &[u8]| {
        file.extend_from_slice(more);
        file
    };
    for (_, file) in packed(&content) {
        for bad in [cut(file.clone()), with(file.clone(), b"garbage after the end")] {
            let server = Server::good(bad.clone(), true).await;
            let disk = Arc::new(MemoryDisk::new(8 << 20));
            let request = request(&server, &sha256_hex(&bad));
            let error = write_to(&server, &disk, &request, &quick()).await.unwrap_err();
            let text = chain(&error);
            assert!(text.starts_with(WIPED) && text.contains("cannot unpack the raw."), "{text}");
            assert!(error.remedy().contains("damaged or incomplete"), "{}", error.remedy());
            assert!(disk.has_no_table());
        }
        // Whole, but not the one that was ordered.
        let server = Server::good(file, true).await;
        let disk = Arc::new(MemoryDisk::new(8 << 20));
        let request = request(&server, &"0".repeat(64));
        let error = write_to(&server, &disk, &request, &quick()).await.unwrap_err();
        assert!(chain(&error).contains("order says 000"), "{}", chain(&error));
        assert!(disk.has_no_table());
    }
}

#[tokio::test]
async fn an_image_that_grows_past_the_disk_is_stopped_there() {
    let file = gzip(&vec![0; 64 << 20]);
    let server = Server::good(file.clone(), true).await;
    let disk = Arc::new(MemoryDisk::new(5 << 20));
    let request = request(&server, &sha256_hex(&file));
    let error = write_to(&server, &disk, &request, &quick()).await.unwrap_err();
    let expected = format!("{WIPED}the image goes on after 5242880 bytes, the end of the disk");
    assert_eq!(chain(&error), expected);
    assert!(disk.has_no_table());
}

#[tokio::test]
async fn what_holds_no_raw_image_or_needs_too_much_memory_is_refused_before_the_disk_is_touched() {
    let qcow2 = [b"QFI\xfb\0\0\0\x03".as_slice(), &[0; 600]].concat();
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(&mixed_content(3 << 20)).unwrap();
    let mut options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
    options.dict_size(256 << 20);
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    let stream =
        liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc64)
            .unwrap();
    let mut large = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    large.write_all(&mixed_content(3 << 20)).unwrap();
    for (file, part, remedy) in [
        (gzip(&qcow2), "the raw.gz image holds qcow2", "uncompressed"),
        (xz(&gzip(b"twice")), "the raw.xz image holds raw.gz", "uncompressed"),
        (zstd(b"<!DOCTYPE html>"), "the image is an HTML page", "correct the URL"),
        (wide.finish().unwrap(), "cannot unpack the raw.zst image", "unpacks within 66 MiB"),
        (large.finish().unwrap(), "cannot unpack the raw.xz image", "unpacks within 66 MiB"),
    ] {
        let server = Server::good(file.clone(), true).await;
        let disk = Arc::new(MemoryDisk::new(8 << 20));
        let request = request(&server, &sha256_hex(&file));
        let error = write_to(&server, &disk, &request, &quick()).await.unwrap_err();
        assert!(chain(&error).contains(part), "{}", chain(&error));
        assert!(error.remedy().contains(remedy), "{}", error.remedy());
        assert!(disk.is_untouched());
    }
}

#[tokio::test]
async fn a_connection_that_breaks_inside_a_packed_image_goes_on_where_it_stopped() {
    let content = sparse_content();
    let file = gzip(&content);
    let served = file.clone();
    let server = Server::start(move |ask| {
        let reply = Reply::good(ask, &served).etag("\"1\"");
        if ask.number == 0 && reply.status != StatusCode::RANGE_NOT_SATISFIABLE {
            reply.cut(served.len() / 2)
        } else {
            reply
        }
    })
    .await;
    let disk = Arc::new(MemoryDisk::new(8 << 20));
    let request = request(&server, &sha256_hex(&file));
    let outcome = write_to(&server, &disk, &request, &quick()).await.unwrap();
    assert_eq!(outcome.written.resumes, 1);
    assert_eq!(disk.content()[..content.len()], content);
}

#[tokio::test]
async fn an_image_packed_from_nothing_is_refused_before_the_disk_is_touched() {
    for (name, file) in packed(&[]) {
        let server = Server::good(file.clone(), true).await;
        let disk = Arc::new(MemoryDisk::new(8 << 20));
        let request = request(&server, &sha256_hex(&file));
        let error = write_to(&server, &disk, &request, &quick()).await.unwrap_err();
        assert!(matches!(error, ImageError::Empty), "{name}: {error}");
        assert!(disk.is_untouched());
    }
}
