//! One connected UDP socket, one message at a time: send, wait, send again, give up.
//!
//! A socket of its own for each session, because some BMCs know a session by the client's address and port; connected,
//! so that the kernel reports a closed port at once.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::error::IpmiError;
use crate::target::{Limits, Target};

/// Larger than any message we ask for; what is longer is cut and then refused by the decoder.
const DATAGRAM_MAX: usize = 1500;
/// Wrongly authenticated answers to one message before we believe them.
const UNPROVEN_MAX: u32 = 3;

/// What a datagram means to the message being waited for.
pub(crate) enum Verdict<T> {
    /// Not for us, not whole, not authentic inside a session: as if it had not come.
    Ignore,
    /// An answer of the handshake that fails its proof. Forged or mangled if a good one follows, else the truth.
    Unproven,
    Done(T),
}

/// How an exchange ended without an answer.
pub(crate) enum Ended {
    Error(IpmiError),
    Unproven,
}

impl From<IpmiError> for Ended {
    fn from(error: IpmiError) -> Self {
        Self::Error(error)
    }
}

/// A connected socket with the session's limits.
pub(crate) struct Transport {
    socket: UdpSocket,
    pub(crate) address: String,
    pub(crate) limits: Limits,
    /// When the session must be over.
    deadline: Instant,
}

impl Transport {
    /// Connects to the first of `addresses` that has a route.
    pub(crate) async fn connect(
        target: &Target,
        addresses: &[SocketAddr],
        limits: Limits,
        deadline: Instant,
    ) -> Result<Self, IpmiError> {
        let address = target.endpoint();
        let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for peer in addresses {
            let any = if peer.is_ipv4() {
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
            } else {
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
            };
            let socket = match UdpSocket::bind(any).await {
                Ok(socket) => socket,
                Err(source) => return Err(IpmiError::Socket { address, source }),
            };
            match socket.connect(peer).await {
                Ok(()) => return Ok(Self { socket, address, limits, deadline }),
                Err(source) => refused = source,
            }
        }
        Err(IpmiError::Unreachable { address, source: refused })
    }

    /// Sends what `encode` gives until `judge` is done, at most for `allowed` and never beyond the session's deadline.
    ///
    /// # Errors
    ///
    /// [`IpmiError::Unreachable`], [`IpmiError::NoAnswer`] or [`IpmiError::OutOfTime`], which name `message`.
    pub(crate) async fn exchange<T>(
        &self,
        message: &'static str,
        allowed: Duration,
        mut encode: impl FnMut() -> Vec<u8>,
        mut judge: impl FnMut(&[u8]) -> Verdict<T>,
    ) -> Result<T, Ended> {
        let start = Instant::now();
        let mut deadline = self.deadline.min(start + allowed);
        if start >= deadline {
            return Err(self.out_of_time(message).into());
        }
        let (mut wait, mut sent, mut unproven) = (self.limits.reply, 0, 0);
        while Instant::now() < deadline && unproven < UNPROVEN_MAX {
            self.socket.send(&encode()).await.map_err(|source| self.unreachable(source))?;
            sent += 1;
            match self.listen(deadline.min(Instant::now() + wait), &mut judge).await? {
                Verdict::Done(answer) => return Ok(answer),
                Verdict::Ignore => {
                    tracing::debug!(bmc = self.address, message, sent, "no answer yet");
                }
                Verdict::Unproven => {
                    unproven += 1;
                    deadline = deadline.min(Instant::now() + 2 * self.limits.reply);
                }
            }
            wait = wait.mul_f32(1.5);
        }
        if unproven > 0 {
            return Err(Ended::Unproven);
        }
        let (address, waited) = (self.address.clone(), start.elapsed());
        Err(IpmiError::NoAnswer { address, message, waited, sent }.into())
    }

    /// As [`Self::exchange`], but sends once: for what must not happen twice.
    ///
    /// # Errors
    ///
    /// As [`Self::exchange`]. After [`IpmiError::NoAnswer`] nobody knows whether it happened.
    pub(crate) async fn exchange_once<T>(
        &self,
        message: &'static str,
        allowed: Duration,
        datagram: &[u8],
        mut judge: impl FnMut(&[u8]) -> Verdict<T>,
    ) -> Result<T, Ended> {
        let start = Instant::now();
        let deadline = self.deadline.min(start + allowed);
        if start >= deadline {
            return Err(self.out_of_time(message).into());
        }
        self.socket.send(datagram).await.map_err(|source| self.unreachable(source))?;
        match self.listen(deadline, &mut judge).await? {
            Verdict::Done(answer) => Ok(answer),
            Verdict::Unproven => Err(Ended::Unproven),
            Verdict::Ignore => {
                let (address, waited) = (self.address.clone(), start.elapsed());
                Err(IpmiError::NoAnswer { address, message, waited, sent: 1 }.into())
            }
        }
    }

    /// Judges datagrams until one is not ignored or `until` has come.
    async fn listen<T>(
        &self,
        until: Instant,
        judge: &mut impl FnMut(&[u8]) -> Verdict<T>,
    ) -> Result<Verdict<T>, IpmiError> {
        let mut datagram = vec![0; DATAGRAM_MAX];
        // Compared here too: a flood keeps the socket ready, and then the timer is never asked.
        while Instant::now() < until {
            let Ok(received) = timeout_at(until, self.socket.recv(&mut datagram)).await else {
                break;
            };
            let bytes = received.map_err(|source| self.unreachable(source))?;
            match judge(datagram.get(..bytes).unwrap_or_default()) {
                Verdict::Ignore => {}
                verdict @ (Verdict::Done(_) | Verdict::Unproven) => return Ok(verdict),
            }
        }
        Ok(Verdict::Ignore)
    }

    /// One datagram that needs no answer and may be lost; also from `drop`.
    pub(crate) fn send_and_forget(&self, datagram: &[u8]) {
        if let Err(error) = self.socket.try_send(datagram) {
            tracing::debug!(bmc = self.address, %error, "cannot tell the BMC that the session is over");
        }
    }

    /// Waits before a busy BMC is asked again; `false` at once where the session would end before that.
    pub(crate) async fn pause(&self, pause: Duration) -> bool {
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }

    fn out_of_time(&self, message: &'static str) -> IpmiError {
        IpmiError::OutOfTime { address: self.address.clone(), message, limit: self.limits.total }
    }

    fn unreachable(&self, source: io::Error) -> IpmiError {
        IpmiError::Unreachable { address: self.address.clone(), source }
    }
}
