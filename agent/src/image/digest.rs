//! The digest of the file as served: what it must be, and what it is.

use std::sync::Arc;

use bytes::Bytes;
use ironwright_api::{Blame, Checksum, ChecksumAlgorithm};
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
            Self::Malformed { .. } | Self::Missing { .. } => Blame::Order,
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
    if !value.starts_with("http://") && !value.starts_with("https://") {
        return parse_hex(value, checksum.algorithm);
    }
    let body = fetch_small(http, value, MAX_CHECKSUM_FILE_BYTES, tuning).await?;
    let names: Vec<&str> = urls.iter().filter_map(|url| file_name(url)).collect();
    let text = String::from_utf8_lossy(&body);
    find_digest(&text, &names, checksum.algorithm).ok_or_else(|| DigestError::Missing {
        url: public_url(value),
        algorithm: checksum.algorithm.name(),
        names: names.join(", "),
    })
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

/// The last path segment of a URL.
fn file_name(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next()?;
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

/// Finds the digest of one of `names` in a checksum file: a bare digest, `HEX  name`, `HEX *name`,
/// `SHA256 (name) = HEX`; other lines (comments, signatures, other algorithms) say nothing.
fn find_digest(text: &str, names: &[&str], algorithm: ChecksumAlgorithm) -> Option<String> {
    let lines =
        || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let named =
        lines().filter_map(|line| named_digest(line, algorithm)).find_map(|(name, digest)| {
            let name = name.rsplit('/').next().unwrap_or(name);
            names.contains(&name).then_some(digest)
        });
    let bare = || {
        let mut lines = lines();
        let only = lines.next().filter(|line| is_digest(line, algorithm))?;
        lines.next().is_none().then_some(only)
    };
    named.or_else(bare).map(str::to_ascii_lowercase)
}

/// `(name, digest)` of one line.
fn named_digest(line: &str, algorithm: ChecksumAlgorithm) -> Option<(&str, &str)> {
    if let Some((digest, rest)) = line.split_once(char::is_whitespace)
        && is_digest(digest, algorithm)
    {
        let rest = rest.trim_start();
        return Some((rest.strip_prefix('*').unwrap_or(rest), digest));
    }
    let (head, digest) = line.rsplit_once('=')?;
    let (label, rest) = head.trim().split_once('(')?;
    let name = rest.trim().strip_suffix(')')?;
    let digest = digest.trim();
    let label_fits = label.trim().eq_ignore_ascii_case(algorithm.name());
    (label_fits && is_digest(digest, algorithm)).then_some((name, digest))
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
            let found = find_digest(&text, &["debian.qcow2"], ChecksumAlgorithm::Sha256);
            assert_eq!(found, expected.then(|| digest.clone()), "{text}");
        }
    }

    #[test]
    fn a_digest_of_the_wrong_length_is_refused_by_name() {
        let error = parse_hex("abc", ChecksumAlgorithm::Sha256).unwrap_err();
        assert_eq!(error.to_string(), "\"abc\" is no sha256: it has 64 hexadecimal digits");
    }

    #[test]
    fn file_names_come_without_query() {
        assert_eq!(file_name("http://h/a/b.qcow2?sig=1"), Some("b.qcow2"));
        assert_eq!(file_name("http://h/"), None);
    }
}
