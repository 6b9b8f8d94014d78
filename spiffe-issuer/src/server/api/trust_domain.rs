//! The trust domain service: decode, call, encode.

use std::sync::Arc;

use spiffe_core::{IdError, TrustDomain};
use tonic::{Request, Response, Status};

use super::refused;
use crate::domain::{Bundle, Fault, Kind, Paged, Relationship};
use crate::proto::server::trustdomain::trust_domain_server::TrustDomain as Service;
use crate::proto::server::trustdomain::{
    BatchCreateFederationRelationshipRequest, BatchCreateFederationRelationshipResponse,
    BatchDeleteFederationRelationshipRequest, BatchDeleteFederationRelationshipResponse,
    BatchUpdateFederationRelationshipRequest, BatchUpdateFederationRelationshipResponse,
    GetFederationRelationshipRequest, ListFederationRelationshipsRequest,
    ListFederationRelationshipsResponse, RefreshBundleRequest,
    batch_create_federation_relationship_response as create_response,
    batch_delete_federation_relationship_response as delete_response,
    batch_update_federation_relationship_response as update_response,
};
use crate::proto::types::{self, FederationRelationship, FederationRelationshipMask as Mask};
use crate::server::federation::{Federation, FederationError, Partner};
use crate::wire::authorities::bundle_to_message;
use crate::wire::federation::{RelationshipFault, from_message, status_to_message, to_message};
use crate::wire::{self, Masked, query};

/// `spire.api.server.trustdomain.v1.TrustDomain`.
#[derive(Clone)]
pub(super) struct TrustDomainApi {
    pub(super) federation: Arc<Federation>,
}

#[tonic::async_trait]
impl Service for TrustDomainApi {
    async fn list_federation_relationships(
        &self,
        request: Request<ListFederationRelationshipsRequest>,
    ) -> Result<Response<ListFederationRelationshipsResponse>, Status> {
        let message = request.into_inner();
        let page = query::page(message.page_size, &message.page_token).map_err(refused)?;
        let Paged { items, next } = self.federation.list(&page).await.map_err(refused)?;
        let mask = message.output_mask.as_ref();
        let mut federation_relationships = Vec::new();
        for partner in &items {
            let told = self.told(partner, mask).await.map_err(refused)?;
            federation_relationships.push(told);
        }
        Ok(Response::new(ListFederationRelationshipsResponse {
            federation_relationships,
            next_page_token: query::page_token(next),
        }))
    }

    async fn get_federation_relationship(
        &self,
        request: Request<GetFederationRelationshipRequest>,
    ) -> Result<Response<FederationRelationship>, Status> {
        let message = request.into_inner();
        let with = trust_domain(&message.trust_domain).map_err(refused)?;
        let partner = self.federation.find(&with).await.map_err(refused)?;
        let told = self.told(&partner, message.output_mask.as_ref()).await;
        Ok(Response::new(told.map_err(refused)?))
    }

    async fn batch_create_federation_relationship(
        &self,
        request: Request<BatchCreateFederationRelationshipRequest>,
    ) -> Result<Response<BatchCreateFederationRelationshipResponse>, Status> {
        let message = request.into_inner();
        let mut results = Vec::new();
        for relationship in &message.federation_relationships {
            let created = self
                .create(relationship, message.output_mask.as_ref())
                .await;
            let (status, federation_relationship) = result(created);
            results.push(create_response::Result {
                status,
                federation_relationship,
            });
        }
        let response = BatchCreateFederationRelationshipResponse { results };
        Ok(Response::new(response))
    }

    async fn batch_update_federation_relationship(
        &self,
        request: Request<BatchUpdateFederationRelationshipRequest>,
    ) -> Result<Response<BatchUpdateFederationRelationshipResponse>, Status> {
        let message = request.into_inner();
        let (input, output) = (message.input_mask.as_ref(), message.output_mask.as_ref());
        let mut results = Vec::new();
        for relationship in message.federation_relationships {
            let updated = self.update(relationship, input, output).await;
            let (status, federation_relationship) = result(updated);
            results.push(update_response::Result {
                status,
                federation_relationship,
            });
        }
        let response = BatchUpdateFederationRelationshipResponse { results };
        Ok(Response::new(response))
    }

