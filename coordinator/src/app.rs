//! What every request handler and the reconciler share.

mod clock;
mod live;
mod waker;

use std::sync::Arc;

use uuid::Uuid;

use crate::certificate::SigningKey;
use crate::http::auth::Users;
use crate::http::nodes::Shelf;
use crate::node::{Node, deadline};
use crate::plugins::Plugins;
use crate::power::Power;
use crate::settings::Settings;
use crate::store::{HistoryEntry, Store, StoreError};

pub use clock::Clock;
pub use live::{Live, Pulse};
pub use waker::Waker;

/// The coordinator's parts; cheap to clone.
#[derive(Debug, Clone)]
pub struct App {
    /// The records.
    pub store: Arc<dyn Store>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// Calls the reconciler to a node.
    pub waker: Waker,
    /// What is known of living agents between two writes.
    pub live: Arc<Live>,
    /// The way to the BMCs.
    pub power: Arc<dyn Power>,
    /// The time.
    pub clock: Clock,
    /// SHA-256 of the certificate (DER) that agents pin, lower-case hexadecimal; none without a TLS listener.
    pub certificate_sha256: Option<Arc<str>>,
    /// Who may use the operator's API; none: everybody who reaches it.
    pub users: Option<Arc<Users>>,
    /// Countersigns certificates of erased disks; none: they are kept with the agent's signature only.
    pub countersigner: Option<Arc<SigningKey>>,
    /// The plugins whose steps orders may use.
    pub plugins: Arc<Plugins>,
    /// Nodes as lists showed them last.
    pub shelf: Arc<Shelf>,
}

/// What a decision did to a record.
#[derive(Debug)]
pub enum Change<T> {
    /// It is to be written.
    Write(T),
    /// It is as it was.
    Keep(T),
}

/// Writes that lose against others in a row before a change is given up with a conflict.
const CHANGE_ATTEMPTS: u32 = 8;

/// How serious a line of a node's history is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// `INFO`
    Info,
    /// `ERROR`
    Error,
}

impl App {
    /// Puts the parts together; nothing is started.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, settings: Arc<Settings>, power: Arc<dyn Power>) -> Self {
        let clock = Clock::system();
        let live = Arc::new(Live::new(clock.now()));
        Self {
            store,
            settings,
            waker: Waker::default(),
            live,
            power,
            clock,
            certificate_sha256: None,
            users: None,
            countersigner: None,
            plugins: Arc::default(),
            shelf: Arc::default(),
        }
    }

    /// Writes a node if nobody else did since it was read, and sets when the reconciler must look at it.
    ///
    /// Every change of an existing node goes through here: a write that forgot the deadline would strand the node.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`]: read again and decide again; the others as the store says.
    pub async fn save(&self, node: &Node) -> Result<Node, StoreError> {
        self.store.update_node(node, deadline::due(node, &self.settings)).await
    }

    /// Reads a node, lets `decide` change it, and writes it if it says so; again when somebody else wrote in between.
    /// Returns the record as it then is; none when there is no such node.
    ///
    /// # Errors
    ///
    /// What `decide` returns, or the store.
    pub async fn change<T, E: From<StoreError>>(
        &self,
        ident: &str,
        mut decide: impl FnMut(&mut Node) -> Result<Change<T>, E>,
    ) -> Result<Option<(Node, T)>, E> {
        let mut attempt = 1;
        loop {
            let Some(mut node) = self.store.node(ident).await? else { return Ok(None) };
            let value = match decide(&mut node)? {
                Change::Keep(value) => return Ok(Some((node, value))),
                Change::Write(value) => value,
            };
            match self.save(&node).await {
                Ok(written) => return Ok(Some((written, value))),
                Err(StoreError::Conflict(_)) if attempt < CHANGE_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes a sentence into the node's history and the log. A history that cannot be written stops nothing.
    pub async fn note(&self, node: Uuid, severity: Severity, event_type: &str, event: String) {
        match severity {
            Severity::Info => tracing::info!(%node, event_type, "node {node}: {event}"),
            Severity::Error => tracing::warn!(%node, event_type, "node {node}: {event}"),
        }
        let entry = HistoryEntry {
            uuid: Uuid::now_v7(),
            created_at: self.clock.now(),
            severity: match severity {
                Severity::Info => "INFO".to_owned(),
                Severity::Error => "ERROR".to_owned(),
            },
            event_type: event_type.to_owned(),
            event,
        };
        if let Err(error) = self.store.add_history(node, &entry).await {
            tracing::error!(%node, "node {node}: cannot write its history: {}", chain(&error));
        }
    }
}

/// An error with its causes, outermost first, joined with `: `.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
