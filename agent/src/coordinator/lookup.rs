//! Lookup: which node is this machine, and the token of this boot.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ironwright_api::{BOOT_ID_HEADER, LookupReply, NONCE_HEADER};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use uuid::Uuid;

use super::call::{self, CallError};
use super::{Coordinator, LOOKUP_MINOR, SMALL_REPLY_LIMIT};
use crate::journal::{Conductor, Session};
use crate::report::chain;

/// Ironic's literal for "a token was handed out before".
const MASKED_TOKEN: &str = "******";
/// Shortest token taken, as Ironic's agent has it.
const MIN_TOKEN_CHARS: usize = 32;
/// Longest time without a heartbeat that a conductor may name, seconds.
const MAX_TIMEOUT_S: u64 = 86_400;
/// Bounds for the heartbeat interval a server may ask for, milliseconds.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=300_000;

/// Why a lookup gave no session.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The call failed.
    #[error("lookup failed")]
    Call(#[from] CallError),
    /// The server refused this boot: its nonce, or its transport.
    #[error(
        "{url} refused this boot (403: {explanation}); where that names the nonce, another machine used it or the boot \
         was not expected any more: let the coordinator power-cycle this machine"
    )]
    Forbidden {
        /// The server.
        url: Url,
        /// The server's words.
        explanation: String,
    },
    /// The token of this boot went to somebody else, or its answer was lost.
    #[error(
        "{url} handed out the token of this boot before and will not repeat it: another machine may have taken it, or \
         the answer was lost; let the coordinator power-cycle this machine"
    )]
    TokenTaken {
        /// The server.
        url: Url,
    },
    /// A token too short to be one.
    #[error(
        "{url} handed out a token of {chars} characters, at least {MIN_TOKEN_CHARS} are needed"
    )]
    TokenTooShort {
        /// The server.
        url: Url,
        /// Its length.
        chars: usize,
    },
    /// Time is up.
    #[error("no lookup succeeded within {seconds} s (ipa-lookup-timeout)")]
    TimedOut {
        /// The limit.
        seconds: u64,
        /// The last failure.
        #[source]
        last: Box<LookupError>,
    },
}

/// How long lookups are repeated and how far apart.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Give up after this.
    pub timeout: Duration,
    /// Shortest wait.
    pub interval: Duration,
    /// Longest wait, and the wait where trying again is not expected to help soon.
    pub longest: Duration,
    /// Waits after the first, second and every further 409 (the node is locked).
    pub conflict: [Duration; 3],
}

impl Retry {
    /// The documented rules (Ironic's agent): random exponential from `interval` to 60 s; 5, 10, 30 s for a locked node.
    #[must_use]
    pub fn new(timeout: Duration, interval: Duration) -> Self {
        let conflict = [5, 10, 30].map(Duration::from_secs);
        Self { timeout, interval, longest: Duration::from_secs(60), conflict }
    }

    fn wait(&self, error: &LookupError, tries: u32, conflicts: &mut usize) -> Duration {
        match error {
            LookupError::Call(CallError::Refused { status: StatusCode::CONFLICT, .. }) => {
                let index = (*conflicts).min(2);
                *conflicts += 1;
                self.conflict.get(index).copied().unwrap_or(self.longest)
            }
            LookupError::Call(_) => {
                let top = self.interval.saturating_mul(1 << tries.min(16)).min(self.longest);
                rand::random_range(self.interval.min(top)..=top)
            }
            LookupError::Forbidden { .. }
            | LookupError::TokenTaken { .. }
            | LookupError::TokenTooShort { .. }
            | LookupError::TimedOut { .. } => self.longest,
        }
    }
}

/// What a machine says of itself at lookup.
#[derive(Debug, Clone, Copy)]
pub struct Introduction<'a> {
    /// Its hardware addresses.
    pub macs: &'a [String],
    /// The one-time nonce of this boot.
    pub nonce: Option<&'a SecretString>,
    /// Names this boot.
    pub boot_id: Uuid,
    /// The node, where an inspection told.
    pub node: Option<Uuid>,
    /// A token that came with the boot medium: the server then need not hand one out.
    pub token: Option<&'a SecretString>,
}

impl Coordinator {
    /// Repeats lookups until one succeeds.
    ///
    /// # Errors
    /// [`LookupError::TimedOut`] with the last failure.
    pub async fn lookup(
        &self,
        who: Introduction<'_>,
        retry: Retry,
    ) -> Result<Session, LookupError> {
        let start = Instant::now();
        let (mut tries, mut conflicts) = (0, 0);
        loop {
            let error = match self.lookup_once(who).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            let wait = retry.wait(&error, tries, &mut conflicts);
            tries += 1;
            if start.elapsed() + wait > retry.timeout {
                let seconds = retry.timeout.as_secs();
                return Err(LookupError::TimedOut { seconds, last: Box::new(error) });
            }
            tracing::warn!("{}; next lookup in {} s", chain(&error), wait.as_secs());
            tokio::time::sleep(wait).await;
        }
    }

