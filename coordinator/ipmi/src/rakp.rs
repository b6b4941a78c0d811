//! The six messages of the handshake (spec 13.17-13.24). Pure: no I/O.
//!
//! Decoders take hostile bytes: they return `None` for what is not whole, and never index.

use crate::auth::Algorithms;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_refusal_may_be_two_bytes_but_needs_the_tag() {
        assert_eq!(open_response(&[9, 0x04], 9, 1), Some(Answer::Refused(4)), "ipmi_sim");
        assert_eq!(open_response(&[8, 0x04], 9, 1), None, "another message's");
        assert_eq!(open_response(&[9, 0], 9, 1), None, "granted, but nothing follows");
        assert_eq!(rakp2(&[9, 0x0d, 0, 0, 1, 0, 0, 0], 9, 1), Some(Answer::Refused(0x0d)));
    }

    #[test]
    fn a_grant_must_name_our_session_and_three_algorithms_in_order() {
        let algorithms = Algorithms { authentication: 3, integrity: 4, confidentiality: 1 };
        let request = open_request(9, 4, 0xa1b2_c3d4, algorithms);
        let (head, records) = request.split_at(8);
        let mut response = [head, &[5, 0, 0, 0], records].concat();
        response[1] = 0;
        let granted = Answer::Granted(Opened { bmc_session: 5, algorithms });
        assert_eq!(open_response(&response, 9, 0xa1b2_c3d4), Some(granted));
        assert_eq!(open_response(&response, 9, 0xa1b2_c3d5), None, "another console's");
        for bytes in 2..response.len() {
            assert_eq!(open_response(&response[..bytes], 9, 0xa1b2_c3d4), None, "cut at {bytes}");
        }
        response.swap(12, 20);
        assert_eq!(open_response(&response, 9, 0xa1b2_c3d4), None, "integrity first");
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload: Vec<u8>) {
            for payload in [payload.clone(), [&[9, 0], &*payload].concat()] {
                drop((open_response(&payload, 9, 1), rakp2(&payload, 9, 1), rakp4(&payload, 9, 1)));
            }
        }
    }
}
