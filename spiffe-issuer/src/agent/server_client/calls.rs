//! What an agent asks its server, call by call.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use spiffe_core::x509::Certificate;
use spiffe_core::{TrustBundle, TrustDomain};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::{CallError, RPC_TIMEOUT, Refusal, ServerClient, entries, in_time};
use crate::attestation::AttestError;
use crate::attestation::node::NodeProver;
use crate::domain::Entry;
use crate::proto::server::agent::agent_client::AgentClient;
use crate::proto::server::agent::attest_agent_request::{Params, Step};
use crate::proto::server::agent::attest_agent_response::Step as Answer;
use crate::proto::server::agent::{
    AgentX509svidParams, AttestAgentRequest, PostStatusRequest, RenewAgentRequest,
};
use crate::proto::server::bundle::bundle_client::BundleClient;
use crate::proto::server::bundle::{GetBundleRequest, GetFederatedBundleRequest};
use crate::proto::server::entry::entry_client::EntryClient;
use crate::proto::server::svid::svid_client::SvidClient;
use crate::proto::server::svid::{BatchNewX509svidRequest, NewX509svidParams};
use crate::proto::types;
use crate::wire;
use crate::wire::bundle::ToldBundle;

/// The identity that an agent was given.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The chain, leaf first.
    pub chain: Vec<Certificate>,
    /// Whether the agent is to attest again when its time has come, and not to renew.
    pub can_reattest: bool,
}

/// One request for a workload's certificate.
#[derive(Debug)]
pub struct Wanted {
    /// The entry that it is for.
    pub entry: Arc<Entry>,
    /// The request of its key.
    pub csr: Vec<u8>,
}

impl ServerClient {
    /// Proves what this node is, and gets an identity for the key of `csr`.
    ///
    /// # Errors
    ///
    /// Where the proof is not good, or the server cannot be asked. The caller decides what that
    /// means for our identity: nobody is told.
    pub async fn attest(
        &self,
        attestor: &str,
        claim: Bytes,
        prover: &dyn NodeProver,
        csr: Vec<u8>,
    ) -> Result<Admitted, AttestCallError> {
        let link = self.link().await?;
        let (ask, asked) = mpsc::channel(1);
        let params = Params {
            data: Some(types::AttestationData {
                r#type: attestor.to_owned(),
                payload: claim.into(),
            }),
            params: Some(AgentX509svidParams { csr }),
        };
        send(&ask, Step::Params(params)).await;
        let mut client = AgentClient::new(link.channel.clone());
        let calling = client.attest_agent(ReceiverStream::new(asked));
        let mut answers = in_time(calling).await?.into_inner();
        loop {
            let answer = match timeout(RPC_TIMEOUT, answers.next()).await {
                Err(_) => return Err(CallError::TimedOut.into()),
                Ok(None) => return Err(CallError::Malformed("attestation ended early").into()),
                Ok(Some(answer)) => answer.map_err(CallError::from)?,
            };
            match answer.step {
                Some(Answer::Challenge(challenge)) => {
                    let response = prover.answer(challenge.into()).await?;
                    send(&ask, Step::ChallengeResponse(response.into())).await;
                }
                Some(Answer::Result(result)) => {
                    let can_reattest = result.reattestable;
                    let chain = chain(result.svid.as_ref())?;
                    return Ok(Admitted {
                        chain,
                        can_reattest,
                    });
                }
                None => return Err(CallError::Malformed("an empty answer").into()),
            }
        }
    }

    /// Gets the next identity with the one we have.
    ///
    /// # Errors
    ///
    /// As for [`attest`](Self::attest).
    pub async fn renew(&self, csr: Vec<u8>) -> Result<Vec<Certificate>, CallError> {
        let link = self.link().await?;
        let mut client = AgentClient::new(link.channel.clone());
        let params = Some(AgentX509svidParams { csr });
        let renewed = in_time(client.renew_agent(RenewAgentRequest { params })).await?;
        chain(renewed.into_inner().svid.as_ref())
    }

    /// Tells the server which version this is.
    ///
    /// # Errors
    ///
    /// Where the server cannot be told.
    pub async fn post_status(&self, version: &str) -> Result<(), CallError> {
        let request = PostStatusRequest {
            agent_version: version.to_owned(),
            ..Default::default()
        };
        self.call(async |channel| AgentClient::new(channel).post_status(request).await)
            .await
            .map(drop)
    }

