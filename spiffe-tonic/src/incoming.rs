//! Streams with a peer, as tonic's server takes them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use spiffe_core::tls::{PeerStream, ServerTls};
use spiffe_hyper::{LAST_WORDS, Listener, Transport, connection};
use spiffe_tower::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tonic::transport::server::Connected;

/// A stream with a peer. Each request that comes over it has the [`Connection`] in its extensions.
///
/// It ends with its peer's good standing: at once under tonic's own server, which would go on serving,
/// and a second later under ours, which says so first.
#[derive(Debug)]
pub struct Stream<IO = TcpStream> {
    inner: PeerStream<IO>,
    /// Dropped with the stream, for who waits for that.
    _open: Option<oneshot::Sender<()>>,
}

impl<IO: Transport> Connected for Stream<IO> {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        connection(&self.inner)
    }
}

impl<IO> Stream<IO> {
    fn new(stream: PeerStream<IO>) -> Self {
        Self {
            inner: stream,
            _open: None,
        }
    }

    /// For a server that refuses what comes when the peer's standing has ended.
    pub(crate) fn guarded(stream: PeerStream<IO>, open: oneshot::Sender<()>) -> Self {
        Self {
            inner: stream.with_last_words(LAST_WORDS),
            _open: Some(open),
        }
    }

    /// The stream below, which knows its peer.
    #[must_use]
    pub fn get_ref(&self) -> &PeerStream<IO> {
        &self.inner
    }
}

/// What comes in over mutual TLS, for [`serve_mtls_with_incoming`] or tonic's `serve_with_incoming`,
/// which does not part from its peers in time: a connection is cut when its peer's standing ends.
///
/// [`serve_mtls_with_incoming`]: crate::RouterExt::serve_mtls_with_incoming
#[derive(Debug)]
pub struct Incoming<IO = TcpStream>(Listener<IO>);

/// Listens on a TCP address.
///
/// # Errors
///
/// Where the address cannot be had.
pub async fn incoming(addr: SocketAddr, tls: ServerTls) -> io::Result<Incoming> {
    Ok(Listener::bind(addr, tls).await?.into())
}

impl Incoming {
    /// Where we listen; worth asking after listening on port 0.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.local_addr()
    }
}

impl<IO> Incoming<IO> {
    pub(crate) fn into_listener(self) -> Listener<IO> {
        self.0
    }
}

impl<IO> From<Listener<IO>> for Incoming<IO> {
    fn from(listener: Listener<IO>) -> Self {
        Self(listener)
    }
}

impl<IO: Transport> tokio_stream::Stream for Incoming<IO> {
    type Item = io::Result<Stream<IO>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.0).poll_next(cx);
        next.map(|stream| stream.map(|stream| stream.map(Stream::new)))
    }
}

impl<IO: Transport> AsyncRead for Stream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<IO: Transport> AsyncWrite for Stream<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
