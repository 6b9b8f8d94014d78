//! What carries TLS: IO that may know its addresses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use spiffe_core::tls::PeerStream;
use spiffe_tower::Connection;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};

/// IO that a connection can stand on.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Our end, where that has an address.
    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// The other end, where that has an address.
    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }
}

impl Transport for DuplexStream {}

impl Transport for TcpStream {
    fn local_addr(&self) -> Option<SocketAddr> {
        Self::local_addr(self).ok()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }
}

#[cfg(unix)]
impl Transport for tokio::net::UnixStream {}

/// What comes in at a socket.
pub(crate) fn accepted(socket: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    TcpListenerStream::new(socket).map(|accepted| {
        accepted.inspect(|stream| {
            // Small messages go out at once; where that cannot be set they only come later.
            let _ = stream.set_nodelay(true);
        })
    })
}

/// What the requests that come over this stream are to know of it.
#[must_use]
pub fn connection<IO: Transport>(stream: &PeerStream<IO>) -> Connection {
    let io = stream.get_ref();
    Connection::new(stream.peer().clone(), io.local_addr(), io.remote_addr())
}

/// How long a server goes on with a peer that is in good standing no more: long enough to say so,
/// and too short for anything else.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// HTTP/2, as ALPN names it.
pub(crate) const H2: &[u8] = b"h2";

/// The protocols of HTTP, the preferred one first: for the ALPN of configurations that something else
/// drives ([`ClientTls::alpn`](spiffe_core::tls::ClientTls::alpn)).
pub const HTTP: [&[u8]; 2] = [H2, b"http/1.1"];
