//! Ed25519 public keys that are none (RFC 8032): for a point of small order anybody can make a signature that fits any text.

/// What is signed, and who may sign, are judged with these left out. Verifiers that do not ask for it (ours among them) take them.
/// All encodings of y of the eight points whose order divides the cofactor 8, those of y + p included; the sign of x is masked.
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Whether these 32 bytes may be a public key: they are no point of small order. Whether they are a point at all is found out when
/// a signature is verified.
#[must_use]
pub fn is_sound_key(key: &[u8]) -> bool {
    let Some((last, rest)) = key.split_last().filter(|_| key.len() == 32) else { return false };
    let mut text: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push_str(&format!("{:02x}", last & 0x7f));
    !SMALL_ORDER.contains(&text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_small_order_with_either_sign_are_no_keys() {
        for text in SMALL_ORDER {
            let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            let mut key: Vec<u8> = (0..64).step_by(2).map(digits).collect();
            assert!(!is_sound_key(&key), "{text}");
            key[31] |= 0x80;
            assert!(!is_sound_key(&key), "{text} with the sign");
            key[5] ^= 1;
            assert!(is_sound_key(&key), "{text} changed");
        }
        assert!(!is_sound_key(&[7; 31]) && !is_sound_key(&[7; 33]) && !is_sound_key(&[]));
    }
}
