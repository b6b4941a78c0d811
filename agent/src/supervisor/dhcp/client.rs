//! DHCP on the wire: one card gets a lease and keeps it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Conversation, Lease, Reply};
use crate::supervisor::cmdline::Mac;

/// Pauses between attempts; RFC 2131 begins with 4 s, but a switch or relay that lost one packet should not cost that.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// Packets of one attempt that are looked at; a flood must not keep us from asking again.
const MAX_PACKETS: usize = 256;

/// A DHCP client on one network card.
#[derive(Debug)]
pub(in super::super) struct Client {
    socket: UdpSocket,
    mac: Mac,
}

/// How a wish to keep a lease ended.
#[derive(Debug)]
pub(in super::super) enum Kept {
    /// It goes on, perhaps with other facts.
    Renewed(Lease),
    /// The server says it is not ours.
    Refused,
    /// Nobody answered.
    Silence,
}

impl Client {
    /// Opens a socket that sees only card `name`.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(in super::super) fn open(name: &str, mac: Mac) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // Every card has a socket on the same port.
        socket.set_reuse_address(true)?;
        socket.bind_device(Some(name.as_bytes()))?;
        socket.set_broadcast(true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
        Ok(Self { socket: socket.into(), mac })
    }

    /// Asks until there is a lease or the attempts are used up (31 s).
    ///
    /// # Errors
    /// A socket that does not work; silence is `Ok(None)`.
    pub(in super::super) fn acquire(&self) -> io::Result<Option<Lease>> {
        for pause in PAUSES {
            let conversation = self.conversation();
            let discover = conversation.discover().map_err(io::Error::other)?;
            self.send(&discover, Ipv4Addr::BROADCAST)?;
            let offer = self.listen(conversation, pause, |reply| match reply {
                Reply::Offer(lease) => Some(lease),
                Reply::Ack(_) | Reply::Nak => None,
            })?;
            let Some(offer) = offer else { continue };
            let request = conversation.request(&offer).map_err(io::Error::other)?;
            self.send(&request, Ipv4Addr::BROADCAST)?;
            let answer = self.listen(conversation, pause.max(PAUSES[1]), |reply| match reply {
                Reply::Ack(lease) => Some(Some(lease)),
                Reply::Nak => Some(None),
                Reply::Offer(_) => None,
            })?;
            match answer {
                Some(Some(lease)) => return Ok(Some(lease)),
                // A server that refuses its own offer must not be asked in a tight loop.
                Some(None) => thread::sleep(pause),
                None => {}
            }
        }
        Ok(None)
    }

    /// Asks `server` (all of them: broadcast) once whether `lease` may be kept.
    ///
    /// # Errors
    /// A socket that does not work.
    pub(in super::super) fn keep(&self, lease: &Lease, server: Ipv4Addr) -> io::Result<Kept> {
        let conversation = self.conversation();
        let renew = conversation.renew(lease).map_err(io::Error::other)?;
        self.send(&renew, server)?;
        let answer = self.listen(conversation, PAUSES[1], |reply| match reply {
            Reply::Ack(lease) => Some(Kept::Renewed(lease)),
            Reply::Nak => Some(Kept::Refused),
            Reply::Offer(_) => None,
        })?;
        Ok(answer.unwrap_or(Kept::Silence))
    }

    fn conversation(&self) -> Conversation {
        Conversation { xid: rand::random(), mac: self.mac }
    }

    fn send(&self, message: &[u8], to: Ipv4Addr) -> io::Result<()> {
        self.socket.send_to(message, SocketAddrV4::new(to, SERVER_PORT)).map(drop)
    }

    /// The first answer that `pick` takes, within `limit`.
    fn listen<T>(
        &self,
        conversation: Conversation,
        limit: Duration,
        pick: impl Fn(Reply) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let end = Instant::now() + limit;
        let mut packet = [0; 2048];
        for _ in 0..MAX_PACKETS {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut packet) {
                Ok(bytes) => {
                    let reply = conversation.reply(packet.get(..bytes).unwrap_or_default());
                    if let Some(picked) = reply.and_then(&pick) {
                        return Ok(Some(picked));
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                            // An ICMP answer to a renewal: the server's host is there, its port is not.
                            | io::ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
