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

/// How much of a wrong value an answer repeats, characters.
const SHOWN_MAX: usize = 100;

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

/// The first integer that JSON here cannot keep, with the key it is under: it would come back with other digits.
fn too_long_integer(bytes: &[u8]) -> Option<(String, String)> {
    let (mut at, mut key, mut text) = (0, "", "");
    while let Some(byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        match byte {
            b'"' => {
                let inside = rest.get(1..).unwrap_or_default();
                let mut escaped = false;
                let ends = |byte: &u8| {
                    let ends = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    ends
                };
                let length = inside.iter().position(ends).unwrap_or(inside.len());
                text = inside.get(..length).map(str_of).unwrap_or_default();
                at += length + 2;
            }
            b':' => {
                key = text;
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let part =
                    |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let length = rest.iter().take_while(|byte| part(byte)).count();
                let number = rest.get(..length).map(str_of).unwrap_or_default();
                let whole = !number.contains(['.', 'e', 'E']);
                if whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some((key.to_owned(), number.to_owned()));
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

fn str_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
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
        let body = serde_json::from_slice(&bytes).map(Self).map_err(wrong)?;
        match too_long_integer(&bytes) {
            None => Ok(body),
            Some((key, number)) => Err(ApiError::Invalid(format!(
                "Invalid value for {key}: {number:.100} would lose digits. Integers from {} to {} are kept as they are; give others as \
                 text.",
                i64::MIN,
                u64::MAX
            ))),
        }
    }
}

/// A member of a body that must be there and be text.
///
/// # Errors
///
/// 400 where it is missing, or something else: with its name, what it is, and what is wanted.
pub fn text<'a>(body: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    let kind = match body.get(name) {
        Some(Value::String(text)) => return Ok(text),
        None | Some(Value::Null) => {
            return Err(ApiError::Invalid(format!("Missing mandatory parameter: {name}")));
        }
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    };
    let found: String = body.get(name).map(Value::to_string).unwrap_or_default();
    let found: String = found.chars().take(SHOWN_MAX).collect();
    Err(ApiError::Invalid(format!("Invalid value for {name}: {found} is {kind}, it must be text.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_no_text_is_named_with_its_value_and_what_is_wanted() {
        for (body, expected) in [
            (serde_json::json!({"target": "active"}), "active"),
            (serde_json::json!({}), "Missing mandatory parameter: target"),
            (serde_json::json!({"target": null}), "Missing mandatory parameter: target"),
            (Value::Null, "Missing mandatory parameter: target"),
            (
                serde_json::json!({"target": 5}),
                "Invalid value for target: 5 is a number, it must be text.",
            ),
            (
                serde_json::json!({"target": ["x"]}),
                "Invalid value for target: [\"x\"] is a list, it must be text.",
            ),
        ] {
            let found = text(&body, "target").map_or_else(|error| error.to_string(), str::to_owned);
            assert_eq!(found, expected);
        }
        let long = serde_json::json!({"target": vec![1; 1000]});
        assert!(text(&long, "target").unwrap_err().to_string().len() < 200);
    }

    #[tokio::test]
    async fn a_body_with_an_integer_that_would_lose_digits_is_refused_with_field_value_and_limits()
    {
        for (number, good) in [("18446744073709551615", true), ("123456789012345678901", false)] {
            let text = format!(r#"{{"driver": "ipmi", "extra": {{"serial": {number}}}}}"#);
            let request = Request::new(axum::body::Body::from(text));
            match (Body::<1024>::from_request(request, &()).await, good) {
                (Ok(Body(body)), true) => assert_eq!(body["extra"]["serial"].to_string(), number),
                (Err(error), false) => assert_eq!(
                    error.to_string(),
                    "Invalid value for serial: 123456789012345678901 would lose digits. Integers from -9223372036854775808 to \
                     18446744073709551615 are kept as they are; give others as text."
                ),
                (other, _) => panic!("{number}: {other:?}"),
            }
        }
    }

    #[test]
    fn integers_that_would_lose_digits_are_found_wherever_they_are() {
        for (body, expected) in [
            (r#"{"a": 18446744073709551615, "b": -9223372036854775808}"#, None),
            (r#"{"a": 18446744073709551616}"#, Some(("a", "18446744073709551616"))),
            (r#"{"a": -9223372036854775809}"#, Some(("a", "-9223372036854775809"))),
            (
                r#"[{"op": "add", "path": "/extra/n", "value": {"x": [1, 99999999999999999999]}}]"#,
                Some(("x", "99999999999999999999")),
            ),
            // Text, fractions and powers of ten are not integers.
            (r#"{"a": "99999999999999999999", "b": 1e30, "c": 99999999999999999999.5}"#, None),
            (r#"{"\"99999999999999999999": 1}"#, None),
            ("99999999999999999999", Some(("", "99999999999999999999"))),
        ] {
            let found = too_long_integer(body.as_bytes());
            let found = found.as_ref().map(|(key, number)| (key.as_str(), number.as_str()));
            assert_eq!(found, expected, "{body}");
        }
    }

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
