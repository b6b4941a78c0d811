//! Every kind of image, by both ways of reading it, byte for byte what QEMU makes of it.

use std::sync::Arc;

use super::builder::{Cluster, Recipe};
use super::disks::{MemoryDisk, OLD};
use super::qemu::{Workshop, mixed_content};
use super::servers::Server;
use super::{chain, quick, request, sha256_hex, write_to};
use crate::image::tuning::Tuning;

/// Writes `image` with and without ranges, once to a larger disk and once to one that just fits. Returns how often the
/// file was asked for without ranges.
async fn check(name: &str, image: &[u8], expected: &[u8], tuning: &Tuning) -> usize {
    let mut requests = 0;
    for (ranges, spare) in [(true, 3 << 20), (false, 0)] {
        let server = Server::good(image.to_vec(), ranges).await;
        let disk = Arc::new(MemoryDisk::new(expected.len() + spare));
        let outcome = write_to(&server, &disk, &request(&server, &sha256_hex(image)), tuning).await;
        let outcome =
            outcome.unwrap_or_else(|error| panic!("{name}, ranges {ranges}: {}", chain(&error)));
        let content = disk.content();
        if !content.starts_with(expected) {
            let differs = content.iter().zip(expected).position(|(found, wanted)| found != wanted);
            panic!("{name}, ranges {ranges}: first difference at {differs:?}");
        }
        let rest = &content[expected.len()..];
        let last = rest.len().saturating_sub(1 << 20);
        let kept = (1_usize << 20).saturating_sub(expected.len()).min(last);
        assert!(rest[kept..last] == vec![OLD; last - kept], "{name}: beyond the image");
        assert!(rest[last..] == vec![0; rest.len() - last], "{name}: old backup table");
        let written = outcome.written;
        assert!(written.proven && written.resumes == 0, "{name}");
        assert_eq!(written.virtual_bytes, expected.len() as u64, "{name}");
        assert_eq!(written.readback.bytes, expected.len() as u64, "{name}");
        assert_eq!(written.image_bytes, image.len() as u64, "{name}");
        requests = server.asks().len();
    }
    requests
}

#[tokio::test]
async fn every_image_qemu_img_converts_is_written_byte_for_byte() {
    let Some(shop) = Workshop::open() else { return };
    let content = mixed_content((5 << 20) + 73 * 512);
    shop.put("source.raw", &content);
    check("raw", &content, &content, &quick()).await;
    for options in [
        "-o compat=0.10",
        "-o compat=1.1",
        "-c -o compat=0.10",
        "-c",
        "-c -o compression_type=zstd",
        "-o cluster_size=512",
        "-c -o cluster_size=512",
        "-c -o cluster_size=4096",
        "-o cluster_size=2M",
        "-c -o cluster_size=2M",
        "-c -o cluster_size=2M,compression_type=zstd",
        "-o extended_l2=on",
        "-o extended_l2=on,cluster_size=16k",
        "-c -o extended_l2=on,compression_type=zstd",
        "-o preallocation=metadata",
        "-o preallocation=falloc",
        "-S 0",
        "-o lazy_refcounts=on,refcount_bits=1",
        "-W -m 16 -c",
    ] {
        shop.run("qemu-img", &format!("convert -f raw -O qcow2 {options} source.raw image.qcow2"));
        let requests = check(options, &shop.get("image.qcow2"), &content, &quick()).await;
        assert_eq!(requests, 1, "{options}: read in one pass");
    }
}

/// Images with a history: their tables lie after the data they describe.
fn with_history(shop: &Workshop, options: &str) {
    shop.run("qemu-img", &format!("create -f qcow2 -o {options} image.qcow2 9M"));
    shop.io("image.qcow2", &["write -P 1 0 3M", "write -P 2 5M 1M", "write -P 9 8900k 100k"]);
    shop.run("qemu-img", "snapshot -c before image.qcow2");
    shop.io(
        "image.qcow2",
        &[
            "write -P 3 1M 300k",
            "write -z 2M 256k",
            "discard 5M 128k",
            "write -P 4 7M 70k",
            "write -P 5 600 3000",
        ],
    );
}

#[tokio::test]
async fn images_with_snapshots_are_written_as_they_are_now() {
    let Some(shop) = Workshop::open() else { return };
    // A ring of one byte: everything early has to be read in another pass when there are no ranges.
    let tunings = [quick(), Tuning { ring_bytes: 1, ..quick() }];
    for options in
        ["cluster_size=64k", "cluster_size=4k", "cluster_size=64k,extended_l2=on", "compat=0.10"]
    {
        for (step, tuning) in tunings.iter().enumerate() {
            with_history(&shop, options);
            let expected = shop.raw_of("image.qcow2");
            check(&format!("{options} kept, {step}"), &shop.get("image.qcow2"), &expected, tuning)
                .await;
            shop.run("qemu-img", "snapshot -d before image.qcow2");
            check(
                &format!("{options} deleted, {step}"),
                &shop.get("image.qcow2"),
                &expected,
                tuning,
            )
            .await;
        }
    }
}

