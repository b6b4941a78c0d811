//! The key with which this coordinator countersigns, made at its first start; and the check of any signature.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ironwright_api::{Seal, SignedCertificate, is_sound_key};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// The key's file in the state directory: PKCS#8 (RFC 8410, RFC 5958), for its owner only.
const KEY_FILE: &str = "certificate-key.p8";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What is in the file is no key.
    #[error(
        "{} is not the key that certificates are countersigned with ({why}); restore it from a copy, or remove it to \
         have a new one made: certificates signed before then verify only with the old public key",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: ring::error::KeyRejected,
    },
    /// The kernel gives no random bytes.
    #[error("cannot make a key: the kernel gives no random bytes")]
    Random,
}

/// The coordinator's own key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads the key in `state_dir`.
    ///
    /// # Errors
    ///
    /// [`KeyError`], also when there is none.
    pub fn load(state_dir: &Path) -> Result<Self, KeyError> {
        let path = state_dir.join(KEY_FILE);
        match std::fs::read(&path) {
            Ok(document) => Self::read(&path, &document),
            Err(source) => Err(KeyError::File { what: "read", path, source }),
        }
    }

    /// Reads the key in `state_dir`, or makes it.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn load_or_make(state_dir: &Path) -> Result<Self, KeyError> {
        match Self::load(state_dir) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        let path = state_dir.join(KEY_FILE);
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        keep(&path, document.as_ref()).map_err(|source| KeyError::File {
            what: "write",
            path: path.clone(),
            source,
        })?;
        Self::read(&path, document.as_ref())
    }

    fn read(path: &Path, document: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(document)
            .map_err(|why| KeyError::Unusable { path: path.to_owned(), why })?;
        Ok(Self { pair })
    }

    /// The public half, 64 hexadecimal digits.
    #[must_use]
    pub fn public(&self) -> String {
        hex(self.pair.public_key().as_ref())
    }

    /// Vouches for a certificate that was accepted. The same certificate gets the same signature each time (RFC 8032).
    ///
    /// # Errors
    ///
    /// serde's, when the certificate has no text: one that was accepted has.
    pub fn countersign(&self, signed: &mut SignedCertificate) -> Result<(), serde_json::Error> {
        let text = signed.certificate.countersigned_text(&signed.agent)?;
        let signature = hex(self.pair.sign(text.as_bytes()).as_ref());
        signed.coordinator = Some(Seal { public_key: self.public(), signature });
        Ok(())
    }
}

/// Whether `seal` is a signature of `text` by the key it names.
#[must_use]
pub fn fits(seal: &Seal, text: &str) -> bool {
    // One spelling only: the same signature must not look like two.
    let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !plain(&seal.public_key) || !plain(&seal.signature) {
        return false;
    }
    let (Some(key), Some(signature)) = (bytes(&seal.public_key), bytes(&seal.signature)) else {
        return false;
    };
    // For a key of small order anybody can make a signature that fits.
    is_sound_key(&key)
        && UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), &signature).is_ok()
}

/// Whether `text` has the form of a public key: 64 lower-case hexadecimal digits.
#[must_use]
pub fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Written whole before it gets its name, so that a killed start leaves no half of a key.
fn keep(path: &Path, document: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let next = path.with_extension("next");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(document)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    OpenOptions::new().read(true).open(dir)?.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || text.len() % 2 == 1 {
        return None;
    }
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_private_and_stays_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("state");
        assert!(SigningKey::load(&dir).is_err());
        let key = SigningKey::load_or_make(&dir).unwrap().public();
        assert_eq!(SigningKey::load_or_make(&dir).unwrap().public(), key);
        assert_eq!(SigningKey::load(&dir).unwrap().public(), key);
        assert!(is_key(&key));
        let mode = dir.join(KEY_FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(dir.join(KEY_FILE), b"x").unwrap();
        let error = SigningKey::load_or_make(&dir).unwrap_err().to_string();
        assert!(error.contains("restore it from a copy"), "{error}");
    }

    #[test]
    fn a_key_for_which_anybody_can_sign_everything_is_refused() {
        // R is the base point (RFC 8032, 5.1) and S is 1: with the neutral element as the key that is a signature of every text.
        let neutral = format!("01{}", "00".repeat(31));
        let signature = format!("58{}01{}", "66".repeat(31), "00".repeat(31));
        let (key, signed) = (bytes(&neutral).unwrap(), bytes(&signature).unwrap());
        assert!(UnparsedPublicKey::new(&ED25519, key).verify(b"any text", &signed).is_ok());
        assert!(!fits(&Seal { public_key: neutral, signature }, "any text"));
    }

    #[test]
    fn nonsense_is_no_signature_and_no_key() {
        for (key, signature) in [("", ""), ("zz", "00"), ("é0", "0"), ("00", "00")] {
            let seal = Seal { public_key: key.into(), signature: signature.into() };
            assert!(!fits(&seal, "text"), "{key:?}");
            assert!(!is_key(key));
        }
    }
}
