//! TLS to the coordinator, pinned to the certificate named on the kernel command line.
//!
//! The pin is the SHA-256 of the exact certificate (DER), so neither names nor dates nor a certificate authority matter:
//! a machine's clock may be wrong, and standalone servers' self-signed `CA:TRUE` certificates, which rustls refuses as
//! a server's own, are accepted. The handshake's signature is always checked: the certificate alone is public.

mod verifier;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ironwright_api::ImageAccess;
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
    /// A proxy's address.
    #[error("cannot use the image's proxy")]
    Proxy(#[source] reqwest::Error),
    /// A proxy that is not spoken to.
    #[error("the image's proxy must be an http or https URL, its scheme is {scheme:?}")]
    ProxyScheme {
        /// What it begins with; the rest may hold a password.
        scheme: String,
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
    one_server(Pinned::new(pin, None), timeout)
}

/// A client for the API of an Ironic of somebody else's, which pins nothing: trusts what the authorities in `bundle` vouch for, or
/// with `insecure` (`ipa-insecure`) everybody.
///
/// # Errors
/// [`TlsError`].
pub fn ironic_client(
    bundle: &Path,
    insecure: bool,
    timeout: Duration,
) -> Result<reqwest::Client, TlsError> {
    let verifier = match insecure {
        true => Pinned::anybody(),
        false => Pinned::new(None, authorities(bundle)?),
    };
    one_server(verifier, timeout)
}

fn one_server(verifier: Pinned, timeout: Duration) -> Result<reqwest::Client, TlsError> {
    builder(verifier)?
        .timeout(timeout)
        // A redirect would carry the token elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(TlsError::Client)
}

/// A client for the coordinator's larger files: as [`coordinator_client`], but only silence ends it, not the time that a whole
/// file takes.
///
/// # Errors
/// [`TlsError`].
pub fn file_client(pin: Option<[u8; 32]>, silence: Duration) -> Result<reqwest::Client, TlsError> {
    builder(Pinned::new(pin, None))?
        .connect_timeout(silence)
        .read_timeout(silence)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(TlsError::Client)
}

/// A client for image servers: trusts the pinned certificate (a coordinator that serves images itself) and what the
/// authorities in `bundle` vouch for, if that file exists, and those that `access` adds; goes through its proxies. The
/// image's digest protects it either way.
///
/// # Errors
/// [`TlsError`].
pub fn image_client(
    pin: Option<[u8; 32]>,
    bundle: &Path,
    access: &ImageAccess,
) -> Result<reqwest::Client, TlsError> {
    let mut roots = authorities(bundle)?;
    if let Some(pem) = &access.ca_pem {
        let own = parse(pem.as_bytes(), "the image's own authorities")?;
        let why = || "there is no certificate in it".to_owned();
        let own = own.ok_or_else(|| TlsError::Bundle {
            path: "the image's own authorities".into(),
            why: why(),
        })?;
        roots.get_or_insert_with(RootCertStore::empty).roots.extend(own.roots);
    }
    let mut builder = builder(Pinned::new(pin, roots))?.connect_timeout(Duration::from_secs(30));
    for proxy in proxies(access)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(TlsError::Client)
}

/// The proxies of `access`, each with its exceptions.
fn proxies(access: &ImageAccess) -> Result<Vec<reqwest::Proxy>, TlsError> {
    let except = access.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
    for proxy in [&access.http_proxy, &access.https_proxy].into_iter().flatten() {
        let scheme = proxy.split_once("://").map_or("", |(scheme, _)| scheme);
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(TlsError::ProxyScheme { scheme: scheme.chars().take(16).collect() });
        }
    }
    let http = access.http_proxy.as_deref().map(reqwest::Proxy::http);
    let https = access.https_proxy.as_deref().map(reqwest::Proxy::https);
    let with = |proxy: reqwest::Result<reqwest::Proxy>| {
        // The URL may hold a password.
        proxy
            .map(|proxy| proxy.no_proxy(except.clone()))
            .map_err(|error| TlsError::Proxy(error.without_url()))
    };
    [http, https].into_iter().flatten().map(with).collect()
}

fn builder(verifier: Pinned) -> Result<reqwest::ClientBuilder, TlsError> {
    let config = client_config(verifier)?;
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        // A URL may carry a signature: it is nobody's business where a redirect leads.
        .referer(false)
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
    parse(&pem, &bundle.display().to_string())
}

/// The certificates in `pem`, if there are any; `path` names it in errors.
fn parse(pem: &[u8], path: &str) -> Result<Option<RootCertStore>, TlsError> {
    let refuse = |why: String| TlsError::Bundle { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
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
        image_client(None, missing, &ImageAccess::default()).unwrap();
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
