//! `federation ...`: with whom the server exchanges bundles, and how that goes.

mod block;
mod change;
mod delete;
mod file;
mod refresh;
mod show;

pub(super) use change::{Create, Update};
pub(super) use delete::Delete;
pub(super) use refresh::Refresh;
pub(super) use show::{List, Show};

use tonic::transport::Channel;

use super::connect::{ConnectError, Socket};
use crate::proto::server::trustdomain::trust_domain_client::TrustDomainClient;

/// A client of the service that these commands ask.
async fn client(socket: &Socket) -> Result<TrustDomainClient<Channel>, ConnectError> {
    Ok(TrustDomainClient::new(socket.connect().await?))
}
