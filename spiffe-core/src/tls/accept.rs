//! From accepted IO to a stream with a peer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::observe::{self, Seen};
use super::standing::{Court, Standing};
use super::{HandshakeError, PeerStream, verdict};
use crate::verify::Role;

/// Does the server's side of handshakes, over any IO. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    handshake_timeout: Duration,
    court: Arc<Court>,
}

/// Who has come in, where a client may do without a certificate.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a client has a certificate or has none"
)]
pub enum Arrival<IO> {
    /// A client without a certificate.
    Anonymous(Box<TlsStream<IO>>),
    /// A client that proved who it is.
    Peer(PeerStream<IO>),
}

impl Acceptor {
    pub(super) fn new(
        config: rustls::ServerConfig,
        handshake_timeout: Duration,
        court: Arc<Court>,
    ) -> Self {
        Self {
            tls: Arc::new(config).into(),
            handshake_timeout,
            court,
        }
    }

    /// Does one handshake with a client that must prove who it is.
    ///
    /// # Errors
    ///
    /// Why there is no stream; the connection is closed then.
    pub async fn accept<IO>(&self, io: IO) -> Result<PeerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let shake = async {
            match self.shake(io).await? {
                Arrival::Peer(stream) => Ok(stream),
                Arrival::Anonymous(_) => Err(HandshakeError::NoPeer),
            }
        };
        observe::handshake(Role::Server, shake, PeerStream::seen).await
    }

    /// Does one handshake with a client that may do without a certificate, where
    /// [`client_auth_optional`](super::ServerTls::client_auth_optional) says so.
    ///
    /// # Errors
    ///
    /// Why there is no stream; the connection is closed then.
    pub async fn accept_any<IO>(&self, io: IO) -> Result<Arrival<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        observe::handshake(Role::Server, self.shake(io), Arrival::seen).await
    }

    async fn shake<IO>(&self, io: IO) -> Result<Arrival<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // Before the peer is judged: a change of trust or policy meanwhile is seen by the first look.
        let began_at = self.court.moment();
        // On the heap, now and later: it holds all of rustls, and is handed from one to the next.
        let accepting = Box::pin(async { Ok(Box::new(self.tls.accept(io).await?.into())) });
        let handshake = verdict::of(began_at, accepting);
        let (outcome, noted) = timeout(self.handshake_timeout, handshake)
            .await
            .map_err(|_| HandshakeError::TimedOut(self.handshake_timeout))?;
        if let Some(Err(refused)) = noted {
            return Err(refused);
        }
        let stream: Box<TlsStream<IO>> = outcome.map_err(HandshakeError::of_tls)?;
        match self.court.verdict(noted, stream.get_ref().1, Role::Client) {
            Some(verdict) => {
                let peer = verdict?;
                let standing = Standing::new(self.court.clone(), peer.clone(), began_at);
                Ok(Arrival::Peer(PeerStream::new(stream, peer, standing)))
            }
            None => Ok(Arrival::Anonymous(stream)),
        }
    }
}

impl<IO> Arrival<IO> {
    fn seen(&self) -> Seen<'_> {
        match self {
            Self::Anonymous(_) => Seen {
                peer: None,
                resumed: false,
            },
            Self::Peer(stream) => stream.seen(),
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}