    /// The bundle of our own trust domain.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked, or tells no bundle.
    pub async fn bundle(&self, trust_domain: &TrustDomain) -> Result<ToldBundle, CallError> {
        let request = GetBundleRequest {
            output_mask: Some(bundle_mask()),
        };
        let told = self
            .call(async |channel| BundleClient::new(channel).get_bundle(request).await)
            .await?;
        bundle(&told, trust_domain)
    }

    /// The bundle of a foreign trust domain; `None` where the server has none.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked, or tells no bundle.
    pub async fn foreign_bundle(
        &self,
        trust_domain: &TrustDomain,
    ) -> Result<Option<TrustBundle>, CallError> {
        let request = GetFederatedBundleRequest {
            trust_domain: trust_domain.to_string(),
            output_mask: Some(bundle_mask()),
        };
        let told = self
            .call(async |channel| {
                BundleClient::new(channel)
                    .get_federated_bundle(request)
                    .await
            })
            .await;
        match told {
            Ok(told) => Ok(Some(bundle(&told, trust_domain)?.bundle)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All entries that this agent is authorised for. Those of `known` that did not change are not
    /// sent again.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked, or breaks the rules of the conversation.
    pub async fn entries(&self, known: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, CallError> {
        let by_id = known.into_iter().map(|entry| (entry.id.to_string(), entry));
        let known = by_id.collect();
        let (ask, asked) = mpsc::channel(1);
        // There is room for one.
        let _ = ask.try_send(entries::opening());
        let (generation, answers) = self
            .call_with_generation(async |channel| {
                let requests = ReceiverStream::new(asked);
                EntryClient::new(channel)
                    .max_decoding_message_size(LARGEST_PAGE)
                    .sync_authorized_entries(requests)
                    .await
            })
            .await?;
        let told = entries::converse(&known, ask, answers).await;
        told.inspect_err(|error| self.tell(error, generation))
    }

    /// Certificates for workloads, in the order of the requests.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked, or answers something else. What it would not sign is an
    /// error of that item only.
    pub async fn sign(
        &self,
        wanted: &[Wanted],
    ) -> Result<Vec<Result<Vec<Certificate>, CallError>>, CallError> {
        let params = wanted.iter().map(|one| NewX509svidParams {
            entry_id: one.entry.id.to_string(),
            csr: one.csr.clone(),
        });
        let request = BatchNewX509svidRequest {
            params: params.collect(),
        };
        let answer = self
            .call(async |channel| {
                SvidClient::new(channel)
                    .max_decoding_message_size(LARGEST_PAGE)
                    .batch_new_x509svid(request)
                    .await
            })
            .await?;
        if answer.results.len() != wanted.len() {
            return Err(CallError::Malformed("another number of certificates"));
        }
        let results = answer.results.into_iter().map(|result| {
            let status = result.status.unwrap_or_default();
            match status.code {
                0 => chain(result.svid.as_ref()),
                code => Err(CallError::Refused(Refusal::of_item(code, status.message))),
            }
        });
        Ok(results.collect())
    }
}

/// Why attesting came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AttestCallError {
    /// The server would not, or could not be asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// We cannot prove anything.
    #[error("proving what this node is")]
    Prove(#[from] AttestError),
}

async fn send(ask: &mpsc::Sender<AttestAgentRequest>, step: Step) {
    // Nobody listens any more where the call has failed, and the answer says how.
    let _ = ask.send(AttestAgentRequest { step: Some(step) }).await;
}

fn chain(svid: Option<&types::X509svid>) -> Result<Vec<Certificate>, CallError> {
    let svid = svid.ok_or(CallError::Malformed("no SVID in it"))?;
    Ok(wire::bundle::chain_from_message(svid)?)
}

fn bundle(message: &types::Bundle, trust_domain: &TrustDomain) -> Result<ToldBundle, CallError> {
    let told = wire::bundle::from_message(message)?;
    if told.bundle.trust_domain() != trust_domain {
        return Err(CallError::Malformed("the bundle of another trust domain"));
    }
    if told.bundle.x509_authorities().is_empty() {
        return Err(CallError::Malformed("a bundle without authorities"));
    }
    Ok(told)
}

fn bundle_mask() -> types::BundleMask {
    types::BundleMask {
        x509_authorities: true,
        sequence_number: true,
        ..Default::default()
    }
}

/// A page has 500 entries or certificates at the most.
const LARGEST_PAGE: usize = 32 << 20;