    async fn batch_delete_federation_relationship(
        &self,
        request: Request<BatchDeleteFederationRelationshipRequest>,
    ) -> Result<Response<BatchDeleteFederationRelationshipResponse>, Status> {
        let mut results = Vec::new();
        for name in request.into_inner().trust_domains {
            let (trust_domain, deleted) = match named(&name) {
                Ok(with) => (with.to_string(), self.delete(&with).await),
                Err(fault) => (name, Err(fault)),
            };
            results.push(delete_response::Result {
                status: Some(deleted.map_or_else(|fault| wire::item(&fault), |()| wire::ok())),
                trust_domain,
            });
        }
        let response = BatchDeleteFederationRelationshipResponse { results };
        Ok(Response::new(response))
    }

    async fn refresh_bundle(
        &self,
        request: Request<RefreshBundleRequest>,
    ) -> Result<Response<()>, Status> {
        let with = trust_domain(&request.get_ref().trust_domain).map_err(refused)?;
        self.federation.refresh(&with).await.map_err(refused)?;
        Ok(Response::new(()))
    }
}

impl TrustDomainApi {
    async fn create(
        &self,
        message: &FederationRelationship,
        mask: Option<&Mask>,
    ) -> Result<FederationRelationship, ItemFault> {
        let (relationship, bundle) = from_message(message)?;
        self.federation
            .create(&relationship, bundle.clone())
            .await?;
        Ok(encode(&relationship, bundle.as_ref()).masked(mask))
    }

    /// Only what the mask chooses has to be good.
    async fn update(
        &self,
        message: FederationRelationship,
        input: Option<&Mask>,
        output: Option<&Mask>,
    ) -> Result<FederationRelationship, ItemFault> {
        let with = TrustDomain::from_id_or_name(&message.trust_domain)
            .map_err(|error| ItemFault::Decode(error.into()))?;
        let change = |current: &Relationship| -> Result<_, ItemFault> {
            Ok(from_message(&to_message(current).overlaid(message, input))?)
        };
        self.federation.update(&with, change).await?;
        let partner = self.federation.find(&with).await?;
        let bundle = self.federation.bundle(&with).await?;
        Ok(encode(&partner.relationship, bundle.as_ref()).masked(output))
    }

    async fn delete(&self, with: &TrustDomain) -> Result<(), ItemFault> {
        Ok(self.federation.delete(with).await?)
    }

    /// A relationship with its bundle, and how it goes.
    async fn told(
        &self,
        partner: &Partner,
        mask: Option<&Mask>,
    ) -> Result<FederationRelationship, FederationError> {
        let Partner {
            relationship,
            configured,
            status,
        } = partner;
        let bundle = self.federation.bundle(&relationship.trust_domain).await?;
        let failure = status.failure.as_deref();
        let status = status_to_message(*configured, status.succeeded_at, failure, status.next_at);
        Ok(FederationRelationship {
            status: Some(status),
            ..encode(relationship, bundle.as_ref()).masked(mask)
        })
    }
}

fn encode(relationship: &Relationship, bundle: Option<&Bundle>) -> FederationRelationship {
    FederationRelationship {
        trust_domain_bundle: bundle.map(bundle_to_message),
        ..to_message(relationship)
    }
}

/// What is told of a relationship of a batch.
fn result(
    outcome: Result<FederationRelationship, ItemFault>,
) -> (Option<types::Status>, Option<FederationRelationship>) {
    match outcome {
        Ok(relationship) => (Some(wire::ok()), Some(relationship)),
        Err(fault) => (Some(wire::item(&fault)), None),
    }
}

fn named(name: &str) -> Result<TrustDomain, ItemFault> {
    match name {
        "" => Err(ItemFault::NoTrustDomain),
        name => trust_domain(name),
    }
}

fn trust_domain(name: &str) -> Result<TrustDomain, ItemFault> {
    Ok(TrustDomain::from_id_or_name(name)?)
}

/// Why nothing came of a request, or of an item of a batch. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
enum ItemFault {
    #[error("failed to convert federation relationship")]
    Decode(#[from] RelationshipFault),
    #[error(transparent)]
    Federation(#[from] FederationError),
    #[error("missing trust domain")]
    NoTrustDomain,
    #[error("failed to parse trust domain")]
    TrustDomain(#[from] IdError),
}

impl Fault for ItemFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Decode(error) => error.kind(),
            Self::Federation(error) => error.kind(),
            Self::NoTrustDomain | Self::TrustDomain(_) => Kind::Invalid,
        }
    }

    fn told(&self) -> Option<String> {
        match self {
            Self::Federation(error) => error.told(),
            _ => None,
        }
    }
}
