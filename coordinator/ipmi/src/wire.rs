//! RMCP and session headers: a payload in the clear, or encrypted and authenticated (spec 13.6). Pure: no I/O.
//!
//! Decoders take hostile bytes: they return `None` for what is not whole, and never index.

use crate::auth::{BLOCK, Keys, matches};

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::Suite;

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<_> =
            text.chars().map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// Session keys and packets printed by `tests/rakp_vectors.py`: chassis status, session 0x01020304, number 7.
    fn vectors() -> [(Keys, Vec<u8>); 2] {
        [
            (
                Keys::derive(Suite::Suite3, &unhex("b7c1aed9bd177450a5b445c49d539cb16db79207")),
                unhex(
                    "0600ff0706c004030201070000002000303132333435363738393a3b3c3d3e3fdc883e13507e1a3c97d6a917f45df2beffff0207477b619ba7b3a2cac4999bb9",
                ),
            ),
            (
                Keys::derive(
                    Suite::Suite17,
                    &unhex("183acaa3d9cf77060207367e61dae735a01183681a35dc42513b699c27481e66"),
                ),
                unhex(
                    "0600ff0706c004030201070000002000303132333435363738393a3b3c3d3e3ffec8f3ae638dcb86adedb6d77ae6f3a9ffff02073685c29b11a13220a6aecb3a882f3c49",
                ),
            ),
        ]
    }

    const STATUS: [u8; 7] = [0x20, 0x00, 0xe0, 0x81, 0x14, 0x01, 0x6a];

    #[test]
    fn a_sealed_packet_has_the_bytes_of_an_independent_computation() {
        let iv = std::array::from_fn(|n| 48 + u8::try_from(n).unwrap());
        for (keys, packet) in vectors() {
            assert_eq!(seal(&keys, 0x0102_0304, 7, iv, &STATUS), packet);
            let decoded = Packet::decode(&packet).unwrap();
            assert_eq!((decoded.session, decoded.sequence), (0x0102_0304, 7));
            assert_eq!(decoded.unseal(&keys).as_deref(), Some(&STATUS[..]));
        }
    }

    #[test]
    fn a_packet_cut_or_changed_anywhere_is_not_taken() {
        for (keys, packet) in vectors() {
            for at in 0..packet.len() {
                // RMCP's reserved byte and sequence number are outside the signature and mean nothing.
                if matches!(at, 1 | 2) {
                    continue;
                }
                let mut changed = packet.clone();
                changed[at] ^= 1;
                let taken = Packet::decode(&changed).and_then(|packet| packet.unseal(&keys));
                assert_eq!(taken, None, "byte {at} changed");
                let taken = Packet::decode(&packet[..at]).and_then(|packet| packet.unseal(&keys));
                assert_eq!(taken, None, "cut at {at}");
            }
        }
    }

    #[test]
    fn an_unencrypted_packet_with_a_right_code_is_not_taken() {
        let (keys, packet) = vectors().into_iter().next().unwrap();
        for flags in [0, AUTHENTICATED, ENCRYPTED] {
            let mut changed = packet[..packet.len() - keys.trailer_bytes()].to_vec();
            changed[5] = flags;
            let code = keys.trailer(&changed[RMCP.len()..]);
            changed.extend(code.iter());
            assert_eq!(Packet::decode(&changed).unwrap().unseal(&keys), None, "{flags:#x}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes: Vec<u8>, framed in prop::collection::vec(any::<u8>(), 0..80)) {
            let (keys, _) = vectors().into_iter().next().unwrap();
            for datagram in [bytes, [&RMCP[..], &[RMCP_PLUS], &framed].concat()] {
                if let Some(packet) = Packet::decode(&datagram) {
                    drop(packet.unseal(&keys));
                }
            }
        }
    }
}
