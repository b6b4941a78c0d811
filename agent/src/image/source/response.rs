//! What an answer to a request for a range means.

use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::time::error::Elapsed;

use super::{Http, SourceError, public_url};

/// What recognises one version of a file (RFC 9110, 8.8): a strong ETag, else the modification time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Validator {
    Etag(String),
    Modified(String),
}

impl Validator {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
        // A weak ETag is not good enough for ranges (RFC 9110, 13.1.5).
        let etag = text(ETAG).filter(|etag| !etag.starts_with("W/"));
        etag.map(Self::Etag).or_else(|| text(LAST_MODIFIED).map(Self::Modified))
    }

    pub(super) fn header(&self) -> &'static str {
        match self {
            Self::Etag(_) => "ETag",
            Self::Modified(_) => "Last-Modified",
        }
    }

    pub(super) fn value(&self) -> &str {
        match self {
            Self::Etag(value) | Self::Modified(value) => value,
        }
    }
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response,
    /// File offset of the body's first byte.
    pub(super) start: u64,
    /// End of the body as announced: after the last byte of the range; unknown for a whole file.
    pub(super) until: Option<u64>,
    /// Length of the whole file, when known.
    pub(super) total: Option<u64>,
    /// Whether the server serves ranges.
    pub(super) ranges: bool,
    pub(super) validator: Option<Validator>,
}

/// A request for a range, of one version of the file if `if_range` says which.
pub(super) fn get(
    http: &Http,
    url: &str,
    range: &str,
    if_range: Option<&Validator>,
) -> RequestBuilder {
    let request = http.get(url).header(RANGE, range).header(ACCEPT_ENCODING, "identity");
    match if_range {
        Some(validator) => request.header(IF_RANGE, validator.value()),
        None => request,
    }
}

/// Judges an answer to a request for the bytes from `start` on.
pub(super) fn read(
    url: &str,
    start: u64,
    sent: Result<Result<Response, reqwest::Error>, Elapsed>,
    stall: Duration,
) -> Result<Answer, SourceError> {
    let url = public_url(url);
    let response = match sent {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if error.is_builder() => return Err(SourceError::BadUrl { url }),
        Ok(Err(error)) if error.is_redirect() => {
            let reason = "it redirects again and again".to_owned();
            return Err(SourceError::Unusable { url, reason });
        }
        Ok(Err(error)) => {
            return Err(SourceError::Unreachable { url, source: error.without_url() });
        }
        Err(_elapsed) => {
            return Err(SourceError::Stalled { url, bytes: start, seconds: stall.as_secs_f32() });
        }
    };
    let headers = response.headers();
    let encoding = headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    if let Some(encoding) = encoding.filter(|value| !value.eq_ignore_ascii_case("identity")) {
        let reason = format!("it is encoded as {encoding:.40}, which was not asked for");
        return Err(SourceError::Unusable { url, reason });
    }
    let validator = Validator::of(headers);
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let header = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let header = header.unwrap_or_default();
            let range = content_range(header).filter(|(first, ..)| *first == start);
            let Some((first, last, total)) = range else {
                let reason =
                    format!("asked for bytes from {start} it sent Content-Range {header:.80?}");
                return Err(SourceError::Unusable { url, reason });
            };
            let until = Some(last + 1);
            Ok(Answer { response, start: first, until, total, ranges: true, validator })
        }
        StatusCode::OK => {
            let total = response.content_length();
            Ok(Answer { response, start: 0, until: None, total, ranges: false, validator })
        }
        StatusCode::RANGE_NOT_SATISFIABLE if start == 0 => Err(SourceError::Empty { url }),
        StatusCode::RANGE_NOT_SATISFIABLE => Err(SourceError::Changed {
            url,
            what: "length",
            was: format!("more than {start}"),
            is: "less".into(),
        }),
        status => Err(SourceError::Status { url, status }),
    }
}

/// First byte, last byte, and length of the file from `bytes FIRST-LAST/LENGTH`.
fn content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, length) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let length = match length.trim() {
        "*" => None,
        digits => Some(digits.parse().ok()?),
    };
    let sound = first <= last && length.is_none_or(|length: u64| last < length);
    (sound && last < u64::MAX).then_some((first, last, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_that_cannot_be_are_refused() {
        for (value, expected) in [
            ("bytes 0-9/10", Some((0, 9, Some(10)))),
            ("bytes 5-9/*", Some((5, 9, None))),
            ("bytes 0-10/10", None),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("items 0-9/10", None),
            ("", None),
        ] {
            assert_eq!(content_range(value), expected, "{value}");
        }
    }

    #[test]
    fn a_weak_etag_gives_way_to_the_modification_time() {
        let mut headers = HeaderMap::new();
        headers.insert(ETAG, "W/\"1\"".parse().unwrap());
        assert_eq!(Validator::of(&headers), None);
        headers.insert(LAST_MODIFIED, "then".parse().unwrap());
        assert_eq!(Validator::of(&headers), Some(Validator::Modified("then".into())));
        headers.insert(ETAG, "\"1\"".parse().unwrap());
        assert_eq!(Validator::of(&headers), Some(Validator::Etag("\"1\"".into())));
    }
}
