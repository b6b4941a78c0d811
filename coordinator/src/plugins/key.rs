//! The public keys of those who may sign plugins: Ed25519 (RFC 8032), one line a file, as `plugin keygen` writes them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ironwright_api::{PLUGIN_PUBLIC_KEY, is_sound_key};
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

/// Key files are one short line.
const MAX_FILE: u64 = 4096;
/// RFC 8032, 5.1.5: bytes of a public key.
const KEY_BYTES: usize = 32;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the plugins' key {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What is in it is no such key.
    #[error(
        "{} is not a public key of plugins: it must be one line, `{PLUGIN_PUBLIC_KEY} BASE64`, as \
         `ironwright-agent plugin keygen` writes it into FILE.pub",
        path.display()
    )]
    Form {
        /// Which.
        path: PathBuf,
    },
    /// A point for which anybody can make signatures.
    #[error(
        "{} holds a point of small order, for which anybody can sign anything: make a key with `ironwright-agent plugin keygen`",
        path.display()
    )]
    Weak {
        /// Which.
        path: PathBuf,
    },
}

/// The keys whose bundles are offered.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys(Vec<Vec<u8>>);

impl TrustedKeys {
    /// Reads the files, each key once.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn read(paths: &[PathBuf]) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for path in paths {
            let key = public(path)?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(Self(keys))
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The identifiers of the keys: the first 16 hexadecimal digits of the SHA-256 of each.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.0.iter().map(|key| id(key)).collect()
    }

    /// Identifier and file of each key.
    pub(super) fn files(&self) -> impl Iterator<Item = (String, String)> {
        let line = |key: &Vec<u8>| format!("{PLUGIN_PUBLIC_KEY} {}\n", STANDARD.encode(key));
        self.0.iter().map(move |key| (id(key), line(key)))
    }

    /// Whether the key `key_id` is here, and if so whether it made `signature` (base64) over `message`.
    pub(super) fn verify(&self, key_id: &str, message: &[u8], signature: &str) -> Option<bool> {
        let key = self.0.iter().find(|key| id(key) == key_id)?;
        let signature = STANDARD.decode(signature).unwrap_or_default();
        Some(UnparsedPublicKey::new(&ED25519, key).verify(message, &signature).is_ok())
    }
}

fn public(path: &Path) -> Result<Vec<u8>, KeyError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    let mut words = text.split_whitespace();
    let key = match (words.next(), words.next()) {
        (Some(PLUGIN_PUBLIC_KEY), Some(word)) => STANDARD.decode(word).ok(),
        _ => None,
    };
    let key = key.filter(|key| key.len() == KEY_BYTES);
    let key = key.ok_or_else(|| KeyError::Form { path: path.to_owned() })?;
    if is_sound_key(&key) { Ok(key) } else { Err(KeyError::Weak { path: path.to_owned() }) }
}

fn id(key: &[u8]) -> String {
    Sha256::digest(key).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_for_which_anybody_can_sign_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weak.pub");
        let mut neutral = [0; KEY_BYTES];
        neutral[0] = 1;
        std::fs::write(&path, format!("{PLUGIN_PUBLIC_KEY} {}\n", STANDARD.encode(neutral)))
            .unwrap();
        let error = TrustedKeys::read(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(error.contains("weak.pub holds a point of small order"), "{error}");
    }
}
