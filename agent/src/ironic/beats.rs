//! Heartbeats to a conductor: regular ones, and one soon after a command ended. Nothing a server answers ends them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::time::Instant;

use super::book::Book;
use crate::coordinator::Coordinator;
use crate::journal::Session;
use crate::report::chain;

/// How long heartbeats stay close to each other for one end of a command: a conductor that is busy with the node skips some.
const QUICK: Duration = Duration::from_secs(60);

/// How far apart heartbeats are.
#[derive(Debug, Clone)]
pub struct Pace {
    /// While the conductor has not looked at what ended, and never less (Ironic's agent: 5 s).
    pub quick: Duration,
    /// After a failure, at random in this range (Ironic's agent: 5 to 10 s).
    pub failure: RangeInclusive<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        let quick = Duration::from_secs(5);
        Self { quick, failure: quick..=quick * 2 }
    }
}

impl From<crate::heartbeat::Pace> for Pace {
    fn from(pace: crate::heartbeat::Pace) -> Self {
        Self { quick: pace.interval, failure: pace.failure }
    }
}

/// What every heartbeat says, and to whom.
#[derive(Debug)]
pub(super) struct Beats {
    pub(super) coordinator: Coordinator,
    pub(super) session: Session,
    pub(super) callback_url: String,
    pub(super) certificate: String,
    pub(super) timeout: Duration,
    pub(super) pace: Pace,
    pub(super) book: Arc<Book>,
}

impl Beats {
    /// Beats for ever.
    pub(super) async fn run(&self) {
        let body = json!({
            "callback_url": self.callback_url,
            "agent_token": self.session.token.expose_secret(),
            "agent_version": env!("CARGO_PKG_VERSION"),
            "agent_verify_ca": self.certificate,
        });
        let mut since = Instant::now();
        loop {
            let answer = self.coordinator.heartbeat(self.session.node, &body).await;
            let last = Instant::now();
            let (wait, listen) = match answer {
                Ok(_) if self.book.is_unseen() && since.elapsed() < QUICK => {
                    (self.pace.quick, true)
                }
                Ok(_) => (self.timeout.mul_f64(rand::random_range(0.3..=0.6)), true),
                Err(error) => {
                    let wait = rand::random_range(self.pace.failure.clone());
                    tracing::warn!("{}; next heartbeat in {} s", chain(&error), wait.as_secs());
                    (wait, false)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.book.news(), if listen => {
                    since = Instant::now();
                    tokio::time::sleep_until(last + self.pace.quick).await;
                }
            }
        }
    }
}
