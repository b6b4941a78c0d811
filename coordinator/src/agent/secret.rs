//! Nonces and tokens: made here, kept only as hashes, compared in constant time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A fresh nonce for a boot script: 128 bits, hexadecimal (it travels on a kernel command line).
pub(super) fn nonce() -> String {
    hex(&rand::random::<[u8; 16]>())
}

/// A fresh agent token: 256 bits, 43 characters of URL-safe base64, as Ironic's.
pub(super) fn token() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// What is kept of a secret.
pub(crate) fn sha256(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Whether `secret` is the one of which `kept` was kept.
pub(super) fn is(secret: &str, kept: Option<&str>) -> bool {
    kept.is_some_and(|kept| bool::from(sha256(secret).as_bytes().ct_eq(kept.as_bytes())))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_fresh_and_recognised_by_their_hash() {
        assert_eq!((nonce().len(), token().len()), (32, 43));
        assert_ne!(token(), token());
        let token = token();
        assert!(is(&token, Some(&sha256(&token))));
        for kept in [None, Some(""), Some(token.as_str())] {
            assert!(!is(&token, kept));
        }
        assert_eq!(
            sha256("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
