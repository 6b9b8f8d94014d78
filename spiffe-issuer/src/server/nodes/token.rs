//! Join tokens: made for operators, looked up for attestors.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use spiffe_core::SpiffeId;

use super::Nodes;
use crate::attestation::AttestError;
use crate::attestation::node::TokenBook;
use crate::domain::{AgentName, AgentNameError, Fault, JoinToken, Kind, TokenHash};
use crate::server::ids::{IdRuleError, workload_id};
use crate::server::store::{StoreError, TokenRecord, TokenStore};

/// A join token that was made. It is told once, to whoever asked for it.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The token.
    pub token: JoinToken,
    /// When it ends.
    pub expires_at: SystemTime,
}

impl Nodes {
    /// Makes a join token: the one that the caller chose, or a random one. With an agent ID, the
    /// node that it lets in gets that ID as well.
    ///
    /// # Errors
    ///
    /// Where the token cannot be part of an agent's ID or is known already, the agent ID is not one
    /// of ours, or the store fails.
    pub async fn create_token(
        &self,
        lifetime: Duration,
        chosen: Option<JoinToken>,
        agent_id: Option<SpiffeId>,
    ) -> Result<NewToken, TokenError> {
        if lifetime.is_zero() {
            return Err(TokenError::NoLifetime);
        }
        if let Some(id) = &agent_id {
            workload_id(id, &self.trust_domain).map_err(TokenError::AgentId)?;
        }
        let token = chosen.unwrap_or_else(JoinToken::random);
        // It becomes a segment of the agent's ID; better to hear now that it cannot.
        AgentName::new([token.reveal().to_owned()]).map_err(TokenError::Token)?;
        let expires_at = self.clock.now() + lifetime;
        let record = TokenRecord {
            expires_at,
            agent_id,
        };
        self.tokens.create_token(&token.hash(), record).await?;
        Ok(NewToken { token, expires_at })
    }
}

/// The tokens of a store, for attestors to look them up in.
pub struct StoredTokens(pub Arc<dyn TokenStore>);

#[async_trait]
impl TokenBook for StoredTokens {
    async fn look_up(&self, token: &TokenHash) -> Result<Option<SystemTime>, AttestError> {
        match self.0.find_token(token).await {
            Ok(found) => Ok(found.map(|record| record.expires_at)),
            Err(error) => Err(AttestError::Unavailable {
                what: "the store of join tokens",
                source: Box::new(error),
            }),
        }
    }
}

/// Why a join token was not made. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The agent ID is not one of ours.
    #[error("invalid agent ID")]
    AgentId(#[source] IdRuleError),
    /// A token that never ends, or has ended already.
    #[error("ttl is required, you must provide one")]
    NoLifetime,
    /// The store failed, or knows this token.
    #[error("failed to create the join token")]
    Store(#[from] StoreError),
    /// The token cannot be part of an agent's ID.
    #[error("the join token cannot be part of an agent's ID")]
    Token(#[source] AgentNameError),
}

impl Fault for TokenError {
    fn kind(&self) -> Kind {
        match self {
            Self::AgentId(_) | Self::NoLifetime | Self::Token(_) => Kind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }
}
