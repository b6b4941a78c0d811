//! What goes wrong between server and agent, what is said about it, and what is left on the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use ironwright_api::Blame;

use super::builder::{Cluster, Recipe};
use super::disks::MemoryDisk;
use super::servers::{Ask, End, Reply, Server};
use super::{DISK, WIPED, chain, http, image, quick, request, sha256_hex, write_to};
use crate::image::tuning::Tuning;
use crate::image::{Request, probe};

/// Writes what `script` serves; the error text (or nothing) and the disk.
async fn outcome_of(
    script: impl Fn(&Ask, &[u8]) -> Reply + Send + Sync + 'static,
) -> (String, Arc<MemoryDisk>, Server) {
    let (content, digest) = image();
    let server = Server::start(move |ask| script(ask, &content)).await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let outcome = write_to(&server, &disk, &request(&server, &digest), &quick()).await;
    let text = outcome.err().map(|error| chain(&error).replace(&server.url(), "URL"));
    (text.unwrap_or_default(), disk, server)
}

#[tokio::test]
async fn refusals_come_before_the_disk_is_touched() {
    type Script = fn(&Ask, &[u8]) -> Reply;
    let encoded: Script =
        |ask, content| Reply { encoding: Some("gzip"), ..Reply::good(ask, content) };
    let missing: Script = |_, _| Reply::status(StatusCode::NOT_FOUND);
    let broken: Script = |_, _| Reply::status(StatusCode::SERVICE_UNAVAILABLE);
    let empty: Script = |_, _| Reply::whole(b"");
    let bzip2: Script = |ask, _| Reply::good(ask, b"BZh91AY and so on");
    let html: Script = |_, _| Reply::whole(b"<!DOCTYPE html><p>please log in</p>");
    let other_range: Script = |_, content| Reply {
        status: StatusCode::PARTIAL_CONTENT,
        content_range: Some("bytes 5-9/100".into()),
        ..Reply::whole(content)
    };
    let large: Script = |ask, content| Reply::good(ask, &[content, content].concat());
    for (script, expected) in [
        (missing, "cannot fetch the image: URL answers 404 Not Found"),
        (broken, "cannot fetch the image: URL answers 503 Service Unavailable"),
        (empty, "cannot fetch the image: URL sent no bytes"),
        (
            encoded,
            "cannot fetch the image: URL sent an unusable answer: it is encoded as gzip, which was not asked for",
        ),
        (
            other_range,
            "cannot fetch the image: URL sent an unusable answer: asked for bytes from 0 it sent Content-Range \"bytes 5-9/100\"",
        ),
        (bzip2, "the image is compressed with bzip2, raw and qcow2 can be written"),
        (html, "the image is an HTML page, raw and qcow2 can be written"),
        (large, "image needs 8391680 bytes, disk has 6291456"),
    ] {
        let (text, disk, _) = outcome_of(script).await;
        assert_eq!(text, expected);
        assert!(disk.is_untouched(), "{expected}");
    }
}

#[tokio::test]
async fn a_wrong_checksum_leaves_no_partition_table_and_names_both_digests() {
    let (content, digest) = image();
    let server = Server::good(content, true).await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let wrong = "0".repeat(64);
    let error = write_to(&server, &disk, &request(&server, &wrong), &quick()).await.unwrap_err();
    let expected = format!("{WIPED}image sha256 is {digest}, order says {wrong}");
    assert_eq!(chain(&error), expected);
    assert_eq!(error.blame(), Blame::Order);
    assert!(error.remedy().contains("checksum"), "{}", error.remedy());
    assert!(disk.has_no_table());
}

