//! What happens to every request and answer: trailing slashes, request ids, versions, refusals in Ironic's shape, a log line.

use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tracing::Instrument as _;
use uuid::Uuid;

use super::error::ApiError;
use super::version::{self, Version};

const REQUEST_ID: [HeaderName; 2] = [
    HeaderName::from_static("openstack-request-id"),
    HeaderName::from_static("x-openstack-request-id"),
];

/// `routes` with Ironic's refusals of paths and methods that are not there.
pub(super) fn refusing(routes: Router) -> Router {
    routes.fallback(|| async { ApiError::NoSuchPath }).method_not_allowed_fallback(
        |method: axum::http::Method| async move { ApiError::NoSuchMethod(method.to_string()) },
    )
}

/// Puts the layers around `routes`. They are around the whole router because a trailing slash must go before a route is chosen,
/// and because unknown paths and methods get the same headers as all others.
pub(super) fn around(routes: Router) -> Router {
    Router::new().fallback_service(routes).layer(from_fn(version::layer)).layer(from_fn(outermost))
}

/// Names the request, takes the trailing slash off its path, logs its end.
async fn outermost(mut request: Request, next: Next) -> Response {
    let id = format!("req-{}", Uuid::new_v4());
    let span = tracing::info_span!("request", id);
    if let Some(uri) = without_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    let foreign = is_foreign(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    async move {
        let start = Instant::now();
        let mut response = if !is_text(&path) {
            ApiError::Invalid("The path is not UTF-8 once its %-escapes are read.".into())
                .into_response()
        } else if foreign {
            ApiError::Forbidden("Requests from pages of other sites are refused.".into())
                .into_response()
        } else {
            next.run(request).await
        };
        let (status, duration_ms) = (response.status().as_u16(), start.elapsed().as_millis());
        tracing::debug!(%method, path, status, duration_ms, "{method} {path}: {status}");
        if let Ok(id) = HeaderValue::from_str(&id) {
            for name in REQUEST_ID {
                response.headers_mut().insert(name, id.clone());
            }
        }
        response
    }
    .instrument(span)
    .await
}

/// Whether the path's escapes make text: handlers read names from it.
fn is_text(path: &str) -> bool {
    let pairs = url::form_urlencoded::parse(path.as_bytes());
    !path.contains('%')
        || pairs
            .into_iter()
            .all(|(key, value)| !key.contains('\u{fffd}') && !value.contains('\u{fffd}'))
}

/// Whether a browser sent this for a page of another site. There is no password on loopback, and a browser there must not become
/// a stranger's hand.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let site =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|origin| origin.1);
    site.is_none() || site != headers.get(HOST).and_then(|host| host.to_str().ok())
}

/// The same address without the slash at the end of its path; none when there is none.
fn without_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.len() == path.len() || trimmed.is_empty() {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{trimmed}{query}").parse().ok()
}

/// 404 below `1.minor`, else on.
pub(super) async fn since(minor: u16, version: Version, request: Request, next: Next) -> Response {
    if version.0 < minor { ApiError::NoSuchPath.into_response() } else { next.run(request).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_is_told_from_our_own_and_from_programs() {
        for (origin, foreign) in [
            (None, false),
            (Some("http://127.0.0.1:6385"), false),
            (Some("https://evil.example"), true),
            (Some("http://127.0.0.1:8000"), true),
            (Some("null"), true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("127.0.0.1:6385"));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_foreign(&headers), foreign, "{origin:?}");
        }
    }

    #[test]
    fn trailing_slashes_go_and_the_query_stays() {
        for (uri, expected) in [
            ("/v1/nodes/", Some("/v1/nodes")),
            ("/v1/?a=/", Some("/v1?a=/")),
            ("/v1/nodes//", Some("/v1/nodes")),
            ("/v1/nodes", None),
            ("/", None),
        ] {
            let found = without_slash(&uri.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{uri}");
        }
    }
}
