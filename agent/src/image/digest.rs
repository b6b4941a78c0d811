//! The digest of the file as served: what it must be, and what it is.

use std::sync::Arc;

use bytes::Bytes;
use ironwright_api::{Blame, Checksum, ChecksumAlgorithm};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256, Sha512};
use tokio::sync::mpsc;

use super::error::ImageError;
use super::http::Http;
use super::source::{SourceError, fetch_small, public_url};
use super::thread::{Fate, Worker};
use super::tuning::Tuning;

/// A checksum file is a few lines; more is something else.
const MAX_CHECKSUM_FILE_BYTES: usize = 1 << 20;

/// Why the expected digest cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// Not a digest of the algorithm.
    #[error("{value:?} is no {algorithm}: it has {digits} hexadecimal digits")]
    Malformed {
        /// As found, shortened.
        value: String,
        /// `sha256` or `sha512`.
        algorithm: &'static str,
        /// Digits it must have.
        digits: usize,
    },
    /// The checksum file cannot be had.
    #[error("cannot fetch the checksum file")]
    Fetch(#[from] SourceError),
    /// The checksum file says two things about the image.
    #[error("{url} has more than one {algorithm} of {names}, and they differ")]
    Several {
        /// The checksum file.
        url: String,
        /// `sha256` or `sha512`.
        algorithm: &'static str,
        /// File names looked for.
        names: String,
    },
    /// The checksum file says nothing about the image.
    #[error("{url} has no {algorithm} of {names}")]
    Missing {
        /// The checksum file.
        url: String,
        /// `sha256` or `sha512`.
        algorithm: &'static str,
        /// File names looked for.
        names: String,
    },
}

impl DigestError {
    pub(super) fn blame(&self) -> Blame {
        match self {
            Self::Malformed { .. } | Self::Missing { .. } | Self::Several { .. } => Blame::Order,
            Self::Fetch(error) => error.blame(),
        }
    }

    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Malformed { algorithm, .. } => {
                format!(
                    "give the {algorithm} of the image file in hexadecimal, or an http(s) URL of a checksum file"
                )
            }
            Self::Fetch(error) => error.remedy(),
            Self::Several { .. } => "give the digest itself in the order".into(),
            Self::Missing { .. } => {
                "name the image's file in the checksum file, or give the digest itself in the order"
                    .into()
            }
        }
    }
}

/// The digest the order expects, lowercase hexadecimal; fetched when the order names a URL.
pub(super) async fn expected(
    checksum: &Checksum,
    urls: &[String],
    http: &Http,
    tuning: &Tuning,
) -> Result<String, DigestError> {
    let value = checksum.value.trim();
    if !is_address(value) {
        return parse_hex(value, checksum.algorithm);
    }
    let body = fetch_small(http, value, MAX_CHECKSUM_FILE_BYTES, tuning).await?;
    let names: Vec<String> = urls.iter().filter_map(|url| file_name(url)).collect();
    let text = String::from_utf8_lossy(&body);
    let (url, algorithm) = (public_url(value), checksum.algorithm.name());
    let mut found = find_digests(&text, &names, checksum.algorithm);
    found.dedup();
    match found.len() {
        0 => Err(DigestError::Missing { url, algorithm, names: names.join(", ") }),
        1 => Ok(found.remove(0)),
        _ => Err(DigestError::Several { url, algorithm, names: names.join(", ") }),
    }
}

/// Whether a checksum is the address of one.
pub(crate) fn is_address(value: &str) -> bool {
    let scheme = value.split_once("://").map_or("", |(scheme, _)| scheme);
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

fn parse_hex(value: &str, algorithm: ChecksumAlgorithm) -> Result<String, DigestError> {
    if is_digest(value, algorithm) {
        return Ok(value.to_ascii_lowercase());
    }
    Err(DigestError::Malformed {
        value: value.chars().take(140).collect(),
        algorithm: algorithm.name(),
        digits: algorithm.hex_len(),
    })
}

fn is_digest(value: &str, algorithm: ChecksumAlgorithm) -> bool {
    value.len() == algorithm.hex_len() && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The last path segment of a URL, as a file is called.
fn file_name(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty())?;
    Some(percent_decode_str(name).decode_utf8_lossy().into_owned())
}

/// The digests of `names` in a checksum file, ascending: a bare digest, `HEX  name`, `HEX *name`, `SHA256 (name) = HEX`; other lines
/// (comments, signatures, other algorithms) say nothing. A name without a folder is nearer than one in some folder.
fn find_digests(text: &str, names: &[String], algorithm: ChecksumAlgorithm) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}');
    let lines =
        || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for (name, digest) in lines().filter_map(|line| named_digest(line, algorithm)) {
        let name = name.strip_prefix("./").unwrap_or(&name);
        let last = name.rsplit('/').next().unwrap_or(name);
        if names.iter().any(|known| known == last) {
            let found = if last == name { &mut near } else { &mut far };
            found.push(digest.to_ascii_lowercase());
        }
    }
    let mut found = if near.is_empty() { far } else { near };
    if found.is_empty() {
        let mut lines = lines();
        let only = lines.next().filter(|line| is_digest(line, algorithm));
        let alone = lines.next().is_none();
        found.extend(only.filter(|_| alone).map(str::to_ascii_lowercase));
    }
    found.sort_unstable();
    found
}

