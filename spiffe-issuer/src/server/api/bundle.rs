//! The bundle service: decode, call, encode.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{refused, unimplemented};
use crate::domain::Paged;
use crate::proto::server::bundle::bundle_server::Bundle;
use crate::proto::server::bundle::{
    AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchCreateFederatedBundleResponse,
    BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse,
    BatchSetFederatedBundleRequest, BatchSetFederatedBundleResponse,
    BatchUpdateFederatedBundleRequest, BatchUpdateFederatedBundleResponse, CountBundlesRequest,
    CountBundlesResponse, GetBundleRequest, GetFederatedBundleRequest, ListFederatedBundlesRequest,
    ListFederatedBundlesResponse, PublishJwtAuthorityRequest, PublishJwtAuthorityResponse,
    PublishWitAuthorityRequest, PublishWitAuthorityResponse,
};
use crate::proto::types;
use crate::server::bundles::{Bundle as Told, Bundles, TokenAuthority};
use crate::wire::{self, Field, Masked, query};

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
        let field = Field::named("trust_domain");
        let of = wire::trust_domain(&field, &message.trust_domain).map_err(refused)?;
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
        _: Request<AppendBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        Err(unimplemented(
            "authorities from elsewhere are not supported",
        ))
    }

    async fn publish_jwt_authority(
        &self,
        _: Request<PublishJwtAuthorityRequest>,
    ) -> Result<Response<PublishJwtAuthorityResponse>, Status> {
        Err(unimplemented(DOWNSTREAM))
    }

    async fn publish_wit_authority(
        &self,
        _: Request<PublishWitAuthorityRequest>,
    ) -> Result<Response<PublishWitAuthorityResponse>, Status> {
        Err(unimplemented(DOWNSTREAM))
    }

    async fn batch_create_federated_bundle(
        &self,
        _: Request<BatchCreateFederatedBundleRequest>,
    ) -> Result<Response<BatchCreateFederatedBundleResponse>, Status> {
        Err(unimplemented(FEDERATION))
    }

    async fn batch_update_federated_bundle(
        &self,
        _: Request<BatchUpdateFederatedBundleRequest>,
    ) -> Result<Response<BatchUpdateFederatedBundleResponse>, Status> {
        Err(unimplemented(FEDERATION))
    }

    async fn batch_set_federated_bundle(
        &self,
        _: Request<BatchSetFederatedBundleRequest>,
    ) -> Result<Response<BatchSetFederatedBundleResponse>, Status> {
        Err(unimplemented(FEDERATION))
    }

    async fn batch_delete_federated_bundle(
        &self,
        _: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<BatchDeleteFederatedBundleResponse>, Status> {
        Err(unimplemented(FEDERATION))
    }
}

fn encode(bundle: &Told, mask: Option<&types::BundleMask>) -> types::Bundle {
    let authorities = bundle.x509_authorities.iter();
    let message = types::Bundle {
        trust_domain: bundle.trust_domain.to_string(),
        x509_authorities: authorities
            .map(|(certificate, tainted)| types::X509Certificate {
                asn1: certificate.der().to_vec(),
                tainted: *tainted,
            })
            .collect(),
        jwt_authorities: bundle.jwt_authorities.iter().map(jwt_key).collect(),
        wit_authorities: bundle.wit_authorities.iter().map(wit_key).collect(),
        refresh_hint: wire::whole_seconds(bundle.refresh_hint),
        sequence_number: bundle.sequence_number,
    };
    message.masked(mask)
}

fn jwt_key(key: &TokenAuthority) -> types::JwtKey {
    types::JwtKey {
        public_key: key.public_key.spki_der().to_vec(),
        key_id: key.key_id.clone(),
        expires_at: key.expires_at.map_or(0, wire::seconds),
        tainted: key.tainted,
    }
}

fn wit_key(key: &TokenAuthority) -> types::WitKey {
    types::WitKey {
        public_key: key.public_key.spki_der().to_vec(),
        key_id: key.key_id.clone(),
        expires_at: key.expires_at.map_or(0, wire::seconds),
        tainted: key.tainted,
    }
}

const DOWNSTREAM: &str = "servers below this one are not supported";
const FEDERATION: &str = "federation is not supported";
