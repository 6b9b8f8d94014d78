//! The bundle service: decode, call, encode.

use std::sync::Arc;

use spiffe_core::x509::{PublicKey, X509Error};
use spiffe_core::{IdError, TrustDomain};
use tonic::{Request, Response, Status};

use super::{refused, unimplemented};
use crate::domain::{AuthorityList, Bundle as Told, Dissolve, Fault, Kind, Paged, TokenAuthority};
use crate::proto::server::bundle::bundle_server::Bundle;
use crate::proto::server::bundle::{
    AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchCreateFederatedBundleResponse,
    BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse,
    BatchSetFederatedBundleRequest, BatchSetFederatedBundleResponse,
    BatchUpdateFederatedBundleRequest, BatchUpdateFederatedBundleResponse, CountBundlesRequest,
    CountBundlesResponse, GetBundleRequest, GetFederatedBundleRequest, ListFederatedBundlesRequest,
    ListFederatedBundlesResponse, PublishJwtAuthorityRequest, PublishJwtAuthorityResponse,
    PublishWitAuthorityRequest, PublishWitAuthorityResponse,
    batch_create_federated_bundle_response, batch_delete_federated_bundle_request::Mode,
    batch_delete_federated_bundle_response, batch_set_federated_bundle_response,
    batch_update_federated_bundle_response,
};
use crate::proto::types;
use crate::server::bundles::{Bundles, BundlesError};
use crate::wire::authorities::{
    BundleFault, bundle_from_message, bundle_to_message, jwt_from_messages, jwt_to_message,
    wit_from_messages, x509_from_messages,
};
use crate::wire::{self, Field, FieldError, Masked, query};

/// `spire.api.server.bundle.v1.Bundle`.
#[derive(Clone)]
pub(super) struct BundleApi {
    pub(super) bundles: Arc<Bundles>,
}

#[tonic::async_trait]
impl Bundle for BundleApi {
    async fn get_bundle(
        &self,
        request: Request<GetBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let bundle = self.bundles.own().await.map_err(refused)?;
        let mask = request.get_ref().output_mask.as_ref();
        Ok(Response::new(encode(&bundle, mask)))
    }

    async fn get_federated_bundle(
        &self,
        request: Request<GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let message = request.into_inner();
        let of = trust_domain(&message.trust_domain).map_err(refused)?;
        let bundle = self.bundles.foreign(&of).await.map_err(refused)?;
        Ok(Response::new(encode(&bundle, message.output_mask.as_ref())))
    }

    async fn list_federated_bundles(
        &self,
        request: Request<ListFederatedBundlesRequest>,
    ) -> Result<Response<ListFederatedBundlesResponse>, Status> {
        let message = request.into_inner();
        let page = query::page(message.page_size, &message.page_token).map_err(refused)?;
        let Paged { items, next } = self.bundles.list_foreign(&page).await.map_err(refused)?;
        let mask = message.output_mask.as_ref();
        Ok(Response::new(ListFederatedBundlesResponse {
            bundles: items.iter().map(|bundle| encode(bundle, mask)).collect(),
            next_page_token: query::page_token(next),
        }))
    }

    async fn count_bundles(
        &self,
        _: Request<CountBundlesRequest>,
    ) -> Result<Response<CountBundlesResponse>, Status> {
        let count = self.bundles.count().await.map_err(refused)?;
        let count = query::count(count);
        Ok(Response::new(CountBundlesResponse { count }))
    }

    async fn append_bundle(
        &self,
        request: Request<AppendBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let message = request.into_inner();
        let authorities = appended(&message).map_err(refused)?;
        let bundle = self.bundles.append(&authorities).await.map_err(refused)?;
        Ok(Response::new(encode(&bundle, message.output_mask.as_ref())))
    }

