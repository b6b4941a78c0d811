//! Checks an image source before a node is touched: does the server answer, is it an image the agent writes, does it fit.
//!
//! Only the first bytes are fetched. The agent checks everything again against the whole file; this check is there so that an
//! operator learns of a wrong address in a second, not after a server has rebooted.

mod header;

use std::time::Duration;

use ironwright_api::{Image, ImageAccess};
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

pub use header::{Format, HeaderError};

use crate::http::mask::for_people;

/// Bytes fetched: covers the header of every format told apart here.
const HEAD_BYTES: usize = 4096;
/// For the whole check of one source.
const TIMEOUT: Duration = Duration::from_secs(8);
/// The smallest disk the agent deploys to without hints (Ironic's rule), bytes.
const SMALLEST_ROOT_BYTES: u64 = 4 << 30;

/// What was found at a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The format, from the first bytes.
    pub format: Format,
    /// Length of the file, bytes, when the server tells it.
    pub file_bytes: Option<u64>,
    /// Bytes it needs on the disk, when known.
    pub virtual_bytes: Option<u64>,
}

/// Why a source is not good for a deploy.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No HTTP client could be made.
    #[error("cannot prepare an HTTP client")]
    Client(#[source] reqwest::Error),
    /// The server did not answer.
    #[error("image {url} cannot be reached: {why}; check the address and that its server runs")]
    Unreachable {
        /// Password and query masked.
        url: String,
        /// The innermost cause.
        why: String,
    },
    /// The server answered that it has no such file, or will not give it.
    #[error("image {url} is not served: HTTP status {status}")]
    Status {
        /// Password and query masked.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// The bytes are no image the agent writes.
    #[error("image {url}: {source}")]
    Header {
        /// Password and query masked.
        url: String,
        /// What is wrong with the bytes.
        source: HeaderError,
    },
    /// The operator declared another format.
    #[error("image {url} is {found}, instance_info.image_disk_format says {declared}")]
    Declared {
        /// Password and query masked.
        url: String,
        /// As detected.
        found: Format,
        /// As declared.
        declared: String,
    },
    /// It does not fit.
    #[error("image {url} needs {image_bytes} bytes, the root disk has {disk_bytes} bytes")]
    TooLarge {
        /// Password and query masked.
        url: String,
        /// Its virtual size.
        image_bytes: u64,
        /// The known root disk.
        disk_bytes: u64,
    },
}

/// A client for the servers of one image, by its proxies and authorities.
///
/// # Errors
///
/// [`SourceError::Client`].
pub fn client(access: &ImageAccess) -> Result<Client, SourceError> {
    // reqwest is built without a TLS provider of its own. Refused when one is installed already, which is as well.
    let _already = rustls::crypto::ring::default_provider().install_default().is_err();
    // A proxy's URL may hold a password.
    let refused = |error: reqwest::Error| SourceError::Client(error.without_url());
    let mut builder = Client::builder().timeout(TIMEOUT).connect_timeout(TIMEOUT / 2).no_proxy();
    if let Some(pem) = &access.ca_pem {
        let own = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(refused)?;
        builder = builder.tls_certs_merge(own);
    }
    let except = access.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
    let http = access.http_proxy.as_deref().map(reqwest::Proxy::http);
    let https = access.https_proxy.as_deref().map(reqwest::Proxy::https);
    for proxy in [http, https].into_iter().flatten() {
        builder = builder.proxy(proxy.map_err(refused)?.no_proxy(except.clone()));
    }
    builder.build().map_err(refused)
}

/// Looks at the first bytes behind `url` and compares them with what the operator declared and with the root disk, if known.
///
/// # Errors
///
/// [`SourceError`].
pub async fn check(
    client: &Client,
    url: &str,
    image: &Image,
    root_disk_bytes: Option<u64>,
) -> Result<Found, SourceError> {
    let declared = image.disk_format.as_deref();
    let authorization = image.access.as_ref().and_then(|access| access.authorization.as_deref());
    let shown = for_people(url);
    let unreachable = |error: reqwest::Error| SourceError::Unreachable {
        url: shown.clone(),
        why: innermost(&error),
    };
    let range = format!("bytes=0-{}", HEAD_BYTES - 1);
    let mut request = client.get(url).header(RANGE, range);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Err(SourceError::Status { url: shown, status });
    }
    let file_bytes = file_bytes(&response);
    let head = head(response).await.map_err(unreachable)?;
    let seen =
        header::read(&head).map_err(|source| SourceError::Header { url: shown.clone(), source })?;
    let virtual_bytes =
        seen.virtual_bytes.or(if seen.format == Format::Raw { file_bytes } else { None });
    if let Some(declared) = declared.filter(|declared| *declared != seen.format.name()) {
        return Err(SourceError::Declared {
            url: shown,
            found: seen.format,
            declared: declared.to_owned(),
        });
    }
    match (virtual_bytes, root_disk_bytes) {
        (Some(image_bytes), Some(disk_bytes)) if image_bytes > disk_bytes => {
            Err(SourceError::TooLarge { url: shown, image_bytes, disk_bytes })
        }
        _ => Ok(Found { format: seen.format, file_bytes, virtual_bytes }),
    }
}

