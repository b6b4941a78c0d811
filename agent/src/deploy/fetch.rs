//! Fetches a config drive that is ordered by its URL.

use std::time::Duration;

use url::Url;

use super::Problem;
use crate::report::chain;

/// Most bytes taken: 64 MiB (Ironic's limit) in base64, with its line breaks.
const LIMIT: usize = 96 << 20;
/// A config drive that takes longer is not coming.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The body served at `url`.
pub(super) async fn config_drive(http: &reqwest::Client, url: &str) -> Result<Vec<u8>, Problem> {
    let problem = |why| Problem::ConfigDriveFetch { url: shown(url), why };
    // Without the URL: its query may be a signature.
    let failed = |error: reqwest::Error| problem(chain(&error.without_url()));
    let mut response = http
        .get(url)
        .timeout(TIMEOUT)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > LIMIT {
            return Err(problem(format!("more than {LIMIT} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A URL for people: without query, user and password.
fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "an unreadable URL".to_owned() };
    url.set_query(None);
    // Fails only for URLs without a host, which have neither.
    url.set_username("").ok();
    url.set_password(None).ok();
    url.to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use wiremock::matchers::path;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[tokio::test]
    async fn a_body_is_fetched_and_a_refusal_says_why_without_the_secret_in_the_url() {
        let server = MockServer::start().await;
        let good = ResponseTemplate::new(200).set_body_string("H4sI");
        Mock::given(path("/good")).respond_with(good).mount(&server).await;
        let http = crate::tls::image_client(
            None,
            Path::new("/nonexistent"),
            &ironwright_api::ImageAccess::default(),
        )
        .unwrap();
        let body = config_drive(&http, &format!("{}/good?sig=s3cret", server.uri())).await.unwrap();
        assert_eq!(body, b"H4sI");
        let gone = format!("{}/gone?sig=s3cret", server.uri().replace("//", "//user:pa55@"));
        let problem = config_drive(&http, &gone).await.unwrap_err().to_string();
        assert!(problem.contains("404") && problem.contains("/gone"), "{problem}");
        assert!(!problem.contains("s3cret") && !problem.contains("pa55"), "{problem}");
    }
}
