//! The bytes of an image over HTTP, in order, whatever happens to the connection.
//!
//! The first request is `Range: bytes=0-`: an answer 206 is the body and says that ranges work. A cut or stalled
//! connection goes on at the byte where it stopped; the digest over everything received stays the judge of the content.

mod body;
mod error;
mod response;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use body::{Body, Pace};
pub use error::SourceError;
use response::{Answer, Validator};

use super::http::Http;
use super::tuning::Tuning;

/// An image being read.
#[derive(Debug)]
pub(super) struct Source {
    http: Http,
    urls: VecDeque<String>,
    all_urls: Vec<String>,
    tuning: Tuning,
    /// Taken from the server but not yet by the reader.
    buffered: VecDeque<Bytes>,
    body: Option<Body>,
    /// Of all answers since the last failure: a server may also trickle in parts of a byte each.
    pace: Pace,
    /// Bytes taken from servers so far.
    position: u64,
    total: Option<u64>,
    ranges: bool,
    validator: Option<Validator>,
    /// Failures in a row and where the last one was.
    failures: u32,
    failed_at: u64,
    resumes: u32,
    last: Vec<SourceError>,
}

impl Source {
    /// Connects to the first URL that answers well.
    pub(super) async fn open(
        http: &Http,
        urls: &[String],
        tuning: &Tuning,
    ) -> Result<Self, SourceError> {
        let mut source = Self {
            http: http.clone(),
            urls: urls.iter().cloned().collect(),
            all_urls: urls.to_vec(),
            tuning: tuning.clone(),
            buffered: VecDeque::new(),
            body: None,
            pace: Pace::default(),
            position: 0,
            total: None,
            ranges: false,
            validator: None,
            failures: 0,
            failed_at: 0,
            resumes: 0,
            last: Vec::new(),
        };
        source.connect().await?;
        Ok(source)
    }

    /// Length of the file, when the server says it.
    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    /// Whether the server serves ranges.
    pub(super) fn ranges(&self) -> bool {
        self.ranges
    }

    /// Times a broken connection was replaced.
    pub(super) fn resumes(&self) -> u32 {
        self.resumes
    }

    /// The URL in use, without credentials.
    pub(super) fn url(&self) -> String {
        self.urls.front().map(|url| public_url(url)).unwrap_or_default()
    }

    /// The first `wanted` bytes (fewer when the file is shorter), which [`Source::next`] returns again.
    pub(super) async fn peek(&mut self, wanted: usize) -> Result<Vec<u8>, SourceError> {
        let mut prefix = Vec::with_capacity(wanted);
        for chunk in &self.buffered {
            prefix.extend_from_slice(chunk);
        }
        while prefix.len() < wanted {
            let Some(chunk) = self.receive().await? else { break };
            prefix.extend_from_slice(&chunk);
            self.buffered.push_back(chunk);
        }
        Ok(prefix)
    }