    async fn publish_jwt_authority(
        &self,
        request: Request<PublishJwtAuthorityRequest>,
    ) -> Result<Response<PublishJwtAuthorityResponse>, Status> {
        let key = request.into_inner().jwt_authority;
        let key = jwt_authority(key).map_err(refused)?;
        let keys = self.bundles.publish_jwt(key).await.map_err(refused)?;
        Ok(Response::new(PublishJwtAuthorityResponse {
            jwt_authorities: keys.iter().map(jwt_to_message).collect(),
        }))
    }

    async fn publish_wit_authority(
        &self,
        _: Request<PublishWitAuthorityRequest>,
    ) -> Result<Response<PublishWitAuthorityResponse>, Status> {
        Err(unimplemented(NO_WIT))
    }

    async fn batch_create_federated_bundle(
        &self,
        request: Request<BatchCreateFederatedBundleRequest>,
    ) -> Result<Response<BatchCreateFederatedBundleResponse>, Status> {
        let message = request.into_inner();
        let mask = message.output_mask.as_ref();
        let mut results = Vec::new();
        for bundle in &message.bundle {
            let (status, bundle) = told(self.create(bundle).await, mask);
            results.push(batch_create_federated_bundle_response::Result { status, bundle });
        }
        Ok(Response::new(BatchCreateFederatedBundleResponse {
            results,
        }))
    }

    async fn batch_update_federated_bundle(
        &self,
        request: Request<BatchUpdateFederatedBundleRequest>,
    ) -> Result<Response<BatchUpdateFederatedBundleResponse>, Status> {
        let message = request.into_inner();
        let mask = message.output_mask.as_ref();
        let mut results = Vec::new();
        for bundle in message.bundle {
            let updated = self.update(bundle, message.input_mask.as_ref()).await;
            let (status, bundle) = told(updated, mask);
            results.push(batch_update_federated_bundle_response::Result { status, bundle });
        }
        Ok(Response::new(BatchUpdateFederatedBundleResponse {
            results,
        }))
    }

    async fn batch_set_federated_bundle(
        &self,
        request: Request<BatchSetFederatedBundleRequest>,
    ) -> Result<Response<BatchSetFederatedBundleResponse>, Status> {
        let message = request.into_inner();
        let mask = message.output_mask.as_ref();
        let mut results = Vec::new();
        for bundle in &message.bundle {
            let (status, bundle) = told(self.set(bundle).await, mask);
            results.push(batch_set_federated_bundle_response::Result { status, bundle });
        }
        Ok(Response::new(BatchSetFederatedBundleResponse { results }))
    }

    async fn batch_delete_federated_bundle(
        &self,
        request: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<BatchDeleteFederatedBundleResponse>, Status> {
        let message = request.into_inner();
        let how = dissolve(message.mode).map_err(refused)?;
        let mut results = Vec::new();
        for name in message.trust_domains {
            let (trust_domain, deleted) = match trust_domain(&name) {
                Ok(of) => (of.to_string(), self.delete(&of, how).await),
                Err(fault) => (name, Err(fault)),
            };
            results.push(batch_delete_federated_bundle_response::Result {
                status: Some(deleted.map_or_else(|fault| wire::item(&fault), |()| wire::ok())),
                trust_domain,
            });
        }
        Ok(Response::new(BatchDeleteFederatedBundleResponse {
            results,
        }))
    }
}

impl BundleApi {
    async fn create(&self, message: &types::Bundle) -> Result<Told, ItemFault> {
        Ok(self.bundles.create(decode(message)?).await?)
    }

    async fn set(&self, message: &types::Bundle) -> Result<Told, ItemFault> {
        Ok(self.bundles.set(decode(message)?).await?)
    }

    /// Only what the mask chooses has to be good.
    async fn update(
        &self,
        message: types::Bundle,
        mask: Option<&types::BundleMask>,
    ) -> Result<Told, ItemFault> {
        let of = trust_domain(&message.trust_domain)?;
        let change = |current: &Told| decode(&bundle_to_message(current).overlaid(message, mask));
        self.bundles.update(&of, change).await
    }

