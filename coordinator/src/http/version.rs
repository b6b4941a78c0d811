//! Ironic's microversions: what a request asks for, what the answer says.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// Microversion `1.N`; the number is the N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16);

/// The oldest version served; also what a request without a header gets.
pub const MIN: Version = Version(1);
/// The newest version served: every field rule up to it is in [`super::fields`].
pub const MAX: Version = Version(110);

const LEGACY: HeaderName = HeaderName::from_static("x-openstack-ironic-api-version");
const LEGACY_MIN: HeaderName = HeaderName::from_static("x-openstack-ironic-api-minimum-version");
const LEGACY_MAX: HeaderName = HeaderName::from_static("x-openstack-ironic-api-maximum-version");
const STANDARD: HeaderName = HeaderName::from_static("openstack-api-version");
const SERVICE: &str = "baremetal";

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for Version {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(MIN))
    }
}

/// The version these headers ask for: the standard header's `baremetal` entry, else Ironic's own header, else [`MIN`].
///
/// # Errors
///
/// 406 when it is malformed or out of range.
pub fn negotiate(headers: &HeaderMap) -> Result<Version, ApiError> {
    match standard(headers).or_else(|| text(headers, &LEGACY)) {
        None => Ok(MIN),
        Some(asked) => parse(&asked).ok_or(ApiError::UnsupportedVersion { asked }),
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
}

/// `baremetal 1.N` out of a comma-separated list of services.
fn standard(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, &STANDARD)?;
    value.split(',').find_map(|entry| {
        let (service, version) = entry.trim().split_once(char::is_whitespace)?;
        service.eq_ignore_ascii_case(SERVICE).then(|| version.trim().to_owned())
    })
}

fn parse(asked: &str) -> Option<Version> {
    if asked.eq_ignore_ascii_case("latest") {
        return Some(MAX);
    }
    let (major, minor) = asked.split_once('.')?;
    let digits = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
    let version = Version(if digits { minor.parse().ok()? } else { return None });
    (major == "1" && (MIN..=MAX).contains(&version)).then_some(version)
}

/// Reads the version of a `/v1` request, hands it on as an extension, and writes the version headers of the answer.
pub async fn layer(mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path != "/v1" && !path.starts_with("/v1/") {
        return next.run(request).await;
    }
    let version = match negotiate(request.headers()) {
        Ok(version) => version,
        Err(error) => {
            let mut response = error.into_response();
            write_range(response.headers_mut());
            return response;
        }
    };
    request.extensions_mut().insert(version);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    write_range(headers);
    insert(headers, LEGACY, &version.to_string());
    insert(headers, STANDARD, &format!("{SERVICE} {version}"));
    headers.append(axum::http::header::VARY, HeaderValue::from_static("OpenStack-API-Version"));
    response
}

fn write_range(headers: &mut HeaderMap) {
    insert(headers, LEGACY_MIN, &MIN.to_string());
    insert(headers, LEGACY_MAX, &MAX.to_string());
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_asked_for_is_found_in_either_header() {
        for (legacy, standard, expected) in [
            (None, None, Some(1)),
            (Some("1.1"), None, Some(1)),
            (Some("1.110"), None, Some(110)),
            (Some("latest"), None, Some(110)),
            (Some("LATEST"), None, Some(110)),
            (Some("1.5"), Some("baremetal 1.38"), Some(38)),
            (Some("1.5"), Some("compute 2.1"), Some(5)),
            (None, Some("compute 2.1, baremetal 1.9"), Some(9)),
            (None, Some("baremetal latest"), Some(110)),
            (Some("1.111"), None, None),
            (Some("1.115"), None, None),
            (Some("1.0"), None, None),
            (Some("2.1"), None, None),
            (Some("1"), None, None),
            (Some("1."), None, None),
            (Some("1.+5"), None, None),
            (Some("1.99999999"), None, None),
            (Some("banana"), None, None),
            (Some(""), None, None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(LEGACY, legacy), (STANDARD, standard)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            let found = negotiate(&headers).ok().map(|version| version.0);
            assert_eq!(found, expected, "{legacy:?} {standard:?}");
        }
    }
}