#[tokio::test]
async fn broken_connections_go_on_where_they_stopped() {
    // Cut twice at odd places; silent; hardly sending; by a server without ranges, which starts over.
    let cases =
        [(true, End::Break), (true, End::Silence), (true, End::Trickle), (false, End::Break)];
    for (ranges, end) in cases {
        let (text, disk, server) = outcome_of(move |ask, content| {
            let reply = if ranges {
                Reply::good(ask, content).etag("\"v1\"")
            } else {
                Reply::whole(content)
            };
            match ask.number {
                0 => Reply { end, ..reply.cut(1_500_001) },
                1 => reply.cut(if ranges { 600_000 } else { 2_000_000 }),
                _ => reply,
            }
        })
        .await;
        assert_eq!(text, "", "ranges {ranges}, {end:?}");
        assert!(disk.content().starts_with(&image().0), "ranges {ranges}, {end:?}");
        let asks = server.asks();
        assert_eq!(asks.len(), 3);
        if ranges {
            assert!(asks[1].range.unwrap().0 >= 1_400_000, "{:?}", asks[1]);
            assert!(asks[2].range.unwrap().0 > asks[1].range.unwrap().0);
            assert_eq!(asks[2].if_range.as_deref(), Some("\"v1\""));
        }
    }
}

#[tokio::test]
async fn a_server_that_never_comes_back_is_given_up() {
    for (later, expected) in [
        (Reply::status(StatusCode::SERVICE_UNAVAILABLE), "URL answers 503 Service Unavailable"),
        (Reply::status(StatusCode::NOT_FOUND), "URL answers 404 Not Found"),
    ] {
        let (text, disk, server) = outcome_of(move |ask, content| match ask.number {
            0 => Reply::good(ask, content).cut(2_000_000),
            _ => later.clone(),
        })
        .await;
        assert_eq!(text, format!("{WIPED}cannot fetch the image: {expected}"));
        assert!(disk.has_no_table());
        assert!(server.asks().len() <= 4, "bounded attempts");
    }
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_named() {
    let (text, disk, _) = outcome_of(|ask, content| match ask.number {
        0 => Reply::good(ask, content).etag("\"old\"").cut(2_000_000),
        _ => Reply::whole(content).etag("\"new\""),
    })
    .await;
    let expected =
        "cannot fetch the image: URL changed while it was read: ETag was \"old\", is \"new\"";
    assert_eq!(text, format!("{WIPED}{expected}"));
    assert!(disk.has_no_table());
    let (text, _, _) = outcome_of(|ask, content| match ask.number {
        0 => Reply::good(ask, content).cut(2_000_000),
        _ => Reply::good(ask, &content[..3_000_000]),
    })
    .await;
    let expected =
        "cannot fetch the image: URL changed while it was read: length was 4195840, is 3000000";
    assert_eq!(text, format!("{WIPED}{expected}"));
}

#[tokio::test]
async fn too_few_bytes_are_never_an_image() {
    // The server announces more than it has, and closes politely.
    let (text, disk, _) = outcome_of(|ask, content| {
        let short = &content[..3_000_000];
        let total = content.len();
        let Some((first, _)) = ask.range.filter(|(first, _)| *first < short.len()) else {
            return Reply::status(StatusCode::BAD_GATEWAY);
        };
        let rest = &short[first..];
        let range = format!("bytes {first}-{}/{total}", short.len() - 1);
        Reply {
            status: StatusCode::PARTIAL_CONTENT,
            content_range: Some(range),
            ..Reply::whole(rest)
        }
    })
    .await;
    assert_eq!(text, format!("{WIPED}cannot fetch the image: URL answers 502 Bad Gateway"));
    assert!(disk.has_no_table());
}

#[tokio::test]
async fn other_bytes_than_ordered_fail_by_digest_whatever_their_number() {
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 3] = [
        |content| content.extend_from_slice(b"garbage"),
        |content| content.truncate(4_000_000),
        |content| content[2_000_000] ^= 4,
    ];
    for change in changes {
        let (text, disk, _) = outcome_of(move |ask, content| {
            let mut content = content.to_vec();
            change(&mut content);
            Reply::good(ask, &content)
        })
        .await;
        assert!(text.starts_with(&format!("{WIPED}image sha256 is ")), "{text}");
        assert!(disk.has_no_table());
    }
}

