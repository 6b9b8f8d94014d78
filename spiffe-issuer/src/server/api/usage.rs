//! Our own service beside SPIRE's: who still uses an authority.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::refused;
use crate::domain::{AuthorityId, AuthorityKind, Fault, Kind, Standing};
use crate::proto::server::authorities::authorities_server::Authorities;
use crate::proto::server::authorities::get_usage_request::Kind as Asked;
use crate::proto::server::authorities::get_usage_response::Agent;
use crate::proto::server::authorities::{GetUsageRequest, GetUsageResponse};
use crate::server::local_authority::{LocalAuthority, SignedUntil, Usage};
use crate::wire::{id_to_message, seconds};

/// `spiffe.issuer.v1.Authorities`.
#[derive(Clone)]
pub(super) struct UsageApi {
    pub(super) authority: Arc<LocalAuthority>,
}

#[tonic::async_trait]
impl Authorities for UsageApi {
    async fn get_usage(
        &self,
        request: Request<GetUsageRequest>,
    ) -> Result<Response<GetUsageResponse>, Status> {
        let message = request.into_inner();
        let kind = match message.kind() {
            Asked::X509 => AuthorityKind::X509,
            Asked::Jwt => AuthorityKind::Jwt,
            Asked::Wit => AuthorityKind::Wit,
            Asked::Unspecified => return Err(refused(NoKind)),
        };
        let id = AuthorityId::from_text(&message.authority_id);
        let usage = self.authority.usage(kind, &id).await.map_err(refused)?;
        Ok(Response::new(encode(&usage)))
    }
}

fn encode(usage: &Usage) -> GetUsageResponse {
    let standing = match usage.standing {
        Some(Standing::Active) => "active",
        Some(Standing::Old) => "old",
        Some(Standing::Prepared) => "prepared",
        None => "",
    };
    let agents = usage.agents.iter().map(|(id, end)| Agent {
        id: Some(id_to_message(id)),
        expires_at: seconds(*end),
    });
    let signed_until = match usage.signed_until {
        SignedUntil::Until(end) => seconds(end),
        SignedUntil::Nothing | SignedUntil::Unknown => 0,
    };
    GetUsageResponse {
        authority_id: usage.id.to_string(),
        standing: standing.to_owned(),
        in_bundle: usage.in_bundle,
        tainted: usage.tainted,
        signed_until,
        agent_count: i64::try_from(usage.agent_count).unwrap_or(i64::MAX),
        agents: agents.collect(),
        signed_until_unknown: usage.signed_until == SignedUntil::Unknown,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("kind: must be one of X509, JWT, WIT")]
struct NoKind;

impl Fault for NoKind {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}
