//! From a URI or an address to a connection with a verified server.

use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use http::uri::Authority;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use spiffe_core::tls::{self, ClientTls, HandshakeError, PeerStream};
use spiffe_core::{IdentitySnapshot, IdentitySource};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::dial::dial;
use crate::transport::{H2, HTTP, connection};

/// Connects to a server, and proceeds only with one that may be talked to: for hyper's clients, which
/// give it URIs, and with [`connect`](Self::connect) for any protocol over TCP.
///
/// The host's name is only where to find the server; who it is, its SPIFFE ID says. There is TLS
/// whatever the URI's scheme, and the port is 443 where the URI names none.
#[derive(Clone)]
pub struct Connector {
    choose: Arc<Choose>,
}

type Choose = dyn Fn(&Uri, Speaks) -> Side + Send + Sync;

/// What is spoken over a connection, as far as TLS is told (ALPN).
#[derive(Clone, Copy)]
enum Speaks {
    Http,
    /// What the configuration says, which may be nothing.
    Other,
}

/// What one connection is made with.
#[derive(Clone)]
struct Side {
    tls: tls::Connector,
    source: Arc<dyn IdentitySource>,
}

impl From<&ClientTls> for Side {
    fn from(tls: &ClientTls) -> Self {
        Self {
            tls: tls.connector(),
            source: tls.source().clone(),
        }
    }
}

impl Connector {
    /// A connector that speaks HTTP/2 or HTTP/1.1, whichever the server prefers.
    #[must_use]
    pub fn new(tls: ClientTls) -> Self {
        Self::of(tls, &HTTP)
    }

    /// A connector that speaks HTTP/2 only, as gRPC does.
    #[must_use]
    pub fn http2(tls: ClientTls) -> Self {
        Self::of(tls, &[H2])
    }

    /// A connector as by [`new`](Self::new), to servers of which each has its own identity.
    ///
    /// hyper's pool knows connections by scheme and authority, so let nothing else of the URI decide.
    ///
    /// It is asked for each connection anew, so no session is
    /// [resumed](spiffe_core::tls::Resumption), whatever the configuration says: sessions belong to
    /// the configuration that they began with.
    ///
    /// ```
    /// # use spiffe_core::{IdentitySource, SourceExt, SpiffeId, TrustDomain};
    /// # use spiffe_core::authorizer::one_of;
    /// # fn example(source: impl IdentitySource + Clone) -> spiffe_hyper::Connector {
    /// spiffe_hyper::Connector::choosing(move |uri| {
    ///     let domain = TrustDomain::from_static("prod.example");
    ///     // https://ledger is spiffe://prod.example/ledger. A host that names nobody is let in
    ///     // by nobody.
    ///     let path = format!("/{}", uri.host().unwrap_or_default());
    ///     source.client(one_of(SpiffeId::new(&domain, &path).ok()))
    /// })
    /// # }
    /// ```
    pub fn choosing(choose: impl Fn(&Uri) -> ClientTls + Send + Sync + 'static) -> Self {
        Self {
            choose: Arc::new(move |uri, speaks| match speaks {
                Speaks::Http => Side::from(&choose(uri).alpn(HTTP)),
                Speaks::Other => Side::from(&choose(uri)),
            }),
        }
    }

    fn of(tls: ClientTls, protocols: &[&[u8]]) -> Self {
        let other = Side::from(&tls);
        let http = Side::from(&tls.alpn(protocols.iter().copied()));
        Self {
            choose: Arc::new(move |_, speaks| match speaks {
                Speaks::Http => http.clone(),
                Speaks::Other => other.clone(),
            }),
        }
    }

    /// Connects to `host:port` and proves who is there, for whatever protocol is spoken then: the ALPN
    /// protocols are those of the [`ClientTls`], and none where it names none. The addresses of the
    /// host are tried in turn.
    ///
    /// ```no_run
    /// # use spiffe_core::authorizer::exactly;
    /// # use spiffe_core::{IdentitySource, SourceExt, spiffe_id};
    /// # use spiffe_hyper::Connector;
    /// # async fn example(source: impl IdentitySource + Clone) -> Result<(), Box<dyn std::error::Error>> {
    /// let database = exactly(spiffe_id!("spiffe://prod.example/db"));
    /// let stream = Connector::new(source.client(database)).connect("db:5432").await?;
    /// println!("this is {}", stream.peer().id());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Where the address is none, nobody answers there, or who answers is not the one.
    pub async fn connect(&self, address: &str) -> Result<PeerStream<TcpStream>, ConnectError> {
        // Before anything is told of it: it may hold a password.
        if address.contains('@') {
            return Err(ConnectError::UserInfo);
        }
        let uri = host_and_port(address);
        let uri = uri.ok_or_else(|| ConnectError::Address(address.to_owned()))?;
        let side = (self.choose)(&uri, Speaks::Other);
        shake(&side.tls, &uri).await
    }