/// Length of the whole file by `Content-Range` (206) or `Content-Length` (200).
fn file_bytes(response: &Response) -> Option<u64> {
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
        return range.rsplit_once('/')?.1.trim().parse().ok();
    }
    response.content_length()
}

/// The first [`HEAD_BYTES`]; a server that sends everything is cut off.
async fn head(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    while head.len() < HEAD_BYTES {
        let Some(chunk) = response.chunk().await? else {
            break;
        };
        let take = chunk.len().min(HEAD_BYTES - head.len());
        head.extend_from_slice(chunk.get(..take).unwrap_or_default());
    }
    Ok(head)
}

/// The cause at the end of the chain: `Connection refused`, not "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() {
        format!("no answer within {} s", TIMEOUT.as_secs())
    } else {
        cause.to_string()
    }
}

/// Capacity of the disk a deploy would go to, by the stored inventory: the smallest disk that is large enough where no hints
/// are given; with hints (which only the agent resolves) the largest disk, as the upper bound.
#[must_use]
pub fn root_disk_bytes(inventory: &Value, has_hints: bool) -> Option<u64> {
    let inventory = inventory.get("inventory").unwrap_or(inventory);
    let sizes =
        inventory.get("disks")?.as_array()?.iter().filter_map(|disk| disk.get("size")?.as_u64());
    if has_hints { sizes.max() } else { sizes.filter(|size| *size >= SMALLEST_ROOT_BYTES).min() }
}

#[cfg(test)]
mod tests {
    use ironwright_api::{Checksum, ChecksumAlgorithm};
    use serde_json::json;
    use wiremock::matchers::{header as sent, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    fn raw() -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes
    }

    fn image(declared: Option<&str>) -> Image {
        let checksum = Checksum { algorithm: ChecksumAlgorithm::Sha256, value: "0".repeat(64) };
        Image {
            urls: Vec::new(),
            checksum,
            disk_format: declared.map(str::to_owned),
            access: None,
            partition: None,
        }
    }

    async fn server(answer: ResponseTemplate) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(path("/x"))
            .and(sent("range", "bytes=0-4095"))
            .respond_with(answer)
            .mount(&server)
            .await;
        server
    }

    async fn checked(
        server: &MockServer,
        declared: Option<&str>,
        disk: Option<u64>,
    ) -> Result<Found, SourceError> {
        let _already = rustls::crypto::ring::default_provider().install_default().is_err();
        check(
            &client(&ImageAccess::default()).unwrap(),
            &format!("{}/x", server.uri()),
            &image(declared),
            disk,
        )
        .await
    }

    fn partial() -> ResponseTemplate {
        ResponseTemplate::new(206)
            .set_body_bytes(raw())
            .insert_header("content-range", "bytes 0-4095/3221225472")
    }

    #[tokio::test]
    async fn a_raw_image_is_as_large_as_its_file() {
        let found = checked(&server(partial()).await, Some("raw"), Some(3 << 30)).await.unwrap();
        let bytes = Some(3 << 30);
        assert_eq!(found, Found { format: Format::Raw, file_bytes: bytes, virtual_bytes: bytes });
    }

    #[tokio::test]
    async fn an_image_larger_than_the_root_disk_is_refused_with_both_numbers() {
        let text =
            checked(&server(partial()).await, None, Some(1 << 30)).await.unwrap_err().to_string();
        assert!(text.contains("3221225472") && text.contains("1073741824"), "{text}");
    }

    #[tokio::test]
    async fn a_declared_format_must_agree() {
        let text =
            checked(&server(partial()).await, Some("qcow2"), None).await.unwrap_err().to_string();
        assert!(text.contains("is raw") && text.contains("says qcow2"), "{text}");
    }

    #[tokio::test]
    async fn a_missing_image_and_a_silent_server_are_told_apart() {
        let text = checked(&server(ResponseTemplate::new(404)).await, None, None)
            .await
            .unwrap_err()
            .to_string();
        assert!(text.contains("404"), "{text}");

        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://u:hunter2@{}/x", free.local_addr().unwrap());
        drop(free);
        let error = check(&client(&ImageAccess::default()).unwrap(), &url, &image(None), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("refused") && !error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn the_signature_of_a_signed_url_is_in_no_sentence() {
        let refusing = server(ResponseTemplate::new(403)).await;
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        for base in [refusing.uri(), silent] {
            let url = format!("{base}/x?X-Amz-Signature=s3cret");
            let error =
                check(&client(&ImageAccess::default()).unwrap(), &url, &image(None), None).await;
            let error = crate::app::chain(&error.unwrap_err());
            assert!(error.contains("/x?******") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn hints_raise_the_bound_to_the_largest_disk() {
        let disks = json!({"inventory": {"disks": [{"size": 1u64 << 30}, {"size": 8u64 << 30}, {"size": 100u64 << 30}]}});
        assert_eq!(root_disk_bytes(&disks, false), Some(8 << 30));
        assert_eq!(root_disk_bytes(&disks, true), Some(100 << 30));
        assert_eq!(root_disk_bytes(&json!({}), false), None);
    }
}
