//! The first words of a ramdisk: one message to the coordinator as soon as a network is there, so that a machine whose agent
//! never speaks is seen all the same. Nothing waits for it and nothing depends on it.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;

use super::console::{complain, say, uptime_ms};
use crate::config::Parameters;
use crate::report::chain;
use crate::tls;

/// How long one attempt may take, and how many there are.
const ATTEMPT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 3;

/// What is said.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FirstWords {
    card: String,
    address: Ipv4Addr,
    uptime_ms: u64,
}

impl FirstWords {
    /// This card has this address now.
    pub(super) fn new(card: &str, address: Ipv4Addr) -> Self {
        Self { card: card.to_owned(), address, uptime_ms: uptime_ms() }
    }

    /// Says it, where the boot script named somebody to say it to.
    pub(super) fn send(&self) {
        let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        let parameters = Parameters::parse(&cmdline);
        let Some(url) = parameters.get("ironwright.beacon") else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Some(runtime) = complain("no beacon", runtime) else { return };
        runtime.block_on(self.send_to(url));
    }

    async fn send_to(&self, url: &str) {
        let Some(client) = complain("no beacon", tls::file_client(None, ATTEMPT)) else { return };
        for attempt in 1..=ATTEMPTS {
            let sent = client.post(url).timeout(ATTEMPT).json(self).send().await;
            match sent.and_then(reqwest::Response::error_for_status) {
                Ok(_) => return,
                Err(error) => {
                    say(&format!("beacon, attempt {attempt} of {ATTEMPTS}: {}", chain(&error)));
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{body_partial_json, method};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[tokio::test]
    async fn it_is_said_once_and_again_only_when_it_was_not_heard() {
        for (status, expected) in [(204, 1), (500, u64::from(ATTEMPTS))] {
            let server = MockServer::start().await;
            Mock::given(method("POST"))
                .and(body_partial_json(serde_json::json!({"card": "eth0", "address": "192.0.2.9"})))
                .respond_with(ResponseTemplate::new(status))
                .expect(expected)
                .mount(&server)
                .await;
            let words = FirstWords::new("eth0", Ipv4Addr::new(192, 0, 2, 9));
            words.send_to(&server.uri()).await;
        }
    }
}
