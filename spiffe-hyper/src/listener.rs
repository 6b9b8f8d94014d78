//! From connections to streams with a peer.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use spiffe_core::tls::{Acceptor, PeerStream, ServerTls};
use spiffe_core::with_causes;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio_stream::Stream;
use tracing::info;

use crate::handshakes::Handshakes;
use crate::transport::{HTTP, Transport, accepted};

/// Listens, and hands out connections whose handshake is done.
///
/// Handshakes go on side by side; each has the time, and all together the room, that the
/// [`ServerTls`] gives them. While as many go on as
/// [`max_pending_handshakes`](ServerTls::max_pending_handshakes) says, a new connection takes the
/// place of the oldest once that has had half a second, so silent strangers keep no proper client
/// out. Whoever fails is logged and forgotten. A listener speaks HTTP where
/// the client wants to agree on a protocol (ALPN); a client that does not ask may speak any.
///
/// A stream itself, for servers that take one.
pub struct Listener<IO = TcpStream> {
    handshakes: Handshakes<IO, PeerStream<IO>>,
    local_addr: Option<SocketAddr>,
}

impl Listener {
    /// Listens on a TCP address.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had.
    pub async fn bind(addr: impl ToSocketAddrs, tls: ServerTls) -> io::Result<Self> {
        Self::from_tcp(TcpListener::bind(addr).await?, tls)
    }

    /// Listens on a socket that is open already.
    ///
    /// # Errors
    ///
    /// Where the socket has no address.
    pub fn from_tcp(socket: TcpListener, tls: ServerTls) -> io::Result<Self> {
        let local_addr = socket.local_addr()?;
        let listener = Self::from_incoming(accepted(socket), tls);
        Ok(Self {
            local_addr: Some(local_addr),
            ..listener
        })
    }
}

impl<IO: Transport> Listener<IO> {
    /// Does the handshakes of connections that come in elsewhere: over Unix sockets, pipes, ...
    ///
    /// Errors among them are waited out. With their end the listener ends.
    pub fn from_incoming(
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
        tls: ServerTls,
    ) -> Self {
        let at_most = tls.pending_handshakes_limit();
        let acceptor = tls.alpn(HTTP).acceptor();
        let handshake = move |io| shake(acceptor.clone(), io);
        Self {
            handshakes: Handshakes::new(incoming, at_most, handshake),
            local_addr: None,
        }
    }

    /// Where we listen, if that is a TCP address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// The next connection whose handshake is done. Cancel safe.
    ///
    /// # Errors
    ///
    /// Where no more can come, which is never so with TCP.
    pub async fn accept(&mut self) -> io::Result<PeerStream<IO>> {
        self.handshakes
            .next()
            .await
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "no more can come in"))
    }
}

/// Does one handshake, and tells why where it fails.
async fn shake<IO: Transport>(acceptor: Acceptor, io: IO) -> Option<PeerStream<IO>> {
    let from = io.remote_addr();
    acceptor
        .accept(io)
        .await
        .inspect_err(|error| info!(?from, error = %with_causes(error), "a connection was refused"))
        .ok()
}

impl<IO: Transport> Stream for Listener<IO> {
    type Item = io::Result<PeerStream<IO>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.handshakes.poll_next(cx).map(|next| next.map(Ok))
    }
}

impl<IO> fmt::Debug for Listener<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("local_addr", &self.local_addr)
            .field("handshakes", &self.handshakes)
            .finish()
    }
}
