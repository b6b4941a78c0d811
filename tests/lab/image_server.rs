//! A static file server that can misbehave: ranges ignored, connections cut or stalled, files missing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::io::ReaderStream;

/// How the server misbehaves; settable while it serves.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Answers 200 with the whole file to every request.
    pub ignore_range: bool,
    /// Answers 404 to everything.
    pub missing: bool,
    /// Cuts every connection after this many bytes of body.
    pub cut_always_after: Option<u64>,
    /// Cuts the next response that is longer than this, then serves well.
    pub cut_once_after: Option<u64>,
    /// Sends this many bytes of body, then nothing more, keeping the connection open until the faults are set anew (then the
    /// rest comes) or the server is dropped (then the connection is cut).
    pub stall_after: Option<u64>,
}

/// What was asked and answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests in all.
    pub requests: u64,
    /// Requests answered with a part (206).
    pub ranged: u64,
    /// Connections cut on purpose.
    pub cut: u64,
}

#[derive(Debug)]
struct Shared {
    files: BTreeMap<String, PathBuf>,
    faults: Faults,
    counts: Counts,
    set_anew: watch::Receiver<()>,
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct ImageServer {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    set_anew: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl ImageServer {
    /// Listens at `address`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// When the address cannot be used.
    pub async fn start(address: impl Into<SocketAddr>) -> anyhow::Result<Self> {
        let address = address.into();
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("image server at {address}"))?;
        let address = listener.local_addr()?;
        let set_anew = watch::Sender::new(());
        let shared = Arc::new(Mutex::new(Shared {
            files: BTreeMap::new(),
            faults: Faults::default(),
            counts: Counts::default(),
            set_anew: set_anew.subscribe(),
        }));
        let router = Router::new().route("/{name}", get(serve)).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("image server: {error}");
            }
        });
        Ok(Self { address, shared, set_anew, task })
    }

    /// Serves `file` under its own name and returns the URL.
    ///
    /// # Errors
    ///
    /// When the path has no file name.
    pub fn add(&self, file: &Path) -> anyhow::Result<String> {
        let name = file.file_name().with_context(|| format!("{} names no file", file.display()))?;
        let name = name.to_string_lossy().into_owned();
        let url = format!("http://{}/{name}", self.address);
        lock(&self.shared).files.insert(name, file.to_owned());
        Ok(url)
    }

    /// Sets how it misbehaves from the next request on.
    pub fn set_faults(&self, faults: Faults) {
        let mut shared = lock(&self.shared);
        shared.faults = faults;
        self.set_anew.send_replace(());
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.shared).counts
    }
}

impl Drop for ImageServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

type Shares = Arc<Mutex<Shared>>;

async fn serve(
    State(shared): State<Shares>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let (file, faults) = {
        let mut shared = lock(&shared);
        shared.counts.requests += 1;
        (shared.files.get(&name).cloned(), shared.faults.clone())
    };
    match file.filter(|_| !faults.missing) {
        Some(file) => answer(&shared, &file, &faults, &headers).await.unwrap_or_else(|error| {
            tracing::error!("{}: {error:#}", file.display());
            status(StatusCode::INTERNAL_SERVER_ERROR)
        }),
        None => status(StatusCode::NOT_FOUND),
    }
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

async fn answer(
    shared: &Shares,
    path: &Path,
    faults: &Faults,
    headers: &HeaderMap,
) -> anyhow::Result<Response<Body>> {
    let mut file = tokio::fs::File::open(path).await?;
    let meta = file.metadata().await?;
    let total = meta.len();
    let changed = meta.modified()?.duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let etag = format!("\"{total:x}-{changed:x}\"");
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let unchanged = text(header::IF_RANGE).is_none_or(|known| known == etag);
    let asked = text(header::RANGE).filter(|_| unchanged && !faults.ignore_range);
    let part = match asked.and_then(|range| parse_range(range, total)) {
        Some(Ok(part)) => Some(part),
        Some(Err(())) => {
            let unsatisfiable = Response::builder()
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{total}"));
            return Ok(unsatisfiable.body(Body::empty())?);
        }
        None => None,
    };
    let (first, length) = part.unwrap_or((0, total));
    file.seek(std::io::SeekFrom::Start(first)).await?;
    let mut response = Response::builder()
        .header(header::ETAG, etag)
        .header(header::CONTENT_LENGTH, length)
        .header(header::CONTENT_TYPE, "application/octet-stream");
    if !faults.ignore_range {
        response = response.header(header::ACCEPT_RANGES, "bytes");
    }
    if part.is_some() {
        lock(shared).counts.ranged += 1;
        let last = first + length - 1;
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{total}"));
    }
    Ok(response.body(body(shared, file, (path, first), length))?)
}

/// `length` bytes of the file from `first`, cut or stalled as the faults say. `file` stands at `first`.
fn body(shared: &Shares, file: tokio::fs::File, (path, first): (&Path, u64), length: u64) -> Body {
    let (cut, stall, set_anew) = {
        let mut shared = lock(shared);
        let once = shared.faults.cut_once_after.take_if(|after| *after < length);
        let cut = once.or(shared.faults.cut_always_after).filter(|after| *after < length);
        shared.counts.cut += u64::from(cut.is_some());
        let stall = shared.faults.stall_after.filter(|after| *after < length);
        let mut set_anew = shared.set_anew.clone();
        set_anew.mark_unchanged();
        (cut, stall, set_anew)
    };
    let sent = cut.or(stall).unwrap_or(length);
    let bytes = ReaderStream::with_capacity(file.take(sent), 256 << 10);
    if cut.is_some() {
        // The pause lets the bytes before the cut out of the server's buffers.
        let end = futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err::<Bytes, _>(std::io::Error::other("cut on purpose"))
        });
        Body::from_stream(bytes.chain(end))
    } else if stall.is_some() {
        let rest = rest(path.to_owned(), first + sent, length - sent, set_anew);
        Body::from_stream(bytes.chain(futures_util::stream::once(rest).try_flatten()))
    } else {
        Body::from_stream(bytes)
    }
}

