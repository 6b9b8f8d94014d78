//! The one conversation: an agent attests, and is asked as often as its attestor likes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{Instrument, Span};

use super::refused;
use crate::attestation::AttestError;
use crate::attestation::node::Challenger;
use crate::domain::{Fault, Kind};
use crate::proto::server::agent::{
    AttestAgentRequest, AttestAgentResponse, attest_agent_request, attest_agent_response,
};
use crate::server::nodes::Nodes;
use crate::wire::{bundle, node};

/// What the agent gets: challenges, and in the end its SVID or a refusal.
pub(super) type AttestStream =
    Pin<Box<dyn Stream<Item = Result<AttestAgentResponse, Status>> + Send>>;

/// Holds the conversation. It goes on only while its stream is read, so an agent that goes away
/// ends it.
pub(super) fn converse<S>(nodes: Arc<Nodes>, from_agent: S) -> AttestStream
where
    S: Stream<Item = Result<AttestAgentRequest, Status>> + Unpin + Send + 'static,
{
    let (to_agent, challenges) = mpsc::channel(1);
    let agent = Agent {
        from_agent,
        to_agent,
    };
    let end = attest(nodes, agent).instrument(Span::current());
    // A challenge is always out before its answer is awaited, so the end never overtakes one.
    let challenges = ReceiverStream::new(challenges).map(Ok);
    Box::pin(stream::select(challenges, stream::once(end)))
}

async fn attest<S>(nodes: Arc<Nodes>, mut agent: Agent<S>) -> Result<AttestAgentResponse, Status>
where
    S: Stream<Item = Result<AttestAgentRequest, Status>> + Unpin + Send,
{
    let first = agent.next().await.map_err(refused)?;
    let claim = node::claim(first).map_err(refused)?;
    let admitted = nodes
        .attest(
            &claim.attestor,
            claim.payload.into(),
            &claim.csr,
            &mut agent,
        )
        .await
        .map_err(refused)?;
    let result = attest_agent_response::Result {
        svid: Some(bundle::svid_to_message(&admitted.id, &admitted.chain, "")),
        reattestable: admitted.reattestable,
    };
    Ok(AttestAgentResponse {
        step: Some(attest_agent_response::Step::Result(result)),
    })
}

/// The agent at the other end.
struct Agent<S> {
    from_agent: S,
    to_agent: mpsc::Sender<AttestAgentResponse>,
}

impl<S> Agent<S>
where
    S: Stream<Item = Result<AttestAgentRequest, Status>> + Unpin + Send,
{
    async fn next(&mut self) -> Result<Option<attest_agent_request::Step>, BrokenOff> {
        match timeout(PATIENCE, self.from_agent.next()).await {
            Err(_) => Err(BrokenOff::Silent),
            Ok(None) => Err(BrokenOff::Ended),
            Ok(Some(Err(status))) => Err(BrokenOff::Failed(status)),
            Ok(Some(Ok(message))) => Ok(message.step),
        }
    }

    async fn answer(&mut self, challenge: Bytes) -> Result<Bytes, BrokenOff> {
        let step = attest_agent_response::Step::Challenge(challenge.into());
        let message = AttestAgentResponse { step: Some(step) };
        let sent = self.to_agent.send(message).await;
        sent.map_err(|_| BrokenOff::Ended)?;
        match self.next().await? {
            Some(attest_agent_request::Step::ChallengeResponse(answer)) => Ok(answer.into()),
            Some(attest_agent_request::Step::Params(_)) | None => Err(BrokenOff::NoAnswer),
        }
    }
}

#[async_trait]
impl<S> Challenger for Agent<S>
where
    S: Stream<Item = Result<AttestAgentRequest, Status>> + Unpin + Send,
{
    async fn ask(&mut self, challenge: Bytes) -> Result<Bytes, AttestError> {
        let answer = self.answer(challenge).await;
        answer.map_err(|error| AttestError::Stream(Box::new(error)))
    }
}

/// Why the agent did not say what it had to.
#[derive(Debug, thiserror::Error)]
enum BrokenOff {
    #[error("the agent ended the conversation")]
    Ended,
    #[error("the agent could not be read")]
    Failed(#[source] Status),
    #[error("the agent did not answer the challenge")]
    NoAnswer,
    #[error("the agent said nothing for {PATIENCE:?}")]
    Silent,
}

impl Fault for BrokenOff {
    fn kind(&self) -> Kind {
        match self {
            Self::NoAnswer => Kind::Invalid,
            Self::Ended | Self::Failed(_) | Self::Silent => Kind::Unavailable,
        }
    }
}

/// How long the agent may think.
const PATIENCE: Duration = Duration::from_secs(30);
