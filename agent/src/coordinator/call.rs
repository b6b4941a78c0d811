//! One request and its answer: bounded, and with the reason when it fails.

use std::net::SocketAddr;

use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use url::Url;

/// Characters of a server's explanation that are worth showing.
const EXPLANATION_CHARS: usize = 300;

/// Why a call to a coordinator failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No coordinator is configured.
    #[error("no coordinator is configured")]
    NoServer,
    /// No answer: not reachable, refused by TLS, or too late.
    #[error("no answer from {url}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// An answer, but not success.
    #[error("{url} answered {status}: {explanation}")]
    Refused {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// The start of the answer's text.
        explanation: String,
    },
    /// An answer longer than any good one.
    #[error("{url} answered more than {limit} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// Bytes allowed.
        limit: usize,
    },
    /// An answer that is not what the contract says.
    #[error("{url} answered something else than the contract says")]
    Malformed {
        /// What was asked.
        url: String,
        /// Where it differs.
        source: serde_json::Error,
    },
}

/// A complete answer.
#[derive(Debug)]
pub(super) struct Answer {
    url: String,
    /// Who answered; unknown behind a proxy.
    pub(super) peer: Option<SocketAddr>,
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn refusal(self) -> CallError {
        CallError::Refused {
            explanation: explanation(&self.body),
            url: self.url,
            status: self.status,
        }
    }

    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body)
            .map_err(|source| CallError::Malformed { url: self.url, source })
    }
}

/// Sends `request` and reads at most `limit` bytes of the answer.
pub(super) async fn send(
    request: reqwest::RequestBuilder,
    limit: usize,
) -> Result<Answer, CallError> {
    let unreachable = |source: reqwest::Error| CallError::Unreachable {
        url: source.url().map_or_else(String::new, shown),
        source: source.without_url(),
    };
    let mut response = request.send().await.map_err(unreachable)?;
    let url = shown(response.url());
    let (status, peer) = (response.status(), response.remote_addr());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > limit {
            return Err(CallError::TooLong { url, limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { url, peer, status, body })
}

/// `base` with `segments` after its own path.
pub(super) fn under(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url.set_query(None);
    url
}

/// The minor number of `default_version.version` in the answer to `GET /`.
pub(super) fn server_minor(body: &[u8]) -> Option<u32> {
    let root: serde_json::Value = serde_json::from_slice(body).ok()?;
    root.pointer("/default_version/version")?.as_str()?.strip_prefix("1.")?.parse().ok()
}

/// A URL for people: without its query.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// What the server said, in one line: Ironic wraps `faultstring` in JSON (sometimes as JSON text).
pub(crate) fn explanation(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..body.len().min(8 << 10)).unwrap_or_default());
    let fault = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|root| {
        let message = root.get("error_message")?;
        let inner: serde_json::Value = match message.as_str() {
            Some(text) => serde_json::from_str(text).ok()?,
            None => message.clone(),
        };
        inner.get("faultstring")?.as_str().map(str::to_owned)
    });
    let line = fault.unwrap_or_else(|| text.into_owned());
    let line: String = line
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(EXPLANATION_CHARS)
        .collect();
    if line.trim().is_empty() { "(no explanation)".to_owned() } else { line.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_base_is_kept_and_slashes_are_not_doubled() {
        for (base, expected) in [
            ("http://h:6385", "http://h:6385/v1/lookup"),
            ("http://h:6385/", "http://h:6385/v1/lookup"),
            ("https://h/baremetal/", "https://h/baremetal/v1/lookup"),
        ] {
            let url = under(&Url::parse(base).unwrap(), &["v1", "lookup"]);
            assert_eq!(url.as_str(), expected);
        }
    }

    #[test]
    fn the_servers_version_is_read_or_unknown() {
        for (body, expected) in [
            (r#"{"default_version":{"id":"v1","version":"1.110"}}"#, Some(110)),
            (r#"{"default_version":{"version":"2.0"}}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(server_minor(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn an_explanation_is_ironics_fault_or_the_start_of_the_text_on_one_line() {
        let long = "x".repeat(100_000);
        for (body, expected) in [
            (r#"{"error_message":{"faultstring":"node\nis locked"}}"#, "node is locked"),
            (r#"{"error_message":"{\"faultstring\": \"old shape\"}"}"#, "old shape"),
            ("gone\u{1b}[31m", "gone [31m"),
            ("", "(no explanation)"),
            (&long, &long[..EXPLANATION_CHARS]),
        ] {
            assert_eq!(explanation(body.as_bytes()), expected);
        }
    }
}
