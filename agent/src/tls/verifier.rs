//! The certificate check: exactly the pinned certificate, or what known authorities vouch for.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// Accepts the pinned certificate and, where authorities are given, certificates they vouch for.
#[derive(Debug)]
pub(super) struct Pinned {
    pin: Option<[u8; 32]>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Accept whatever there is.
    anybody: bool,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    pub(super) fn new(pin: Option<[u8; 32]>, roots: Option<RootCertStore>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authorities = roots.and_then(|roots| {
            // Fails only for an empty store, which `authorities()` in the parent never returns.
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .ok()
        });
        Self { pin, authorities, anybody: false, provider }
    }

    /// Accepts every certificate, because the operator said so.
    pub(super) fn anybody() -> Self {
        Self { anybody: true, ..Self::new(None, None) }
    }

    fn refusal(&self, found: &[u8]) -> Error {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let found = hex(found);
        Error::General(match self.pin {
            Some(pin) => format!(
                "the server's certificate has SHA-256 {found}, ironwright.tls pins {}",
                hex(&pin)
            ),
            None => format!(
                "the server's certificate (SHA-256 {found}) is neither pinned nor is there a file of certificate \
                 authorities"
            ),
        })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = Sha256::digest(end_entity.as_ref());
        if self.anybody || self.pin.is_some_and(|pin| found.as_slice() == pin) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.authorities {
            Some(authorities) => authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Err(self.refusal(&found)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    //! Real handshakes, in memory: client and server pass bytes to each other without a socket.

    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use rustls::{ClientConnection, ServerConfig, ServerConnection};

    use super::*;

    const COORDINATOR: &[u8] = include_bytes!("../../testdata/tls/coordinator.der");
    const COORDINATOR_KEY: &[u8] = include_bytes!("../../testdata/tls/coordinator.key.der");
    const STRANGER: &[u8] = include_bytes!("../../testdata/tls/stranger.der");
    const STRANGER_KEY: &[u8] = include_bytes!("../../testdata/tls/stranger.key.der");

    /// Presents any certificate with any key, as an impostor would.
    #[derive(Debug)]
    struct Presents(Arc<CertifiedKey>);

    impl ResolvesServerCert for Presents {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
    }

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    fn server(certificate: &[u8], key: &[u8], version: usize) -> ServerConnection {
        let provider = rustls::crypto::ring::default_provider();
        let key = PrivateKeyDer::try_from(key.to_vec()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let chain = vec![CertificateDer::from(certificate.to_vec())];
        let resolver = Presents(Arc::new(CertifiedKey::new(chain, key)));
        let versions: &[&rustls::SupportedProtocolVersion] =
            if version == 12 { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        ServerConnection::new(Arc::new(config)).unwrap()
    }

    fn handshake(verifier: Pinned, mut server: ServerConnection) -> Result<(), Error> {
        let config = super::super::client_config(verifier).unwrap();
        let name = ServerName::try_from("anything.example").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        while client.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn only_the_pinned_certificate_with_its_own_key_completes_a_handshake() {
        for version in [12, 13] {
            for (pinned, certificate, key, expected) in [
                (Some(COORDINATOR), COORDINATOR, COORDINATOR_KEY, None),
                (Some(COORDINATOR), STRANGER, STRANGER_KEY, Some("ironwright.tls pins")),
                (Some(COORDINATOR), COORDINATOR, STRANGER_KEY, Some("BadSignature")),
                (None, COORDINATOR, COORDINATOR_KEY, Some("neither pinned")),
            ] {
                let pin = pinned.map(sha256);
                let result = handshake(Pinned::new(pin, None), server(certificate, key, version));
                match expected {
                    None => result.unwrap(),
                    Some(part) => {
                        let error = format!("{:?}", result.unwrap_err());
                        assert!(error.contains(part), "TLS {version}: {error}");
                    }
                }
            }
        }
    }
}
