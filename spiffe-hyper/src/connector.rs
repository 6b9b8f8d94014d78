//! From a URI to a connection with a verified server, for hyper's clients.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use spiffe_core::tls::{self, ClientTls, HandshakeError, PeerStream};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use crate::transport::{H2, HTTP, connection};

/// Connects to whatever host a URI names, and proceeds only with a server that may be talked to.
///
/// The host's name is only where to find the server; who it is, its SPIFFE ID says. There is TLS
/// whatever the URI's scheme, and the port is 443 where the URI names none.
#[derive(Debug, Clone)]
pub struct Connector {
    tls: tls::Connector,
}

impl Connector {
    /// A connector that speaks HTTP/2 or HTTP/1.1, whichever the server prefers.
    #[must_use]
    pub fn new(tls: ClientTls) -> Self {
        Self {
            tls: tls.alpn(HTTP).connector(),
        }
    }

    /// A connector that speaks HTTP/2 only, as gRPC does.
    #[must_use]
    pub fn http2(tls: ClientTls) -> Self {
        Self {
            tls: tls.alpn([H2]).connector(),
        }
    }

    async fn connect(self, uri: Uri) -> Result<PeerIo, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(443);
        let unreachable = |source| ConnectError::Unreachable {
            authority: format!("{host}:{port}"),
            source,
        };
        let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect((address, port)))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(unreachable)?;
        // Small messages go out at once; where that cannot be set they only come later.
        let _ = tcp.set_nodelay(true);
        Ok(PeerIo(TokioIo::new(self.tls.connect(tcp).await?)))
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
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection to a verified server, as hyper wants its IO.
#[derive(Debug)]
pub struct PeerIo(TokioIo<PeerStream<TcpStream>>);

impl PeerIo {
    /// The stream below.
    #[must_use]
    pub fn stream(&self) -> &PeerStream<TcpStream> {
        self.0.inner()
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
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for PeerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is a server, and no handshake with it.
    #[error("no secure connection: {0}")]
    Handshake(#[from] HandshakeError),
    /// The URI does not say where to connect to.
    #[error("the URI names no host; it should look like https://host:port")]
    NoHost,
    /// Nobody answers there.
    #[error("cannot connect to {authority}: {source}")]
    Unreachable {
        /// Where.
        authority: String,
        /// What the system said.
        source: io::Error,
    },
}

/// How long to wait for someone to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
