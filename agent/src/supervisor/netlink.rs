//! Links, addresses and routes through rtnetlink(7): the few requests a DHCP client needs.
//!
//! Messages are built byte by byte, in the machine's byte order, as `linux/rtnetlink.h` and `linux/if_link.h` lay them out.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// The kernel answers at once; this only bounds what cannot happen, seconds.
const ANSWER_S: i64 = 5;

/// Length of `struct nlmsghdr`, bytes.
const HEADER: usize = 16;

/// A connection to the kernel's routing tables.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
}

/// One route of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    /// Where to; 0.0.0.0 with length 0 is everywhere.
    pub(super) to: Ipv4Addr,
    /// Length of the prefix in bits.
    pub(super) prefix: u8,
    /// Through whom; unspecified where the destination is on the link.
    pub(super) via: Ipv4Addr,
    /// Smaller is preferred.
    pub(super) metric: u32,
}

impl Netlink {
    /// Connects.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_S, 0))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Turns a link on.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn link_up(&self, index: u32) -> io::Result<()> {
        self.ask(link(index, Some(true), None))
    }

    /// Turns a link off.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn link_down(&self, index: u32) -> io::Result<()> {
        self.ask(link(index, Some(false), None))
    }

    /// Sets a link's largest packet in bytes.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn set_mtu(&self, index: u32, mtu: u16) -> io::Result<()> {
        self.ask(link(index, None, Some(mtu)))
    }

    /// Gives a card an address, or changes its prefix.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn add_address(&self, index: u32, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.ask(address(libc::RTM_NEWADDR, index, ip, prefix))
    }

    /// Takes an address away, and with it the routes that use it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn remove_address(&self, index: u32, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.ask(address(libc::RTM_DELADDR, index, ip, prefix))
    }

    /// Adds a route, or replaces the one with the same destination and metric.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn add_route(&self, index: u32, route: Route) -> io::Result<()> {
        self.ask(new_route(index, route))
    }

    fn ask(&self, message: Message) -> io::Result<()> {
        send(self.socket.as_raw_fd(), &message.finish(), MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let bytes = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        acknowledged(answer.get(..bytes).unwrap_or_default())
    }
}

/// `IFF_UP` of `linux/if.h`.
const UP: u32 = 1;

fn link(index: u32, up: Option<bool>, mtu: Option<u16>) -> Message {
    // struct ifinfomsg: family, pad, type, index, flags, change.
    let mut body = vec![0, 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(up.map_or(0, |up| u32::from(up) * UP).to_ne_bytes());
    body.extend(up.map_or(0, |_| UP).to_ne_bytes());
    let message = Message::new(libc::RTM_NEWLINK, 0, &body);
    match mtu {
        Some(mtu) => message.attribute(libc::IFLA_MTU, &u32::from(mtu).to_ne_bytes()),
        None => message,
    }
}

fn address(kind: u16, index: u32, ip: Ipv4Addr, prefix: u8) -> Message {
    // struct ifaddrmsg: family, prefix length, flags, scope (universe), index.
    let mut body = vec![INET, prefix, 0, 0];
    body.extend(index.to_ne_bytes());
    let create = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let message = Message::new(kind, if kind == libc::RTM_NEWADDR { create } else { 0 }, &body)
        .attribute(libc::IFA_LOCAL, &ip.octets())
        .attribute(libc::IFA_ADDRESS, &ip.octets());
    // A point-to-point prefix has no broadcast address (RFC 3021).
    match 32_u8.checked_sub(prefix) {
        Some(host_bits @ 2..=31) => {
            let hosts = (1_u32 << host_bits) - 1;
            let broadcast = Ipv4Addr::from(u32::from(ip) | hosts);
            message.attribute(libc::IFA_BROADCAST, &broadcast.octets())
        }
        _ => message,
    }
}

/// `RTPROT_DHCP` of `linux/rtnetlink.h`.
const PROTOCOL_DHCP: u8 = 16;
/// `RTNH_F_ONLINK`: the gateway need not be in the prefix of the address, as with /32 leases.
const ON_LINK: u32 = 4;
/// `AF_INET`.
const INET: u8 = 2;

fn new_route(index: u32, route: Route) -> Message {
    let gateway = !route.via.is_unspecified();
    let scope = if gateway { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
    let flags = if gateway { ON_LINK } else { 0 };
    // struct rtmsg: family, two prefix lengths, tos, table, protocol, scope, type, flags.
    let mut body = vec![
        INET,
        route.prefix,
        0,
        0,
        libc::RT_TABLE_MAIN,
        PROTOCOL_DHCP,
        scope,
        libc::RTN_UNICAST,
    ];
    body.extend(flags.to_ne_bytes());
    let mut message =
        Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &body)
            .attribute(libc::RTA_OIF, &index.to_ne_bytes())
            .attribute(libc::RTA_PRIORITY, &route.metric.to_ne_bytes());
    if route.prefix > 0 {
        message = message.attribute(libc::RTA_DST, &route.to.octets());
    }
    if gateway {
        message = message.attribute(libc::RTA_GATEWAY, &route.via.octets());
    }
    message
}

/// A request under construction.
#[derive(Debug)]
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32, body: &[u8]) -> Self {
        let flags = flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        let flags = u16::try_from(flags).unwrap_or_default();
        // struct nlmsghdr: length (set at the end), type, flags, sequence, port.
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(1_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(body);
        Self(bytes)
    }

    /// Adds a `struct rtattr` with `value`, which is shorter than 64 KiB.
    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let bytes = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(bytes.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let bytes = u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_ne_bytes();
        for (to, from) in self.0.iter_mut().zip(bytes) {
            *to = from;
        }
        self.0
    }
}

