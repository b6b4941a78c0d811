//! Inspection as Ironic's agent does it: the facts are posted once, to the address the kernel command line names, before the
//! lookup, or alone: a conductor that only inspects names no API.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use super::logs;
use crate::report::{LogTail, chain};

/// Posts of one document at most (Ironic's agent).
const ATTEMPTS: u32 = 5;
/// The first wait, doubled after each, and the longest.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30);
/// Longest answer read.
const REPLY: usize = 1 << 20;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `ipa-inspection-callback-url`: one of these.
    pub urls: Vec<Url>,
    /// `ipa-inspection-collectors`.
    pub collectors: Vec<String>,
}

/// What is known of the machine.
#[derive(Debug)]
pub struct Known<'a> {
    /// In Ironic's shape.
    pub inventory: &'a Value,
    /// The disk a deploy without hints would take; null: none.
    pub root_disk: Value,
    /// The network card that booted.
    pub bootif: Option<&'a str>,
    /// The log in memory.
    pub tail: &'a LogTail,
}

/// The document. `more` answers further collectors, by name.
pub fn document(
    wanted: &Wanted,
    known: &Known<'_>,
    mut more: impl FnMut(&str) -> Option<Map<String, Value>>,
) -> Value {
    let mut document = Map::new();
    for name in &wanted.collectors {
        match name.as_str() {
            "default" => {
                document.insert("inventory".to_owned(), known.inventory.clone());
                document.insert("root_disk".to_owned(), known.root_disk.clone());
                document.insert("boot_interface".to_owned(), json!(known.bootif));
                let manager = json!({"name": "ironwright", "version": env!("CARGO_PKG_VERSION")});
                let configuration = json!({"collectors": wanted.collectors, "managers": [manager]});
                document.insert("configuration".to_owned(), configuration);
            }
            "logs" => {
                let packed = logs::packed(known.tail, known.inventory);
                document.insert("logs".to_owned(), json!(packed));
            }
            other => match more(other) {
                Some(facts) => document.extend(facts),
                None => tracing::warn!("no collector {other} (ipa-inspection-collectors)"),
            },
        }
    }
    document.insert("error".to_owned(), Value::Null);
    Value::Object(document)
}

/// Posts `document`; the node it belongs to, where the server says so. A failure is logged: the lookup goes on without.
pub async fn post(client: &reqwest::Client, wanted: &Wanted, document: &Value) -> Option<Uuid> {
    let mut wait = FIRST;
    for attempt in 1..=ATTEMPTS {
        for url in &wanted.urls {
            match post_to(client, url, document).await {
                Ok(node) => {
                    tracing::info!("the inspection was taken by {}", shown(url));
                    return node;
                }
                Err(Refused { why, again: false }) => {
                    tracing::error!("the inspection was refused by {}: {why}", shown(url));
                    return None;
                }
                Err(Refused { why, .. }) => {
                    tracing::warn!("the inspection was not taken by {}: {why}", shown(url));
                }
            }
        }
        if attempt < ATTEMPTS {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST);
        }
    }
    tracing::error!("nobody took the inspection");
    None
}

struct Refused {
    why: String,
    /// Whether another time may do better.
    again: bool,
}

/// The answer of a server at version 1.1.
#[derive(Deserialize)]
struct Taken {
    uuid: Option<Uuid>,
}

async fn post_to(
    client: &reqwest::Client,
    url: &Url,
    document: &Value,
) -> Result<Option<Uuid>, Refused> {
    // No version header: conductors take this as version 1.1.
    let request = client.post(url.clone()).header("accept", "application/json").json(document);
    let lost = |error: reqwest::Error| Refused { why: chain(&error.without_url()), again: true };
    let mut response = request.send().await.map_err(lost)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > REPLY {
            return Err(Refused { why: format!("more than {REPLY} bytes"), again: false });
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(serde_json::from_slice(&body).ok().and_then(|taken: Taken| taken.uuid));
    }
    let again = status.is_server_error() || status == StatusCode::CONFLICT;
    Err(Refused { why: format!("{status}: {}", crate::coordinator::explanation(&body)), again })
}

/// A URL for people: without its query.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{body_partial_json, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    const NODE: &str = "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f";

    #[tokio::test]
    async fn the_document_is_posted_without_a_version_and_the_node_is_learnt() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/v1/continue_inspection"))
            .and(body_partial_json(
                json!({"boot_interface": "52:54:00:00:00:01", "usb": 1, "error": null}),
            ))
            .respond_with(ResponseTemplate::new(202).set_body_json(json!({"uuid": NODE})))
            .expect(1)
            .mount(&server)
            .await;
        let url = format!("{}/v1/continue_inspection", server.uri());
        let wanted = Wanted {
            urls: vec![url.parse().unwrap()],
            collectors: ["default", "usb-devices", "unknown", "logs"].map(str::to_owned).to_vec(),
        };
        let known = Known {
            inventory: &json!({"interfaces": []}),
            root_disk: Value::Null,
            bootif: Some("52:54:00:00:00:01"),
            tail: &LogTail::default(),
        };
        let document = document(&wanted, &known, |name| {
            (name == "usb-devices").then(|| Map::from_iter([("usb".to_owned(), json!(1))]))
        });
        assert!(document["logs"].is_string());
        let client = crate::tls::coordinator_client(None, Duration::from_secs(5)).unwrap();
        assert_eq!(post(&client, &wanted, &document).await, NODE.parse().ok());
        let seen = &server.received_requests().await.unwrap()[0];
        assert!(seen.headers.keys().all(|name| !name.as_str().contains("api-version")));
    }

    #[tokio::test]
    async fn a_refusal_is_not_repeated() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(404))
            .expect(1)
            .mount(&server)
            .await;
        let wanted = Wanted { urls: vec![server.uri().parse().unwrap()], collectors: Vec::new() };
        let client = crate::tls::coordinator_client(None, Duration::from_secs(5)).unwrap();
        assert_eq!(post(&client, &wanted, &json!({})).await, None);
    }
}
