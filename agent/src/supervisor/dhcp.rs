//! DHCP (RFC 2131): the messages, without a clock and without a socket. What a server sends is hostile until checked.

pub(super) mod client;

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::EncodeResult;
use dhcproto::v4::{
    Decodable as _, Decoder, DhcpOption, Encodable as _, Encoder, Flags, HType, Message,
    MessageType, Opcode, OptionCode,
};

use super::cmdline::Mac;

/// What the server's administrator sees of us in logs and may match on (option 60).
const VENDOR_CLASS: &[u8] = b"ironwright";

/// Leases are never taken for shorter than this: a server that hands out seconds would keep us asking.
const MIN_LEASE: Duration = Duration::from_secs(60);

/// The value that means for ever (RFC 2131 section 3.3).
const FOR_EVER: u32 = u32::MAX;

/// The smallest packet IPv4 allows (RFC 791), bytes; a smaller MTU would cut the machine off.
const MIN_MTU: u16 = 576;

/// At most this many name servers and routes are used.
const MAX_ENTRIES: usize = 8;

/// An address and all that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    /// Our address.
    pub(super) ip: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub(super) prefix: u8,
    /// Who gave it.
    pub(super) server: Ipv4Addr,
    /// Destination, prefix and gateway; the default route is 0.0.0.0/0.
    pub(super) routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Name servers.
    pub(super) dns: Vec<Ipv4Addr>,
    /// Search domain; letters, digits, dots, dashes only.
    pub(super) domain: Option<String>,
    /// Largest packet of the link in bytes, where the server says.
    pub(super) mtu: Option<u16>,
    /// Ask for it again after this (T1).
    pub(super) renew: Duration,
    /// Ask anybody for it after this (T2).
    pub(super) rebind: Duration,
    /// Not ours any more after this; `None`: ours for ever.
    pub(super) expire: Option<Duration>,
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// What we could have.
    Offer(Lease),
    /// What is ours.
    Ack(Lease),
    /// What we asked for is not ours.
    Nak,
}

/// One conversation of one network card.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conversation {
    /// Chosen at random; answers repeat it.
    pub(super) xid: u32,
    /// The card.
    pub(super) mac: Mac,
}

impl Conversation {
    /// Asks every server for an offer.
    pub(super) fn discover(self) -> EncodeResult<Vec<u8>> {
        self.message(MessageType::Discover, |_| {})
    }

    /// Takes an offer.
    pub(super) fn request(self, offer: &Lease) -> EncodeResult<Vec<u8>> {
        self.message(MessageType::Request, |message| {
            message.opts_mut().insert(DhcpOption::RequestedIpAddress(offer.ip));
            message.opts_mut().insert(DhcpOption::ServerIdentifier(offer.server));
        })
    }

    /// Asks to keep an address that is in use.
    pub(super) fn renew(self, lease: &Lease) -> EncodeResult<Vec<u8>> {
        self.message(MessageType::Request, |message| {
            message.set_ciaddr(lease.ip);
        })
    }

    fn message(self, kind: MessageType, more: impl Fn(&mut Message)) -> EncodeResult<Vec<u8>> {
        let mut message = Message::default();
        message
            .set_opcode(Opcode::BootRequest)
            .set_htype(HType::Eth)
            .set_xid(self.xid)
            .set_chaddr(&self.mac)
            // Without an address we cannot take an answer that is sent to it.
            .set_flags(Flags::default().set_broadcast());
        // The same identifier as firmware and iPXE send, so that the server gives the same address.
        let identifier: Vec<u8> = std::iter::once(1).chain(self.mac).collect();
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ClientIdentifier(identifier));
        options.insert(DhcpOption::ClassIdentifier(VENDOR_CLASS.to_vec()));
        options.insert(DhcpOption::MaxMessageSize(1472));
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::ClasslessStaticRoute,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::DomainName,
            OptionCode::InterfaceMtu,
            OptionCode::AddressLeaseTime,
            OptionCode::ServerIdentifier,
            OptionCode::Renewal,
            OptionCode::Rebinding,
        ]));
        more(&mut message);
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes))?;
        // BOOTP relays may drop anything shorter (RFC 1542 section 2.1).
        bytes.resize(bytes.len().max(dhcproto::v4::MIN_PACKET_SIZE), 0);
        Ok(bytes)
    }

    /// Reads an answer; `None` where it is none of ours, or makes no sense.
    pub(super) fn reply(self, bytes: &[u8]) -> Option<Reply> {
        let message = Message::decode(&mut Decoder::new(bytes)).ok()?;
        let ours = message.opcode() == Opcode::BootReply
            && message.xid() == self.xid
            && message.hlen() == 6
            && message.chaddr() == self.mac;
        if !ours {
            return None;
        }
        let Some(DhcpOption::MessageType(kind)) = message.opts().get(OptionCode::MessageType)
        else {
            return None;
        };
        // Numbers of RFC 2132 section 9.6: the type has a variant for each of forty.
        match u8::from(*kind) {
            2 => lease(&message).map(Reply::Offer),
            5 => lease(&message).map(Reply::Ack),
            6 => Some(Reply::Nak),
            _ => None,
        }
    }
}

