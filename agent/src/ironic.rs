//! Ironic mode: a real conductor drives this agent (wire: Ironic's agent API, `ironic-python-agent` 13).
//!
//! ```text
//! lookup (no `ironwright` in the answer) ─ Conducted::run ─┬─ beats:  heartbeats with our address and certificate
//!                                                          └─ server: commands on :9999 ─ book (one at a time) ─ worker
//! ```
//!
//! The worker calls the same steps that our own orders do; nothing is written twice. What reaches beyond the disks (power,
//! rescue, network, boot entries) goes through [`crate::sys::System`], so that outside the ramdisk it is recorded only.

mod address;
mod beats;
mod book;
mod certificate;
mod command;
mod fault;
pub mod inspection;
mod logs;
pub mod media;
mod node;
mod rescue;
mod server;
mod steps;
#[cfg(test)]
mod tests;
mod uuids;
mod worker;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use beats::Pace;
use book::Book;
use certificate::Certificate;
use worker::Worker;

use crate::coordinator::Coordinator;
use crate::heartbeat::Desk;
use crate::journal::{Journal, Session};
use crate::order::Machine;
use crate::report::LogTail;
use crate::sys::Effect;

/// How long answers that are on their way may take when the agent ends.
const GRACE: Duration = Duration::from_secs(3);
/// Between the answer to a command that ends this agent and the end: the answer must be out first.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where commands are taken.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    /// `ipa-listen-port`; 0: any.
    pub port: u16,
    /// `ipa-advertise-host`: how the conductor reaches us, where that is not our own address.
    pub advertise_host: Option<IpAddr>,
    /// `ipa-advertise-port`.
    pub advertise_port: Option<u16>,
}

/// How the work for a conductor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The process was told to stop.
    Stopped,
    /// The machine was ordered off.
    PowerOff,
    /// The machine was ordered to start anew.
    Reboot,
    /// The machine is for its owner now, to be rescued.
    Rescue,
    /// The machine was ordered off the network.
    Lockdown,
}

/// Why commands cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum IronicError {
    /// No address of ours leads to the conductor.
    #[error("no address of this machine leads to the conductor at {peer}: {why}")]
    Address {
        /// The conductor.
        peer: SocketAddr,
        /// What the kernel says.
        why: String,
    },
    /// The port cannot be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate for {ip}: {why}")]
    Certificate {
        /// For whom.
        ip: IpAddr,
        /// Why.
        why: String,
    },
}

/// An agent that a conductor drives.
#[derive(Debug)]
pub struct Conducted {
    /// The conductor's API.
    pub coordinator: Coordinator,
    /// What the lookup gave.
    pub session: Session,
    /// The address of the API, where it is known: not behind a proxy.
    pub peer: Option<SocketAddr>,
    /// Seconds without a heartbeat after which the conductor gives this agent up.
    pub heartbeat_timeout: Duration,
    /// The node as the lookup showed it.
    pub node: serde_json::Value,
    /// Carries steps out.
    pub machine: Arc<Machine>,
    /// Where reports go; nobody reads them in this mode.
    pub journal: Arc<Journal>,
    /// The log in memory.
    pub tail: LogTail,
    /// How far apart heartbeats are.
    pub pace: Pace,
    /// Where commands are taken.
    pub listen: Listen,
}

impl Conducted {
    /// Serves the conductor until `stop`, or until it ends this agent's work.
    ///
    /// # Errors
    /// [`IronicError`], before anything was done.
    pub async fn run(self, stop: CancellationToken) -> Result<End, IronicError> {
        let ip = match self.listen.advertise_host {
            Some(host) => host,
            None => address::towards(self.peer.unwrap_or(address::ANYWHERE)).await?,
        };
        let (listener, port) = self.open(ip)?;
        let certificate = Certificate::for_ip(ip)?;
        let at = SocketAddr::new(ip, self.listen.advertise_port.unwrap_or(port));
        tracing::info!(node = %self.session.node, "Ironic mode: commands are taken on https://{at}");
        let book = Arc::new(Book::default());
        let desk = Arc::new(Desk::alone(self.journal.clone(), self.tail.clone()));
        let worker = Arc::new(Worker::new(self.machine.clone(), desk, self.tail, self.node));
        let door = server::Door {
            token: self.session.token.clone(),
            book: book.clone(),
            worker: worker.clone(),
        };
        let serving = server::start(listener, certificate.config, door);
        let beats = beats::Beats {
            coordinator: self.coordinator,
            session: self.session,
            callback_url: format!("https://{at}"),
            certificate: certificate.pem,
            timeout: self.heartbeat_timeout,
            pace: self.pace,
            book,
        };
        let end = tokio::select! {
            () = beats.run() => End::Stopped,
            end = worker.ended() => {
                tokio::time::sleep(LAST_WORDS).await;
                end
            }
            () = stop.cancelled() => End::Stopped,
        };
        worker.stop().await;
        serving.stop(GRACE).await;
        finish(&self.machine, end, &stop).await;
        Ok(end)
    }

    fn open(&self, ip: IpAddr) -> Result<(TcpListener, u16), IronicError> {
        // An address that is not ours (a NAT's) cannot be bound.
        let own = if self.listen.advertise_host.is_some() { address::any(ip) } else { ip };
        let address = SocketAddr::new(own, self.listen.port);
        let refused = |source| IronicError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let port = listener.local_addr().map_err(refused)?.port();
        Ok((listener, port))
    }
}

/// Does what ends this agent's work. On a machine only [`End::Stopped`] comes back from it.
async fn finish(machine: &Machine, end: End, stop: &CancellationToken) {
    let system = machine.system();
    match end {
        End::Stopped => return,
        End::PowerOff => system.power(Effect::PowerOff),
        End::Reboot => system.power(Effect::Reboot),
        End::Lockdown => system.lock_down(),
        // The supervisor keeps the network; the account is there.
        End::Rescue => {}
    }
    tracing::warn!("the conductor ended this agent's work: {end:?}");
    if system.named_disks().is_none() {
        // An agent that ended would be started again, and look itself up again.
        stop.cancelled().await;
    }
}
