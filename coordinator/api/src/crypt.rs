//! Passwords of rescue systems as `crypt(3)` takes them: SHA-512 crypt (Ulrich Drepper, "Unix crypt using SHA-256 and
//! SHA-512", version 0.6). Here because both sides make them: the coordinator, and the agent for a conductor that sends a
//! password in clear.

use sha2::{Digest as _, Sha512};

/// Rounds: about a tenth of a second on a server.
const ROUNDS: u32 = 100_000;
/// Rounds of a hash that names none.
#[cfg(test)]
const USUAL_ROUNDS: u32 = 5000;
/// Bytes of salt that count.
const SALT_MAX: usize = 16;
/// The alphabet of crypt's base 64.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Hashes a password with a salt of its own; `$6$rounds=…$salt$…`.
#[must_use]
pub fn hash_password(password: &str) -> String {
    let salt: String = (0..SALT_MAX)
        .map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>() & 63)]))
        .collect();
    let encoded = encode(&digest(password.as_bytes(), salt.as_bytes(), ROUNDS));
    format!("$6$rounds={ROUNDS}${salt}${encoded}")
}

/// Whether a text can stand in a shadow file as a hash that some password fits: a method that is no weaker than SHA-256
/// crypt, and nothing that would end the field or the line.
#[must_use]
pub fn is_password_hash(hash: &str) -> bool {
    let method = hash.strip_prefix('$').and_then(|rest| rest.split_once('$'));
    let strong = |method: &str| matches!(method, "5" | "6" | "2a" | "2b" | "2y" | "y" | "gy" | "7");
    let plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b':' | b'!' | b'*' | b';' | b'\\');
    method.is_some_and(|(method, rest)| strong(method) && rest.contains('$'))
        && (24..=512).contains(&hash.len())
        && hash.bytes().all(plain)
}

/// `bytes` again and again up to `length`.
fn repeated(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(length).collect()
}

/// The digest, steps 1 to 21 of the specification.
fn digest(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 64] {
    let salt = salt.get(..SALT_MAX).unwrap_or(salt);
    let alternate =
        Sha512::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut first = Sha512::new().chain_update(password).chain_update(salt);
    first.update(repeated(&alternate, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        if bits & 1 == 1 {
            first.update(alternate);
        } else {
            first.update(password);
        }
        bits >>= 1;
    }
    let mut result: [u8; 64] = first.finalize().into();
    let mut many = Sha512::new();
    for _ in 0..password.len() {
        many.update(password);
    }
    let of_password = repeated(&many.finalize(), password.len());
    let mut many = Sha512::new();
    for _ in 0..16 + usize::from(result[0]) {
        many.update(salt);
    }
    let of_salt = repeated(&many.finalize(), salt.len());
    for round in 0..rounds {
        let mut next = Sha512::new();
        if round & 1 == 1 {
            next.update(&of_password);
        } else {
            next.update(result);
        }
        if !round.is_multiple_of(3) {
            next.update(&of_salt);
        }
        if !round.is_multiple_of(7) {
            next.update(&of_password);
        }
        if round & 1 == 1 {
            next.update(result);
        } else {
            next.update(&of_password);
        }
        result = next.finalize().into();
    }
    result
}

/// Step 22: triples of bytes, 21 apart, as four characters each, the lowest bits first; the last byte as two.
fn encode(digest: &[u8; 64]) -> String {
    let mut text = String::with_capacity(86);
    let mut put = |mut bits: u32, characters: usize| {
        for _ in 0..characters {
            text.push(char::from(ALPHABET[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    for triple in 0..21 {
        let at = |step: usize| u32::from(digest[(triple * 22 + step * 21) % 63]);
        put(at(0) << 16 | at(1) << 8 | at(2), 4);
    }
    put(u32::from(digest[63]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_examples_come_out() {
        for (salt, rounds, password, expected) in [
            (
                "saltstring",
                USUAL_ROUNDS,
                "Hello world!",
                "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            ),
            (
                "saltstringsaltstring",
                10_000,
                "Hello world!",
                "OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
            ),
        ] {
            assert_eq!(encode(&digest(password.as_bytes(), salt.as_bytes(), rounds)), expected);
        }
    }

    #[test]
    fn a_hash_has_its_own_salt_and_is_one() {
        let (one, two) = (hash_password("not-a-secret"), hash_password("not-a-secret"));
        assert_ne!(one, two);
        assert!(is_password_hash(&one), "{one}");
        assert!(one.starts_with("$6$rounds=100000$") && !one.contains("not-a-secret"));
    }

    #[test]
    fn what_is_no_hash_does_not_get_into_a_shadow_file() {
        let good = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8";
        assert!(is_password_hash(good));
        for bad in [
            "",
            "secret",
            "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
            "$5$short$x",
            &format!("{good}:0:0"),
            &format!("{good}\nroot::0:0:::"),
            &format!("!{good}"),
            &"$6$".repeat(400),
        ] {
            assert!(!is_password_hash(bad), "{bad}");
        }
    }
}
