//! The agent service: decode, call, encode.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status, Streaming};

use super::attest::{AttestStream, converse};
use super::{caller_of, refused};
use crate::domain::{JoinToken, Paged};
use crate::proto::server::agent::agent_server::Agent;
use crate::proto::server::agent::{
    AttestAgentRequest, BanAgentRequest, CountAgentsRequest, CountAgentsResponse,
    CreateJoinTokenRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest,
    ListAgentsResponse, PostStatusRequest, PostStatusResponse, RenewAgentRequest,
    RenewAgentResponse,
};
use crate::proto::types;
use crate::server::nodes::{Nodes, TokenError};
use crate::wire::{self, Field, Masked, bundle, node, query};

/// `spire.api.server.agent.v1.Agent`.
#[derive(Clone)]
pub(super) struct AgentApi {
    pub(super) nodes: Arc<Nodes>,
}

#[tonic::async_trait]
impl Agent for AgentApi {
    type AttestAgentStream = AttestStream;

    async fn attest_agent(
        &self,
        request: Request<Streaming<AttestAgentRequest>>,
    ) -> Result<Response<AttestStream>, Status> {
        let conversation = converse(self.nodes.clone(), request.into_inner());
        Ok(Response::new(conversation))
    }

    async fn renew_agent(
        &self,
        request: Request<RenewAgentRequest>,
    ) -> Result<Response<RenewAgentResponse>, Status> {
        let agent = caller_of(&request)?;
        let params = Field::named("params")
            .required(request.into_inner().params)
            .map_err(refused)?;
        let chain = self
            .nodes
            .renew(&agent, &params.csr)
            .await
            .map_err(refused)?;
        let svid = bundle::svid_to_message(agent.id(), &chain, "");
        Ok(Response::new(RenewAgentResponse { svid: Some(svid) }))
    }

    async fn post_status(
        &self,
        request: Request<PostStatusRequest>,
    ) -> Result<Response<PostStatusResponse>, Status> {
        let agent = caller_of(&request)?;
        let version = request.into_inner().agent_version;
        self.nodes
            .set_version(&agent, &version)
            .await
            .map_err(refused)?;
        Ok(Response::new(PostStatusResponse {}))
    }

    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<types::JoinToken>, Status> {
        let message = request.into_inner();
        // Neither nothing nor less than that is a lifetime; both are told the same.
        let seconds = u64::try_from(message.ttl).map_err(|_| refused(TokenError::NoLifetime))?;
        let chosen = (!message.token.is_empty()).then(|| JoinToken::from_text(&message.token));
        let agent_id = message
            .agent_id
            .map(|id| wire::id_in(&Field::named("agent_id"), Some(&id)))
            .transpose()
            .map_err(refused)?;
        let made = self
            .nodes
            .create_token(Duration::from_secs(seconds), chosen, agent_id)
            .await
            .map_err(refused)?;
        Ok(Response::new(types::JoinToken {
            value: made.token.reveal().to_owned(),
            expires_at: wire::seconds(made.expires_at),
        }))
    }

    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let message = request.into_inner();
        let filter = query::node_filter(message.filter).map_err(refused)?;
        let page = query::page(message.page_size, &message.page_token).map_err(refused)?;
        let Paged { items, next } = self.nodes.list(&filter, &page).await.map_err(refused)?;
        let mask = message.output_mask.as_ref();
        Ok(Response::new(ListAgentsResponse {
            agents: items
                .iter()
                .map(|n| node::to_message(n).masked(mask))
                .collect(),
            next_page_token: query::page_token(next),
        }))
    }

    async fn count_agents(
        &self,
        request: Request<CountAgentsRequest>,
    ) -> Result<Response<CountAgentsResponse>, Status> {
        let filter = query::counted_node_filter(request.into_inner().filter).map_err(refused)?;
        let count = self.nodes.count(&filter).await.map_err(refused)?;
        let count = query::count(count);
        Ok(Response::new(CountAgentsResponse { count }))
    }

    async fn get_agent(
        &self,
        request: Request<GetAgentRequest>,
    ) -> Result<Response<types::Agent>, Status> {
        let message = request.into_inner();
        let id = wire::id_in(&ID, message.id.as_ref()).map_err(refused)?;
        let node = self.nodes.find(&id).await.map_err(refused)?;
        let agent = node::to_message(&node).masked(message.output_mask.as_ref());
        Ok(Response::new(agent))
    }

    async fn delete_agent(
        &self,
        request: Request<DeleteAgentRequest>,
    ) -> Result<Response<()>, Status> {
        let id = wire::id_in(&ID, request.get_ref().id.as_ref()).map_err(refused)?;
        self.nodes.delete(&id).await.map_err(refused)?;
        Ok(Response::new(()))
    }

    async fn ban_agent(&self, request: Request<BanAgentRequest>) -> Result<Response<()>, Status> {
        let id = wire::id_in(&ID, request.get_ref().id.as_ref()).map_err(refused)?;
        self.nodes.ban(&id).await.map_err(refused)?;
        Ok(Response::new(()))
    }
}

const ID: Field<'_> = Field::named("id");
