//! RAKP keys and codes (13.28 to 13.32): HMAC-SHA1 and HMAC-SHA256, AES-CBC-128.

use aes::Aes128;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

/// The cipher suites of table 22-20 that this BMC offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

impl Suite {
    /// By its authentication, integrity and confidentiality algorithm numbers (13.28).
    pub(super) fn from_algorithms(numbers: [u8; 3]) -> Option<Self> {
        match numbers {
            [1, 1, 1] => Some(Self::Three),
            [3, 4, 1] => Some(Self::Seventeen),
            _ => None,
        }
    }

    pub(super) fn id(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Seventeen => 17,
        }
    }

    pub(super) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Three => digest::<Hmac<Sha1>>(key, parts),
            Self::Seventeen => digest::<Hmac<Sha256>>(key, parts),
        }
    }

    /// Length of RAKP 4's check value and of a packet's authentication code.
    pub(super) fn code_len(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }
}

fn digest<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of any length: this cannot fail.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
    for part in parts {
        Mac::update(&mut mac, part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// The keys of one session.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) suite: Suite,
    pub(super) sik: Vec<u8>,
    k1: Vec<u8>,
    aes: [u8; 16],
}

impl Keys {
    /// From the session integrity key; the constants are twenty bytes of 01h and 02h (13.32).
    pub(super) fn derive(suite: Suite, sik: Vec<u8>) -> Self {
        let k1 = suite.hmac(&sik, &[&[1; 20]]);
        let k2 = suite.hmac(&sik, &[&[2; 20]]);
        let mut aes = [0; 16];
        for (to, from) in aes.iter_mut().zip(&k2) {
            *to = *from;
        }
        Self { suite, sik, k1, aes }
    }

    /// Authentication code over everything from the auth type byte to the next-header byte.
    pub(super) fn code(&self, bytes: &[u8]) -> Vec<u8> {
        let mut code = self.suite.hmac(&self.k1, &[bytes]);
        code.truncate(self.suite.code_len());
        code
    }

    /// IV and ciphertext of `plain`, padded 01h, 02h, … and the pad's length (13.29).
    pub(super) fn encrypt(&self, plain: &[u8]) -> Vec<u8> {
        let iv: [u8; 16] = rand::random();
        let mut padded = plain.to_vec();
        let pad = (16 - (plain.len() + 1) % 16) % 16;
        padded.extend((1..=pad).filter_map(|byte| u8::try_from(byte).ok()));
        padded.push(u8::try_from(pad).unwrap_or_default());
        let cipher = cbc::Encryptor::<Aes128>::new(&self.aes.into(), &iv.into());
        let mut out = iv.to_vec();
        let len = padded.len();
        out.extend(cipher.encrypt_padded::<NoPadding>(&mut padded, len).unwrap_or_default());
        out
    }

    /// The plain text, or nothing when length or padding are wrong.
    pub(super) fn decrypt(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (iv, body) = bytes.split_first_chunk::<16>()?;
        let cipher = cbc::Decryptor::<Aes128>::new(&self.aes.into(), &(*iv).into());
        let mut plain = body.to_vec();
        let len = cipher.decrypt_padded::<NoPadding>(&mut plain).ok()?.len();
        plain.truncate(len);
        let pad = usize::from(plain.pop()?);
        let len = plain.len().checked_sub(pad)?;
        plain.truncate(len);
        Some(plain)
    }
}