    async fn speak_http(self, uri: Uri) -> Result<PeerIo, ConnectError> {
        let Side { tls, source } = (self.choose)(&uri, Speaks::Http);
        // Before the handshake: whatever is renewed meanwhile counts as renewed after it.
        let renewal = Renewal::of(source);
        let io = TokioIo::new(shake(&tls, &uri).await?);
        Ok(PeerIo { io, renewal })
    }
}

/// The authority that an address is, if it is `host:port` and nothing else.
///
/// `Authority` itself lets text stand between a bracket and the port, and a sign before the digits.
fn host_and_port(address: &str) -> Option<Uri> {
    let (host, port) = address.rsplit_once(':')?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    // Only an IPv6 address has brackets, and needs them.
    let is_host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains(['[', ']', ':']),
    };
    let authority: Authority = (is_number && is_host).then(|| address.parse().ok())??;
    Some(Uri::from(authority))
}

async fn shake(tls: &tls::Connector, uri: &Uri) -> Result<PeerStream<TcpStream>, ConnectError> {
    let host = uri.host().ok_or(ConnectError::NoHost)?;
    let port = uri.port_u16().unwrap_or(443);
    let authority = format!("{host}:{port}");
    // Of an IPv6 address a URI wants brackets, and nobody else does.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let tcp = match dial(host, port).await {
        Ok(tcp) => tcp,
        Err(source) => return Err(ConnectError::Unreachable { authority, source }),
    };
    // Small messages go out at once; where that cannot be set they only come later.
    let _ = tcp.set_nodelay(true);
    Ok(tls.connect_to(&authority, tcp).await?)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// What is called by hyper: connects, and proves who is there.
impl Service<Uri> for Connector {
    type Response = PeerIo;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<PeerIo, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().speak_http(uri))
    }
}

/// A connection to a verified server, as hyper wants its IO.
pub struct PeerIo {
    io: TokioIo<PeerStream<TcpStream>>,
    renewal: Renewal,
}

impl PeerIo {
    /// The stream below.
    #[must_use]
    pub fn stream(&self) -> &PeerStream<TcpStream> {
        self.io.inner()
    }

    /// Waits until a new connection should take the place of this one: our own identity was renewed,
    /// the server's certificate ends soon, or the server is in good standing no more. Cancel-safe.
    ///
    /// hyper's pool cannot be told. It leaves a connection when that ends, or when the server says
    /// that it goes away, as those of this house do before our certificate ends.
    pub fn outdated(&self) -> impl Future<Output = ()> + Send + use<> {
        let (renewed, parting) = (self.renewal.clone().done(), self.stream().parting());
        async move {
            tokio::select! {
                () = renewed => {}
                _ = parting => {}
            }
        }
    }
}

impl fmt::Debug for PeerIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerIo").field(self.stream()).finish()
    }
}

/// Our own identity, as a connection began with it.
#[derive(Clone)]
struct Renewal {
    source: Arc<dyn IdentitySource>,
    began: Arc<IdentitySnapshot>,
}

impl Renewal {
    fn of(source: Arc<dyn IdentitySource>) -> Self {
        let began = source.snapshot();
        Self { source, began }
    }

    /// Waits until there is another identity to present. Where ours was withdrawn there is none, and
    /// a new connection would only fail.
    async fn done(self) {
        let leaf =
            |snapshot: &IdentitySnapshot| snapshot.svid().map(|svid| svid.leaf().der().clone());
        let presented = leaf(&self.began);
        let mut changes = self.source.subscribe();
        loop {
            let now = leaf(&self.source.snapshot());
            if now.is_some() && now != presented {
                return;
            }
            if changes.changed().await.is_err() {
                // The source is gone, and nothing is renewed any more.
                return pending().await;
            }
        }
    }
}

impl Connection for PeerIo {
    /// Responses carry the [`spiffe_tower::Connection`] in their extensions.
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(connection(self.stream()));
        match self.stream().alpn_protocol() {
            Some(H2) => connected.negotiated_h2(),
            _ => connected,
        }
    }
}

impl Read for PeerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for PeerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// This says not where to connect to.
    #[error("{0:?} is no address; it should look like host:port")]
    Address(String),
    /// There is a server, and no handshake with it.
    #[error("no secure connection")]
    Handshake(#[from] HandshakeError),
    /// There is a secure connection, and HTTP does not begin on it.
    #[error("the server does not begin to speak HTTP")]
    Http(#[from] hyper::Error),
    /// The URI does not say where to connect to.
    #[error("the URI names no host; it should look like https://host:port")]
    NoHost,
    /// Nobody answers there.
    #[error("cannot connect to {authority}")]
    Unreachable {
        /// Where.
        authority: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is a user or a password in the address.
    #[error("the address holds user information before an `@`; it should look like host:port")]
    UserInfo,
}
