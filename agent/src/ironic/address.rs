//! Which of our addresses the conductor can reach: the one from which we reach it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::IronicError;

/// How often is looked, and how far apart (Ironic's agent: `ipa-ip-lookup-attempts`, `ipa-ip-lookup-timeout`).
const ATTEMPTS: u32 = 6;
const APART: Duration = Duration::from_secs(10);

/// Where nothing is known of the API's address: the default route's way (192.0.2.1 is for documentation, RFC 5737).
pub(super) const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// Our address on the way to `peer`.
///
/// # Errors
/// [`IronicError::Address`].
pub(super) async fn towards(peer: SocketAddr) -> Result<IpAddr, IronicError> {
    let mut why = String::new();
    for attempt in 1..=ATTEMPTS {
        match source(peer) {
            Ok(ip) if is_reachable(ip) => return Ok(ip),
            Ok(ip) => why = format!("{ip} is reached on its own link only"),
            Err(error) => why = error.to_string(),
        }
        if attempt < ATTEMPTS {
            tracing::warn!("no address towards {peer} yet: {why}");
            tokio::time::sleep(APART).await;
        }
    }
    Err(IronicError::Address { peer, why })
}

/// Every address of `ip`'s family.
pub(super) fn any(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The kernel's choice. Nothing is sent: a UDP socket that is connected only asks the routing table.
fn source(peer: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((any(peer.ip()), 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_loopback_begins_at_loopback_and_link_local_addresses_lead_nowhere() {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 6385));
        assert_eq!(source(peer).unwrap(), IpAddr::from(Ipv4Addr::LOCALHOST));
        for (ip, expected) in [("169.254.1.1", false), ("fe80::1", false), ("192.0.2.1", true)] {
            assert_eq!(is_reachable(ip.parse().unwrap()), expected, "{ip}");
        }
    }
}
