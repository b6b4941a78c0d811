//! Our certificate: self-signed, for our address, new with every agent process. The conductor gets it with the heartbeats and
//! trusts exactly it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use super::IronicError;

/// The conductor's clock may be behind ours by this much (Ironic's agent: `auto_tls_allowed_clock_skew`).
const SKEW: Duration = Duration::from_secs(3600);
/// How long it is good: a ramdisk does not run longer.
const VALID: Duration = Duration::from_secs(30 * 24 * 3600);

/// A certificate and what serves with it.
#[derive(Debug)]
pub(super) struct Certificate {
    /// As the heartbeat carries it.
    pub(super) pem: String,
    /// TLS 1.3 with it: conductors ask for no less.
    pub(super) config: Arc<ServerConfig>,
}

impl Certificate {
    /// Makes one for `ip`.
    ///
    /// # Errors
    /// [`IronicError::Certificate`].
    pub(super) fn for_ip(ip: IpAddr) -> Result<Self, IronicError> {
        make(ip).map_err(|why| IronicError::Certificate { ip, why })
    }
}

fn make(ip: IpAddr) -> Result<Certificate, String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let key = KeyPair::generate().map_err(|error| words(&error))?;
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(|error| words(&error))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "ironwright-agent");
    params.subject_alt_names = vec![SanType::IpAddress(ip)];
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch.saturating_sub(SKEW);
    params.not_after = epoch + (since_epoch + VALID);
    let certificate = params.self_signed(&key).map_err(|error| words(&error))?;
    let private = PrivateKeyDer::try_from(key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| words(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .map_err(|error| words(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Certificate { pem: certificate.pem(), config: Arc::new(config) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_for_either_kind_of_address() {
        for ip in ["127.0.0.1", "2001:db8::1"] {
            let certificate = Certificate::for_ip(ip.parse().unwrap()).unwrap();
            assert!(certificate.pem.starts_with("-----BEGIN CERTIFICATE-----"));
        }
    }
}
