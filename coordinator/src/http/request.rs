//! What handlers read from a request: its address here, its query, its body.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_LENGTH, HOST};
use axum::http::request::Parts;
use serde_json::Value;

use super::error::ApiError;
use super::version::Version;
use crate::node::attributes::truth;

/// `http://host:port` as the client reached us, for links.
#[derive(Debug, Clone)]
pub struct Base(pub String);

impl<S: Sync> FromRequestParts<S> for Base {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let scheme = parts.extensions.get::<Scheme>().map_or("http", |scheme| scheme.0);
        Ok(Self(format!("{scheme}://{}", host.filter(|host| is_host(host)).unwrap_or("localhost"))))
    }
}

/// How the client reached us: `http` or `https`.
#[derive(Debug, Clone, Copy)]
pub struct Scheme(&'static str);

impl Scheme {
    /// Of a listener that speaks TLS, or does not.
    #[must_use]
    pub fn of(secure: bool) -> Self {
        Self(if secure { "https" } else { "http" })
    }
}

/// Host and port without anything that would be more in a URL.
#[must_use]
pub fn is_host(host: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !host.is_empty() && host.len() <= 260 && host.bytes().all(known)
}

/// The query, in the order sent.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self { pairs: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect() })
    }
}

impl Query {
    /// The value of a parameter; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().rev().find(|pair| pair.0 == name);
        found.map(|pair| pair.1.as_str()).filter(|value| !value.is_empty())
    }

    /// A flag in any of the client's words.
    ///
    /// # Errors
    ///
    /// 400 for other words.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(word) = self.get(name) else {
            return Ok(None);
        };
        let wrong = || {
            ApiError::Invalid(format!(
                "Invalid value for {name}: '{word}' is neither true nor false."
            ))
        };
        truth(word).map(Some).ok_or_else(wrong)
    }

    /// A value of another type.
    ///
    /// # Errors
    ///
    /// 400 when it is none.
    pub fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let wrong =
            |error| ApiError::Invalid(format!("Invalid value for {name}: '{text}': {error}."));
        text.parse().map(Some).map_err(wrong)
    }

    /// The same query with one more parameter.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs = self.pairs.clone();
        pairs.push((name.to_owned(), value.to_owned()));
        Self { pairs }
    }

    /// Refuses parameters that are not in `known`, or newer than `version`.
    ///
    /// # Errors
    ///
    /// 400, 406.
    pub fn only(&self, known: &[(&str, u16)], version: Version) -> Result<(), ApiError> {
        for (name, _) in &self.pairs {
            match known.iter().find(|entry| entry.0 == name) {
                None => return Err(ApiError::Invalid(format!("Unknown parameter: {name}."))),
                Some((_, since)) if version.0 < *since => {
                    return Err(ApiError::TooNew(format!(
                        "The parameter '{name}' needs at least version 1.{since}."
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The same query with another marker.
    #[must_use]
    pub fn with_marker(&self, limit: usize, marker: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(
            self.pairs.iter().filter(|pair| !matches!(pair.0.as_str(), "marker" | "limit")),
        );
        query.append_pair("limit", &limit.to_string()).append_pair("marker", marker);
        query.finish()
    }
}

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(120);
/// Deepest nesting of a body: Ironic's.
const DEPTH: usize = 25;

/// How deep objects and lists are nested; nothing is parsed for it.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The whole body, if it is not longer than `limit` bytes and there in time.
async fn arrived(
    body: axum::body::Body,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, ApiError> {
    tokio::time::timeout(patience, to_bytes(body, limit))
        .await
        .map_err(|_| ApiError::TooSlow(patience.as_secs()))?
        .map_err(|_| ApiError::BodyTooLarge(limit))
}

/// A JSON body of at most `KIB` KiB; an empty one is null.
#[derive(Debug, Clone)]
pub struct Body<const KIB: usize = 1024>(pub Value);

impl<S: Sync, const KIB: usize> FromRequest<S> for Body<KIB> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let limit = KIB * 1024;
        let declared = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if declared
            .and_then(|text| text.parse::<u64>().ok())
            .is_some_and(|length| length > limit as u64)
        {
            return Err(ApiError::BodyTooLarge(limit));
        }
        let bytes = arrived(request.into_body(), limit, PATIENCE).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Value::Null));
        }
        let wrong = |error: serde_json::Error| {
            ApiError::Invalid(format!(
                "The body is not JSON: line {}, column {}.",
                error.line(),
                error.column()
            ))
        };
        let deepest = depth(&bytes);
        if deepest > DEPTH {
            return Err(ApiError::Invalid(format!(
                "The body's objects and lists are nested {deepest} deep; at most {DEPTH} are allowed."
            )));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        Query { pairs: pairs.iter().map(|pair| (pair.0.to_owned(), pair.1.to_owned())).collect() }
    }

    #[tokio::test]
    async fn a_client_that_never_ends_its_body_is_told_so() {
        use axum::response::IntoResponse as _;
        use futures_util::StreamExt as _;

        let begun = futures_util::stream::iter([Ok::<_, std::io::Error>("{\"driver\": ")]);
        let endless = axum::body::Body::from_stream(begun.chain(futures_util::stream::pending()));
        let slow = arrived(endless, 1 << 20, Duration::from_millis(20)).await.unwrap_err();
        assert!(slow.to_string().contains("did not arrive within"), "{slow}");
        assert_eq!(slow.into_response().status(), 408);
    }

    #[test]
    fn the_next_page_keeps_the_query_and_replaces_marker_and_limit() {
        let query =
            query(&[("provision_state", "wait call-back"), ("limit", "5"), ("marker", "a")]);
        assert_eq!(query.with_marker(5, "b"), "provision_state=wait+call-back&limit=5&marker=b");
    }

    #[test]
    fn unknown_parameters_are_400_and_newer_ones_406() {
        let known = [("fault", 42)];
        let sent = query(&[("fault", "x")]);
        assert!(sent.only(&known, Version(42)).is_ok());
        assert!(matches!(sent.only(&known, Version(41)), Err(ApiError::TooNew(_))));
        assert!(matches!(
            query(&[("falt", "x")]).only(&known, Version(110)),
            Err(ApiError::Invalid(_))
        ));
    }

    #[test]
    fn nesting_is_counted_outside_of_texts() {
        for (text, expected) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"a": [1, {}], "b": []}"#, 3),
            (r#"["[[\"[["]"#, 1),
            ("]][", 1),
        ] {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_host_header_cannot_smuggle_a_path_into_links() {
        for (host, good) in
            [("h:6385", true), ("[::1]:6385", true), ("h/x", false), ("h\"", false), ("", false)]
        {
            assert_eq!(is_host(host), good, "{host}");
        }
    }
}
