//! What a transport tells of a connection, and where those above find it.

use std::net::SocketAddr;

use http::Extensions;
use spiffe_core::Peer;

/// A connection whose other end has proven who it is. Transports insert it into the extensions of
/// each request that comes in over it.
#[derive(Debug, Clone)]
pub struct Connection {
    peer: Peer,
    local_addr: Option<SocketAddr>,
    remote_addr: Option<SocketAddr>,
}

impl Connection {
    /// A connection with this peer. What is not IP has no addresses.
    #[must_use]
    pub fn new(
        peer: Peer,
        local_addr: Option<SocketAddr>,
        remote_addr: Option<SocketAddr>,
    ) -> Self {
        Self {
            peer,
            local_addr,
            remote_addr,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Our end.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// The other end.
    #[must_use]
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr
    }
}

/// Who is at the other end of the connection that these extensions came over: a [`Peer`] that a
/// layer put there, or else that of the [`Connection`].
#[must_use]
pub fn peer(extensions: &Extensions) -> Option<&Peer> {
    extensions
        .get()
        .or_else(|| extensions.get().map(Connection::peer))
}
