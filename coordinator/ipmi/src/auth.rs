//! RAKP and the keys of a session (spec 13.20-13.33). Pure: no I/O, no randomness.
//!
//! Only suites 3 and 17 exist here, so that no setting can ask for less than authentication, integrity and
//! encryption.

use std::fmt;

use aes::Aes128;
use aes::cipher::{Block, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// AES block, AES-128 key and IV, bytes.
pub(crate) const BLOCK: usize = 16;
/// Block of SHA-1 and SHA-256, to which HMAC pads its key, bytes.
const HMAC_BLOCK: usize = 64;
/// Length of the constants K1 and K2 are made from, bytes, for SHA-256 too (spec 13.32).
const CONSTANT: usize = 20;

/// A cipher suite of spec table 22-20. The weaker ones do not exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Suite3,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Suite17,
}

/// What a suite consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Algorithms {
    pub(crate) authentication: u8,
    pub(crate) integrity: u8,
    pub(crate) confidentiality: u8,
}

impl Suite {
    /// The suite's number in the specification, as settings and other tools call it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Suite3 => 3,
            Self::Suite17 => 17,
        }
    }

    /// Algorithm numbers (spec tables 13-17, 13-18, 13-19).
    pub(crate) fn algorithms(self) -> Algorithms {
        match self {
            Self::Suite3 => Algorithms { authentication: 1, integrity: 1, confidentiality: 1 },
            Self::Suite17 => Algorithms { authentication: 3, integrity: 4, confidentiality: 1 },
        }
    }

    /// Bytes of a whole hash: the codes of RAKP 2 and 3.
    pub(crate) fn digest_bytes(self) -> usize {
        match self {
            Self::Suite3 => 20,
            Self::Suite17 => 32,
        }
    }

    /// Bytes of a cut hash: the code of RAKP 4 and of each packet.
    pub(crate) fn trailer_bytes(self) -> usize {
        match self {
            Self::Suite3 => 12,
            Self::Suite17 => 16,
        }
    }

    /// HMAC with this suite's hash over the concatenation of `parts`. No key here exceeds [`HMAC_BLOCK`].
    fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let mut padded = Zeroizing::new([0; HMAC_BLOCK]);
        for (to, from) in padded.iter_mut().zip(key) {
            *to = *from;
        }
        match self {
            Self::Suite3 => digest(Hmac::<Sha1>::new((&*padded).into()), parts),
            Self::Suite17 => digest(Hmac::<Sha256>::new((&*padded).into()), parts),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "suite {}", self.number())
    }
}

fn digest(mut mac: impl Mac, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

/// Whether `received` begins with the code `expected`, in constant time. Some BMCs append bytes.
pub(crate) fn matches(expected: &[u8], received: &[u8]) -> bool {
    received.get(..expected.len()).is_some_and(|code| code.ct_eq(expected).into())
}

/// Everything both sides have said when RAKP 2 has arrived.
pub(crate) struct Transcript<'a> {
    pub(crate) suite: Suite,
    pub(crate) console_session: u32,
    pub(crate) bmc_session: u32,
    pub(crate) console_random: [u8; 16],
    pub(crate) bmc_random: [u8; 16],
    pub(crate) bmc_guid: [u8; 16],
    /// Requested privilege with the lookup bit, as sent in RAKP 1.
    pub(crate) role: u8,
    pub(crate) username: &'a [u8],
}