/// `(name, digest)` of one line.
fn named_digest(line: &str, algorithm: ChecksumAlgorithm) -> Option<(String, &str)> {
    // A leading backslash says that the name is escaped (coreutils, "sha2 utilities").
    let (line, escaped) = line.strip_prefix('\\').map_or((line, false), |line| (line, true));
    let plain = |name: &str| match escaped {
        true => name.replace("\\n", "\n").replace("\\\\", "\\"),
        false => name.to_owned(),
    };
    if let Some((digest, rest)) = line.split_once(char::is_whitespace)
        && is_digest(digest, algorithm)
    {
        let rest = rest.trim_start();
        return Some((plain(rest.strip_prefix('*').unwrap_or(rest)), digest));
    }
    let (head, digest) = line.rsplit_once('=')?;
    let (label, rest) = head.trim().split_once('(')?;
    let name = rest.trim().strip_suffix(')')?;
    let digest = digest.trim();
    let label_fits = label.trim().eq_ignore_ascii_case(algorithm.name());
    (label_fits && is_digest(digest, algorithm)).then(|| (plain(name), digest))
}

/// A running digest.
#[derive(Debug)]
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// The thread that hashes the body in file order; it ends when its channel does.
pub(super) fn start_hasher(
    algorithm: ChecksumAlgorithm,
    mut body: mpsc::Receiver<Bytes>,
    fate: &Arc<Fate>,
) -> Result<Worker<String>, ImageError> {
    Worker::start("image-hash", fate, move || {
        let mut hasher = match algorithm {
            ChecksumAlgorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            ChecksumAlgorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        };
        while let Some(chunk) = body.blocking_recv() {
            match &mut hasher {
                Hasher::Sha256(hasher) => hasher.update(&chunk),
                Hasher::Sha512(hasher) => hasher.update(&chunk),
            }
        }
        match hasher {
            Hasher::Sha256(hasher) => hex(&hasher.finalize()),
            Hasher::Sha512(hasher) => hex(&hasher.finalize()),
        }
    })
}

/// Lowercase hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('?'));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_found_in_every_common_checksum_file() {
        let digest = "0123456789abcdef".repeat(4);
        let other = "f".repeat(64);
        let upper = digest.to_uppercase();
        let sha512 = "a".repeat(128);
        for (text, expected) in [
            (digest.clone(), true),
            (format!("\n{upper}\n"), true),
            (format!("{other}  other.img\n{digest}  debian.qcow2\n"), true),
            (format!("{digest} *debian.qcow2\n"), true),
            (format!("{digest}  ./dir/debian.qcow2\r\n"), true),
            (format!("# debian.qcow2: 12 bytes\nSHA256 (debian.qcow2) = {digest}\n"), true),
            (
                format!(
                    "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSHA256 (debian.qcow2) = {digest}\n"
                ),
                true,
            ),
            (format!("SHA512 (debian.qcow2) = {sha512}\n{digest}  debian.qcow2"), true),
            (format!("{other}\n{digest}\n"), false),
            (format!("{digest}  debian.qcow2.torrent\n"), false),
            (format!("MD5 (debian.qcow2) = {digest}\n"), false),
            (sha512.clone(), false),
            (String::new(), false),
        ] {
            let found = find_digests(&text, &names(), ChecksumAlgorithm::Sha256);
            assert_eq!(found.first().cloned(), expected.then(|| digest.clone()), "{text}");
            assert!(found.len() < 2, "{text}");
        }
    }

    fn names() -> Vec<String> {
        vec!["debian.qcow2".to_owned()]
    }

    #[test]
    fn a_name_without_a_folder_is_nearer_and_two_digests_of_one_name_are_both_seen() {
        let (one, other) = ("1".repeat(64), "2".repeat(64));
        let find = |text: &str| find_digests(text, &names(), ChecksumAlgorithm::Sha256);
        assert_eq!(
            find(&format!("{other}  old/debian.qcow2\n{one}  debian.qcow2\n")),
            std::slice::from_ref(&one)
        );
        let both = find(&format!("{other}  debian.qcow2\n{one} *./debian.qcow2\n"));
        assert_eq!(both, [one.clone(), other]);
        assert_eq!(find(&format!("\u{feff}{one}  debian.qcow2\n")), std::slice::from_ref(&one));
        let odd = vec!["a\\b.qcow2".to_owned()];
        let line = format!("\\{one}  a\\\\b.qcow2\n");
        assert_eq!(find_digests(&line, &odd, ChecksumAlgorithm::Sha256), [one]);
    }

    #[test]
    fn a_digest_of_the_wrong_length_is_refused_by_name() {
        let error = parse_hex("abc", ChecksumAlgorithm::Sha256).unwrap_err();
        assert_eq!(error.to_string(), "\"abc\" is no sha256: it has 64 hexadecimal digits");
    }

    #[test]
    fn file_names_come_without_query() {
        assert_eq!(file_name("http://h/a/b.qcow2?sig=1").as_deref(), Some("b.qcow2"));
        assert_eq!(file_name("http://h/my%20image.qcow2").as_deref(), Some("my image.qcow2"));
        assert_eq!(file_name("http://h/"), None);
    }
}
