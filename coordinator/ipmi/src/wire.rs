//! RMCP and session headers and the six handshake messages (spec 13.6, 13.17-13.24). Pure: no I/O.
//!
//! Decoders take hostile bytes: they return `None` for what is not whole, and never index.

use crate::auth::{Algorithms, BLOCK, Keys, matches};

/// RMCP version 6, reserved, sequence "no acknowledge", class IPMI.
const RMCP: [u8; 4] = [6, 0, 0xff, 7];
/// Authentication type "RMCP+"; what follows is the session header of IPMI 2.0.
const RMCP_PLUS: u8 = 6;
/// Next header field in front of the trailer's code, always 7.
const NEXT_HEADER: u8 = 7;
/// From the authentication type up to the payload, bytes.
const SESSION_HEADER: usize = 12;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;

/// Payload types (spec table 13-16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Payload {
    Ipmi = 0x00,
    OpenRequest = 0x10,
    OpenResponse = 0x11,
    Rakp1 = 0x12,
    Rakp2 = 0x13,
    Rakp3 = 0x14,
    Rakp4 = 0x15,
}

/// The session header and what it frames, borrowed from a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    /// Type with the two flags.
    kind: u8,
    pub(crate) session: u32,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
    /// From the authentication type to the end of the datagram.
    framed: &'a [u8],
}

impl<'a> Packet<'a> {
    pub(crate) fn decode(datagram: &'a [u8]) -> Option<Self> {
        let ([version, _, _, class], framed) = datagram.split_first_chunk()?;
        let ([kind_of_auth, kind], rest) = framed.split_first_chunk()?;
        let (session, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let payload = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
        (*version == RMCP[0] && *class == RMCP[3] && *kind_of_auth == RMCP_PLUS).then_some(Self {
            kind: *kind,
            session: u32::from_le_bytes(*session),
            sequence: u32::from_le_bytes(*sequence),
            payload,
            framed,
        })
    }

    /// The payload of a packet outside any session, if it is of type `kind`.
    pub(crate) fn plain(&self, kind: Payload) -> Option<&'a [u8]> {
        (self.kind == kind as u8 && self.session == 0).then_some(self.payload)
    }

    /// The clear payload of an IPMI packet that is encrypted and whose code is right. Anything else is `None`.
    pub(crate) fn unseal(&self, keys: &Keys) -> Option<Vec<u8>> {
        let cut = self.framed.len().checked_sub(keys.trailer_bytes())?;
        let (signed, code) = self.framed.split_at_checked(cut)?;
        // The pad's length and the next header are signed too; their values change nothing for us.
        let long_enough = signed.len() >= SESSION_HEADER + self.payload.len() + 2;
        let sealed = self.kind == Payload::Ipmi as u8 | ENCRYPTED | AUTHENTICATED;
        if !(sealed && long_enough && matches(&keys.trailer(signed), code)) {
            return None;
        }
        keys.decrypt(self.payload)
    }
}

fn header(kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut packet = Vec::with_capacity(RMCP.len() + SESSION_HEADER + payload.len() + 32);
    packet.extend(RMCP);
    packet.extend([RMCP_PLUS, kind]);
    packet.extend(session.to_le_bytes());
    packet.extend(sequence.to_le_bytes());
    packet.extend(length.to_le_bytes());
    packet.extend(payload);
    packet
}

/// A packet outside any session.
pub(crate) fn plain(kind: Payload, payload: &[u8]) -> Vec<u8> {
    header(kind as u8, 0, 0, payload)
}

/// An IPMI message inside a session, encrypted and authenticated.
pub(crate) fn seal(
    keys: &Keys,
    session: u32,
    sequence: u32,
    iv: [u8; BLOCK],
    message: &[u8],
) -> Vec<u8> {
    let kind = Payload::Ipmi as u8 | ENCRYPTED | AUTHENTICATED;
    let mut packet = header(kind, session, sequence, &keys.encrypt(message, iv));
    let unpadded = packet.len() - RMCP.len() + 2;
    let pad = (4 - unpadded % 4) % 4;
    packet.extend(std::iter::repeat_n(0xff, pad));
    packet.push(u8::try_from(pad).unwrap_or_default());
    packet.push(NEXT_HEADER);
    let code = keys.trailer(packet.get(RMCP.len()..).unwrap_or_default());
    packet.extend(code.iter());
    packet
}

/// Open Session Request: one proposal of each kind.
pub(crate) fn open_request(
    tag: u8,
    privilege: u8,
    console_session: u32,
    offer: Algorithms,
) -> Vec<u8> {
    let mut payload = vec![tag, privilege, 0, 0];
    payload.extend(console_session.to_le_bytes());
    let numbers = [offer.authentication, offer.integrity, offer.confidentiality];
    for (kind, number) in (0..).zip(numbers) {
        payload.extend([kind, 0, 0, 8, number, 0, 0, 0]);
    }
    payload
}