/// What follows a stall, once the faults are set anew.
async fn rest(
    path: PathBuf,
    first: u64,
    length: u64,
    mut set_anew: watch::Receiver<()>,
) -> std::io::Result<ReaderStream<tokio::io::Take<tokio::fs::File>>> {
    set_anew.changed().await.map_err(std::io::Error::other)?;
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(std::io::SeekFrom::Start(first)).await?;
    Ok(ReaderStream::with_capacity(file.take(length), 256 << 10))
}

/// One `bytes=A-B`, `bytes=A-` or `bytes=-N` as (first, length); `None` for forms that a server may ignore.
fn parse_range(text: &str, total: u64) -> Option<Result<(u64, u64), ()>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if last >= first => (first, last),
        (Ok(first), Err(_)) if last.is_empty() => (first, u64::MAX),
        (Err(_), Ok(suffix)) if first.is_empty() => (total.saturating_sub(suffix), u64::MAX),
        _ => return None,
    };
    if first >= total {
        return Some(Err(()));
    }
    Some(Ok((first, last.min(total - 1) - first + 1)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    async fn server(content: &[u8]) -> (tempfile::TempDir, ImageServer, String) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image");
        std::fs::write(&file, content).unwrap();
        let server = ImageServer::start((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = server.add(&file).unwrap();
        (dir, server, url)
    }

    async fn fetch(url: &str, range: Option<&str>) -> (u16, Result<Bytes, reqwest::Error>) {
        let mut request = crate::api::http_client().unwrap().get(url);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.bytes().await)
    }

    #[tokio::test]
    async fn ranges_are_served_as_asked() {
        let (_dir, server, url) = server(b"0123456789").await;
        for (range, code, expected) in [
            (None, 200, "0123456789"),
            (Some("bytes=0-"), 206, "0123456789"),
            (Some("bytes=2-4"), 206, "234"),
            (Some("bytes=7-99"), 206, "789"),
            (Some("bytes=-3"), 206, "789"),
            (Some("bytes=10-"), 416, ""),
            (Some("lines=1-2"), 200, "0123456789"),
        ] {
            let (found, body) = fetch(&url, range).await;
            assert_eq!((found, body.unwrap().as_ref()), (code, expected.as_bytes()), "{range:?}");
        }
        assert_eq!(server.counts(), Counts { requests: 7, ranged: 4, cut: 0 });
    }

    #[tokio::test]
    async fn a_server_without_ranges_sends_everything() {
        let (_dir, server, url) = server(b"0123456789").await;
        server.set_faults(Faults { ignore_range: true, ..Faults::default() });
        let (code, body) = fetch(&url, Some("bytes=5-")).await;
        assert_eq!((code, body.unwrap().len()), (200, 10));
    }

    #[tokio::test]
    async fn a_cut_happens_once_and_is_an_error_for_the_client() {
        let (_dir, server, url) = server(&vec![7; 1 << 20]).await;
        server.set_faults(Faults { cut_once_after: Some(1000), ..Faults::default() });
        assert!(fetch(&url, None).await.1.is_err());
        assert_eq!(fetch(&url, None).await.1.unwrap().len(), 1 << 20);
        assert_eq!(server.counts().cut, 1);
    }

    #[tokio::test]
    async fn a_stalled_server_sends_nothing_more_and_keeps_the_connection() {
        let (_dir, server, url) = server(&vec![7; 1 << 20]).await;
        server.set_faults(Faults { stall_after: Some(1000), ..Faults::default() });
        let waited = tokio::time::timeout(Duration::from_millis(200), fetch(&url, None)).await;
        assert!(waited.is_err());
    }

    #[tokio::test]
    async fn a_stall_ends_with_the_next_faults_and_is_cut_with_the_server() {
        let content: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
        let (_dir, server, url) = server(&content).await;
        let stall = Faults { stall_after: Some(300_000), ..Faults::default() };
        server.set_faults(stall.clone());
        let client = crate::api::http_client().unwrap();
        let begin = async || {
            let mut response = client.get(&url).send().await.unwrap();
            let mut got = Vec::new();
            while got.len() < 300_000 {
                got.extend_from_slice(&response.chunk().await.unwrap().unwrap());
            }
            (response, got)
        };
        let (response, mut got) = begin().await;
        server.set_faults(Faults::default());
        got.extend_from_slice(&response.bytes().await.unwrap());
        assert!(got == content, "the rest follows without a gap");
        server.set_faults(stall);
        let (response, _) = begin().await;
        drop(server);
        assert!(response.bytes().await.is_err());
    }

    #[tokio::test]
    async fn a_changed_file_is_served_whole_to_a_resuming_client() {
        let (_dir, _server, url) = server(b"0123456789").await;
        let request = crate::api::http_client().unwrap().get(&url).header("range", "bytes=5-");
        let response = request.header("if-range", "\"other\"").send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        let (_dir, server, url) = server(b"x").await;
        assert_eq!(fetch(&format!("{url}.other"), None).await.0, 404);
        server.set_faults(Faults { missing: true, ..Faults::default() });
        assert_eq!(fetch(&url, None).await.0, 404);
    }
}
