//! A small typed client of the operator's API, for the demo and the tests.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ironwright_api::{Progress, Timing};
use reqwest::{Client, Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// Newest microversion the client knows.
const MICROVERSION: &str = "1.110";

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP client with our TLS provider.
///
/// # Errors
///
/// When no client can be built.
pub fn http_client() -> anyhow::Result<Client> {
    // A second installation is refused, and that is well: it is the same provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    Ok(Client::builder().no_proxy().connect_timeout(REQUEST_TIMEOUT).build()?)
}

/// A client of one coordinator.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    base: String,
    microversion: &'static str,
}

/// A node as far as the lab looks at it.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Identifier.
    pub uuid: Uuid,
    /// Where in the lifecycle.
    pub provision_state: String,
    /// Where it is going.
    #[serde(default)]
    pub target_provision_state: Option<String>,
    /// `power on`, `power off`.
    #[serde(default)]
    pub power_state: Option<String>,
    /// Why the last action failed.
    #[serde(default)]
    pub last_error: Option<String>,
}

impl Node {
    /// Whether it rests in a state that only a person leads out of.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.provision_state.ends_with("failed") || self.provision_state == "error"
    }
}

/// Answer to `GET /v1/nodes/{node}/progress`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct NodeProgress {
    /// Where in the lifecycle.
    #[serde(default)]
    pub provision_state: String,
    /// How far the work is.
    #[serde(default)]
    pub phase: Option<String>,
    /// The agent's picture of the step.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Named moments of the ramdisk's boot (`power_on`, `script`, `kernel`, `ramdisk`, `lookup`, `heartbeat`), RFC 3339.
    #[serde(default)]
    pub moments: std::collections::BTreeMap<String, jiff::Timestamp>,
    /// The stages of that boot by the machine's own clock.
    #[serde(default)]
    pub timing: Option<Timing>,
}

impl Api {
    /// A client of the coordinator at `base`, for example `http://127.0.0.1:6385`.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be built.
    pub fn new(base: impl Into<String>) -> anyhow::Result<Self> {
        Ok(Self { client: http_client()?, base: base.into(), microversion: MICROVERSION })
    }

    /// The same, speaking another microversion.
    #[must_use]
    pub fn speaking(self, microversion: &'static str) -> Self {
        Self { microversion, ..self }
    }

    /// Creates a node and returns its record.
    ///
    /// # Errors
    ///
    /// What the coordinator answers.
    pub async fn create_node(&self, body: &Value) -> anyhow::Result<Node> {
        self.typed(Method::POST, "/v1/nodes", Some(body)).await
    }

    /// Adds a network port to a node.
    ///
    /// # Errors
    ///
    /// What the coordinator answers.
    pub async fn create_port(&self, node: Uuid, mac: &str) -> anyhow::Result<()> {
        let body = json!({ "node_uuid": node, "address": mac, "pxe_enabled": true });
        self.send(Method::POST, "/v1/ports", Some(&body)).await.map(drop)
    }

    /// Sets fields by JSON pointer, for example `/instance_info/image_source`.
    ///
    /// # Errors
    ///
    /// What the coordinator answers.
    pub async fn set(&self, node: Uuid, fields: &[(&str, Value)]) -> anyhow::Result<Node> {
        let patch: Vec<_> = fields
            .iter()
            .map(|(path, value)| json!({ "op": "add", "path": path, "value": value }))
            .collect();
        self.typed(Method::PATCH, &format!("/v1/nodes/{node}"), Some(&Value::Array(patch))).await
    }

    /// Asks for a provision state: `manage`, `provide`, `active`, `deleted`, …; `more` adds fields such as `configdrive`.
    ///
    /// # Errors
    ///
    /// What the coordinator answers.
    pub async fn provision(&self, node: Uuid, target: &str, more: &Value) -> anyhow::Result<()> {
        let mut body = json!({ "target": target });
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        let path = format!("/v1/nodes/{node}/states/provision");
        self.send(Method::PUT, &path, Some(&body)).await.map(drop)
    }

    /// A node.
    ///
    /// # Errors
    ///
    /// What the coordinator answers.
    pub async fn node(&self, node: Uuid) -> anyhow::Result<Node> {
        self.typed(Method::GET, &format!("/v1/nodes/{node}"), None).await
    }

    /// How far its work is.
    ///
    /// # Errors
    ///
    /// What the coordinator answers.
    pub async fn progress(&self, node: Uuid) -> anyhow::Result<NodeProgress> {
        self.typed(Method::GET, &format!("/v1/nodes/{node}/progress"), None).await
    }

    /// What its last work proved.
    ///
    /// # Errors
    ///
    /// What the coordinator answers.
    pub async fn evidence(&self, node: Uuid) -> anyhow::Result<Value> {
        self.send(Method::GET, &format!("/v1/nodes/{node}/evidence"), None).await
    }

