//! A net of hosts in memory, servers that say what a test has them say, and web authorities.
#![expect(dead_code, reason = "each test file has its part")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use spiffe_core::authorizer::anyone;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{Arrival, ServerTls};
use spiffe_core::x509::{Certificate, PrivateKey};
use spiffe_core::{IdentitySource, SpiffeId, TrustBundle};
use spiffe_hyper::federation::{
    BundleClient, BundleEndpoint, BundleServer, EndpointTls, EndpointUrl, Relationship,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;

/// Hosts by name, and who was called.
#[derive(Clone, Default)]
pub(crate) struct Net {
    hosts: Arc<Mutex<HashMap<String, UnboundedSender<DuplexStream>>>>,
    called: Arc<Mutex<Vec<String>>>,
}

impl Net {
    /// A client in this net that believes web servers by `web`.
    pub(crate) fn client(&self, web: &WebCa) -> BundleClient {
        let net = self.clone();
        let dial = move |host: String, _| {
            net.called.lock().unwrap().push(host.clone());
            let answers = net.hosts.lock().unwrap().get(&host).cloned();
            let (near, far) = duplex(64 * 1024);
            let connected = answers.and_then(|answers| answers.send(far).ok());
            std::future::ready(
                connected
                    .map(|()| near)
                    .ok_or(io::ErrorKind::NotFound.into()),
            )
        };
        BundleClient::new()
            .web_roots(web.roots())
            .unwrap()
            .dialling(dial)
    }

    /// What comes in at a host.
    pub(crate) fn listen(&self, host: &str) -> Coming {
        let (teller, coming) = unbounded_channel();
        self.hosts.lock().unwrap().insert(host.to_owned(), teller);
        Coming(coming)
    }

    /// One connection to a host.
    pub(crate) fn connect(&self, host: &str, io: DuplexStream) {
        self.hosts.lock().unwrap()[host].send(io).unwrap();
    }

    /// Nobody answers there any more.
    pub(crate) fn unplug(&self, host: &str) {
        self.hosts.lock().unwrap().remove(host);
    }

    /// Whom the client has called since this was asked last.
    pub(crate) fn called(&self) -> Vec<String> {
        std::mem::take(&mut *self.called.lock().unwrap())
    }

    /// Our own server at a host.
    #[expect(clippy::disallowed_methods, reason = "a task ends with its test")]
    pub(crate) fn serve(&self, host: &str, tls: EndpointTls, endpoint: BundleEndpoint) {
        let server = BundleServer::from_incoming(self.listen(host), tls);
        tokio::spawn(server.serve(endpoint, std::future::pending()));
    }

    /// A server at a host that says whatever the test has it say.
    #[expect(clippy::disallowed_methods, reason = "a task ends with its test")]
    pub(crate) fn script(&self, host: &str, tls: Tls, say: impl Say) -> Asked {
        let (mut coming, asked) = (self.listen(host), Asked::default());
        let (say, noted) = (Arc::new(say), asked.clone());
        tokio::spawn(async move {
            while let Some(io) = coming.0.recv().await {
                let (say, noted, tls) = (Arc::clone(&say), noted.clone(), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        noted.0.lock().unwrap().push(request.headers().clone());
                        let answer = say(&request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    if let Some(io) = tls.accept(io).await {
                        let served =
                            http1::Builder::new().serve_connection(TokioIo::new(io), service);
                        let _ = served.await;
                    }
                });
            }
        });
        asked
    }
}

pub(crate) trait Say:
    Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static
{
}
impl<F: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static> Say for F {}

/// The headers of what a server was asked.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Vec<HeaderMap>>>);

impl Asked {
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> HeaderMap {
        self.0.lock().unwrap().last().cloned().unwrap()
    }
}

pub(crate) struct Coming(UnboundedReceiver<DuplexStream>);

impl Coming {
    pub(crate) async fn next(&mut self) -> DuplexStream {
        self.0.recv().await.unwrap()
    }
}

impl Stream for Coming {
    type Item = io::Result<DuplexStream>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|io| io.map(Ok))
    }
}

