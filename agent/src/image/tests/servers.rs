//! Image servers, good and bad, on a free port of the loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode, header};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::task::JoinHandle;

/// A request for (part of) the file.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// Counts requests from 0.
    pub(super) number: usize,
    pub(super) path: String,
    /// First byte, and the last one when the range is closed.
    pub(super) range: Option<(usize, Option<usize>)>,
    pub(super) if_range: Option<String>,
}

impl Ask {
    /// Whether it asks for the body from some place to the end.
    pub(super) fn is_body(&self) -> bool {
        self.range.is_none_or(|(_, last)| last.is_none())
    }
}

/// How a request is answered.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) etag: Option<String>,
    pub(super) content: Bytes,
    /// Length announced; none: chunked.
    pub(super) length: Option<usize>,
    pub(super) content_range: Option<String>,
    pub(super) encoding: Option<&'static str>,
    /// After so many bytes `end` comes.
    pub(super) cut: Option<usize>,
    pub(super) end: End,
}

/// What becomes of a connection that does not send everything.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// It breaks.
    Break,
    /// It stays open, and silent.
    Silence,
    /// It goes on with a byte now and then.
    Trickle,
}

impl Reply {
    pub(super) fn status(status: StatusCode) -> Self {
        Self {
            status,
            etag: None,
            content: Bytes::new(),
            length: Some(0),
            content_range: None,
            encoding: None,
            cut: None,
            end: End::Break,
        }
    }

    /// The whole file; the request's range is ignored.
    pub(super) fn whole(content: &[u8]) -> Self {
        Self {
            content: Bytes::copy_from_slice(content),
            length: Some(content.len()),
            ..Self::status(StatusCode::OK)
        }
    }

    /// What a good server answers.
    pub(super) fn good(ask: &Ask, content: &[u8]) -> Self {
        let Some((first, last)) = ask.range else { return Self::whole(content) };
        if first >= content.len() {
            return Self::status(StatusCode::RANGE_NOT_SATISFIABLE);
        }
        let last = last.unwrap_or(usize::MAX).min(content.len() - 1);
        Self {
            status: StatusCode::PARTIAL_CONTENT,
            content_range: Some(format!("bytes {first}-{last}/{}", content.len())),
            ..Self::whole(&content[first..=last])
        }
    }

    pub(super) fn etag(self, etag: &str) -> Self {
        Self { etag: Some(etag.into()), ..self }
    }

    pub(super) fn cut(self, bytes: usize) -> Self {
        Self { cut: Some(bytes), ..self }
    }

    fn into_response(self) -> Response<Body> {
        let mut response = Response::builder().status(self.status);
        let pairs = [
            (header::ETAG, self.etag),
            (header::CONTENT_RANGE, self.content_range),
            (header::CONTENT_ENCODING, self.encoding.map(str::to_owned)),
            (header::CONTENT_LENGTH, self.length.map(|length| length.to_string())),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                response = response.header(name, value);
            }
        }
        let whole = self.cut.is_none();
        let sent = self.cut.unwrap_or(usize::MAX).min(self.content.len());
        let (content, rest) = (self.content.slice(..sent), self.content.slice(sent..));
        // Small chunks: every boundary inside the image is crossed somewhere.
        let chunks: Vec<_> =
            content.chunks(7001).map(|chunk| Ok(content.slice_ref(chunk))).collect();
        let chunks = futures_util::stream::iter(chunks);
        let body = match self.end {
            _ if whole => Body::from_stream(chunks),
            End::Trickle => Body::from_stream(chunks.chain(trickle(rest))),
            End::Break | End::Silence => {
                let hang = matches!(self.end, End::Silence);
                let end = futures_util::stream::once(async move {
                    if hang {
                        std::future::pending::<()>().await;
                    }
                    Err(std::io::Error::other("cut"))
                });
                Body::from_stream(chunks.chain(end))
            }
        };
        response.body(body).unwrap()
    }
}

/// One byte after the other, with a pause before each.
fn trickle(rest: Bytes) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    futures_util::stream::unfold(rest, |mut rest| async move {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        if rest.is_empty() { None } else { Some((Ok(rest.split_to(1)), rest)) }
    })
}

/// A server that answers by a script until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    asks: Arc<Mutex<Vec<Ask>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(script: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asks = Arc::new(Mutex::new(Vec::new()));
        let (record, script) = (Arc::clone(&asks), Arc::new(script));
        let number = Arc::new(AtomicUsize::new(0));
        let service = tower_service(move |request: Request| {
            let ask = read(&request, number.fetch_add(1, Ordering::Relaxed));
            record.lock().unwrap().push(ask.clone());
            script(&ask).into_response()
        });
        let task = tokio::spawn(async move {
            axum::serve(listener, service).await.unwrap();
        });
        Self { address, asks, task }
    }

    /// A good server, with ranges or without.
    pub(super) async fn good(content: Vec<u8>, ranges: bool) -> Self {
        Self::start(move |ask| {
            if ranges { Reply::good(ask, &content).etag("\"1\"") } else { Reply::whole(&content) }
        })
        .await
    }

    pub(super) fn url(&self) -> String {
        self.url_of("image.img")
    }

    pub(super) fn url_of(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    pub(super) fn asks(&self) -> Vec<Ask> {
        self.asks.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A router with one answer for everything.
fn tower_service(
    answer: impl Fn(Request) -> Response<Body> + Clone + Send + Sync + 'static,
) -> axum::Router {
    axum::Router::new().fallback(move |request: Request| {
        let response = answer(request);
        async move { Ok::<_, Infallible>(response) }
    })
}

fn read(request: &Request, number: usize) -> Ask {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let range = text(header::RANGE).and_then(|value| {
        let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()))
    });
    Ask {
        number,
        path: request.uri().path().into(),
        range,
        if_range: text(header::IF_RANGE).map(str::to_owned),
    }
}
