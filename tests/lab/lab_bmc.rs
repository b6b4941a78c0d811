//! The lab's own BMC: IPMI 2.0 over RMCP+ with suites 17 and 3, boot flags it remembers, and faults on demand.
//!
//! `ipmi_sim` is the independent peer of our client, but knows neither suite 17 nor persistent and EFI boot flags, and never
//! misbehaves. This one does all three. It shares no code with the client under test; `ipmitool -C 17` and FreeIPMI are its
//! own independent peers. Section numbers are those of the IPMI 2.0 specification, revision 1.1.

mod command;
mod crypto;
mod packet;
mod session;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

pub use command::{BootFlags, ChassisAction};

/// What a BMC is wired to.
pub trait Chassis: Send + Sync + std::fmt::Debug {
    /// Whether the machine runs.
    fn is_on(&self) -> bool;
    /// Does it; returns at once.
    fn act(&self, action: ChassisAction);
    /// The boot flags changed (also when they are cleared).
    fn boot_flags(&self, flags: BootFlags);
}

/// Ways to misbehave, switched while it runs. A fake for fault injection.
#[derive(Debug, Default)]
pub struct Faults {
    /// Answers nothing at all.
    pub silent: AtomicBool,
    /// Accepts power commands and does not obey.
    pub ignores_power: AtomicBool,
    /// Answers this many commands with completion code C0h (node busy) first.
    pub busy: AtomicU32,
    /// Refuses this many session requests with status 01h (insufficient resources) first.
    pub no_sessions: AtomicU32,
    /// Drops every n-th datagram it would send; 0: none.
    pub drop_every: AtomicU32,
}

/// Who may log in.
#[derive(Clone)]
pub struct Account {
    /// User name, at most 16 bytes.
    pub username: String,
    /// Password, at most 20 bytes.
    pub password: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A running BMC; stops when dropped.
#[derive(Debug)]
pub struct LabBmc {
    address: SocketAddr,
    faults: Arc<Faults>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

/// What happened so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions opened.
    pub opened: AtomicU32,
    /// Sessions closed by the client.
    pub closed: AtomicU32,
    /// Commands answered.
    pub commands: AtomicU32,
}

impl LabBmc {
    /// Listens on `address` (port 0: any free one) with the cipher suites named (17 and 3 are known).
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(
        address: SocketAddr,
        account: Account,
        suites: &[u8],
        chassis: Arc<dyn Chassis>,
    ) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let address = socket.local_addr()?;
        let faults = Arc::new(Faults::default());
        let counters = Arc::new(Counters::default());
        let mut state = session::Bmc::new(
            account,
            suites.to_vec(),
            chassis,
            Arc::clone(&faults),
            Arc::clone(&counters),
        );
        let switches = Arc::clone(&faults);
        let task = tokio::spawn(async move {
            let mut buffer = [0_u8; 1024];
            let mut sent = 0_u32;
            while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
                if switches.silent.load(Ordering::Relaxed) {
                    continue;
                }
                let Some(reply) = buffer.get(..len).and_then(|datagram| state.answer(datagram))
                else {
                    continue;
                };
                sent = sent.wrapping_add(1);
                let every = switches.drop_every.load(Ordering::Relaxed);
                if every > 0 && sent.is_multiple_of(every) {
                    continue;
                }
                socket.send_to(&reply, peer).await.ok();
            }
        });
        Ok(Self { address, faults, counters, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The switches.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Drop for LabBmc {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A chassis without a machine: remembers what it was told.
#[derive(Debug, Default)]
pub struct PaperChassis {
    on: AtomicBool,
    told: Mutex<Vec<String>>,
}

impl PaperChassis {
    /// Everything it was told, in order.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, line: String) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl Chassis for PaperChassis {
    fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn act(&self, action: ChassisAction) {
        match action {
            ChassisAction::Off | ChassisAction::Soft => self.on.store(false, Ordering::Relaxed),
            ChassisAction::On | ChassisAction::Cycle => self.on.store(true, Ordering::Relaxed),
            ChassisAction::Reset | ChassisAction::Identify => {}
        }
        self.note(format!("{action:?}"));
    }

    fn boot_flags(&self, flags: BootFlags) {
        self.note(format!("{flags:?}"));
    }
}

#[cfg(test)]
mod tests;
