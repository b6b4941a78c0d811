//! The IPMI message inside a session: request and response with their checksums (spec 13.8).

/// The BMC's slave address.
const BMC: u8 = 0x20;
/// Remote console software's id.
const CONSOLE: u8 = 0x81;

/// One command: its numbers and the name errors use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) net_fn: u8,
    pub(crate) number: u8,
    pub(crate) name: &'static str,
}

/// A reply to a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Completion code.
    pub(crate) code: u8,
    pub(crate) body: Vec<u8>,
}

/// Two's complement of the sum, so that sum and checksum give zero.
pub(crate) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// A request to the BMC's LUN 0. `sequence` has six bits.
pub(crate) fn request(command: Command, sequence: u8, body: &[u8]) -> Vec<u8> {
    let head = [BMC, command.net_fn << 2];
    let tail = [&[CONSOLE, sequence << 2, command.number], body].concat();
    [&head, &[checksum(&head)][..], &tail, &[checksum(&tail)]].concat()
}

/// The reply in `bytes`, if it is whole and answers `command` with `sequence`.
pub(crate) fn reply(bytes: &[u8], command: Command, sequence: u8) -> Option<Reply> {
    let (head, tail) = bytes.split_at_checked(3)?;
    let [_, net_fn, _] = head else { return None };
    let [_, answered, number, code, body @ .., _] = tail else { return None };
    let whole = checksum(head) == 0 && checksum(tail) == 0;
    let ours =
        net_fn >> 2 == command.net_fn | 1 && answered >> 2 == sequence && *number == command.number;
    (whole && ours).then(|| Reply { code: *code, body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUS: Command = Command { net_fn: 0, number: 1, name: "chassis status" };

    /// The reply to chassis status with rqSeq 5, checksums by hand: 0x81+0x04 = 0x85 -> 0x7b;
    /// 0x20+0x14+0x01+0x00+0x61+0x40+0x00 = 0xd6 -> 0x2a.
    const ON: [u8; 11] = [0x81, 0x04, 0x7b, 0x20, 0x14, 0x01, 0x00, 0x61, 0x40, 0x00, 0x2a];

    #[test]
    fn a_request_has_the_bytes_of_the_specification() {
        // 0x20+0x00 -> 0xe0; 0x81+0x14+0x01 = 0x96 -> 0x6a.
        assert_eq!(request(STATUS, 5, &[]), [0x20, 0x00, 0xe0, 0x81, 0x14, 0x01, 0x6a]);
    }

    #[test]
    fn only_the_reply_to_this_command_and_sequence_is_taken() {
        assert_eq!(reply(&ON, STATUS, 5), Some(Reply { code: 0, body: vec![0x61, 0x40, 0] }));
        assert_eq!(reply(&ON, STATUS, 6), None, "another sequence");
        assert_eq!(reply(&ON, Command { number: 2, ..STATUS }, 5), None, "another command");
        assert_eq!(reply(&ON, Command { net_fn: 6, ..STATUS }, 5), None, "another function");
        for at in 0..ON.len() {
            let mut broken = ON;
            broken[at] ^= 0x10;
            assert_eq!(reply(&broken, STATUS, 5), None, "byte {at} flipped");
            assert_eq!(reply(&ON[..at], STATUS, 5), None, "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, sequence: u8) {
            drop(reply(&bytes, STATUS, sequence));
        }
    }
}
