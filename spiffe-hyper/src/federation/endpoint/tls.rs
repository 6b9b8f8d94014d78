//! How the server of a bundle endpoint proves who it is, to whoever comes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use spiffe_core::IdentitySource;
use spiffe_core::authorizer::anyone;
use spiffe_core::tls::{Acceptor, Arrival, ServerTls};
use spiffe_core::with_causes;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::info;

use super::web_identity::{WebIdentity, WebIdentityError};
use crate::federation::EndpointUrl;
use crate::federation::secure::with_versions;
use crate::transport::{HTTP, Transport};

/// The TLS of a bundle endpoint: TLS 1.3 and 1.2 with forward secrecy (SPIFFE Federation section 5),
/// and no client is asked for a certificate.
#[derive(Clone, Debug)]
pub struct EndpointTls(Kind);

#[derive(Clone)]
enum Kind {
    Spiffe(Acceptor),
    Web {
        acceptor: TlsAcceptor,
        identity: Arc<WebIdentity>,
        look_every: Duration,
    },
}

impl EndpointTls {
    /// The profile `https_spiffe`: the server presents the default X.509-SVID of `source`, always the
    /// newest.
    pub fn https_spiffe(source: impl IdentitySource) -> Self {
        let tls = ServerTls::new(Arc::new(source), anyone())
            .without_client_auth()
            .tls12(true)
            .handshake_timeout(HANDSHAKE)
            .alpn(HTTP);
        Self(Kind::Spiffe(tls.acceptor()))
    }

    /// The profile `https_web`: the server presents the certificate in the PEM file `certificate`, leaf
    /// first, whose key is in `key`. It must be for the host of `url`, which is the one that others are
    /// told. The files are looked at every few seconds, so that whatever renews them need tell nobody.
    ///
    /// # Errors
    ///
    /// Where the files are no identity of that host, or none that is valid now.
    pub fn https_web(
        url: &EndpointUrl,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, WebIdentityError> {
        let name = url.server_name().clone();
        let identity = WebIdentity::open(Some(name), certificate.into(), key.into())?;
        Ok(Self::web(identity))
    }

    /// The profile `https_web` for a server that is not told by which URL others reach it: as
    /// [`https_web`](Self::https_web), but whatever host the certificate is for.
    ///
    /// # Errors
    ///
    /// Where the files are no identity, or none that is valid now.
    pub fn https_web_of_any_host(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, WebIdentityError> {
        let identity = WebIdentity::open(None, certificate.into(), key.into())?;
        Ok(Self::web(identity))
    }

    /// How often the files of the profile `https_web` are looked at; every five seconds where nothing
    /// else is said, and ten times a second at most. Without effect for
    /// [`https_spiffe`](Self::https_spiffe), which reads no files.
    #[must_use]
    pub fn look_every(self, interval: Duration) -> Self {
        match self.0 {
            Kind::Spiffe(_) => self,
            Kind::Web {
                acceptor, identity, ..
            } => Self(Kind::Web {
                acceptor,
                identity,
                look_every: interval.max(SHORTEST),
            }),
        }
    }

    fn web(identity: WebIdentity) -> Self {
        let identity = Arc::new(identity);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12]);
        let mut config = with_versions(builder)
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identity) as _);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = HTTP.map(<[u8]>::to_vec).into();
        Self(Kind::Web {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            identity,
            look_every: LOOK_EVERY,
        })
    }

    /// Does one handshake, and tells why where it fails.
    pub(super) async fn accept<IO: Transport>(self, io: IO) -> Option<Box<TlsStream<IO>>> {
        let from = io.remote_addr();
        let refused = |why: &(dyn std::error::Error + 'static)| {
            info!(?from, error = %with_causes(why), "no handshake at the bundle endpoint");
        };
        match self.0 {
            Kind::Spiffe(acceptor) => match acceptor.accept_any(io).await {
                Ok(Arrival::Anonymous(stream)) => Some(stream),
                // Nobody was asked to show a certificate.
                Ok(Arrival::Peer(_)) => None,
                Err(error) => {
                    refused(&error);
                    None
                }
            },
            Kind::Web { acceptor, .. } => match timeout(HANDSHAKE, acceptor.accept(io)).await {
                Ok(Ok(stream)) => Some(Box::new(stream.into())),
                Ok(Err(error)) => {
                    refused(&error);
                    None
                }
                Err(late) => {
                    refused(&late);
                    None
                }
            },
        }
    }

    /// Keeps what is presented up to date, for good.
    pub(super) async fn keep_fresh(self) {
        match self.0 {
            Kind::Spiffe(_) => std::future::pending().await,
            Kind::Web {
                identity,
                look_every,
                ..
            } => identity.keep_fresh(look_every).await,
        }
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Spiffe(_) => f.write_str("https_spiffe"),
            Self::Web { identity, .. } => f.debug_tuple("https_web").field(identity).finish(),
        }
    }
}

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Less would be a loop without a pause, or nearly.
const SHORTEST: Duration = Duration::from_millis(100);
