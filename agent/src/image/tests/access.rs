//! How image servers are reached: credentials, proxies, redirects.

use std::sync::{Arc, Mutex};

use axum::extract::Request as Asked;
use axum::http::{HeaderMap, StatusCode, header};
use ironwright_api::{Image, ImageAccess};

use super::disks::MemoryDisk;
use super::*;
use crate::image::Http;

/// A server that remembers the headers of each request and answers by `script`.
async fn server(
    script: impl Fn(&str, &HeaderMap) -> axum::response::Response + Clone + Send + Sync + 'static,
) -> (std::net::SocketAddr, Arc<Mutex<Vec<(String, HeaderMap)>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let router = axum::Router::new().fallback(move |request: Asked| {
        let uri = request.uri().to_string();
        record.lock().unwrap().push((uri.clone(), request.headers().clone()));
        let answer = script(&uri, request.headers());
        async move { answer }
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, seen)
}

fn answer(
    status: StatusCode,
    name: header::HeaderName,
    value: &str,
    body: Vec<u8>,
) -> axum::response::Response {
    axum::response::Response::builder()
        .status(status)
        .header(name, value)
        .body(body.into())
        .unwrap()
}

/// Writes `url` with `access`; the disk and the result.
async fn write(
    url: &str,
    digest: &str,
    access: ImageAccess,
) -> (Arc<MemoryDisk>, Result<Outcome, ImageError>) {
    let checksum = Checksum { algorithm: ChecksumAlgorithm::Sha256, value: digest.into() };
    let image = Image {
        urls: vec![url.into()],
        checksum: checksum.clone(),
        disk_format: None,
        access: Some(access.clone()),
        partition: None,
    };
    let client =
        crate::tls::image_client(None, std::path::Path::new("/nonexistent"), &access).unwrap();
    let http = Http::of(client, &image).unwrap();
    let request = Request {
        urls: image.urls.clone(),
        checksum,
        disk_format: None,
        readback: ReadbackMode::Full,
        hold: Hold::Nothing,
        starters: Vec::new(),
    };
    let disk = Arc::new(MemoryDisk::new(DISK));
    let device: Arc<dyn BlockDevice> = Arc::clone(&disk) as Arc<dyn BlockDevice>;
    (disk, run::write(&request, device, Arc::new(Silent), &http, &quick()).await)
}

fn with_authorization(value: &str) -> ImageAccess {
    ImageAccess { authorization: Some(value.into()), ..ImageAccess::default() }
}

#[tokio::test]
async fn a_server_that_wants_credentials_gets_them_with_every_request() {
    let (content, digest) = image();
    let (address, seen) = server(move |_, headers| {
        let known =
            headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Bearer fake-token");
        let status = if known { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        answer(status, header::ETAG, "\"1\"", if known { content.clone() } else { Vec::new() })
    })
    .await;
    let url = format!("http://{address}/i");
    let (_, done) = write(&url, &digest, with_authorization("Bearer fake-token")).await;
    assert!(done.unwrap().written.proven);
    let (disk, refused) = write(&url, &digest, ImageAccess::default()).await;
    assert!(chain(&refused.unwrap_err()).contains("401 Unauthorized") && disk.is_untouched());
    assert!(seen.lock().unwrap().len() >= 2);
}

#[tokio::test]
async fn a_redirect_to_another_host_never_carries_the_credentials_there() {
    let (content, digest) = image();
    let (elsewhere, seen) =
        server(move |_, _| answer(StatusCode::OK, header::ETAG, "\"1\"", content.clone())).await;
    let target = format!("http://localhost:{}/i", elsewhere.port());
    let (address, first) =
        server(move |_, _| answer(StatusCode::FOUND, header::LOCATION, &target, Vec::new())).await;
    let (_, done) =
        write(&format!("http://{address}/i"), &digest, with_authorization("Basic ZmFrZTpmYWtl"))
            .await;
    done.unwrap();
    let has = |(_, headers): &(String, HeaderMap)| headers.contains_key(header::AUTHORIZATION);
    assert!(first.lock().unwrap().iter().all(has));
    assert!(!seen.lock().unwrap().is_empty() && !seen.lock().unwrap().iter().any(has));
}

#[tokio::test]
async fn a_checksum_file_on_another_server_gets_no_credentials() {
    let (content, digest) = image();
    let (sums, seen) = server(move |_, _| {
        answer(StatusCode::OK, header::ETAG, "\"1\"", format!("{digest}  i\n").into_bytes())
    })
    .await;
    let (address, _) =
        server(move |_, _| answer(StatusCode::OK, header::ETAG, "\"1\"", content.clone())).await;
    let (_, done) = write(
        &format!("http://{address}/i"),
        &format!("http://{sums}/SUMS"),
        with_authorization("Bearer fake-token"),
    )
    .await;
    assert!(done.unwrap().written.proven);
    assert!(!seen.lock().unwrap()[0].1.contains_key(header::AUTHORIZATION));
}

#[tokio::test]
async fn a_proxy_is_used_but_for_the_hosts_excepted() {
    let (content, digest) = image();
    let (proxy, seen) =
        server(move |_, _| answer(StatusCode::OK, header::ETAG, "\"1\"", content.clone())).await;
    let access = ImageAccess {
        http_proxy: Some(format!("http://{proxy}")),
        no_proxy: Some("direct.invalid".into()),
        ..ImageAccess::default()
    };
    let (_, done) = write("http://image.invalid/i", &digest, access.clone()).await;
    assert!(done.unwrap().written.proven);
    assert_eq!(seen.lock().unwrap()[0].0, "http://image.invalid/i");
    let (disk, direct) = write("http://direct.invalid/i", &digest, access).await;
    assert!(chain(&direct.unwrap_err()).contains("no answer from") && disk.is_untouched());
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[test]
fn access_that_cannot_be_used_is_refused_and_secrets_do_not_print() {
    let none = std::path::Path::new("/nonexistent");
    for (access, part) in [
        (ImageAccess { ca_pem: Some("no PEM".into()), ..ImageAccess::default() }, "no certificate"),
        (
            ImageAccess {
                http_proxy: Some("http://u:fake-pw@:x".into()),
                ..ImageAccess::default()
            },
            "proxy",
        ),
    ] {
        let error = crate::tls::image_client(None, none, &access).unwrap_err();
        assert!(
            chain(&error).contains(part) && !chain(&error).contains("fake-pw"),
            "{}",
            chain(&error)
        );
    }
    let access = with_authorization("Bearer fake-token");
    assert!(!format!("{access:?}").contains("fake-token"));
}
