//! `entry create|update|delete|show|count`: who gets which identity.

mod answer;
mod block;
mod change;
mod create;
mod delete;
mod file;
mod find;
mod show;
mod update;

use tonic::transport::Channel;

pub(super) use create::Create;
pub(super) use delete::Delete;
pub(super) use show::{Count, Show};
pub(super) use update::Update;

use super::connect::{ConnectError, Socket};
use crate::proto::server::entry::entry_client::EntryClient;

async fn client(socket: &Socket) -> Result<EntryClient<Channel>, ConnectError> {
    Ok(EntryClient::new(socket.connect().await?))
}
