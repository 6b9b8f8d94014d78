//! Nodes: attested, recognised, renewed, banned and forgotten.

mod attest;
mod recognise;
mod renew;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::clock::Clock;
use spiffe_core::{SpiffeId, TrustDomain};
use tracing::info;

use crate::attestation::node::NodeAttestor;
use crate::domain::{AttestedNode, Fault, Kind, NodeFilter, Page, Paged};
use crate::server::ca::Authorities;
use crate::server::ids::{IdRuleError, agent_id};
use crate::server::store::{DataStore, NodeStore, StoreError, TokenStore};

pub use attest::{Admitted, AttestFailure};
pub use recognise::{AgentCaller, Unrecognised};
pub use renew::RenewError;
pub use token::{NewToken, StoredTokens, TokenError};

/// The nodes of a trust domain.
pub struct Nodes {
    trust_domain: TrustDomain,
    attestors: BTreeMap<&'static str, Arc<dyn NodeAttestor>>,
    authorities: Arc<Authorities>,
    store: Arc<dyn NodeStore>,
    tokens: Arc<dyn TokenStore>,
    clock: Arc<dyn Clock>,
    policy: NodePolicy,
}

/// How nodes are treated here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePolicy {
    /// How long the SVID of an agent is good for.
    pub agent_ttl: Duration,
    /// Whether each node gets its own ID as a selector, so that an alias can mean one node.
    pub id_as_selector: bool,
}

impl Nodes {
    /// The nodes that this store holds, judged by these attestors.
    #[must_use]
    pub fn new(
        trust_domain: TrustDomain,
        attestors: BTreeMap<&'static str, Arc<dyn NodeAttestor>>,
        authorities: Arc<Authorities>,
        store: Arc<dyn DataStore>,
        clock: Arc<dyn Clock>,
        policy: NodePolicy,
    ) -> Self {
        Self {
            trust_domain,
            attestors,
            authorities,
            store: store.clone(),
            tokens: store,
            clock,
            policy,
        }
    }

    /// The node of this ID.
    ///
    /// # Errors
    ///
    /// Where there is none, or the store fails.
    pub async fn find(&self, id: &SpiffeId) -> Result<AttestedNode, NodesError> {
        agent_id(id, &self.trust_domain)?;
        let found = self.store.find_node(id).await?;
        found.ok_or(NodesError::NotFound)
    }

    /// A page of the nodes that pass the filter.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn list(
        &self,
        filter: &NodeFilter,
        page: &Page,
    ) -> Result<Paged<AttestedNode>, NodesError> {
        Ok(self.store.list_nodes(filter, page).await?)
    }

    /// How many nodes pass the filter.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn count(&self, filter: &NodeFilter) -> Result<u64, NodesError> {
        Ok(self.store.count_nodes(filter).await?)
    }

    /// Bans a node: what it holds is good no more, and it is not attested again until it is deleted.
    ///
    /// # Errors
    ///
    /// Where there is none, or the store fails.
    pub async fn ban(&self, id: &SpiffeId) -> Result<(), NodesError> {
        agent_id(id, &self.trust_domain)?;
        self.store.ban_node(id).await.map_err(not_found)?;
        info!(agent_id = %id, "Agent banned");
        Ok(())
    }

    /// Forgets a node, with the entry that its join token made.
    ///
    /// # Errors
    ///
    /// Where there is none, or the store fails.
    pub async fn delete(&self, id: &SpiffeId) -> Result<(), NodesError> {
        agent_id(id, &self.trust_domain)?;
        let deleted = self.store.delete_node(id).await?;
        deleted.ok_or(NodesError::NotFound)?;
        info!(agent_id = %id, "Agent deleted");
        Ok(())
    }

    /// Records the version that an agent tells.
    ///
    /// # Errors
    ///
    /// Where it is too long, the agent is gone, or the store fails.
    pub async fn set_version(&self, agent: &AgentCaller, version: &str) -> Result<(), NodesError> {
        if version.len() > MAX_VERSION_LEN {
            return Err(NodesError::VersionTooLong);
        }
        let recorded = self.store.set_agent_version(agent.id(), version).await;
        recorded.map_err(not_found)
    }
}

fn not_found(error: StoreError) -> NodesError {
    match error {
        StoreError::NotFound => NodesError::NotFound,
        error => NodesError::Store(error),
    }
}

/// Why something could not be done with a node. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// The ID is not that of an agent of ours.
    #[error("invalid agent ID")]
    Id(#[from] IdRuleError),
    /// There is no node of this ID.
    #[error("agent not found")]
    NotFound,
    /// The store failed.
    #[error("the agent could not be stored or read")]
    Store(#[from] StoreError),
    /// The version is longer than any is.
    #[error("agent version is too long, max length is {MAX_VERSION_LEN} characters")]
    VersionTooLong,
}

impl Fault for NodesError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::Store(error) => error.kind(),
            Self::Id(_) | Self::VersionTooLong => Kind::Invalid,
        }
    }
}

/// The longest version that an agent may tell.
const MAX_VERSION_LEN: usize = 255;
