//! Several servers, the first of them bad in its own way; and servers that are slow where little is read.

use std::sync::Arc;

use axum::http::StatusCode;
use ironwright_api::ChecksumAlgorithm;

use super::disks::MemoryDisk;
use super::faults::image_with_far_tables;
use super::servers::{Ask, End, Reply, Server};
use super::{DISK, chain, image, quick, request, sha256_hex, write_to};
use crate::image::{ImageError, Request};

type Script = fn(&Ask, &[u8]) -> Reply;

/// Writes from a first server that answers by `script`, and a good second one.
async fn after(script: Script) -> Result<Arc<MemoryDisk>, ImageError> {
    let (content, digest) = image();
    let good = Server::good(content.clone(), true).await;
    let bad = Server::start(move |ask| script(ask, &content)).await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let request = Request { urls: vec![bad.url(), good.url()], ..request(&good, &digest) };
    write_to(&good, &disk, &request, &quick()).await.map(|_| disk)
}

#[tokio::test]
async fn a_bad_first_mirror_does_not_end_the_run() {
    let empty: Script = |_, _| Reply::whole(b"");
    let too_long: Script = |_, content| Reply {
        status: StatusCode::PARTIAL_CONTENT,
        content_range: Some("bytes 0-999/1000".into()),
        length: None,
        ..Reply::whole(content)
    };
    let wrong_bytes: Script = |ask, content| {
        let mut other = content.to_vec();
        other[3_000_000] ^= 1;
        Reply::good(ask, &other)
    };
    let login: Script = |_, _| Reply::whole(b"<!DOCTYPE html><html><body>Sign in</body></html>");
    // Its end came as if it were the whole.
    let shorter: Script = |ask, content| Reply::good(ask, &content[..2_000_000]);
    let gone: Script = |_, _| Reply::status(StatusCode::NOT_FOUND);
    for (name, script) in [
        ("empty", empty),
        ("too long", too_long),
        ("wrong bytes", wrong_bytes),
        ("login", login),
        ("shorter", shorter),
        ("gone", gone),
    ] {
        let disk = after(script).await.unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
        assert!(disk.content().starts_with(&image().0), "{name}");
    }
}

#[tokio::test]
async fn a_mirror_of_another_file_is_said_to_be_one() {
    let longer: Script = |ask, content| match ask.number {
        0 => Reply::good(ask, &[content, b"more"].concat()).cut(2_000_000),
        _ => Reply::status(StatusCode::NOT_FOUND),
    };
    let error = chain(&after(longer).await.unwrap_err());
    assert!(error.contains("serves a file of 4195840 bytes, the URL before it one of"), "{error}");
}

#[tokio::test]
async fn a_server_that_serves_less_than_was_asked_for_is_asked_again() {
    let (content, digest) = image();
    let server = Server::start(move |ask| {
        let (first, last) = ask.range.unwrap();
        let end = last.unwrap_or(usize::MAX).min(first + 99_999);
        Reply::good(&Ask { range: Some((first, Some(end))), ..ask.clone() }, &content)
    })
    .await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let outcome = write_to(&server, &disk, &request(&server, &digest), &quick()).await.unwrap();
    assert_eq!((outcome.written.resumes, server.asks().len()), (0, 42));
    assert!(disk.content().starts_with(&image().0));
}

#[tokio::test]
async fn a_server_that_serves_a_byte_at_a_time_is_given_up() {
    let (content, digest) = image();
    let server = Server::start(move |ask| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let first = ask.range.unwrap().0;
        // Not for ever: who does not notice it ends well, and so fails here.
        let last = (ask.number < 1000).then_some(first);
        Reply::good(&Ask { range: Some((first, last)), ..ask.clone() }, &content)
    })
    .await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let result = write_to(&server, &disk, &request(&server, &digest), &quick()).await;
    let error = chain(&result.map(drop).unwrap_err());
    assert!(error.contains("sent less than 100 bytes"), "{error}");
    assert!(disk.is_untouched());
}

#[tokio::test]
async fn tables_that_cannot_be_read_ahead_come_with_the_image() {
    let forbidden: Script = |_, _| Reply::status(StatusCode::FORBIDDEN);
    let trickles: Script =
        |ask, content| Reply { end: End::Trickle, ..Reply::good(ask, content).cut(1) };
    for ahead in [forbidden, trickles] {
        let (content, tuning) = image_with_far_tables();
        let digest = sha256_hex(&content);
        let server = Server::start(move |ask| {
            if ask.is_body() { Reply::good(ask, &content) } else { ahead(ask, &content) }
        })
        .await;
        let disk = Arc::new(MemoryDisk::new(DISK));
        let request = request(&server, &digest);
        assert!(write_to(&server, &disk, &request, &tuning).await.unwrap().written.proven);
        assert!(server.asks().iter().any(|ask| !ask.is_body()), "nothing was read ahead");
    }
}

#[tokio::test]
async fn a_checksum_file_that_trickles_is_given_up() {
    let (content, _) = image();
    let server = Server::start(move |ask| {
        let reply = Reply::good(ask, &content);
        match ask.path.ends_with("SUMS") {
            true => Reply { end: End::Trickle, ..reply.cut(0) },
            false => reply,
        }
    })
    .await;
    let disk = Arc::new(MemoryDisk::new(DISK));
    let mut request = request(&server, "");
    request.checksum.algorithm = ChecksumAlgorithm::Sha256;
    request.checksum.value = server.url_of("SUMS");
    let error = chain(&write_to(&server, &disk, &request, &quick()).await.unwrap_err());
    assert!(
        error.contains("cannot fetch the checksum file: ")
            && error.contains("sent less than 100 bytes"),
        "{error}"
    );
    assert!(disk.is_untouched());
}