impl Transcript<'_> {
    /// Role, length of the name and the name, as three of the four codes end.
    fn user(&self) -> Vec<u8> {
        let length = u8::try_from(self.username.len()).unwrap_or(u8::MAX);
        [&[self.role, length], self.username].concat()
    }

    /// The BMC's proof that it knows the password.
    pub(crate) fn rakp2_code(&self, user_key: &[u8]) -> Zeroizing<Vec<u8>> {
        self.suite.hmac(
            user_key,
            &[
                &self.console_session.to_le_bytes(),
                &self.bmc_session.to_le_bytes(),
                &self.console_random,
                &self.bmc_random,
                &self.bmc_guid,
                &self.user(),
            ],
        )
    }

    /// Our proof that we know the password.
    pub(crate) fn rakp3_code(&self, user_key: &[u8]) -> Zeroizing<Vec<u8>> {
        self.suite
            .hmac(user_key, &[&self.bmc_random, &self.console_session.to_le_bytes(), &self.user()])
    }

    /// SIK, from Kg or, where none is set, from the password.
    pub(crate) fn session_key(&self, root: &[u8]) -> Zeroizing<Vec<u8>> {
        self.suite.hmac(root, &[&self.console_random, &self.bmc_random, &self.user()])
    }

    /// The BMC's proof that it has derived the same session key; cut to the trailer's length.
    pub(crate) fn rakp4_code(&self, session_key: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut code = self.suite.hmac(
            session_key,
            &[&self.console_random, &self.bmc_session.to_le_bytes(), &self.bmc_guid],
        );
        code.truncate(self.suite.trailer_bytes());
        code
    }
}

/// The two working keys of a session; wiped when dropped.
pub(crate) struct Keys {
    suite: Suite,
    /// K1.
    integrity: Zeroizing<Vec<u8>>,
    /// The first 128 bits of K2.
    confidentiality: Zeroizing<[u8; BLOCK]>,
}

impl Keys {
    /// K1 and K2 from the session key (spec 13.32).
    pub(crate) fn derive(suite: Suite, session_key: &[u8]) -> Self {
        let mut confidentiality = Zeroizing::new([0; BLOCK]);
        let k2 = suite.hmac(session_key, &[&[2; CONSTANT]]);
        for (to, from) in confidentiality.iter_mut().zip(k2.iter()) {
            *to = *from;
        }
        Self { suite, integrity: suite.hmac(session_key, &[&[1; CONSTANT]]), confidentiality }
    }

    /// Bytes of [`Self::trailer`].
    pub(crate) fn trailer_bytes(&self) -> usize {
        self.suite.trailer_bytes()
    }

    /// The code that ends an authenticated packet.
    pub(crate) fn trailer(&self, signed: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut code = self.suite.hmac(&self.integrity, &[signed]);
        code.truncate(self.trailer_bytes());
        code
    }

    /// `iv`, then `clear` padded with 1, 2, 3 … and the pad's length, encrypted (spec 13.29).
    pub(crate) fn encrypt(&self, clear: &[u8], iv: [u8; BLOCK]) -> Vec<u8> {
        let mut padded = clear.to_vec();
        let pad = (BLOCK - (clear.len() + 1) % BLOCK) % BLOCK;
        padded.extend((1..=u8::MAX).take(pad));
        padded.push(u8::try_from(pad).unwrap_or_default());
        let mut cipher = cbc::Encryptor::<Aes128>::new((&*self.confidentiality).into(), &iv.into());
        let (blocks, _) = padded.as_chunks_mut::<BLOCK>();
        for block in blocks {
            cipher.encrypt_block(block.into());
        }
        [&iv, padded.as_slice()].concat()
    }

    /// The inverse of [`Self::encrypt`]; `None` where `sealed` cannot be its result.
    pub(crate) fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (iv, body) = sealed.split_first_chunk::<BLOCK>()?;
        let mut clear = body.to_vec();
        let mut cipher = cbc::Decryptor::<Aes128>::new((&*self.confidentiality).into(), iv.into());
        let (blocks, rest) = clear.as_chunks_mut::<BLOCK>();
        if !rest.is_empty() {
            return None;
        }
        for block in blocks {
            let block: &mut Block<Aes128> = block.into();
            cipher.decrypt_block(block);
        }
        let pad = usize::from(clear.pop()?);
        let keep = clear.len().checked_sub(pad).filter(|_| pad < BLOCK)?;
        let in_order = clear.iter().skip(keep).zip(1..=u8::MAX).all(|(byte, n)| *byte == n);
        clear.truncate(keep);
        in_order.then_some(clear)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWORD: &[u8] = b"hunter2";