    /// The next bytes; `None` at the end of the file.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        match self.buffered.pop_front() {
            Some(chunk) => Ok(Some(chunk)),
            None => self.receive().await,
        }
    }

    /// Starts over at byte 0.
    pub(super) async fn rewind(&mut self) -> Result<(), SourceError> {
        self.urls = self.all_urls.iter().cloned().collect();
        self.buffered.clear();
        self.body = None;
        (self.position, self.failures, self.failed_at) = (0, 0, 0);
        self.connect().await
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            let Some(body) = &mut self.body else {
                if self.total == Some(self.position) {
                    return Ok(None);
                }
                self.connect().await?;
                self.resumes += 1;
                continue;
            };
            let asked = Instant::now();
            let chunk = tokio::time::timeout(self.tuning.stall, body.chunk()).await;
            let failure = match chunk {
                Ok(Ok(Some(chunk)))
                    if self.pace.is_too_slow(asked.elapsed(), chunk.len(), &self.tuning) =>
                {
                    SourceError::Slow {
                        url: self.url(),
                        bytes: self.position,
                        least: self.tuning.stall_bytes,
                        seconds: self.tuning.stall.as_secs_f32(),
                    }
                }
                Ok(Ok(Some(mut chunk))) => {
                    body.skip_in(&mut chunk);
                    match self.book(&chunk) {
                        Ok(()) if chunk.is_empty() => continue,
                        Ok(()) => return Ok(Some(chunk)),
                        Err(failure) => failure,
                    }
                }
                Ok(Ok(None)) => match self.total {
                    // A part that ended where the server said: the next one is asked for.
                    Some(total) if body.until == Some(self.position) && self.position < total => {
                        self.body = None;
                        self.connect().await?;
                        continue;
                    }
                    Some(total) if self.position < total => {
                        SourceError::Short { url: self.url(), bytes: self.position, total }
                    }
                    _ if self.position == 0 => SourceError::Empty { url: self.url() },
                    Some(_) | None => return Ok(None),
                },
                Ok(Err(error)) => SourceError::cut(self.url(), self.position, error),
                Err(_elapsed) => SourceError::Stalled {
                    url: self.url(),
                    bytes: self.position,
                    seconds: self.tuning.stall.as_secs_f32(),
                },
            };
            self.body = None;
            self.count_failure(failure).await?;
        }
    }

    /// Books a chunk, unless it goes past the end.
    fn book(&mut self, chunk: &Bytes) -> Result<(), SourceError> {
        let end = self.position + chunk.len() as u64;
        if let Some(total) = self.total.filter(|total| end > *total) {
            return Err(SourceError::Long { url: self.url(), bytes: end, total });
        }
        self.position = end;
        Ok(())
    }

    /// Opens a body at [`Source::position`], trying again and then the other URLs.
    async fn connect(&mut self) -> Result<(), SourceError> {
        loop {
            let Some(url) = self.urls.front().cloned() else {
                return Err(SourceError::NoUrlLeft {
                    failures: self.last.iter().map(describe).collect::<Vec<_>>().join("; "),
                });
            };
            match self.request(&url).await {
                Ok(body) => {
                    self.body = Some(body);
                    return Ok(());
                }
                Err(failure) => self.count_failure(failure).await?,
            }
        }
    }

    /// One request for the rest of the file.
    async fn request(&mut self, url: &str) -> Result<Body, SourceError> {
        if !is_http(url) {
            return Err(SourceError::BadUrl { url: public_url(url) });
        }
        let validator = self.validator.clone();
        let range = format!("bytes={}-", self.position);
        let if_range = validator.as_ref().filter(|_| self.position > 0);
        let request = response::get(&self.http, url, &range, if_range);
        let asked = Instant::now();
        let sent = tokio::time::timeout(self.tuning.stall, request.send()).await;
        self.pace.wait(asked.elapsed());
        let answer = response::read(url, self.position, sent, self.tuning.stall)?;
        self.check_same(url, &answer)?;
        self.total = answer.total;
        self.ranges = answer.ranges;
        self.validator = answer.validator;
        let skip = self.position - answer.start;
        Ok(Body::new(answer.response, skip, answer.until))
    }

    /// The file must not have become another one.
    fn check_same(&self, url: &str, answer: &Answer) -> Result<(), SourceError> {
        if let (Some(was), Some(is)) = (self.total, answer.total)
            && was != is
            && !self.last.is_empty()
        {
            return Err(SourceError::OtherLength { url: public_url(url), was, is });
        }
        if self.total.is_some() && answer.total.is_some() && self.total != answer.total {
            return Err(SourceError::Changed {
                url: public_url(url),
                what: "length",
                was: self.total.unwrap_or_default().to_string(),
                is: answer.total.unwrap_or_default().to_string(),
            });
        }
        match (&self.validator, &answer.validator) {
            (Some(was), Some(is)) if was != is => Err(SourceError::Changed {
                url: public_url(url),
                what: was.header(),
                was: was.value().into(),
                is: is.value().into(),
            }),
            _ => Ok(()),
        }
    }

    /// After a failure: a pause and another attempt, or the next URL, or the end.
    async fn count_failure(&mut self, failure: SourceError) -> Result<(), SourceError> {
        if self.position >= self.failed_at.saturating_add(self.tuning.progress_bytes) {
            self.failures = 0;
        }
        self.failed_at = self.position;
        self.failures += 1;
        self.pace = Pace::default();
        if failure.is_temporary() && self.failures < self.tuning.attempts {
            tracing::warn!(attempt = self.failures, error = %describe(&failure), "image connection failed, going on");
            pause(&self.tuning, self.failures).await;
            return Ok(());
        }
        self.urls.pop_front();
        // Another server has other validators for the same bytes; the digest decides. As long as nothing was taken, so it may
        // have another length.
        self.validator = None;
        if self.position == 0 {
            self.total = None;
        }
        self.failures = 0;
        if self.urls.is_empty() && self.last.is_empty() {
            return Err(failure);
        }
        self.last.push(failure);
        Ok(())
    }

    /// Exactly the bytes of `range`, over a connection of its own. A server that does not get there, for whatever reason but a
    /// changed file, counts as one without ranges: the image is then read as it comes, with all that helps there.
    pub(super) async fn fetch(&self, range: Range<u64>) -> Result<Bytes, SourceError> {
        let url = self.urls.front().cloned().unwrap_or_default();
        let mut attempt = 1;
        loop {
            match self.fetch_once(&url, &range).await {
                Err(failure) if failure.is_temporary() && attempt < self.tuning.attempts => {
                    tracing::warn!(attempt, error = %describe(&failure), "a part of the image's tables is late");
                    pause(&self.tuning, attempt).await;
                    attempt += 1;
                }
                Ok(bytes) => return Ok(bytes),
                Err(changed @ SourceError::Changed { .. }) => return Err(changed),
                Err(failure) => {
                    tracing::warn!(error = %describe(&failure), "reading the image as it comes");
                    return Err(SourceError::NoRange { url: public_url(&url) });
                }
            }
        }
    }

    async fn fetch_once(&self, url: &str, range: &Range<u64>) -> Result<Bytes, SourceError> {
        let header = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let request = response::get(&self.http, url, &header, self.validator.as_ref());
        let sent = tokio::time::timeout(self.tuning.stall, request.send()).await;
        let mut answer = response::read(url, range.start, sent, self.tuning.stall)?;
        self.check_same(url, &answer)?;
        if !answer.ranges {
            return Err(SourceError::NoRange { url: public_url(url) });
        }
        let want = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let body = read_capped(url, &mut answer.response, want, &self.tuning).await?;
        if body.len() == want {
            return Ok(body.into());
        }
        Err(SourceError::Short {
            url: public_url(url),
            bytes: body.len() as u64,
            total: want as u64,
        })
    }
}

