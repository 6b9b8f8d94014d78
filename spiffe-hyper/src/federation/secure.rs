//! From the URL of an endpoint to a connection with the server that it should be.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::{CertificateDer, UnixTime};
use rustls_platform_verifier::Verifier;
use spiffe_core::authorizer::exactly;
use spiffe_core::clock::Clock;
use spiffe_core::source::SnapshotCell;
use spiffe_core::tls::ClientTls;
use spiffe_core::{BundleSet, IdentitySnapshot, SpiffeId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;

use super::relationship::Trust;
use super::{EndpointUrl, FetchError, TlsError};
use crate::dial::dial;

/// What one connection is made with.
#[derive(Clone)]
pub(super) struct Secure {
    pub(super) dial: Dial,
    pub(super) roots: WebRoots,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) patience: Duration,
}

impl Secure {
    /// Connects, and proceeds only with a server that proves who it is.
    ///
    /// It is all made anew each time: what the system believes, and what is held, may have changed.
    pub(super) async fn connect(
        &self,
        url: &EndpointUrl,
        trust: &Trust,
    ) -> Result<Box<dyn Io>, FetchError> {
        let io = self.dial.to(url).await?;
        match trust {
            Trust::Spiffe { endpoint, bundles } => self.by_svid(url, endpoint, bundles, io).await,
            Trust::Web => self.by_host(url, io).await,
        }
    }

    /// The profile `https_spiffe` (SPIFFE Federation section 5.2.2.4). We show no certificate: there is
    /// none in the snapshot.
    async fn by_svid(
        &self,
        url: &EndpointUrl,
        endpoint: &SpiffeId,
        bundles: &BundleSet,
        io: Box<dyn Io>,
    ) -> Result<Box<dyn Io>, FetchError> {
        let believed = IdentitySnapshot::new(Vec::new(), bundles.clone());
        let source = Arc::new(SnapshotCell::new(believed));
        let tls = ClientTls::new(source, exactly(endpoint.clone()))
            .alpn([HTTP1])
            .clock(Arc::clone(&self.clock))
            .handshake_timeout(self.patience)
            .tls12(true);
        // For proxies that find the way by it. An IP address is none.
        let tls = match tls.clone().server_name(url.host()) {
            Ok(named) => named,
            Err(_) => tls,
        };
        Ok(Box::new(tls.connector().connect(io).await?))
    }

    /// The profile `https_web` (SPIFFE Federation section 5.2.1.4).
    async fn by_host(&self, url: &EndpointUrl, io: Box<dyn Io>) -> Result<Box<dyn Io>, FetchError> {
        let config = match self.roots {
            WebRoots::Told(_) => self.web_config(),
            // What the system believes stands in files, often many.
            WebRoots::System => {
                let this = self.clone();
                spawn_blocking(move || this.web_config())
                    .await
                    .unwrap_or_else(|error| {
                        Err(TlsError(rustls::Error::General(error.to_string())))
                    })
            }
        };
        let connector = TlsConnector::from(Arc::new(config.map_err(FetchError::NoRoots)?));
        let stream = connector.connect(url.server_name().clone(), io).await;
        Ok(Box::new(stream.map_err(FetchError::Web)?))
    }

    fn web_config(&self) -> Result<rustls::ClientConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let time = Arc::new(ClockTime(Arc::clone(&self.clock)));
        let builder = rustls::ClientConfig::builder_with_details(Arc::clone(&provider), time)
            .with_protocol_versions(&[&TLS13, &TLS12]);
        let builder = with_versions(builder);
        let builder = match &self.roots {
            WebRoots::Told(roots) => builder.with_root_certificates(Arc::clone(roots)),
            WebRoots::System => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(
                    Verifier::new(provider).map_err(TlsError)?,
                )),
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![HTTP1.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

#[expect(clippy::expect_used, reason = "aws-lc-rs has suites of both versions")]
pub(super) fn with_versions<T>(built: Result<T, rustls::Error>) -> T {
    built.expect("a provider with TLS 1.2 and 1.3")
}

/// The authorities that servers of the web are believed by.
#[derive(Debug, Clone, Default)]
pub(super) enum WebRoots {
    /// Those of the machine.
    #[default]
    System,
    /// These.
    Told(Arc<RootCertStore>),
}

impl WebRoots {
    pub(super) fn of(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(TlsError)?;
        }
        Ok(Self::Told(Arc::new(roots)))
    }
}

/// What carries a question, with TLS around it or without.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// How hosts are reached.
#[derive(Clone)]
pub(super) struct Dial(Arc<dyn Fn(String, u16) -> Dialling + Send + Sync>);

impl Dial {
    pub(super) fn by<F, IO>(dial: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<IO>> + Send + 'static,
        IO: Io + 'static,
    {
        Self(Arc::new(move |host, port| {
            let dialling = dial(host, port);
            Box::pin(async move { Ok(Box::new(dialling.await?) as Box<dyn Io>) })
        }))
    }

    pub(super) fn by_tcp() -> Self {
        Self::by(async |host: String, port| dial(&host, port).await)
    }

    async fn to(&self, url: &EndpointUrl) -> Result<Box<dyn Io>, FetchError> {
        let dialled = (self.0)(url.host().to_owned(), url.port()).await;
        dialled.map_err(|source| FetchError::Unreachable {
            authority: url.authority().to_owned(),
            source,
        })
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").finish_non_exhaustive()
    }
}

/// Our clock, for rustls.
#[derive(Debug)]
pub(super) struct ClockTime(pub(super) Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.now().duration_since(UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

const HTTP1: &[u8] = b"http/1.1";