    /// One lookup at each coordinator until one answers well.
    ///
    /// # Errors
    /// [`LookupError`] of the last one asked.
    pub async fn lookup_once(&self, who: Introduction<'_>) -> Result<Session, LookupError> {
        let mut failure = LookupError::Call(CallError::NoServer);
        for base in self.bases() {
            match self.lookup_at(&base, who).await {
                Ok(session) => {
                    self.prefer(&base);
                    return Ok(session);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn lookup_at(&self, base: &Url, who: Introduction<'_>) -> Result<Session, LookupError> {
        let url = call::under(base, &["v1", "lookup"]);
        let mut request = self
            .request(Method::GET, base, url, LOOKUP_MINOR)
            .await
            .query(&[("addresses", who.macs.join(","))])
            .header(BOOT_ID_HEADER, who.boot_id.to_string());
        if let Some(node) = who.node {
            request = request.query(&[("node_uuid", node.to_string())]);
        }
        if let Some(nonce) = who.nonce {
            request = request.header(NONCE_HEADER, nonce.expose_secret());
        }
        let answer = call::send(request, SMALL_REPLY_LIMIT).await?;
        match answer.status {
            StatusCode::OK => {
                let peer = answer.peer;
                accept(base, answer.json()?, who.token, peer)
            }
            StatusCode::FORBIDDEN => {
                let explanation = call::explanation(&answer.body);
                Err(LookupError::Forbidden { url: base.clone(), explanation })
            }
            _ => Err(answer.refusal().into()),
        }
    }
}

/// Checks what a server answered to a lookup.
fn accept(
    base: &Url,
    reply: LookupReply,
    known: Option<&SecretString>,
    peer: Option<SocketAddr>,
) -> Result<Session, LookupError> {
    let url = || base.clone();
    let mut token = reply.config.agent_token.unwrap_or_default();
    if token == MASKED_TOKEN {
        let known = known.ok_or_else(|| LookupError::TokenTaken { url: url() })?;
        known.expose_secret().clone_into(&mut token);
    }
    let chars = token.chars().count();
    if chars < MIN_TOKEN_CHARS {
        return Err(LookupError::TokenTooShort { url: url(), chars });
    }
    let (interval_ms, conductor) = match reply.config.ironwright {
        Some(native) => (native.heartbeat_interval_ms, None),
        None => {
            let conductor = Conductor {
                peer,
                heartbeat_timeout_s: reply.config.heartbeat_timeout.clamp(1, MAX_TIMEOUT_S),
                properties: reply.node.properties,
                instance_info: reply.node.instance_info,
            };
            (0, Some(conductor))
        }
    };
    let interval_ms = interval_ms.clamp(*INTERVAL_MS.start(), *INTERVAL_MS.end());
    let token = SecretString::from(token);
    Ok(Session { node: reply.node.uuid, token, interval_ms, conductor })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::matchers::{header, method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    const NODE: &str = "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f";

    fn reply(token: &str, native: bool) -> serde_json::Value {
        let mut config = json!({"heartbeat_timeout": 300, "agent_token": token});
        if native {
            config["ironwright"] = json!({"protocol": 1, "heartbeat_interval_ms": 1, "later": {}});
        }
        json!({"node": {"uuid": NODE, "properties": {}}, "config": config})
    }

    fn quick() -> Retry {
        let wait = Duration::from_millis(1);
        Retry {
            timeout: Duration::from_secs(20),
            interval: wait,
            longest: wait,
            conflict: [wait; 3],
        }
    }

    fn coordinator(bases: &[&str]) -> Coordinator {
        let client = crate::tls::coordinator_client(None, Duration::from_secs(5)).unwrap();
        Coordinator::new(client, bases.iter().map(|base| base.parse().unwrap()).collect(), None)
    }

    async fn lookup(at: &Coordinator, retry: Retry) -> Result<Session, LookupError> {
        let nonce = SecretString::from("00ff");
        let macs = ["52:54:00:00:00:01".to_owned(), "52:54:00:00:00:02".to_owned()];
        let who = Introduction {
            macs: &macs,
            nonce: Some(&nonce),
            boot_id: Uuid::nil(),
            node: None,
            token: None,
        };
        at.lookup(who, retry).await
    }

    #[tokio::test]
    async fn a_server_without_our_object_is_a_conductor_and_a_token_from_the_medium_is_kept() {
        let server = MockServer::start().await;
        Mock::given(path("/v1/lookup"))
            .and(query_param("node_uuid", NODE))
            .respond_with(ResponseTemplate::new(200).set_body_json(reply("******", false)))
            .mount(&server)
            .await;
        let token = SecretString::from("k".repeat(43));
        let who = Introduction {
            macs: &[],
            nonce: None,
            boot_id: Uuid::nil(),
            node: Some(NODE.parse().unwrap()),
            token: Some(&token),
        };
        let session = coordinator(&[&server.uri()]).lookup(who, quick()).await.unwrap();
        assert_eq!(session.token.expose_secret(), token.expose_secret());
        let conductor = session.conductor.unwrap();
        assert_eq!(conductor.heartbeat_timeout_s, 300);
        assert_eq!(conductor.peer, Some(*server.address()));
    }

    #[tokio::test]
    async fn a_lookup_names_macs_nonce_boot_and_version_and_survives_busy_and_broken_answers() {
        let server = MockServer::start().await;
        let versions = json!({"default_version": {"version": "1.110"}});
        Mock::given(method("GET"))
            .and(path("/"))
            .respond_with(ResponseTemplate::new(200).set_body_json(versions))
            .mount(&server)
            .await;
        for bad in [
            ResponseTemplate::new(409),
            ResponseTemplate::new(500),
            ResponseTemplate::new(200).set_body_string("<html>"),
        ] {
            Mock::given(path("/v1/lookup")).respond_with(bad).up_to_n_times(1).mount(&server).await;
        }
        Mock::given(path("/v1/lookup"))
            .and(query_param("addresses", "52:54:00:00:00:01,52:54:00:00:00:02"))
            .and(header(NONCE_HEADER, "00ff"))
            .and(header(BOOT_ID_HEADER, Uuid::nil().to_string().as_str()))
            .and(header("x-openstack-ironic-api-version", "1.62"))
            .respond_with(ResponseTemplate::new(200).set_body_json(reply(&"t".repeat(43), true)))
            .expect(1)
            .mount(&server)
            .await;
        let session = lookup(&coordinator(&[&server.uri()]), quick()).await.unwrap();
        assert_eq!(session.node.to_string(), NODE);
        assert_eq!(session.token.expose_secret(), "t".repeat(43));
        assert_eq!(session.interval_ms, 100, "a hostile interval is bounded");
    }

    #[tokio::test]
    async fn the_next_coordinator_is_asked_when_one_does_not_answer() {
        let server = MockServer::start().await;
        Mock::given(path("/v1/lookup"))
            .respond_with(ResponseTemplate::new(200).set_body_json(reply(&"t".repeat(43), true)))
            .mount(&server)
            .await;
        // Port 1 of loopback: nobody listens there.
        let coordinator = coordinator(&["http://127.0.0.1:1", &server.uri()]);
        lookup(&coordinator, quick()).await.unwrap();
        let first = coordinator.bases().remove(0);
        assert_eq!(
            first,
            Url::parse(&server.uri()).unwrap(),
            "the one that works is asked first from now on"
        );
    }

    #[tokio::test]
    async fn what_trying_again_will_not_mend_says_what_to_do() {
        for (answer, expected) in [
            (ResponseTemplate::new(403).set_body_string("used"), "refused this boot (403: used)"),
            (
                ResponseTemplate::new(200).set_body_json(reply("******", true)),
                "handed out the token of this boot before",
            ),
            (
                ResponseTemplate::new(200).set_body_json(reply("short", true)),
                "token of 5 characters",
            ),
        ] {
            let server = MockServer::start().await;
            Mock::given(path("/v1/lookup")).respond_with(answer).mount(&server).await;
            let retry = Retry { timeout: Duration::ZERO, ..quick() };
            let error = lookup(&coordinator(&[&server.uri()]), retry).await.unwrap_err();
            let text = chain(&error);
            assert!(text.contains("ipa-lookup-timeout") && text.contains(expected), "{text}");
        }
    }

    #[test]
    fn waits_grow_at_random_between_the_interval_and_a_minute() {
        let retry = Retry::new(Duration::from_secs(600), Duration::from_secs(1));
        let failure = LookupError::Call(CallError::NoServer);
        for tries in 0..40 {
            let wait = retry.wait(&failure, tries, &mut 0).as_secs_f64();
            let top = 2f64.powi(i32::try_from(tries).unwrap()).min(60.0);
            assert!((1.0..=top).contains(&wait), "try {tries}: {wait}");
        }
        let locked = LookupError::Call(CallError::Refused {
            url: String::new(),
            status: StatusCode::CONFLICT,
            explanation: String::new(),
        });
        let mut conflicts = 0;
        let waits = [0; 4].map(|tries| retry.wait(&locked, tries, &mut conflicts).as_secs());
        assert_eq!(waits, [5, 10, 30, 30]);
    }
}