    async fn delete(&self, of: &TrustDomain, how: Dissolve) -> Result<(), ItemFault> {
        Ok(self.bundles.delete(of, how).await?)
    }
}

fn trust_domain(name: &str) -> Result<TrustDomain, ItemFault> {
    Ok(TrustDomain::from_id_or_name(name)?)
}

fn decode(message: &types::Bundle) -> Result<Told, ItemFault> {
    // So that this is told before anything else, and in its own words.
    trust_domain(&message.trust_domain)?;
    Ok(bundle_from_message(message)?)
}

fn encode(bundle: &Told, mask: Option<&types::BundleMask>) -> types::Bundle {
    bundle_to_message(bundle).masked(mask)
}

/// What is told of a bundle of a batch.
fn told(
    outcome: Result<Told, ItemFault>,
    mask: Option<&types::BundleMask>,
) -> (Option<types::Status>, Option<types::Bundle>) {
    match outcome {
        Ok(bundle) => (Some(wire::ok()), Some(encode(&bundle, mask))),
        Err(fault) => (Some(wire::item(&fault)), None),
    }
}

/// The key that a server below us publishes.
fn jwt_authority(message: Option<types::JwtKey>) -> Result<TokenAuthority, PublishError> {
    let message = message.ok_or(PublishError::Missing)?;
    let public_key = PublicKey::from_spki_der(&message.public_key).map_err(PublishError::Key)?;
    if message.key_id.is_empty() {
        return Err(PublishError::KeyId);
    }
    let expires_at = Field::named("expires_at").time(message.expires_at)?;
    Ok(TokenAuthority {
        key_id: message.key_id,
        public_key,
        expires_at,
        tainted: false,
    })
}

/// Why a key is not published. Texts are known to clients.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("invalid JWT authority")]
    Field(#[from] FieldError),
    #[error("invalid JWT authority")]
    Key(#[source] X509Error),
    #[error("invalid JWT authority: missing key ID")]
    KeyId,
    #[error("missing JWT authority")]
    Missing,
}

impl Fault for PublishError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

fn appended(message: &AppendBundleRequest) -> Result<AuthorityList, ItemFault> {
    let x509 = x509_from_messages(&message.x509_authorities).map_err(ItemFault::X509)?;
    Ok(AuthorityList {
        x509: x509.into_iter().map(|known| known.certificate).collect(),
        jwt: jwt_from_messages(&message.jwt_authorities).map_err(ItemFault::Jwt)?,
        wit: wit_from_messages(&message.wit_authorities).map_err(ItemFault::Wit)?,
    })
}

fn dissolve(mode: i32) -> Result<Dissolve, ItemFault> {
    match Mode::try_from(mode) {
        Ok(Mode::Delete) => Ok(Dissolve::Delete),
        Ok(Mode::Dissociate) => Ok(Dissolve::Dissociate),
        Ok(Mode::Restrict) => Ok(Dissolve::Restrict),
        Err(_) => Err(ItemFault::Mode(mode)),
    }
}

/// Why nothing came of a request, or of an item of a batch. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
enum ItemFault {
    #[error(transparent)]
    Bundles(#[from] BundlesError),
    #[error("failed to convert bundle")]
    Decode(#[from] BundleFault),
    #[error("failed to convert JWT authority")]
    Jwt(#[source] BundleFault),
    #[error("failed to parse deletion mode: unhandled delete mode \"{0}\"")]
    Mode(i32),
    #[error("trust domain argument is not valid")]
    TrustDomain(#[from] IdError),
    #[error("failed to convert WIT authority")]
    Wit(#[source] BundleFault),
    #[error("failed to convert X.509 authority")]
    X509(#[source] BundleFault),
}

impl Fault for ItemFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Bundles(error) => error.kind(),
            Self::Decode(error) | Self::Jwt(error) | Self::Wit(error) | Self::X509(error) => {
                error.kind()
            }
            Self::Mode(_) | Self::TrustDomain(_) => Kind::Invalid,
        }
    }
}

/// As SPIRE has it.
const NO_WIT: &str = "WIT-SVID functionality is not yet implemented";