/// What an offer or acknowledgement gives; `None` where a host cannot use it.
fn lease(message: &Message) -> Option<Lease> {
    let options = message.opts();
    let ip = usable(message.yiaddr())?;
    let prefix = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => prefix_of(*mask)?,
        _ => class_prefix(ip),
    };
    let server = match options.get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => usable(*server)?,
        _ => return None,
    };
    let seconds = match options.get(OptionCode::AddressLeaseTime) {
        Some(DhcpOption::AddressLeaseTime(seconds)) => *seconds,
        _ => return None,
    };
    let total = Duration::from_secs(u64::from(seconds)).max(MIN_LEASE);
    let (renew, rebind) = timers(message, total);
    Some(Lease {
        ip,
        prefix,
        server,
        routes: routes(message),
        dns: match options.get(OptionCode::DomainNameServer) {
            Some(DhcpOption::DomainNameServer(servers)) => {
                servers.iter().copied().filter_map(usable).take(MAX_ENTRIES).collect()
            }
            _ => Vec::new(),
        },
        domain: match options.get(OptionCode::DomainName) {
            Some(DhcpOption::DomainName(name)) => domain(name),
            _ => None,
        },
        mtu: match options.get(OptionCode::InterfaceMtu) {
            Some(DhcpOption::InterfaceMtu(mtu)) => Some(*mtu).filter(|mtu| *mtu >= MIN_MTU),
            _ => None,
        },
        renew,
        rebind,
        expire: (seconds != FOR_EVER).then_some(total),
    })
}

/// T1 and T2: the server's, where they are in order; else a half and seven eighths (RFC 2131 section 4.4.5).
fn timers(message: &Message, total: Duration) -> (Duration, Duration) {
    let options = message.opts();
    let renew = match options.get(OptionCode::Renewal) {
        Some(DhcpOption::Renewal(seconds)) => Duration::from_secs(u64::from(*seconds)),
        _ => total / 2,
    };
    let rebind = match options.get(OptionCode::Rebinding) {
        Some(DhcpOption::Rebinding(seconds)) => Duration::from_secs(u64::from(*seconds)),
        _ => total * 7 / 8,
    };
    let in_order = renew >= MIN_LEASE / 4 && renew <= rebind && rebind <= total;
    if in_order { (renew, rebind) } else { (total / 2, total * 7 / 8) }
}

/// Classless routes where the server gives them, else the first router (RFC 3442).
fn routes(message: &Message) -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
    let options = message.opts();
    if let Some(DhcpOption::ClasslessStaticRoute(routes)) =
        options.get(OptionCode::ClasslessStaticRoute)
    {
        let routes =
            routes.iter().filter(|(_, via)| via.is_unspecified() || usable(*via).is_some());
        return routes
            .map(|(to, via)| (to.network(), to.prefix_len(), *via))
            .take(MAX_ENTRIES)
            .collect();
    }
    match options.get(OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => {
            let routers = routers.iter().copied().filter_map(usable);
            routers.take(1).map(|via| (Ipv4Addr::UNSPECIFIED, 0, via)).collect()
        }
        _ => Vec::new(),
    }
}

/// An address that one host can have.
fn usable(ip: Ipv4Addr) -> Option<Ipv4Addr> {
    let bad = ip.octets()[0] == 0 || ip.is_loopback() || ip.is_multicast() || ip.octets()[0] >= 240;
    (!bad).then_some(ip)
}

fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    let contiguous = bits.count_ones() == ones && ones > 0;
    u8::try_from(ones).ok().filter(|_| contiguous)
}

/// The prefix of the address's class, for servers that send no mask.
fn class_prefix(ip: Ipv4Addr) -> u8 {
    match ip.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}

/// A name that can stand in resolv.conf: nothing in it can start a line or an option of its own.
fn domain(name: &str) -> Option<String> {
    let name = name.trim_end_matches(['\0', '.']);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!name.is_empty() && name.len() <= 253 && name.chars().all(plain)).then(|| name.to_owned())
}

/// `/etc/resolv.conf` for a lease.
pub(super) fn resolv_conf(lease: &Lease) -> String {
    let search = lease.domain.iter().map(|domain| format!("search {domain}\n"));
    search.chain(lease.dns.iter().map(|server| format!("nameserver {server}\n"))).collect()
}

#[cfg(test)]
mod tests;