/// The whole body of a small file.
pub(super) async fn fetch_small(
    http: &Http,
    url: &str,
    limit: usize,
    tuning: &Tuning,
) -> Result<Vec<u8>, SourceError> {
    if !is_http(url) {
        return Err(SourceError::BadUrl { url: public_url(url) });
    }
    let mut attempt = 1;
    loop {
        let sent = tokio::time::timeout(tuning.stall, http.get(url).send()).await;
        let result = match response::read(url, 0, sent, tuning.stall) {
            Ok(mut answer) => read_capped(url, &mut answer.response, limit, tuning).await,
            Err(error) => Err(error),
        };
        match result {
            Err(failure) if failure.is_temporary() && attempt < tuning.attempts => {
                pause(tuning, attempt).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// A body of at most `limit` bytes.
async fn read_capped(
    url: &str,
    response: &mut reqwest::Response,
    limit: usize,
    tuning: &Tuning,
) -> Result<Vec<u8>, SourceError> {
    let (mut body, mut pace) = (Vec::new(), Pace::default());
    loop {
        let bytes = body.len() as u64;
        let asked = Instant::now();
        match tokio::time::timeout(tuning.stall, response.chunk()).await {
            Ok(Ok(Some(chunk))) if pace.is_too_slow(asked.elapsed(), chunk.len(), tuning) => {
                let (least, seconds) = (tuning.stall_bytes, tuning.stall.as_secs_f32());
                return Err(SourceError::Slow { url: public_url(url), bytes, least, seconds });
            }
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > limit => {
                let bytes = bytes + chunk.len() as u64;
                return Err(SourceError::Long { url: public_url(url), bytes, total: limit as u64 });
            }
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None)) => return Ok(body),
            Ok(Err(error)) => return Err(SourceError::cut(public_url(url), bytes, error)),
            Err(_elapsed) => {
                let seconds = tuning.stall.as_secs_f32();
                return Err(SourceError::Stalled { url: public_url(url), bytes, seconds });
            }
        }
    }
}

async fn pause(tuning: &Tuning, attempt: u32) {
    tokio::time::sleep(tuning.backoff * (1 << attempt.saturating_sub(1).min(4))).await;
}

/// A failure with its causes, for a list of failures.
fn describe(error: &SourceError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn is_http(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// A URL fit for logs and results: no user, no password, no query (signatures live there). What is no URL is not shown: it may be
/// one with a password and a slip of the pen.
pub(crate) fn public_url(url: &str) -> String {
    let parsed = url::Url::parse(url).ok().filter(url::Url::has_host);
    let Some(mut parsed) = parsed else {
        return format!("the text of {} characters that was given", url.chars().count());
    };
    // Neither can fail for a URL with a host.
    parsed.set_username("").ok();
    parsed.set_password(None).ok();
    parsed.set_query(None);
    parsed.set_fragment(None);
    parsed.into()
}