/// Reads the kernel's answer: `NLMSG_ERROR` with the negated errno, 0 for success.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer
        .get(HEADER..HEADER + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match (kind.map(i32::from), code) {
        (Some(libc::NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(libc::NLMSG_ERROR), Some(code)) => {
            Err(io::Error::from_raw_os_error(code.wrapping_neg()))
        }
        _ => Err(io::Error::other("the kernel's answer is not an acknowledgement")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_for_as_the_kernel_lays_it_out() {
        let bytes = address(libc::RTM_NEWADDR, 2, Ipv4Addr::new(10, 0, 2, 15), 24).finish();
        let mut expected = 48_u32.to_ne_bytes().to_vec();
        expected.extend(20_u16.to_ne_bytes());
        // NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE | NLM_F_CREATE
        expected.extend(0x505_u16.to_ne_bytes());
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([2, 24, 0, 0, 2, 0, 0, 0]);
        expected.extend([8, 0, 2, 0, 10, 0, 2, 15]);
        expected.extend([8, 0, 1, 0, 10, 0, 2, 15]);
        expected.extend([8, 0, 4, 0, 10, 0, 2, 255]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_default_route_names_no_destination_and_a_link_route_no_gateway() {
        let everywhere = Ipv4Addr::UNSPECIFIED;
        let via = Ipv4Addr::new(10, 0, 2, 2);
        let default = Route { to: everywhere, prefix: 0, via, metric: 7 };
        let bytes = new_route(2, default).finish();
        assert_eq!(bytes.len(), HEADER + 12 + 3 * 8);
        assert!(bytes.ends_with(&[8, 0, 5, 0, 10, 0, 2, 2]), "gateway last: {bytes:?}");
        let link = Route { to: via, prefix: 32, via: everywhere, metric: 7 };
        let bytes = new_route(2, link).finish();
        assert!(bytes.ends_with(&[8, 0, 1, 0, 10, 0, 2, 2]), "destination last: {bytes:?}");
    }

    #[test]
    fn a_prefix_without_room_for_a_broadcast_address_gets_none() {
        for (prefix, attributes) in [(24, 3), (30, 3), (31, 2), (32, 2)] {
            let bytes = address(libc::RTM_NEWADDR, 2, Ipv4Addr::LOCALHOST, prefix).finish();
            assert_eq!(bytes.len(), HEADER + 8 + attributes * 8, "/{prefix}");
        }
    }

    #[test]
    fn the_kernels_answer_is_success_an_errno_or_nonsense() {
        let answer = |kind: u16, code: i32| {
            let mut bytes = vec![0; 4];
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(HEADER, 0);
            bytes.extend(code.to_ne_bytes());
            acknowledged(&bytes)
        };
        assert!(answer(2, 0).is_ok());
        assert_eq!(answer(2, -17).unwrap_err().raw_os_error(), Some(17));
        assert!(answer(3, 0).is_err());
        assert!(acknowledged(&[0; 5]).is_err());
    }

    #[test]
    fn an_unprivileged_question_reaches_the_kernel_and_comes_back_with_its_errno() {
        // A link that does not exist: refused with or without privileges, and nothing changes.
        let error = Netlink::open().unwrap().link_up(0x7fff_fff0).unwrap_err();
        assert!(
            matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EPERM | libc::EINVAL)),
            "{error}"
        );
    }
}
