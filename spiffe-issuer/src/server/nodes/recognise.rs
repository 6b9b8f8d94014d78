//! Recognising an agent by the SVID that it calls with.

use std::sync::Arc;
use std::time::SystemTime;

use spiffe_core::SpiffeId;

use super::Nodes;
use crate::domain::{AttestedNode, Denial, Fault, Kind, Serial};
use crate::server::store::StoreError;

/// An agent that called with the SVID that it was given last. Only [`Nodes::recognise`] makes one.
#[derive(Debug, Clone)]
pub struct AgentCaller(Arc<AttestedNode>);

impl AgentCaller {
    /// The agent's ID.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// The node, as it was when the agent called.
    #[must_use]
    pub fn node(&self) -> &AttestedNode {
        &self.0
    }
}

impl Nodes {
    /// Recognises the agent that holds the SVID of this ID and serial number.
    ///
    /// An SVID that was handed out and not used before takes the place of the one before it: its
    /// first use is the proof that it arrived.
    ///
    /// # Errors
    ///
    /// Where it is no attested agent, or no longer, or the SVID is not the one given last.
    pub async fn recognise(
        &self,
        id: &SpiffeId,
        serial: &Serial,
        not_after: SystemTime,
    ) -> Result<AgentCaller, Unrecognised> {
        if not_after <= self.clock.now() {
            return Err(Unrecognised::Expired(id.clone()));
        }
        let found = self.store.find_node(id).await?;
        let mut node = found.ok_or_else(|| Unrecognised::NotAttested(id.clone()))?;
        if is_renewed(&node, serial) {
            node = self.store.activate_renewed(id, serial).await?;
        }
        match &node.serial {
            None => Err(Unrecognised::Banned(id.clone())),
            Some(current) if current == serial => Ok(AgentCaller(node.into())),
            Some(current) => Err(Unrecognised::NotActive {
                id: id.clone(),
                current: current.as_str().to_owned(),
                presented: serial.as_str().to_owned(),
            }),
        }
    }
}

fn is_renewed(node: &AttestedNode, serial: &Serial) -> bool {
    !node.is_banned()
        && node
            .renewed
            .as_ref()
            .is_some_and(|renewed| renewed.serial == *serial)
}

/// Why a caller is no agent of ours. The texts are for our log.
#[derive(Debug, thiserror::Error)]
pub enum Unrecognised {
    /// The agent was banned.
    #[error("agent \"{0}\" is banned")]
    Banned(SpiffeId),
    /// The SVID has expired; it had not when the connection was made.
    #[error("agent \"{0}\" SVID is expired")]
    Expired(SpiffeId),
    /// The SVID is neither the current nor the renewed one.
    #[error("agent \"{id}\" expected to have serial number \"{current}\"; has \"{presented}\"")]
    NotActive {
        /// Who called.
        id: SpiffeId,
        /// The serial number that we know.
        current: String,
        /// The serial number that was presented.
        presented: String,
    },
    /// No such agent is known.
    #[error("agent \"{0}\" is not attested")]
    NotAttested(SpiffeId),
    /// The store failed.
    #[error("the agent could not be looked up")]
    Store(#[from] StoreError),
}

impl Fault for Unrecognised {
    fn kind(&self) -> Kind {
        match self {
            Self::Store(StoreError::NotFound) => Kind::Denied,
            Self::Store(error) => error.kind(),
            _ => Kind::Denied,
        }
    }

    fn denial(&self) -> Option<Denial> {
        match self {
            Self::Banned(_) => Some(Denial::AgentBanned),
            Self::Expired(_) => Some(Denial::AgentExpired),
            Self::NotActive { .. } => Some(Denial::AgentNotActive),
            // Deleted between two looks at it, so not attested either.
            Self::NotAttested(_) | Self::Store(StoreError::NotFound) => {
                Some(Denial::AgentNotAttested)
            }
            Self::Store(_) => None,
        }
    }
}
