//! One image at a time over HTTP, at `/range` with ranges and at `/forward` without.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use tokio::task::JoinHandle;

/// Bytes in a chunk of a body: small and odd, so that every boundary inside an image is crossed somewhere.
const CHUNK: usize = 7001;

type Shared = Arc<Mutex<Bytes>>;

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    image: Shared,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let image = Shared::default();
        let router = Router::new()
            .route("/range", get(with_ranges))
            .route("/forward", get(without_ranges))
            .with_state(Arc::clone(&image));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, image, task }
    }

    /// What is served from now on.
    pub(crate) fn serve(&self, image: &[u8]) {
        *self.image.lock().unwrap() = Bytes::copy_from_slice(image);
    }

    pub(crate) fn url(&self, way: &str) -> String {
        format!("http://{}/{way}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn current(image: &Shared) -> Bytes {
    image.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn without_ranges(State(image): State<Shared>, _request: Request) -> Response<Body> {
    let content = current(&image);
    let builder = Response::builder().header(header::CONTENT_LENGTH, content.len());
    builder.body(chunked(&content)).unwrap()
}

async fn with_ranges(State(image): State<Shared>, headers: HeaderMap) -> Response<Body> {
    let content = current(&image);
    let range = headers.get(header::RANGE).and_then(|value| range(value.to_str().ok()?));
    let (first, last) = range.expect("the agent always asks for a range here");
    if first >= content.len() {
        let builder = Response::builder().status(StatusCode::RANGE_NOT_SATISFIABLE);
        return builder.body(Body::empty()).unwrap();
    }
    let last = last.unwrap_or(usize::MAX).min(content.len() - 1);
    Response::builder()
        .status(StatusCode::PARTIAL_CONTENT)
        .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", content.len()))
        .header(header::CONTENT_LENGTH, last + 1 - first)
        .header(header::ETAG, "\"1\"")
        .body(chunked(&content.slice(first..=last)))
        .unwrap()
}

/// Reads `bytes=FIRST-[LAST]`.
fn range(value: &str) -> Option<(usize, Option<usize>)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()))
}

fn chunked(content: &Bytes) -> Body {
    let chunks: Vec<_> = content
        .chunks(CHUNK)
        .map(|chunk| Ok::<_, std::convert::Infallible>(content.slice_ref(chunk)))
        .collect();
    Body::from_stream(futures_util::stream::iter(chunks))
}