    /// Waits until the node rests in `state`; `each` sees every answer on the way.
    ///
    /// # Errors
    ///
    /// When it fails (with its `last_error`), or does not get there within `limit`.
    pub async fn wait_for_state(
        &self,
        node: Uuid,
        state: &str,
        limit: Duration,
        mut each: impl FnMut(&Node, &NodeProgress),
    ) -> anyhow::Result<Node> {
        let end = Instant::now() + limit;
        loop {
            let record = self.node(node).await?;
            each(&record, &self.progress(node).await.unwrap_or_default());
            if record.provision_state == state && record.target_provision_state.is_none() {
                return Ok(record);
            }
            let why = record.last_error.as_deref().unwrap_or("no error is recorded");
            if record.has_failed() {
                bail!(
                    "the node is in state {:?} instead of {state:?}: {why}",
                    record.provision_state
                );
            }
            if Instant::now() >= end {
                let (now, seconds) = (&record.provision_state, limit.as_secs());
                bail!(
                    "after {seconds} s the node is still in state {now:?} and not in {state:?}: {why}"
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether the coordinator answers.
    pub async fn answers(&self) -> bool {
        self.send(Method::GET, "/", None).await.is_ok()
    }

    /// Sends any request and returns the JSON answer; null when there is none.
    ///
    /// # Errors
    ///
    /// Any status of 400 and above, with the coordinator's own words.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let what = format!("{method} {path}");
        let mut request: RequestBuilder = self
            .client
            .request(method, format!("{}{path}", self.base))
            .timeout(REQUEST_TIMEOUT)
            .header("X-OpenStack-Ironic-API-Version", self.microversion);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| what.clone())?;
        let status = response.status();
        let text = response.text().await.with_context(|| what.clone())?;
        if !status.is_success() {
            bail!("{what}: {status}: {}", fault(&text));
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{what}: the answer is not JSON"))
    }

    async fn typed<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<T> {
        let what = format!("{method} {path}: the answer has another shape");
        serde_json::from_value(self.send(method, path, body).await?).context(what)
    }
}

/// The sentence in Ironic's error answer: `error_message` is an object, or a string that holds one.
fn fault(text: &str) -> String {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let message = &answer["error_message"];
    let inner: Value = message
        .as_str()
        .map_or_else(|| message.clone(), |text| serde_json::from_str(text).unwrap_or_default());
    let sentence = inner["faultstring"].as_str().or_else(|| message.as_str());
    sentence.map_or_else(|| text.chars().take(500).collect(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_found_in_both_error_shapes() {
        for text in [
            r#"{"error_message": {"faultstring": "No.", "faultcode": "Client"}}"#,
            r#"{"error_message": "{\"faultstring\": \"No.\"}"}"#,
            r#"{"error_message": "No."}"#,
            "No.",
        ] {
            assert_eq!(fault(text), "No.");
        }
    }

    #[test]
    fn failed_states_are_recognised() {
        let node = |state: &str| -> Node {
            serde_json::from_value(json!({ "uuid": Uuid::nil(), "provision_state": state }))
                .unwrap()
        };
        assert!(node("deploy failed").has_failed() && node("error").has_failed());
        assert!(!node("wait call-back").has_failed());
    }

    /// An API whose every answer is `status` and `answer`.
    async fn api(status: u16, answer: Value) -> Api {
        let reply = (axum::http::StatusCode::from_u16(status).unwrap(), axum::Json(answer));
        let router = axum::Router::new().fallback(|| std::future::ready(reply));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        Api::new(base).unwrap()
    }

    async fn wait(node: Value, state: &str) -> anyhow::Result<Node> {
        let api = api(200, node).await;
        api.wait_for_state(Uuid::nil(), state, Duration::ZERO, |_, _| {}).await
    }

    #[tokio::test]
    async fn waiting_ends_in_the_state_or_with_the_reason() {
        let node = |state: &str, target: Value| {
            json!({
                "uuid": Uuid::nil(),
                "provision_state": state,
                "target_provision_state": target,
                "last_error": "the disk is too small",
            })
        };
        assert!(wait(node("active", Value::Null), "active").await.is_ok());
        let failed = wait(node("deploy failed", json!("active")), "active").await.unwrap_err();
        assert!(
            failed.to_string().contains("\"deploy failed\" instead of \"active\": the disk"),
            "{failed}"
        );
        let late = wait(node("deploying", json!("active")), "active").await.unwrap_err();
        assert!(late.to_string().contains("still in state \"deploying\""), "{late}");
    }

    #[tokio::test]
    async fn a_refusal_carries_the_coordinators_words() {
        let api = api(409, json!({ "error_message": { "faultstring": "Node is locked." } })).await;
        let error = api.node(Uuid::nil()).await.unwrap_err().to_string();
        assert!(error.ends_with("409 Conflict: Node is locked."), "{error}");
    }
}
