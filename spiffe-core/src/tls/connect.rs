//! From connected IO to a stream with a peer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::standing::{Court, Standing};
use super::{HandshakeError, PeerStream, verdict};
use crate::policy;

/// Does the client's side of handshakes, over any IO. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
    handshake_timeout: Duration,
    court: Arc<Court>,
}

impl Connector {
    pub(super) fn new(
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
        handshake_timeout: Duration,
        court: Arc<Court>,
    ) -> Self {
        Self {
            tls: config.into(),
            name,
            handshake_timeout,
            court,
        }
    }

    /// Does one handshake.
    ///
    /// # Errors
    ///
    /// Why there is no stream; the connection is closed then.
    pub async fn connect<IO>(&self, io: IO) -> Result<PeerStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // Before the authorizer is asked: a change of policy meanwhile is seen by the first look.
        let epoch = policy::epoch();
        let handshake = verdict::of(self.tls.connect(self.name.clone(), io));
        let (outcome, verdict) = timeout(self.handshake_timeout, handshake)
            .await
            .map_err(|_| HandshakeError::TimedOut(self.handshake_timeout))?;
        match (outcome, verdict) {
            (_, Some(Err(refused))) => Err(refused),
            (Err(error), _) => Err(HandshakeError::Failed(error)),
            (Ok(stream), Some(Ok(peer))) => {
                let standing = Standing::new(self.court.clone(), peer.clone(), epoch);
                Ok(PeerStream::new(stream, peer, standing))
            }
            // A server always presents a certificate; without a verdict nothing is proven.
            (Ok(_), None) => Err(HandshakeError::NoPeer),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
