//! Signs certificates with a key that lives as long as this boot.
//!
//! The key is made when the first agent process of a boot starts and kept beside the journal (`/run` in the ramdisk:
//! memory, gone with the boot), so that a restarted agent signs with the same one. Its public half goes out with every
//! heartbeat; the coordinator registers the first it gets with the boot's token.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironwright_api::{Certificate, Seal, SignedCertificate};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The key's file in the run directory: PKCS#8 (RFC 8410, RFC 5958), for its owner only.
const KEY_FILE: &str = "erase-key.p8";

/// A certificate could not be signed, or the key for it not be had.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No key could be made: the kernel gives no random bytes.
    #[error("making the key that signs erase certificates")]
    Make,
    /// What is in the key's file is no key.
    #[error("the erase key {} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: ring::error::KeyRejected,
    },
    /// The key's file could not be read or written.
    #[error("{op} the erase key {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `reading` or `writing`.
        op: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The certificate has no text.
    #[error("putting the certificate of {disk} into text")]
    Text {
        /// The disk.
        disk: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// Who signs for this boot.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

/// Who signs for this boot, and what its certificates say about where they come from.
#[derive(Debug, Clone)]
pub struct Notary {
    /// The node this machine is; nil for an erase by hand.
    pub node_uuid: Uuid,
    /// This boot; nil for an erase by hand.
    pub boot_id: Uuid,
    /// The key.
    pub signer: Arc<Signer>,
}

impl Notary {
    /// For an erase by hand.
    ///
    /// # Errors
    /// [`SignError::Make`].
    pub fn by_hand() -> Result<Self, SignError> {
        let signer = Arc::new(Signer::ephemeral()?);
        Ok(Self { node_uuid: Uuid::nil(), boot_id: Uuid::nil(), signer })
    }
}

impl Signer {
    /// A key of this process only, for an erase by hand: nothing registers it, so it proves no more than that the
    /// certificate was not changed.
    ///
    /// # Errors
    /// [`SignError::Make`].
    pub fn ephemeral() -> Result<Self, SignError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| SignError::Make)?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| SignError::Make)?;
        Ok(Self { pair })
    }

    /// The key of this boot, kept in `run_dir`: an earlier process's, or a new one.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn of_boot(run_dir: &Path) -> Result<Self, SignError> {
        let path = run_dir.join(KEY_FILE);
        match std::fs::read(&path).map(Zeroizing::new) {
            Ok(document) => Ed25519KeyPair::from_pkcs8(&document)
                .map(|pair| Self { pair })
                .map_err(|why| SignError::Damaged { path, why }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(&path),
            Err(source) => Err(SignError::File { path, op: "reading", source }),
        }
    }

    fn make(path: &Path) -> Result<Self, SignError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| SignError::Make)?;
        keep(path, document.as_ref()).map_err(|source| SignError::File {
            path: path.to_owned(),
            op: "writing",
            source,
        })?;
        Ed25519KeyPair::from_pkcs8(document.as_ref())
            .map(|pair| Self { pair })
            .map_err(|why| SignError::Damaged { path: path.to_owned(), why })
    }

    /// The public half, 64 hexadecimal digits: what goes out with heartbeats.
    #[must_use]
    pub fn public_key(&self) -> String {
        hex(self.pair.public_key().as_ref())
    }

    /// Vouches for `certificate`.
    ///
    /// # Errors
    /// [`SignError::Text`].
    pub fn sign(&self, certificate: Certificate) -> Result<SignedCertificate, SignError> {
        let text = certificate
            .canonical_text()
            .map_err(|source| SignError::Text { disk: certificate.disk.path.clone(), source })?;
        let signature = hex(self.pair.sign(text.as_bytes()).as_ref());
        let agent = Seal { public_key: self.public_key(), signature };
        Ok(SignedCertificate { certificate, agent, coordinator: None })
    }
}

/// Writes the key beside its place and renames it, so that a killed agent leaves no half of one.
fn keep(path: &Path, document: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let next = path.with_extension("next");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(document)?;
    file.sync_data()?;
    std::fs::rename(&next, path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ironwright_api::{Category, DiskIdentity, EraseMethod, EraseResult, Verification};
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    fn certificate() -> Certificate {
        Certificate {
            version: ironwright_api::CERTIFICATE_VERSION,
            node_uuid: Uuid::from_u128(1),
            order_id: Uuid::from_u128(2),
            boot_id: Uuid::from_u128(3),
            disk: DiskIdentity { path: "/dev/vda".to_owned(), ..DiskIdentity::default() },
            step: "erase_devices".to_owned(),
            method: EraseMethod::Overwrite,
            category: Category::Clear,
            passed_over: Vec::new(),
            device_log: std::collections::BTreeMap::new(),
            started: "2026-01-01T00:00:00Z".to_owned(),
            ended: "2026-01-01T00:01:00Z".to_owned(),
            verification: Verification::default(),
            result: EraseResult::Erased,
            agent_version: "0".to_owned(),
        }
    }

    fn bytes(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn a_restarted_agent_signs_with_the_same_key_and_another_boot_with_another() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = one.path().join("run");
        let first = Signer::of_boot(&dir).unwrap();
        assert_eq!(first.public_key(), Signer::of_boot(&dir).unwrap().public_key());
        assert_ne!(first.public_key(), Signer::of_boot(two.path()).unwrap().public_key());
        let mode = std::fs::metadata(dir.join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(first.public_key().len(), 64);
    }

    #[test]
    fn a_signature_fits_its_certificate_and_no_other() {
        let signed = Signer::ephemeral().unwrap().sign(certificate()).unwrap();
        let key = UnparsedPublicKey::new(&ED25519, bytes(&signed.agent.public_key));
        let signature = bytes(&signed.agent.signature);
        let text = signed.certificate.canonical_text().unwrap();
        key.verify(text.as_bytes(), &signature).unwrap();
        let changed = Certificate { category: Category::Purge, ..signed.certificate };
        key.verify(changed.canonical_text().unwrap().as_bytes(), &signature).unwrap_err();
    }

    #[test]
    fn a_damaged_key_is_said_and_not_replaced_and_no_debug_output_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(KEY_FILE), b"nonsense").unwrap();
        let error = Signer::of_boot(dir.path()).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        let signer = Signer::ephemeral().unwrap();
        assert_eq!(
            format!("{signer:?}"),
            format!("Signer {{ public_key: {:?}, .. }}", signer.public_key())
        );
    }
}