#[tokio::test]
async fn an_image_that_was_enlarged_until_its_first_table_moved_is_written() {
    let Some(shop) = Workshop::open() else { return };
    shop.run("qemu-img", "create -f qcow2 -o cluster_size=512 image.qcow2 1M");
    shop.io("image.qcow2", &["write -P 7 0 1M"]);
    shop.run("qemu-img", "resize image.qcow2 12M");
    shop.io("image.qcow2", &["write -P 8 11M 600k"]);
    let expected = shop.raw_of("image.qcow2");
    let image = shop.get("image.qcow2");
    check("ring", &image, &expected, &quick()).await;
    check("passes", &image, &expected, &Tuning { ring_bytes: 1, ..quick() }).await;
}

#[tokio::test]
async fn a_map_or_tables_over_the_limit_are_decoded_as_they_arrive() {
    let Some(shop) = Workshop::open() else { return };
    let content = mixed_content(4 << 20);
    shop.put("source.raw", &content);
    shop.run("qemu-img", "convert -f raw -O qcow2 -c -o cluster_size=4096 source.raw image.qcow2");
    let image = shop.get("image.qcow2");
    // Fewer pieces than the image has, more than one table describes; and no request for tables at all.
    let few_pieces = Tuning { map_pieces: 600, ..quick() };
    let no_requests = Tuning { table_requests: 0, prefix_bytes: 4096, ..quick() };
    for (name, tuning) in [("pieces", few_pieces), ("requests", no_requests)] {
        check(name, &image, &content, &tuning).await;
    }
}

#[tokio::test]
async fn tables_beyond_the_first_bytes_are_fetched_by_range() {
    let Some(shop) = Workshop::open() else { return };
    let content = mixed_content(6 << 20);
    shop.put("source.raw", &content);
    shop.run("qemu-img", "convert -f raw -O qcow2 -o cluster_size=4096 source.raw image.qcow2");
    let image = shop.get("image.qcow2");
    let server = Server::good(image.clone(), true).await;
    let disk = Arc::new(MemoryDisk::new(content.len()));
    let tuning = Tuning { prefix_bytes: 8192, ..quick() };
    write_to(&server, &disk, &request(&server, &sha256_hex(&image)), &tuning).await.unwrap();
    assert!(disk.content() == content);
    let asks = server.asks();
    assert!(asks.len() > 2, "tables were fetched: {}", asks.len());
    assert!(asks[1..].iter().all(|ask| !ask.is_body() && ask.if_range.as_deref() == Some("\"1\"")));
}

#[tokio::test]
async fn a_file_that_ends_inside_a_cluster_reads_as_zeros_there_as_in_qemu() {
    let Some(shop) = Workshop::open() else { return };
    let mut compared = 0;
    for (seed, extended) in (1..10).flat_map(|seed| [(seed, false), (seed, true)]) {
        let part = Cluster::Parts { fill: 9, stored: 0xf0ff_ff0f, zero: 0 };
        let kinds = [
            Cluster::Plain(7),
            if extended { part } else { Cluster::Plain(8) },
            Cluster::Compressed(3),
        ];
        let clusters = kinds.into_iter().cycle().take(30).collect();
        let cluster_bits = if extended { 14 } else { 12 };
        let recipe = Recipe { cluster_bits, extended, zstd: false, clusters, short: 0, seed };
        let mut image = recipe.build();
        // Only where a stored cluster comes last: a table that ends after the file is refused.
        let size = 1 << cluster_bits;
        let last = &image[image.len() - size..];
        let ends_with_data = recipe.expected().chunks(size).any(|cluster| cluster == last);
        image.truncate(image.len() - 1500);
        shop.put("image.qcow2", &image);
        if ends_with_data && shop.accepts("image.qcow2") {
            let expected = shop.raw_of("image.qcow2");
            check(&format!("seed {seed}"), &image, &expected, &quick()).await;
            compared += 1;
        }
    }
    assert!(compared >= 4, "{compared}");
}

#[tokio::test]
async fn images_smaller_than_the_boot_area_are_written() {
    for len in [1, 511, 512, 70_000, 1 << 20, (1 << 20) + 1, (2 << 20) - 1] {
        let content = mixed_content(700_000 + len)[700_000..].to_vec();
        check(&format!("raw of {len} bytes"), &content, &content, &quick()).await;
    }
}
