//! The client of the coordinator: lookup and heartbeat, with their retry rules.
//!
//! Ironic's own shapes (`/v1/lookup`, `/v1/heartbeat`); what is ours is under `ironwright` and in two lookup headers.

mod call;
mod lookup;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ironwright_api::HeartbeatReply;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use url::Url;
use uuid::Uuid;

pub use call::CallError;
pub(crate) use call::explanation;
pub use lookup::{Introduction, LookupError, Retry};

/// Ironic's header that names the API version a request is written for.
const VERSION_HEADER: &str = "x-openstack-ironic-api-version";
/// The minor version a lookup is written for: the token came with 1.62.
const LOOKUP_MINOR: u32 = 62;
/// The minor version a heartbeat is written for: the agent's certificate came with 1.68.
const HEARTBEAT_MINOR: u32 = 68;
/// Assumed where the server does not say its version, as Ironic's agent does.
const ASSUMED_MINOR: u32 = 31;
/// Longest answer read. An order may carry a config drive of up to 64 MiB (Ironic's limit), base64.
const REPLY_LIMIT: usize = 96 << 20;
/// Longest answer to `GET /` and to a lookup.
const SMALL_REPLY_LIMIT: usize = 1 << 20;

/// One or more coordinators that answer for the same machines.
#[derive(Debug)]
pub struct Coordinator {
    client: reqwest::Client,
    request_id: Option<String>,
    /// The one that answered last is first.
    bases: Mutex<Vec<Url>>,
    minors: Mutex<HashMap<Url, u32>>,
}

impl Coordinator {
    /// A client for `bases` (URLs without `/v1`), tried in order.
    #[must_use]
    pub fn new(client: reqwest::Client, bases: Vec<Url>, request_id: Option<String>) -> Self {
        Self { client, request_id, bases: Mutex::new(bases), minors: Mutex::default() }
    }

    /// Sends one heartbeat. An empty answer (Ironic's own) reads as "nothing to do". The next coordinator is tried
    /// when one cannot be reached.
    ///
    /// # Errors
    /// [`CallError`]; only 202 is success.
    pub async fn heartbeat(
        &self,
        node: Uuid,
        beat: &impl Serialize,
    ) -> Result<HeartbeatReply, CallError> {
        let mut failure = CallError::NoServer;
        for base in self.bases() {
            match self.heartbeat_to(&base, node, beat).await {
                Ok(reply) => {
                    self.prefer(&base);
                    return Ok(reply);
                }
                Err(error @ CallError::Unreachable { .. }) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    async fn heartbeat_to(
        &self,
        base: &Url,
        node: Uuid,
        beat: &impl Serialize,
    ) -> Result<HeartbeatReply, CallError> {
        let node = node.to_string();
        let url = call::under(base, &["v1", "heartbeat", &node]);
        let request = self.request(Method::POST, base, url, HEARTBEAT_MINOR).await.json(beat);
        let answer = call::send(request, REPLY_LIMIT).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(answer.refusal());
        }
        if answer.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(HeartbeatReply::default());
        }
        answer.json()
    }

    /// A request with the headers that every request carries.
    async fn request(
        &self,
        method: Method,
        base: &Url,
        url: Url,
        minor: u32,
    ) -> reqwest::RequestBuilder {
        let minor = self.minor(base).await.min(minor);
        let request = self
            .client
            .request(method, url)
            .header("accept", "application/json")
            .header(VERSION_HEADER, format!("1.{minor}"));
        match &self.request_id {
            Some(id) => request.header("x-openstack-request-id", id),
            None => request,
        }
    }

    /// The newest minor version `base` speaks, asked once.
    async fn minor(&self, base: &Url) -> u32 {
        let known = self.minors.lock().unwrap_or_else(PoisonError::into_inner).get(base).copied();
        if let Some(minor) = known {
            return minor;
        }
        let request = self.client.get(call::under(base, &[""]));
        let answer = call::send(request, SMALL_REPLY_LIMIT).await;
        let Some(minor) = answer.ok().and_then(|answer| call::server_minor(&answer.body)) else {
            return ASSUMED_MINOR;
        };
        self.minors.lock().unwrap_or_else(PoisonError::into_inner).insert(base.clone(), minor);
        minor
    }

    fn bases(&self) -> Vec<Url> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn prefer(&self, base: &Url) {
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = bases.iter().position(|known| known == base) {
            bases.rotate_left(index);
        }
    }
}