#[tokio::test]
async fn a_file_that_does_not_end_is_not_read_for_ever() {
    let (mut content, tuning) = image_with_far_tables();
    content.resize(content.len() + 2 * DISK + (2 << 20), 0);
    let digest = sha256_hex(&content);
    let server = Server::start(move |_| Reply { length: None, ..Reply::whole(&content) }).await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let tuning = Tuning { excess_bytes: 1 << 20, ..tuning };
    let error = write_to(&server, &disk, &request(&server, &digest), &tuning).await.unwrap_err();
    let text = chain(&error);
    assert!(text.starts_with(&format!("{WIPED}the file does not end: 136")), "{text}");
    assert!(text.ends_with("bytes have come, for a disk of 6291456"), "{text}");
    assert!(error.remedy().contains("Content-Length"), "{}", error.remedy());
    assert!(disk.has_no_table());
}

#[tokio::test]
async fn the_next_url_takes_over_in_the_middle_of_the_file() {
    let (content, digest) = image();
    let bad = Server::start({
        let content = content.clone();
        move |ask| match ask.number {
            0 => Reply::good(ask, &content).etag("\"a\"").cut(2_500_000),
            _ => Reply::status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    })
    .await;
    let good = Server::start(move |ask| Reply::good(ask, &content).etag("\"b\"")).await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let mut request = request(&bad, &digest);
    request.urls.push(good.url());
    let outcome = write_to(&bad, &disk, &request, &quick()).await.unwrap();
    assert_eq!(outcome.written.url, good.url());
    assert!(outcome.written.resumes >= 1);
    assert!(good.asks()[0].range.unwrap().0 > 2_000_000, "goes on, does not start over");
    assert!(disk.content().starts_with(&image().0));
}

#[tokio::test]
async fn when_every_url_fails_each_is_named() {
    let missing = Server::start(|_| Reply::status(StatusCode::NOT_FOUND)).await;
    let mut request = request(&missing, &"0".repeat(64));
    request.urls = vec![missing.url_of("a"), missing.url_of("b")];
    let disk = Arc::new(MemoryDisk::new(DISK));
    let error = write_to(&missing, &disk, &request, &quick()).await.unwrap_err();
    let expected = format!(
        "cannot fetch the image: every URL failed: {} answers 404 Not Found; {} answers 404 Not Found",
        missing.url_of("a"),
        missing.url_of("b")
    );
    assert_eq!(chain(&error), expected);
}

#[tokio::test]
async fn the_checksum_may_be_the_url_of_a_checksum_file() {
    let (content, digest) = image();
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    let server = Server::start(move |ask| {
        if ask.path == "/SHA256SUMS" {
            count.fetch_add(1, Ordering::Relaxed);
            return Reply::whole(format!("{digest}  image.img\n").as_bytes());
        }
        Reply::good(ask, &content)
    })
    .await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let sums = request(&server, &server.url_of("SHA256SUMS"));
    write_to(&server, &disk, &sums, &quick()).await.unwrap();
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
    let missing = Request { urls: vec![server.url_of("other.img")], ..sums };
    let disk = Arc::new(MemoryDisk::new(DISK));
    let error = write_to(&server, &disk, &missing, &quick()).await.unwrap_err();
    let expected = format!(
        "cannot tell the image's checksum: {} has no sha256 of other.img",
        server.url_of("SHA256SUMS")
    );
    assert_eq!(chain(&error), expected);
    assert!(disk.is_untouched());
}

/// An image whose tables lie beyond the first bytes, and the settings to fetch them by range.
pub(super) fn image_with_far_tables() -> (Vec<u8>, Tuning) {
    let clusters = (0..200).map(Cluster::Plain).collect();
    let recipe =
        Recipe { cluster_bits: 9, extended: false, zstd: false, clusters, short: 0, seed: 3 };
    (recipe.build(), Tuning { prefix_bytes: 512, ..quick() })
}

#[tokio::test]
async fn tables_that_differ_between_range_and_body_are_caught() {
    let (content, tuning) = image_with_far_tables();
    let digest = sha256_hex(&content);
    // The answer to a range swaps two good entries: a map that is sound, and wrong.
    let served = content.clone();
    let server = Server::start(move |ask| {
        let mut reply = Reply::good(ask, &served);
        if !ask.is_body() {
            let mut other = reply.content.to_vec();
            other[..16].rotate_left(8);
            reply.content = other.into();
        }
        reply
    })
    .await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let error = write_to(&server, &disk, &request(&server, &digest), &tuning).await.unwrap_err();
    let text = chain(&error);
    assert!(text.starts_with(&format!("{WIPED}the table at offset ")), "{text}");
    assert!(text.ends_with(" was other bytes when it was read ahead"), "{text}");
    assert!(disk.has_no_table());
}

#[tokio::test]
async fn a_server_that_stops_serving_ranges_is_read_as_the_body_comes() {
    let (content, tuning) = image_with_far_tables();
    let digest = sha256_hex(&content);
    let served = content.clone();
    let server = Server::start(move |ask| match ask.number {
        0 => Reply::good(ask, &served),
        _ => Reply::whole(&served),
    })
    .await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let written =
        write_to(&server, &disk, &request(&server, &digest), &tuning).await.unwrap().written;
    assert!(written.proven);
}

#[tokio::test]
async fn an_image_that_uses_bytes_twice_is_refused_before_the_disk_is_touched() {
    let (mut content, tuning) = image_with_far_tables();
    let word =
        |content: &[u8], at: usize| u64::from_be_bytes(content[at..at + 8].try_into().unwrap());
    let l1 = usize::try_from(word(&content, 40)).unwrap();
    let l2 = usize::try_from(word(&content, l1) & (u64::MAX >> 1)).unwrap();
    // The first guest cluster is the table that says so.
    let entry = (l2 as u64).to_be_bytes();
    content[l2..l2 + 8].copy_from_slice(&entry);
    let digest = sha256_hex(&content);
    let server = Server::good(content, true).await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let error = write_to(&server, &disk, &request(&server, &digest), &tuning).await.unwrap_err();
    let expected = format!(
        "cannot read the qcow2 image: L2 table at offset {l2} overlaps data cluster at offset {l2}"
    );
    assert_eq!(chain(&error), expected);
    assert!(disk.is_untouched());
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_at_once_and_without_its_password() {
    let (_, _, server) = outcome_of(|_, content| Reply::whole(content)).await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    for (url, expected) in [
        (
            "ftp://me:secret@host/image?sig=1",
            "cannot fetch the image: ftp://host/image is no http or https URL",
        ),
        (
            "image.img",
            "cannot fetch the image: the text of 9 characters that was given is no http or https URL",
        ),
        (
            "http://me:secret@host:99999/x",
            "cannot fetch the image: the text of 29 characters that was given is no http or https URL",
        ),
    ] {
        let request = Request { urls: vec![url.into()], ..request(&server, &"0".repeat(64)) };
        let error = write_to(&server, &disk, &request, &quick()).await.unwrap_err();
        assert_eq!(chain(&error), expected);
    }
    assert!(disk.is_untouched());
}

#[tokio::test]
async fn a_probe_tells_what_an_image_is_without_a_disk() {
    let (content, digest) = image();
    let server = Server::good(content, true).await;
    let mut request = request(&server, &digest);
    let probed = probe(&request, &http()).await.unwrap();
    assert_eq!(
        (probed.format.name(), probed.image_bytes, probed.virtual_bytes),
        ("raw", Some(4_195_840), Some(4_195_840))
    );
    assert!(probed.ranges);
    request.disk_format = Some("qcow2".into());
    let error = probe(&request, &http()).await.unwrap_err();
    assert_eq!(error.to_string(), "order declares disk_format qcow2, the image is raw");
}
