//! Attesting a node: judge, ask for bans, sign, then commit once.

use bytes::Bytes;
use spiffe_core::x509::{Certificate, PublicKey};
use spiffe_core::{IdError, SpiffeId};
use tracing::info;

use super::Nodes;
use crate::attestation::AttestError;
use crate::attestation::node::{Challenger, Verdict, join_token};
use crate::domain::{
    AttestedNode, AuthorityId, Denial, Fault, Kind, NodeSvid, Selector, SelectorError, SelectorSet,
    Serial,
};
use crate::server::ca::csr::{self, CsrError};
use crate::server::ca::{CaError, Leaf};
use crate::server::store::StoreError;

/// A node that was let in.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The agent's ID.
    pub id: SpiffeId,
    /// The agent's SVID, leaf first.
    pub chain: Vec<Certificate>,
    /// Whether it is to attest again rather than to renew.
    pub reattestable: bool,
}

impl Nodes {
    /// Lets the attestor of this name judge a claim, and lets the node in if it stands.
    ///
    /// Signed before committed, sent after: a crash spends no token, and no agent holds a
    /// certificate that the store does not know.
    ///
    /// # Errors
    ///
    /// Where the claim does not stand, the node is banned, or something of ours fails.
    pub async fn attest(
        &self,
        attestor: &str,
        claim: Bytes,
        csr: &[u8],
        agent: &mut dyn Challenger,
    ) -> Result<Admitted, AttestFailure> {
        let Some((name, judge)) = self.attestors.get_key_value(attestor) else {
            return Err(AttestFailure::NoAttestor(attestor.to_owned()));
        };
        let key = csr::public_key(csr)?;
        let verdict = judge.attest(claim, &key, agent, self.clock.now()).await;
        let verdict = verdict.map_err(|source| AttestFailure::Attest {
            attestor: name,
            source,
        })?;
        let id = verdict.name.to_id(&self.trust_domain, name)?;
        self.refuse_banned(&id).await?;
        let chain = self.sign(&id, key).await?;
        let leaf = chain.first().ok_or(CaError::NotReady)?;
        let node = self.node(name, &id, &verdict, leaf)?;
        let now = self.clock.now();
        self.store.admit(node, verdict.spends, now).await?;
        info!(agent_id = %id, node_attestor_type = name, "agent attested");
        Ok(Admitted {
            id,
            chain,
            reattestable: verdict.may_reattest,
        })
    }

    /// Asked here so that nothing is signed for a banned node; asked again by the commit.
    async fn refuse_banned(&self, id: &SpiffeId) -> Result<(), AttestFailure> {
        match self.store.find_node(id).await? {
            Some(node) if node.is_banned() => Err(StoreError::NodeBanned.into()),
            _ => Ok(()),
        }
    }

    /// Signs the SVID of an agent.
    pub(super) async fn sign(
        &self,
        id: &SpiffeId,
        key: PublicKey,
    ) -> Result<Vec<Certificate>, CaError> {
        let leaf = Leaf::agent(id, key, self.policy.agent_ttl)?;
        self.authorities.issue(leaf, self.clock.now()).await
    }

    fn node(
        &self,
        attestor: &str,
        id: &SpiffeId,
        verdict: &Verdict,
        leaf: &Certificate,
    ) -> Result<AttestedNode, SelectorError> {
        let svid = svid(leaf);
        Ok(AttestedNode {
            id: id.clone(),
            attestation_type: attestor.to_owned(),
            serial: Some(svid.serial),
            expires_at: svid.expires_at,
            authority: svid.authority,
            renewed: None,
            can_reattest: verdict.may_reattest,
            selectors: self.selectors(id, &verdict.selectors)?,
            agent_version: String::new(),
        })
    }

    fn selectors(&self, id: &SpiffeId, found: &SelectorSet) -> Result<SelectorSet, SelectorError> {
        let mut selectors = found.clone();
        if self.policy.id_as_selector {
            selectors.insert(Selector::new("spiffe_id", id.as_str())?);
        }
        Ok(selectors)
    }
}

/// What is remembered of a certificate.
pub(super) fn svid(leaf: &Certificate) -> NodeSvid {
    NodeSvid {
        serial: Serial::from_be_bytes(leaf.serial()),
        expires_at: leaf.not_after(),
        authority: leaf.authority_key_id().map(AuthorityId::from_key_id),
    }
}

/// Why a node was not let in. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum AttestFailure {
    /// The claim does not stand.
    #[error("{}", refused_by(attestor))]
    Attest {
        /// Who judged it.
        attestor: &'static str,
        /// What it says.
        source: AttestError,
    },
    /// Signing failed.
    #[error("failed to sign the agent SVID")]
    Ca(#[from] CaError),
    /// The request for a certificate is malformed.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// What the attestor found out makes no ID.
    #[error("failed to attest: the agent cannot be named")]
    Name(#[from] IdError),
    /// No such attestor is configured.
    #[error("error getting node attestor: could not find node attestor type \"{0}\"")]
    NoAttestor(String),
    /// The ID does not make a selector.
    #[error("the agent's ID cannot be a selector")]
    Selector(#[from] SelectorError),
    /// The store failed, knows no such token any more, or knows the node as banned.
    #[error("failed to attest")]
    Store(#[from] StoreError),
}

/// How clients know the words of an attestor: SPIRE judges join tokens itself, and all else in
/// plugins.
fn refused_by(attestor: &str) -> String {
    match attestor {
        join_token::NAME => "failed to attest".to_owned(),
        plugin => format!("nodeattestor({plugin})"),
    }
}

impl Fault for AttestFailure {
    fn kind(&self) -> Kind {
        match self {
            Self::Attest { source, .. } => source.kind(),
            Self::Ca(error) => error.kind(),
            Self::Csr(error) => error.kind(),
            Self::Name(_) => Kind::Denied,
            Self::NoAttestor(_) => Kind::NotReady,
            Self::Selector(_) => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }

    // This text is known without what stands before the others.
    fn told(&self) -> Option<String> {
        match self {
            Self::Attest {
                source: error @ AttestError::TokenExpired,
                ..
            } => Some(error.to_string()),
            Self::Store(error @ StoreError::TokenExpired) => Some(error.to_string()),
            _ => None,
        }
    }

    fn denial(&self) -> Option<Denial> {
        match self {
            Self::Store(error) => error.denial(),
            _ => None,
        }
    }
}
