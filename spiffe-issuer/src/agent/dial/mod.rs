//! Connections to the server over TLS.

mod first_server;

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use spiffe_core::authorizer::exactly;
use spiffe_core::clock::Clock;
use spiffe_core::source::SnapshotCell;
use spiffe_core::tls::{ClientTls, Connector};
use spiffe_core::{IdError, SpiffeId, TrustDomain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::config::ServerAddress;
use super::server_client::Dialer;

pub use first_server::FirstServer;

/// Reaches the one server that our bundle vouches for, as who our identity says.
#[derive(Debug)]
pub struct Verified {
    address: ServerAddress,
    tls: Connector,
}

impl Verified {
    /// The server of this trust domain at this address. What is presented, and whom it is judged by,
    /// is what `identity` holds at the moment of each handshake.
    #[must_use]
    pub fn new(
        address: ServerAddress,
        server: SpiffeId,
        identity: Arc<SnapshotCell>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let tls = ClientTls::new(identity, exactly(server))
            .alpn([ALPN])
            .clock(clock)
            .handshake_timeout(HANDSHAKE)
            .connector();
        Self { address, tls }
    }
}

#[async_trait]
impl Dialer for Verified {
    async fn dial(&self) -> Result<Channel, Box<dyn StdError + Send + Sync>> {
        let tls = self.tls.clone();
        channel(&self.address, move |io| {
            let tls = tls.clone();
            async move { tls.connect(io).await.map_err(io::Error::other) }
        })
    }
}

/// What a server of this trust domain is called.
///
/// # Errors
///
/// Where the trust domain is so long that its server would have no name.
pub fn server_id(trust_domain: &TrustDomain) -> Result<SpiffeId, IdError> {
    SpiffeId::from_segments(trust_domain, ["spire", "server"])
}

/// A channel that connects when it is used, and again when it has to. `secure` does the handshake.
fn channel<F, IO>(
    address: &ServerAddress,
    secure: impl Fn(TcpStream) -> F + Clone + Send + Sync + 'static,
) -> Result<Channel, Box<dyn StdError + Send + Sync>>
where
    F: Future<Output = io::Result<IO>> + Send,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let authority = address.authority();
    // To tonic the endpoint is plain, because TLS is ours; the server is told what is true.
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))?
        .origin(format!("https://{authority}").parse()?)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(HANDSHAKE)
        .keep_alive_while_idle(true);
    let connect = service_fn(move |_| {
        let (authority, secure) = (authority.clone(), secure.clone());
        async move {
            let io = timeout(HANDSHAKE, TcpStream::connect(authority)).await??;
            io.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(secure(io).await?))
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connect))
}

const ALPN: &[u8] = b"h2";
const HANDSHAKE: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
