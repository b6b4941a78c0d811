//! TLS to the coordinator, pinned to the certificate named on the kernel command line.
//!
//! The pin is the SHA-256 of the exact certificate (DER), so neither names nor dates nor a certificate authority matter:
//! a machine's clock may be wrong, and standalone servers' self-signed `CA:TRUE` certificates, which rustls refuses as
//! a server's own, are accepted. The handshake's signature is always checked: the certificate alone is public.

mod verifier;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use verifier::Pinned;

/// Where a ramdisk (and Debian) keeps its certificate authorities.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The cryptography provider refused its own protocol versions.
    #[error("cannot set up TLS")]
    Protocol(#[source] rustls::Error),
    /// The certificate authorities could not be read.
    #[error("cannot use the certificate authorities in {path}: {why}")]
    Bundle {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The HTTP client could not be made.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A client that trusts exactly the certificate whose SHA-256 is `pin`; without a pin no https server at all (plain
/// http works either way: what is sent over it is the server's decision). `timeout` is for a whole request.
///
/// # Errors
/// [`TlsError`].
pub fn coordinator_client(
    pin: Option<[u8; 32]>,
    timeout: Duration,
) -> Result<reqwest::Client, TlsError> {
    builder(Pinned::new(pin, None))?
        .timeout(timeout)
        // A redirect would carry the token elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(TlsError::Client)
}

/// A client for image servers: trusts the pinned certificate (a coordinator that serves images itself) and what the
/// authorities in `bundle` vouch for, if that file exists. The image's digest protects it either way.
///
/// # Errors
/// [`TlsError`].
pub fn image_client(pin: Option<[u8; 32]>, bundle: &Path) -> Result<reqwest::Client, TlsError> {
    let roots = authorities(bundle)?;
    builder(Pinned::new(pin, roots))?
        .connect_timeout(Duration::from_secs(30))
        .build()
        .map_err(TlsError::Client)
}

fn builder(verifier: Pinned) -> Result<reqwest::ClientBuilder, TlsError> {
    let config = client_config(verifier)?;
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        // Proxies of the environment are a developer's, never a machine's.
        .no_proxy()
        .user_agent(concat!("ironwright-agent/", env!("CARGO_PKG_VERSION"))))
}

fn client_config(verifier: Pinned) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Protocol)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn authorities(bundle: &Path) -> Result<Option<RootCertStore>, TlsError> {
    let refuse = |why: String| TlsError::Bundle { path: bundle.display().to_string(), why };
    let pem = match std::fs::read(bundle) {
        Ok(pem) => pem,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add_parsable_certificates([certificate]);
    }
    Ok((!roots.is_empty()).then_some(roots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_bundle_is_no_authorities_and_a_client_is_still_made() {
        let missing = Path::new("/nonexistent/ca.crt");
        assert!(authorities(missing).unwrap().is_none());
        image_client(None, missing).unwrap();
        coordinator_client(Some([0; 32]), Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn a_broken_bundle_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let error = authorities(file.path()).unwrap_err();
        assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    }
}
