//! Renewing the SVID of an agent that cannot attest again.

use spiffe_core::x509::Certificate;
use tracing::info;

use super::attest::svid;
use super::{AgentCaller, Nodes};
use crate::domain::{Denial, Fault, Kind};
use crate::server::ca::CaError;
use crate::server::ca::csr::{self, CsrError};
use crate::server::store::StoreError;

impl Nodes {
    /// Signs a new SVID for an agent. The one it called with stays good until the new one is used.
    ///
    /// # Errors
    ///
    /// Where the agent is to attest again instead, the request is malformed, or signing or the store
    /// fails.
    pub async fn renew(
        &self,
        agent: &AgentCaller,
        csr: &[u8],
    ) -> Result<Vec<Certificate>, RenewError> {
        if agent.node().can_reattest {
            return Err(RenewError::MustReattest);
        }
        let chain = self.sign(agent.id(), csr::public_key(csr)?).await?;
        let leaf = chain.first().ok_or(CaError::NotReady)?;
        // Recorded before it is handed out: no agent holds a certificate that we do not know.
        self.store.renew_node(agent.id(), svid(leaf)).await?;
        info!(agent_id = %agent.id(), "agent SVID renewed");
        Ok(chain)
    }
}

/// Why an agent's SVID was not renewed. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// Signing failed.
    #[error("failed to sign the agent SVID")]
    Ca(#[from] CaError),
    /// The request is malformed.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The agent can attest again, so it must prove itself anew.
    #[error("agent must reattest instead of renew")]
    MustReattest,
    /// The store failed, or the agent is gone or banned meanwhile.
    #[error("failed to record the agent SVID")]
    Store(#[from] StoreError),
}

impl Fault for RenewError {
    fn kind(&self) -> Kind {
        match self {
            Self::Ca(error) => error.kind(),
            Self::Csr(error) => error.kind(),
            Self::MustReattest => Kind::Denied,
            Self::Store(error) => error.kind(),
        }
    }

    fn denial(&self) -> Option<Denial> {
        match self {
            Self::MustReattest => Some(Denial::AgentMustReattest),
            Self::Store(error) => error.denial(),
            Self::Ca(_) | Self::Csr(_) => None,
        }
    }
}
