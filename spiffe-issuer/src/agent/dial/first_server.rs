//! The one connection on which whoever answers as the server is believed (`insecure_bootstrap`).

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName, UnixTime};
use spiffe_core::SpiffeId;
use spiffe_core::x509::Certificate;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{Dialer, HANDSHAKE, ServerAddress};

/// Reaches whoever answers at an address and calls itself the server.
#[derive(Clone)]
pub struct FirstServer {
    address: ServerAddress,
    tls: TlsConnector,
}

impl FirstServer {
    /// Whoever calls itself `server` at this address.
    ///
    /// # Errors
    ///
    /// Where there is no TLS 1.3 to be had, which would be a fault of this build.
    pub fn new(address: ServerAddress, server: SpiffeId) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let anyone = Arc::new(Anyone {
            server,
            algorithms: provider.signature_verification_algorithms,
        });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(anyone)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = false;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { address, tls })
    }
}

#[async_trait]
impl Dialer for FirstServer {
    async fn dial(&self) -> Result<Channel, Box<dyn StdError + Send + Sync>> {
        let (authority, tls) = (self.address.authority(), self.tls.clone());
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))?
            .origin(format!("https://{authority}").parse()?);
        let connect = service_fn(move |_| {
            let (authority, tls) = (authority.clone(), tls.clone());
            async move {
                let io = timeout(HANDSHAKE, TcpStream::connect(authority)).await??;
                // rustls wants a name. It is neither sent nor checked.
                let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0; 4])));
                let secured = timeout(HANDSHAKE, tls.connect(name, io)).await??;
                Ok::<_, io::Error>(TokioIo::new(secured))
            }
        });
        Ok(endpoint.connect_with_connector_lazy(connect))
    }
}

impl fmt::Debug for FirstServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Believes any certificate that names the server, and of which the peer has the key.
#[derive(Debug)]
struct Anyone {
    server: SpiffeId,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let id = Certificate::from_der(leaf).and_then(|leaf| leaf.leaf_id());
        match id {
            Ok(id) if id == self.server => Ok(ServerCertVerified::assertion()),
            Ok(id) => {
                tracing::warn!(spiffe_id = %id, expected = %self.server, "Another one answered");
                Err(CertificateError::NotValidForName.into())
            }
            Err(_) => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
