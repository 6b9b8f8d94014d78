//! From connected IO to a stream with a peer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::{Resumption, Tls12Resumption};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

use super::observe;
use super::sessions::{ClientSessions, SessionsWith};
use super::standing::{Court, Moment, Standing};
use super::{HandshakeError, PeerStream, verdict};
use crate::verify::Role;

/// Does the client's side of handshakes, over any IO. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    handshake_timeout: Duration,
    court: Arc<Court>,
    sessions: Option<Arc<ClientSessions>>,
}

impl Connector {
    pub(super) fn new(
        config: ClientConfig,
        name: ServerName<'static>,
        handshake_timeout: Duration,
        court: Arc<Court>,
        sessions: Option<Arc<ClientSessions>>,
    ) -> Self {
        Self {
            config: Arc::new(config),
            name,
            handshake_timeout,
            court,
            sessions,
        }
    }

    /// Does one handshake. No session is resumed: nobody says with whom it began.
    ///
    /// # Errors
    ///
    /// Why there is no stream; the connection is closed then.
    pub async fn connect<IO>(&self, io: IO) -> Result<PeerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let began_at = self.court.moment();
        let shake = self.shake(io, self.config.clone(), began_at);
        observe::handshake(Role::Client, shake, PeerStream::seen).await
    }

    /// Does one handshake with whom `authority` names, e.g. "ledger:443". That name is not sent and
    /// proves nothing: it only keeps apart the sessions to be resumed, where
    /// [`resumption`](super::ClientTls::resumption) says so.
    ///
    /// # Errors
    ///
    /// Why there is no stream; the connection is closed then.
    pub async fn connect_to<IO>(
        &self,
        authority: &str,
        io: IO,
    ) -> Result<PeerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = self.court.moment();
        let config = match &self.sessions {
            None => self.config.clone(),
            Some(sessions) => {
                let known = SessionsWith {
                    authority: authority.into(),
                    begun,
                    sessions: sessions.clone(),
                };
                let mut config = ClientConfig::clone(&self.config);
                config.resumption =
                    Resumption::store(Arc::new(known)).tls12_resumption(Tls12Resumption::Disabled);
                Arc::new(config)
            }
        };
        let shake = self.shake(io, config, begun);
        observe::handshake(Role::Client, shake, PeerStream::seen).await
    }

    /// `began_at` is from before the peer is judged: a change of trust or policy meanwhile is seen by
    /// the first look.
    async fn shake<IO>(
        &self,
        io: IO,
        config: Arc<ClientConfig>,
        began_at: Moment,
    ) -> Result<PeerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let tls = TlsConnector::from(config);
        let name = self.name.clone();
        // On the heap, now and later: it holds all of rustls, and is handed from one to the next.
        let connecting = Box::pin(async { Ok(Box::new(tls.connect(name, io).await?.into())) });
        let handshake = verdict::of(began_at, connecting);
        let (outcome, noted) = timeout(self.handshake_timeout, handshake)
            .await
            .map_err(|_| HandshakeError::TimedOut(self.handshake_timeout))?;
        if let Some(Err(refused)) = noted {
            return Err(refused);
        }
        let stream: Box<TlsStream<IO>> = outcome.map_err(HandshakeError::Failed)?;
        // A server always presents a certificate; without a verdict nothing is proven.
        let verdict = self
            .court
            .verdict(noted, stream.get_ref().1, Role::Server)
            .unwrap_or(Err(HandshakeError::NoPeer));
        let peer = verdict?;
        let standing = Standing::new(self.court.clone(), peer.clone(), began_at);
        Ok(PeerStream::new(stream, peer, standing))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
