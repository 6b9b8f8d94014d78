//! Somebody who presents whatever a test gives them.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::x509::{Certificate, PrivateKey, X509Svid};

/// One end of a TLS connection that presents the certificates it was given, flaws included, and
/// takes whatever the other end presents: for tests of who is turned away.
///
/// With TLS 1.3 the client's handshake is done before the server has looked at the client. Whether
/// an impostor was turned away shows when it reads: an error, or an end without a byte.
#[derive(Clone)]
pub struct Impostor {
    presents: Option<Arc<CertifiedKey>>,
    version: &'static SupportedProtocolVersion,
}

impl Impostor {
    /// It presents this chain, leaf first, and signs with this key, whether they go together or not.
    ///
    /// # Panics
    ///
    /// Where the key is of a sort that TLS does not know.
    #[must_use]
    pub fn new(chain: impl IntoIterator<Item = CertificateDer<'static>>, key: &PrivateKey) -> Self {
        let chain = chain.into_iter().collect();
        let key = PrivateKeyDer::Pkcs8(key.pkcs8_der().into());
        let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
        Self {
            presents: Some(Arc::new(CertifiedKey::new(chain, key))),
            version: &rustls::version::TLS13,
        }
    }

    /// It presents this SVID.
    ///
    /// # Panics
    ///
    /// Where the key is of a sort that TLS does not know.
    #[must_use]
    pub fn with_svid(svid: &X509Svid) -> Self {
        Self::new(svid.chain().iter().map(|c| c.der().clone()), svid.key())
    }

    /// It presents nothing.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            presents: None,
            version: &rustls::version::TLS13,
        }
    }

    /// The same one over TLS 1.2.
    #[cfg(feature = "tls12")]
    #[must_use]
    pub fn over_tls12(self) -> Self {
        Self {
            version: &rustls::version::TLS12,
            ..self
        }
    }

    /// The client's side of a handshake. Whom the stream leads to, it tells by its certificates:
    /// [`presented`](Self::presented).
    ///
    /// # Errors
    ///
    /// Where the handshake fails.
    ///
    /// # Panics
    ///
    /// Never, but for a flaw of this code.
    pub async fn connect<IO>(&self, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous));
        let mut config = match self.resolver() {
            Some(key) => config.with_client_cert_resolver(key),
            None => config.with_no_client_auth(),
        };
        config.enable_sni = false;
        let name = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let connector = TlsConnector::from(Arc::new(config));
        Ok(connector.connect(name, io).await?.into())
    }

    /// The server's side of a handshake. The client must present something.
    ///
    /// # Errors
    ///
    /// Where the handshake fails.
    ///
    /// # Panics
    ///
    /// Where this one is anonymous, which no server can be.
    pub async fn accept<IO>(&self, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Credulous))
            .with_cert_resolver(self.resolver().unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(acceptor.accept(io).await?.into())
    }

    /// What the other end of a stream presented, leaf first.
    ///
    /// # Panics
    ///
    /// Where that is not made of certificates.
    #[must_use]
    pub fn presented<IO>(stream: &TlsStream<IO>) -> Vec<Certificate> {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|der| Certificate::from_der(der).unwrap());
        chain.collect()
    }

    fn resolver(&self) -> Option<Arc<SingleCertAndKey>> {
        let presents = self.presents.as_deref()?;
        Some(Arc::new(SingleCertAndKey::from(presents.clone())))
    }
}

impl fmt::Debug for Impostor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Impostor").finish_non_exhaustive()
    }
}

/// Takes any certificate and any signature.
#[derive(Debug)]
struct Credulous;

fn any_scheme() -> Vec<SignatureScheme> {
    let provider = aws_lc_rs::default_provider();
    provider
        .signature_verification_algorithms
        .supported_schemes()
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        any_scheme()
    }
}

impl ClientCertVerifier for Credulous {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        any_scheme()
    }
}
