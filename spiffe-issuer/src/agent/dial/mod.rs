//! Connections to the server over TLS.

mod first_server;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use spiffe_core::authorizer::exactly;
use spiffe_core::clock::Clock;
use spiffe_core::source::SnapshotCell;
use spiffe_core::tls::ClientTls;
use spiffe_core::{IdError, SpiffeId, TrustDomain};
use spiffe_tonic::stock_channel;
use tonic::transport::Channel;

use super::config::ServerAddress;
use super::server_client::Dialer;

pub use first_server::FirstServer;

/// Reaches the one server that our bundle vouches for, as who our identity says.
#[derive(Debug)]
pub struct Verified {
    address: ServerAddress,
    tls: ClientTls,
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
            .clock(clock)
            .handshake_timeout(HANDSHAKE);
        Self { address, tls }
    }
}

#[async_trait]
impl Dialer for Verified {
    async fn dial(&self) -> Result<Channel, Box<dyn StdError + Send + Sync>> {
        let uri = format!("https://{}", self.address);
        Ok(stock_channel(&uri, self.tls.clone())?)
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

const HANDSHAKE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
