//! The coordinator's own key and certificate, made at the first start. Agents pin the certificate's SHA-256.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::settings::Settings;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// `create`, `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// One of the two files is there without the other, or holds something else.
    #[error("{} and {} are not a key and its certificate ({problem}); remove both to have new ones made", key.display(), certificate.display())]
    Unusable {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for {names:?}")]
    Make {
        /// The names it is for.
        names: Vec<String>,
        /// The reason.
        source: rcgen::Error,
    },
}

/// A key and its self-signed certificate.
#[derive(Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    files: (PathBuf, PathBuf),
}

impl Identity {
    /// Reads `tls-key.pem` and `tls-cert.pem` in `state_dir`, or makes them.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn load_or_make(settings: &Settings) -> Result<Self, IdentityError> {
        let files =
            (settings.state_dir.join("tls-key.pem"), settings.state_dir.join("tls-cert.pem"));
        if !files.0.exists() && !files.1.exists() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&settings.state_dir);
            made.map_err(|source| IdentityError::File {
                what: "create",
                path: settings.state_dir.clone(),
                source,
            })?;
            let (key, certificate) = make(&names(settings))?;
            write(&files.0, &key)?;
            write(&files.1, &certificate)?;
        }
        let unusable = |problem: String| IdentityError::Unusable {
            key: files.0.clone(),
            certificate: files.1.clone(),
            problem,
        };
        let key =
            PrivateKeyDer::from_pem_file(&files.0).map_err(|error| unusable(error.to_string()))?;
        let certificate =
            CertificateDer::from_pem_file(&files.1).map_err(|error| unusable(error.to_string()))?;
        Ok(Self { certificate, key, files })
    }

    /// SHA-256 of the certificate (DER), lower-case hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.certificate).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The listener's side of TLS: 1.2 and 1.3, HTTP/1.1.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Unusable`] when key and certificate do not belong together.
    pub fn server_config(&self) -> Result<RustlsConfig, IdentityError> {
        let build = || -> Result<ServerConfig, rustls::Error> {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(config)
        };
        let config = build().map_err(|error| IdentityError::Unusable {
            key: self.files.0.clone(),
            certificate: self.files.1.clone(),
            problem: error.to_string(),
        })?;
        Ok(RustlsConfig::from_config(Arc::new(config)))
    }
}

/// What the certificate is for. Agents pin its hash and do not look at names; other clients may.
fn names(settings: &Settings) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(settings.provisioning.advertise.clone());
    names.extend(settings.provisioning.tls_listen.map(|address| address.ip().to_string()));
    names
}

/// Key and certificate as PEM. Not a certificate authority: rustls refuses those as a server's own.
fn make(names: &[String]) -> Result<(String, String), IdentityError> {
    let generate = || -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(names)?;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "Ironwright coordinator");
        let certificate = parameters.self_signed(&key)?;
        Ok((key.serialize_pem(), certificate.pem()))
    };
    generate().map_err(|source| IdentityError::Make { names: names.to_vec(), source })
}

fn write(path: &Path, text: &str) -> Result<(), IdentityError> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| IdentityError::File { what: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_identity_is_made_once_private_and_stays_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings =
            Settings { state_dir: directory.path().to_owned(), ..Settings::default() };
        settings.provisioning.advertise = Some("10.0.0.1".into());
        let first = Identity::load_or_make(&settings).unwrap();
        let second = Identity::load_or_make(&settings).unwrap();
        assert_eq!(first.sha256(), second.sha256());
        assert_eq!(first.sha256().len(), 64);
        second.server_config().unwrap();
        let mode = first.files.0.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_without_its_certificate_is_refused_with_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { state_dir: directory.path().to_owned(), ..Settings::default() };
        Identity::load_or_make(&settings).unwrap();
        std::fs::remove_file(directory.path().join("tls-cert.pem")).unwrap();
        let error = Identity::load_or_make(&settings).unwrap_err();
        assert!(error.to_string().contains("remove both"), "{error}");
    }
}