    fn transcript(suite: Suite) -> Transcript<'static> {
        let counting = |from: u8| std::array::from_fn(|n| from + u8::try_from(n).unwrap());
        Transcript {
            suite,
            console_session: 0xa0a1_a2a3,
            bmc_session: 0x0102_0304,
            console_random: counting(0),
            bmc_random: counting(16),
            bmc_guid: counting(32),
            role: 0x14,
            username: b"admin",
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Expected values: printed by `tests/rakp_vectors.py`, which shares no code with this crate.
    #[test]
    fn codes_and_keys_are_those_of_an_independent_computation() {
        for (suite, rakp2, rakp3, rakp4, session_key, with_kg, k1, k2) in [
            (
                Suite::Suite3,
                "fb9dc04dc1519e97aac3bf919eb755b53d53d807",
                "4c98a9da56593312e2b3e6eec3cb433c9115e06b",
                "fbc79453a9b02abf29a7ce39",
                "b7c1aed9bd177450a5b445c49d539cb16db79207",
                "65f784b694a40588bbd04701ea80d7f32d82e940",
                "a793a88b26e8fdd56db435588ea814dd84c5f64a",
                "279946bea86aec40c55ecdf66fbce996",
            ),
            (
                Suite::Suite17,
                "7b19d158dec2267535cd299bf420dc8e6d40b410283376a6d991e7690c36d6d1",
                "60a6997e46b86da886b36db23a10c2df0bb7b815571594f0c511b0b242709a6a",
                "b472845fe37446967b6081e5ab4e48ca",
                "183acaa3d9cf77060207367e61dae735a01183681a35dc42513b699c27481e66",
                "1b81a421925c6a1fe7328bea4e72c8e5826e24f55ba8bc6fc9511f62edcd7b9f",
                "69032e4c9c515e3b67f76978bdcbcc7625071e37e245c2c68a96632d2e413881",
                "504f3d1acb771776b78b834212bf4280",
            ),
        ] {
            let transcript = transcript(suite);
            let key = transcript.session_key(PASSWORD);
            let keys = Keys::derive(suite, &key);
            assert_eq!(hex(&transcript.rakp2_code(PASSWORD)), rakp2);
            assert_eq!(hex(&transcript.rakp3_code(PASSWORD)), rakp3);
            assert_eq!(hex(&transcript.rakp4_code(&key)), rakp4);
            assert_eq!(hex(&key), session_key);
            assert_eq!(hex(&transcript.session_key(b"0123456789abcdefghij")), with_kg);
            assert_eq!(hex(&keys.integrity), k1);
            assert_eq!(hex(&*keys.confidentiality), k2);
        }
    }

    #[test]
    fn a_code_matches_only_whole() {
        assert!(matches(&[1, 2, 3], &[1, 2, 3]));
        assert!(matches(&[1, 2, 3], &[1, 2, 3, 9]), "some BMCs append bytes");
        assert!(!matches(&[1, 2, 3], &[1, 2]));
        assert!(!matches(&[1, 2, 3], &[1, 2, 4]));
    }

    fn keys() -> Keys {
        Keys::derive(Suite::Suite17, b"session key")
    }

    #[test]
    fn ciphertext_with_a_broken_pad_is_refused() {
        let pad = |clear: [u8; BLOCK]| {
            let mut body = clear;
            cbc::Encryptor::<Aes128>::new((&*keys().confidentiality).into(), &[0; BLOCK].into())
                .encrypt_block((&mut body).into());
            keys().decrypt(&[[0; BLOCK], body].concat())
        };
        assert_eq!(pad([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1, 2, 3, 3]), Some(vec![7; 12]));
        assert_eq!(pad([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1, 2, 4, 3]), None, "not counting up");
        assert_eq!(
            pad([7; BLOCK - 1].into_iter().chain([16]).collect::<Vec<_>>().try_into().unwrap()),
            None
        );
        assert_eq!(pad([0xff; BLOCK]), None, "longer than the message");
    }

    proptest! {
        #[test]
        fn what_was_encrypted_is_decrypted(clear in prop::collection::vec(any::<u8>(), 0..70), iv: [u8; BLOCK]) {
            let sealed = keys().encrypt(&clear, iv);
            prop_assert_eq!(sealed.len() % BLOCK, 0);
            prop_assert_eq!(keys().decrypt(&sealed), Some(clear));
        }

        #[test]
        fn no_ciphertext_panics(sealed: Vec<u8>) {
            drop(keys().decrypt(&sealed));
        }
    }
}