/// RAKP 1.
pub(crate) fn rakp1(
    tag: u8,
    bmc_session: u32,
    random: [u8; 16],
    role: u8,
    username: &[u8],
) -> Vec<u8> {
    let length = u8::try_from(username.len()).unwrap_or(u8::MAX);
    let mut payload = vec![tag, 0, 0, 0];
    payload.extend(bmc_session.to_le_bytes());
    payload.extend(random);
    payload.extend([role, 0, 0, length]);
    payload.extend(username);
    payload
}

/// RAKP 3: with our code, or with a status and no code to give the session up.
pub(crate) fn rakp3(tag: u8, status: u8, bmc_session: u32, code: &[u8]) -> Vec<u8> {
    let mut payload = vec![tag, status, 0, 0];
    payload.extend(bmc_session.to_le_bytes());
    payload.extend(code);
    payload
}

/// An answer of the handshake.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<T> {
    /// Status 0.
    Granted(T),
    /// Any other status. Some BMCs send only tag and status, so nothing else is looked at.
    Refused(u8),
}

impl<T> Answer<T> {
    pub(crate) fn map<U>(self, with: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Granted(granted) => Answer::Granted(with(granted)),
            Self::Refused(status) => Answer::Refused(status),
        }
    }
}

/// Splits off tag and status; `None` where the tag is another message's.
fn answer<T>(
    payload: &[u8],
    tag: u8,
    granted: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<Answer<T>> {
    match payload {
        [got, ..] if *got != tag => None,
        [_, 0, rest @ ..] => granted(rest).map(Answer::Granted),
        [_, status, ..] => Some(Answer::Refused(*status)),
        [] | [_] => None,
    }
}

/// What the BMC grants in the Open Session Response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) bmc_session: u32,
    pub(crate) algorithms: Algorithms,
}

/// Open Session Response.
pub(crate) fn open_response(
    payload: &[u8],
    tag: u8,
    console_session: u32,
) -> Option<Answer<Opened>> {
    answer(payload, tag, |rest| {
        let (_privilege_and_reserved, rest) = rest.split_first_chunk::<2>()?;
        let (console, rest) = rest.split_first_chunk()?;
        let (bmc, rest) = rest.split_first_chunk()?;
        let (records, _) = rest.as_chunks::<8>();
        let number = |kind: usize| {
            let record = records.get(kind)?;
            (usize::from(record[0]) == kind).then_some(record[4] & 0x3f)
        };
        let opened = Opened {
            bmc_session: u32::from_le_bytes(*bmc),
            algorithms: Algorithms {
                authentication: number(0)?,
                integrity: number(1)?,
                confidentiality: number(2)?,
            },
        };
        (u32::from_le_bytes(*console) == console_session && opened.bmc_session != 0)
            .then_some(opened)
    })
}

/// What RAKP 2 brings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rakp2 {
    pub(crate) random: [u8; 16],
    pub(crate) guid: [u8; 16],
    /// The rest; may be too short.
    pub(crate) code: Vec<u8>,
}

/// RAKP 2.
pub(crate) fn rakp2(payload: &[u8], tag: u8, console_session: u32) -> Option<Answer<Rakp2>> {
    answer(payload, tag, |rest| {
        let body = for_console(rest, console_session)?;
        let (random, rest) = body.split_first_chunk()?;
        let (guid, code) = rest.split_first_chunk()?;
        Some(Rakp2 { random: *random, guid: *guid, code: code.to_vec() })
    })
}

/// RAKP 4; grants with the BMC's code.
pub(crate) fn rakp4(payload: &[u8], tag: u8, console_session: u32) -> Option<Answer<Vec<u8>>> {
    answer(payload, tag, |rest| for_console(rest, console_session).map(<[u8]>::to_vec))
}

/// What follows two reserved bytes and our session id.
fn for_console(rest: &[u8], console_session: u32) -> Option<&[u8]> {
    let (_reserved, rest) = rest.split_first_chunk::<2>()?;
    let (console, rest) = rest.split_first_chunk()?;
    (u32::from_le_bytes(*console) == console_session).then_some(rest)
}

/// Which sequence numbers of the BMC have been seen: the highest and the 31 below it.
#[derive(Debug, Default)]
pub(crate) struct Window {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    seen: u32,
}

impl Window {
    /// Takes a number the first time it comes; never 0, never one too far back. Ask only after the code was right.
    ///
    /// Any step forward is taken, not only the 15 of spec 6.12.13: who can sign may as well skip, and after a burst
    /// of loss the BMC is further ahead than that.
    pub(crate) fn admit(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return false;
        }
        if let Some(ahead @ 1..) = sequence.checked_sub(self.highest) {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let bit = 1_u32.checked_shl(self.highest - sequence).unwrap_or(0);
        let fresh = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}
