//! The agent's table of contents: every built-in that its configuration can choose.

use std::sync::Arc;

use super::config::TokenSource;
use super::token::TokenProver;
use crate::attestation::node::{NodeProver, join_token};
use crate::attestation::workload::{WorkloadAttestor, unix};
use crate::config::Issues;
use crate::keys::{AGENT_DISK, KeyManager, MEMORY};
use crate::plugin::BuiltIn;

/// What keeps the agent's own keys.
pub const KEY_MANAGERS: &[BuiltIn<dyn KeyManager>] = &[AGENT_DISK, MEMORY];

/// What proves to the server what this node is.
pub const NODE_PROVERS: &[BuiltIn<MakeProver>] = &[JOIN_TOKEN];

/// What finds out what workloads are.
pub const WORKLOAD_ATTESTORS: &[BuiltIn<dyn WorkloadAttestor>] = &[unix::ATTESTOR];

/// A prover whose settings were read; the join token, if there is one, is a setting of the agent.
pub type MakeProver = dyn Fn(Option<TokenSource>) -> Arc<dyn NodeProver> + Send + Sync;

/// `NodeAttestor "join_token" {}`.
const JOIN_TOKEN: BuiltIn<MakeProver> = BuiltIn {
    name: join_token::NAME,
    make: |settings, _| {
        let mut issues = Issues::default();
        let nothing = settings.fields(&mut issues, |_| Some(()));
        issues.finish(nothing)?.logged();
        Ok(Arc::new(|token| Arc::new(TokenProver::new(token))))
    },
};
