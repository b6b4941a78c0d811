//! Network cards, as the kernel knows them beyond /sys.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use super::ioctl;

/// The permanent hardware address of a card, lower case with colons; none where the driver does not know one.
#[must_use]
pub fn permanent_mac(name: &str) -> Option<String> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).ok()?;
    let address = ioctl::link::permanent_address(&socket, name).ok()?;
    // Virtual cards answer with zeros, InfiniBand with 20 bytes.
    let known = address.len() == 6 && address.iter().any(|byte| *byte != 0);
    let parts: Vec<String> = address.iter().map(|byte| format!("{byte:02x}")).collect();
    known.then(|| parts.join(":"))
}

/// `ETH_P_LLDP` of Linux `linux/if_ether.h`.
const LLDP: u16 = 0x88cc;
/// Where bridges send LLDP: the nearest bridge, the nearest non-TPMR bridge, the nearest customer bridge (802.1AB, 7.1).
const GROUPS: [[u8; 6]; 3] = [
    [0x01, 0x80, 0xc2, 0, 0, 0x0e],
    [0x01, 0x80, 0xc2, 0, 0, 0x03],
    [0x01, 0x80, 0xc2, 0, 0, 0x00],
];
/// Longest frame that is read, bytes.
const FRAME_MAX: usize = 1600;

/// Hears LLDP frames on the cards of this machine.
#[derive(Debug)]
pub struct LldpSocket {
    socket: Socket,
}

impl LldpSocket {
    /// Listens on the cards with these names; those that cannot be listened on are silent.
    ///
    /// # Errors
    /// The kernel's answer; listening needs `CAP_NET_RAW`.
    pub fn open<'a>(cards: impl IntoIterator<Item = &'a str>) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(LLDP.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        for card in cards {
            let Ok(index) = nix::net::if_::if_nametoindex(card) else { continue };
            for group in GROUPS {
                if let Err(error) = ioctl::link::join(&socket.as_fd(), index, group) {
                    tracing::debug!("{card}: cannot join the group of LLDP: {error}");
                }
            }
        }
        Ok(Self { socket })
    }

    /// The next frame and the index of its card; none when `until` comes first.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn next(&self, until: Instant) -> io::Result<Option<(u32, Vec<u8>)>> {
        let mut buffer = vec![0; FRAME_MAX];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((length, Some(from))) => {
                    buffer.truncate(length);
                    return Ok(Some((u32::try_from(from.ifindex()).unwrap_or(0), buffer)));
                }
                Ok((_, None)) | Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_no_permanent_address_and_nonsense_is_none() {
        assert_eq!(permanent_mac("lo"), None);
        assert_eq!(permanent_mac("no-such-card-0123456789"), None);
    }
}
