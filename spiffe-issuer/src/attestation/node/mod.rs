//! Node attestation: a claimant on the agent's side, a judge on the server's.

pub mod join_token;

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use spiffe_core::x509::PublicKey;

use super::AttestError;
use crate::domain::{AgentName, SelectorSet, TokenHash};

/// The server's half: judges one conversation with one agent. It changes nothing: whatever follows
/// from the verdict happens later, all at once, and only if nothing else speaks against it.
#[async_trait]
pub trait NodeAttestor: Send + Sync + 'static {
    /// Judges a claim, asking the agent as often as it needs to.
    ///
    /// `agent_key` is the key that the agent wants its SVID for; a hardware key can vouch for it.
    ///
    /// # Errors
    ///
    /// Where the claim is malformed or not proven, or could not be judged.
    async fn attest(
        &self,
        claim: Bytes,
        agent_key: &PublicKey,
        agent: &mut dyn Challenger,
        now: SystemTime,
    ) -> Result<Verdict, AttestError>;
}

/// The agent's half: makes the claim, and answers what it is asked.
#[async_trait]
pub trait NodeProver: Send + Sync + 'static {
    /// The claim to begin with. `agent_key` is the key that the SVID is wanted for.
    ///
    /// # Errors
    ///
    /// Where there is nothing to claim with.
    async fn claim(&self, agent_key: &PublicKey) -> Result<Bytes, AttestError>;

    /// The answer to a challenge.
    ///
    /// # Errors
    ///
    /// Where the challenge is malformed, or there is no answer to it.
    async fn answer(&self, challenge: Bytes) -> Result<Bytes, AttestError>;
}

/// The agent at the other end: asks it, and waits for the answer.
#[async_trait]
pub trait Challenger: Send {
    /// Sends a challenge and returns what the agent answers.
    ///
    /// # Errors
    ///
    /// Where the agent is gone, or answers out of order.
    async fn ask(&mut self, challenge: Bytes) -> Result<Bytes, AttestError>;
}

/// The prover itself as the other end: in a test, or where both live in one process.
pub struct Direct<'a>(pub &'a dyn NodeProver);

#[async_trait]
impl Challenger for Direct<'_> {
    async fn ask(&mut self, challenge: Bytes) -> Result<Bytes, AttestError> {
        self.0.answer(challenge).await
    }
}

/// What an attestor found out.
///
/// It names the agent below its own prefix and nowhere else: the caller composes
/// `spiffe://<td>/spire/agent/<attestor>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The agent's name below the attestor's prefix.
    pub name: AgentName,
    /// What was found about the node.
    pub selectors: SelectorSet,
    /// Whether this agent could prove the same again, so that it attests anew and never renews.
    pub may_reattest: bool,
    /// The join token that this verdict rests on. Admitting the node spends it, or fails.
    pub spends: Option<TokenHash>,
}

/// Where the join tokens are known; looking one up does not spend it.
#[async_trait]
pub trait TokenBook: Send + Sync + 'static {
    /// When this token ends; `None` where there is no such token, or no longer.
    ///
    /// # Errors
    ///
    /// Where the book cannot be read ([`AttestError::Unavailable`]).
    async fn look_up(&self, token: &TokenHash) -> Result<Option<SystemTime>, AttestError>;
}
