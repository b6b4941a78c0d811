//! Who may sign plugins: Ed25519 (RFC 8032), the private key a file that stays with its owner, the public ones in the ramdisk.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use ironwright_api::PLUGIN_KEYS_DIR as TRUSTED;
use ironwright_api::is_sound_key;

/// First words of the key files: what they are, and the version of their form.
const PUBLIC: &str = ironwright_api::PLUGIN_PUBLIC_KEY;
const PRIVATE: &str = "ironwright-plugin-private-key-1";
/// Key files are one short line.
const MAX_FILE: u64 = 4096;

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The kernel gives no random bytes.
    #[error("making a key")]
    Make,
    /// A file could not be read or written.
    #[error("{op} the key {}", path.display())]
    File {
        /// `reading`, `writing`.
        op: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// What is in the file is no such key.
    #[error("{} is not a key of this kind: it must be one line, `{kind} BASE64`", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// The first word expected.
        kind: &'static str,
    },
    /// A point for which anybody can make signatures.
    #[error(
        "{} holds a point of small order, for which anybody can sign anything: make a key with `plugin keygen -o FILE`",
        path.display()
    )]
    Weak {
        /// Which.
        path: PathBuf,
    },
}

fn file_error(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_path_buf();
    move |source| KeyError::File { op, path, source }
}

/// A private key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a key: the private half in the new file `path` for its owner only, the public half in `path`.pub.
    ///
    /// # Errors
    /// [`KeyError`]; an existing file is never replaced.
    pub fn make(path: &Path) -> Result<Self, KeyError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Make)?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| KeyError::Make)?;
        let text = Zeroizing::new(format!("{PRIVATE} {}\n", STANDARD.encode(document.as_ref())));
        let write = |path: &Path, mode: u32, text: &str| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(file_error("writing", path))
        };
        let mut public = path.as_os_str().to_owned();
        public.push(".pub");
        let line = format!("{PUBLIC} {}\n", STANDARD.encode(pair.public_key().as_ref()));
        // The private half last: a key that was not made whole is not there.
        write(Path::new(&public), 0o644, &line)?;
        write(path, 0o600, &text).inspect_err(|_| {
            std::fs::remove_file(&public).ok();
        })?;
        Ok(Self { pair })
    }

    /// Reads a private key that [`SigningKey::make`] wrote.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let document = Zeroizing::new(parse(path, PRIVATE)?);
        let wrong = |_| KeyError::Form { path: path.to_path_buf(), kind: PRIVATE };
        Ed25519KeyPair::from_pkcs8(&document).map(|pair| Self { pair }).map_err(wrong)
    }

    /// Names the key: the first 16 hexadecimal digits of the SHA-256 of its public half.
    #[must_use]
    pub fn id(&self) -> String {
        id(self.pair.public_key().as_ref())
    }

    /// Signs `message`, base64.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(message).as_ref())
    }
}

/// The public keys whose bundles may run.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys(Vec<Vec<u8>>);

impl TrustedKeys {
    /// Reads public key files; a folder stands for the `*.pub` files in it.
    ///
    /// # Errors
    /// [`KeyError`]: one bad key refuses all, so that a damaged file is noticed.
    pub fn read(paths: &[PathBuf]) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for path in paths {
            if !path.is_dir() {
                keys.push(public(path)?);
                continue;
            }
            for entry in fs::read_dir(path).map_err(file_error("reading", path))? {
                let file = entry.map_err(file_error("reading", path))?.path();
                if file.extension().is_some_and(|extension| extension == "pub") {
                    keys.push(public(&file)?);
                }
            }
        }
        Ok(Self(keys))
    }

    /// The identifiers of the keys.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.0.iter().map(|key| id(key)).collect()
    }

    /// Whether the key `key_id` is here, and if so whether it made `signature` (base64) over `message`.
    #[must_use]
    pub fn verify(&self, key_id: &str, message: &[u8], signature: &str) -> Option<bool> {
        let key = self.0.iter().find(|key| id(key) == key_id)?;
        let signature = STANDARD.decode(signature).unwrap_or_default();
        Some(UnparsedPublicKey::new(&ED25519, key).verify(message, &signature).is_ok())
    }
}

fn public(path: &Path) -> Result<Vec<u8>, KeyError> {
    let key = parse(path, PUBLIC)?;
    // RFC 8032, 5.1.5: a public key is 32 bytes.
    if key.len() != 32 {
        return Err(KeyError::Form { path: path.to_path_buf(), kind: PUBLIC });
    }
    if is_sound_key(&key) { Ok(key) } else { Err(KeyError::Weak { path: path.to_path_buf() }) }
}

fn parse(path: &Path, kind: &'static str) -> Result<Vec<u8>, KeyError> {
    let wrong = || KeyError::Form { path: path.to_path_buf(), kind };
    let size = fs::metadata(path).map_err(file_error("reading", path))?.len();
    if size > MAX_FILE {
        return Err(wrong());
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(file_error("reading", path))?);
    let mut words = text.split_whitespace();
    if words.next() != Some(kind) {
        return Err(wrong());
    }
    words.next().and_then(|word| STANDARD.decode(word).ok()).ok_or_else(wrong)
}

fn id(public_key: &[u8]) -> String {
    let digest = Sha256::digest(public_key);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_signs_and_its_public_file_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("author");
        let id = SigningKey::make(&path).unwrap().id();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(SigningKey::make(&path).is_err(), "an existing key is never replaced");
        let key = SigningKey::read(&path).unwrap();
        assert_eq!(key.id(), id);
        let trusted = TrustedKeys::read(&[dir.path().to_path_buf()]).unwrap();
        assert_eq!(trusted.ids(), std::slice::from_ref(&id));
        let signature = key.sign(b"message");
        assert_eq!(trusted.verify(&id, b"message", &signature), Some(true));
        assert_eq!(trusted.verify(&id, b"massage", &signature), Some(false));
        assert_eq!(trusted.verify(&id, b"message", "nonsense"), Some(false));
        assert_eq!(trusted.verify("0000", b"message", &signature), None);
    }

    #[test]
    fn a_key_for_which_anybody_can_sign_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weak.pub");
        let mut neutral = [0; 32];
        neutral[0] = 1;
        fs::write(&path, format!("{PUBLIC} {}\n", STANDARD.encode(neutral))).unwrap();
        let error = TrustedKeys::read(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(error.contains("weak.pub holds a point of small order"), "{error}");
    }

    #[test]
    fn other_files_are_refused_with_what_they_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        SigningKey::make(&path).unwrap();
        // The private half given as a trusted key, and the reverse.
        let error = TrustedKeys::read(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(error.contains("ironwright-plugin-public-key-1 BASE64"), "{error}");
        let error = SigningKey::read(&dir.path().join("key.pub")).unwrap_err().to_string();
        assert!(error.contains("ironwright-plugin-private-key-1 BASE64"), "{error}");
    }
}
