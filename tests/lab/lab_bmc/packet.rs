//! RMCP and session headers (13.6), and the IPMI message inside (13.8).

use super::crypto::Keys;

/// RMCP version 1.0, no acknowledgement, class IPMI (13.1.3).
const RMCP: [u8; 4] = [0x06, 0x00, 0xff, 0x07];
/// Auth type "RMCP+" of the session header.
const FORMAT_RMCP_PLUS: u8 = 0x06;
/// Next-header byte of the session trailer.
const NEXT_HEADER: u8 = 0x07;

/// A datagram's session layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// IPMI 1.5 format without authentication: only Get Channel Authentication Capabilities is asked this way.
    Plain {
        /// The IPMI message.
        message: &'a [u8],
    },
    /// RMCP+ format.
    Plus {
        /// Payload type without its flags.
        kind: u8,
        encrypted: bool,
        authenticated: bool,
        session: u32,
        sequence: u32,
        payload: &'a [u8],
        /// The bytes the authentication code covers, and the code.
        sealed: Option<(&'a [u8], &'a [u8])>,
    },
}

/// Reads a datagram; nothing for anything malformed.
pub(super) fn parse(datagram: &[u8]) -> Option<Packet<'_>> {
    let body = datagram.strip_prefix(&RMCP)?;
    if body.first() != Some(&FORMAT_RMCP_PLUS) {
        let len = usize::from(*body.get(9)?);
        return (body.first() == Some(&0))
            .then_some(Packet::Plain { message: body.get(10..10 + len)? });
    }
    let flags = *body.get(1)?;
    let session = u32::from_le_bytes(body.get(2..6)?.try_into().ok()?);
    let sequence = u32::from_le_bytes(body.get(6..10)?.try_into().ok()?);
    let len = usize::from(u16::from_le_bytes(body.get(10..12)?.try_into().ok()?));
    let payload = body.get(12..12 + len)?;
    let authenticated = flags & 0x40 != 0;
    let sealed = if authenticated {
        let pad = body.get(12 + len..)?.iter().take_while(|byte| **byte == 0xff).count();
        let end = 12 + len + pad + 2;
        Some((body.get(..end)?, body.get(end..)?))
    } else {
        None
    };
    Some(Packet::Plus {
        kind: flags & 0x3f,
        encrypted: flags & 0x80 != 0,
        authenticated,
        session,
        sequence,
        payload,
        sealed,
    })
}

/// An unauthenticated IPMI 1.5 answer.
pub(super) fn plain(message: &[u8]) -> Vec<u8> {
    let mut out = RMCP.to_vec();
    out.extend([0; 9]);
    out.push(u8::try_from(message.len()).unwrap_or_default());
    out.extend(message);
    out
}

/// An RMCP+ answer outside a session.
pub(super) fn open(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = RMCP.to_vec();
    out.extend(header(kind, 0, 0, payload));
    out
}

/// An encrypted and authenticated RMCP+ answer.
pub(super) fn sealed(
    kind: u8,
    session: u32,
    sequence: u32,
    payload: &[u8],
    keys: &Keys,
) -> Vec<u8> {
    let mut covered = header(kind | 0xc0, session, sequence, &keys.encrypt(payload));
    let pad = (4 - (covered.len() + 2) % 4) % 4;
    covered.extend(std::iter::repeat_n(0xff, pad));
    covered.push(u8::try_from(pad).unwrap_or_default());
    covered.push(NEXT_HEADER);
    let code = keys.code(&covered);
    let mut out = RMCP.to_vec();
    out.extend(covered);
    out.extend(code);
    out
}

fn header(kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![FORMAT_RMCP_PLUS, kind];
    out.extend(session.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend(u16::try_from(payload.len()).unwrap_or_default().to_le_bytes());
    out.extend(payload);
    out
}

/// An IPMI request: who asked, and what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) net_fn: u8,
    pub(super) command: u8,
    pub(super) bytes: &'a [u8],
    requester: u8,
    sequence: u8,
}

impl<'a> Request<'a> {
    /// Reads a message; nothing when it is short or a checksum is wrong.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let (head, tail) = message.split_at_checked(3)?;
        if head.iter().copied().fold(0_u8, u8::wrapping_add) != 0
            || tail.iter().copied().fold(0_u8, u8::wrapping_add) != 0
        {
            return None;
        }
        Some(Self {
            net_fn: head.get(1)? >> 2,
            requester: *tail.first()?,
            sequence: *tail.get(1)?,
            command: *tail.get(2)?,
            bytes: tail.get(3..tail.len().checked_sub(1)?)?,
        })
    }

    /// The answer with its completion code and data.
    pub(super) fn reply(&self, code: u8, data: &[u8]) -> Vec<u8> {
        let mut out = vec![self.requester, (self.net_fn | 1) << 2];
        out.push(checksum(&out));
        let mut tail = vec![0x20, self.sequence, self.command, code];
        tail.extend(data);
        tail.push(checksum(&tail));
        out.extend(tail);
        out
    }
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().copied().fold(0_u8, u8::wrapping_add).wrapping_neg()
}
