//! The server's table of contents: every built-in that its configuration can choose.

use std::sync::Arc;

use super::ca::{CredentialComposer, UNIQUE_ID, UpstreamAuthority};
use super::store::{OpenStore, sql};
use super::upstream::disk;
use crate::attestation::node::join_token::{self, JoinTokenAttestor};
use crate::attestation::node::{NodeAttestor, TokenBook};
use crate::config::Issues;
use crate::keys::{KeyManager, MEMORY, SERVER_DISK};
use crate::plugin::BuiltIn;

/// What the server remembers with.
pub const DATA_STORES: &[BuiltIn<dyn OpenStore>] = &[sql::SQL];

/// What keeps the server's keys.
pub const KEY_MANAGERS: &[BuiltIn<dyn KeyManager>] = &[SERVER_DISK, MEMORY];

/// What stands above the server's own authority.
pub const UPSTREAM_AUTHORITIES: &[BuiltIn<dyn UpstreamAuthority>] = &[disk::DISK];

/// What adds to certificates.
pub const CREDENTIAL_COMPOSERS: &[BuiltIn<dyn CredentialComposer>] = &[UNIQUE_ID];

/// What judges nodes.
pub const NODE_ATTESTORS: &[BuiltIn<MakeAttestor>] = &[JOIN_TOKEN];

/// An attestor whose settings were read; it is made once there is a store to look tokens up in.
pub type MakeAttestor = dyn Fn(Arc<dyn TokenBook>) -> Arc<dyn NodeAttestor> + Send + Sync;

/// `NodeAttestor "join_token" {}`.
const JOIN_TOKEN: BuiltIn<MakeAttestor> = BuiltIn {
    name: join_token::NAME,
    make: |settings, _| {
        let mut issues = Issues::default();
        let nothing = settings.fields(&mut issues, |_| Some(()));
        issues.finish(nothing)?.logged();
        Ok(Arc::new(|book| Arc::new(JoinTokenAttestor::new(book))))
    },
};
