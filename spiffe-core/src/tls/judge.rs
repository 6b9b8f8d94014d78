//! The verifier of both sides: it judges with the snapshot of this handshake.

use std::fmt;
use std::iter;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::HandshakeError;
use super::standing::Court;
use super::verdict;
use crate::verify::Role;
use crate::with_causes;

pub(super) struct Judge {
    pub(super) court: Arc<Court>,
    /// Which side the peer is on.
    pub(super) peer: Role,
    pub(super) mandatory: bool,
}

impl Judge {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let chain = iter::once(leaf).chain(intermediates);
        let chain: Vec<_> = chain
            .map(|der| CertificateDer::from(der.as_ref()))
            .collect();
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        let verdict = self.court.judge(&chain, self.peer, now);
        let verdict = verdict.map_err(HandshakeError::from);
        let told = verdict.as_ref().map(|_| ()).map_err(|e| e.alert());
        // Whoever waits for the handshake gets the reason and tells it; nobody else would.
        if let Err(Err(refused)) = verdict::note(verdict) {
            tracing::info!(error = %with_causes(&refused), "peer refused");
        }
        told
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.court.algorithms
    }
}

impl ClientCertVerifier for Judge {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// None: rustls wants them borrowed from the verifier, a snapshot cannot give that, and no
    /// hints mean any authority (RFC 8446 section 4.2.4). It also keeps our trust domains to us.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(leaf, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for Judge {
    /// The server's name is its SPIFFE ID; what it was dialled by proves nothing.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(leaf, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::authorizer::anyone;
    use crate::testing::TestAuthority;
    use crate::tls::SourceExt;

    #[test]
    fn a_bare_public_key_is_no_certificate() {
        let source = TestAuthority::new("a.test").source("/s");
        let judge = Judge {
            court: source.server(anyone()).court(),
            peer: Role::Client,
            mandatory: true,
        };
        assert!(!ClientCertVerifier::requires_raw_public_keys(&judge));
        assert!(!ServerCertVerifier::requires_raw_public_keys(&judge));
    }
}