/// How a scripted server proves who it is.
#[derive(Clone)]
pub(crate) enum Tls {
    Spiffe(Arc<ServerTls>),
    Web(TlsAcceptor),
}

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Tls {
    pub(crate) fn spiffe(source: impl IdentitySource) -> Self {
        let tls = ServerTls::new(Arc::new(source), anyone()).without_client_auth();
        Self::Spiffe(Arc::new(tls))
    }

    pub(crate) async fn accept(self, io: DuplexStream) -> Option<Box<dyn Io>> {
        match self {
            Self::Spiffe(tls) => match tls.acceptor().accept_any(io).await.ok()? {
                Arrival::Anonymous(stream) => Some(Box::new(stream)),
                // No client should show who it is, and one that does gets no answer.
                Arrival::Peer(_) => None,
            },
            Self::Web(acceptor) => Some(Box::new(acceptor.accept(io).await.ok()?)),
        }
    }
}

/// An authority of the web.
pub(crate) struct WebCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Where its certificates are, for servers that read them.
    folder: tempfile::TempDir,
}

impl WebCa {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn roots(&self) -> [CertificateDer<'static>; 1] {
        [self.issuer.der().clone()]
    }

    /// Certificate and key of a host, in PEM.
    pub(crate) fn pem(&self, host: &str) -> (String, String) {
        self.pem_with(host, |_| {})
    }

    /// The same, valid in that year only.
    pub(crate) fn pem_of(&self, host: &str, year: i32) -> (String, String) {
        self.pem_with(host, |params| {
            params.not_before = rcgen::date_time_ymd(year, 1, 1);
            params.not_after = rcgen::date_time_ymd(year + 1, 1, 1);
        })
    }

    fn pem_with(
        &self,
        host: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKey::from_pkcs8_der(&key.serialize_der()).unwrap();
        let certificate = Certificate::from_der(certificate.der()).unwrap();
        (certificate.to_pem(), key.to_pem().to_string())
    }

    /// Our own server's TLS for the host of a URL.
    pub(crate) fn endpoint(&self, url: &EndpointUrl) -> EndpointTls {
        let (certificate, key) = self.files(url.host());
        EndpointTls::https_web(url, certificate, key).unwrap()
    }

    /// The files of a host, written anew.
    pub(crate) fn files(&self, host: &str) -> (std::path::PathBuf, std::path::PathBuf) {
        let (certificate, key) = self.pem(host);
        let path = |what: &str| self.folder.path().join(format!("{host}.{what}"));
        std::fs::write(path("pem"), certificate).unwrap();
        std::fs::write(path("key"), key).unwrap();
        (path("pem"), path("key"))
    }

    /// A scripted server's TLS.
    pub(crate) fn tls(&self, host: &str) -> Tls {
        Self::tls_of(&self.pem(host))
    }

    pub(crate) fn expired_tls(&self, host: &str) -> Tls {
        Self::tls_of(&self.pem_of(host, 2020))
    }

    fn tls_of((certificate, key): &(String, String)) -> Tls {
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Tls::Web(TlsAcceptor::from(Arc::new(config)))
    }
}

pub(crate) fn url(text: &str) -> EndpointUrl {
    text.parse().unwrap()
}

pub(crate) fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

/// With the authority's endpoint `/bundles` at its own name.
pub(crate) fn self_serving(authority: &TestAuthority) -> Relationship {
    let domain = authority.trust_domain();
    let endpoint = id(&format!("spiffe://{domain}/bundles"));
    let url = url(&format!("https://{domain}/"));
    Relationship::https_spiffe(domain.clone(), url, endpoint)
        .bootstrap(authority.bundle())
        .unwrap()
}

/// A bundle as an answer.
pub(crate) fn document(bundle: &TrustBundle) -> Response<Full<Bytes>> {
    text(bundle.to_document().unwrap())
}

pub(crate) fn text(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::new(body.into()))
}

pub(crate) fn status(status: u16) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status);
    answer.body(Full::default()).unwrap()
}

pub(crate) fn redirect(status: u16, location: &str) -> Response<Full<Bytes>> {
    let answer = Response::builder()
        .status(status)
        .header("location", location);
    answer.body(Full::default()).unwrap()
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// What is logged on this thread while it lasts.
#[derive(Clone)]
pub(crate) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: Arc<tracing::subscriber::DefaultGuard>,
}

impl Log {
    pub(crate) fn start() -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let writer = Writer(text.clone());
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self {
            text,
            _guard: Arc::new(tracing::subscriber::set_default(subscriber)),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
