//! The SVID service: decode, call, encode.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::{caller_of, meter_of, refused};
use crate::proto::server::svid::svid_server::Svid;
use crate::proto::server::svid::{
    BatchNewWitsvidRequest, BatchNewWitsvidResponse, BatchNewX509svidRequest,
    BatchNewX509svidResponse, MintJwtsvidRequest, MintJwtsvidResponse, MintWitsvidRequest,
    MintWitsvidResponse, MintX509svidRequest, MintX509svidResponse, NewDownstreamX509caRequest,
    NewDownstreamX509caResponse, NewJwtsvidRequest, NewJwtsvidResponse, NewWitsvidParams,
    batch_new_witsvid_response, batch_new_x509svid_response,
};
use crate::proto::types;
use crate::server::bundles::Bundles;
use crate::server::svids::{Asked, BoundKey, IssuedToken, Svids};
use crate::wire::{self, Field, bundle};

/// `spire.api.server.svid.v1.SVID`.
#[derive(Clone)]
pub(super) struct SvidApi {
    pub(super) svids: Arc<Svids>,
    pub(super) bundles: Arc<Bundles>,
}

#[tonic::async_trait]
impl Svid for SvidApi {
    async fn batch_new_x509svid(
        &self,
        request: Request<BatchNewX509svidRequest>,
    ) -> Result<Response<BatchNewX509svidResponse>, Status> {
        let (agent, meter) = (caller_of(&request)?, meter_of(&request)?);
        let params = request.into_inner().params;
        // The call was paid for; each certificate beyond the first one costs as much.
        let beyond = params.len().saturating_sub(1);
        meter.pay(beyond).await.map_err(refused)?;
        let asked = params.into_iter().map(|params| Asked {
            entry_id: params.entry_id,
            csr: params.csr,
        });
        let issued = self.svids.issue(&agent, asked.collect()).await;
        let issued = issued.map_err(refused)?;
        let results = issued.into_iter().map(|issued| {
            let (status, svid) = match issued {
                Ok(issued) => (wire::ok(), Some(issued)),
                Err(fault) => (wire::item(&fault), None),
            };
            batch_new_x509svid_response::Result {
                status: Some(status),
                svid: svid.map(|svid| bundle::svid_to_message(&svid.id, &svid.chain, &svid.hint)),
            }
        });
        Ok(Response::new(BatchNewX509svidResponse {
            results: results.collect(),
        }))
    }

    async fn mint_x509svid(
        &self,
        request: Request<MintX509svidRequest>,
    ) -> Result<Response<MintX509svidResponse>, Status> {
        let message = request.into_inner();
        let lifetime: Option<Duration> = Field::named("ttl").ttl(message.ttl).map_err(refused)?;
        let minted = self
            .svids
            .mint(&message.csr, lifetime)
            .await
            .map_err(refused)?;
        let svid = bundle::svid_to_message(&minted.id, &minted.chain, "");
        Ok(Response::new(MintX509svidResponse { svid: Some(svid) }))
    }

    async fn mint_jwtsvid(
        &self,
        request: Request<MintJwtsvidRequest>,
    ) -> Result<Response<MintJwtsvidResponse>, Status> {
        let message = request.into_inner();
        let lifetime = Field::named("ttl").ttl(message.ttl).map_err(refused)?;
        let id = wire::id_in(&Field::named("id"), message.id.as_ref()).map_err(refused)?;
        let minted = self.svids.mint_jwt(id, message.audience, lifetime).await;
        let svid = Some(jwt(minted.map_err(refused)?));
        Ok(Response::new(MintJwtsvidResponse { svid }))
    }

    async fn mint_witsvid(
        &self,
        request: Request<MintWitsvidRequest>,
    ) -> Result<Response<MintWitsvidResponse>, Status> {
        let message = request.into_inner();
        let lifetime = Field::named("ttl").ttl(message.ttl).map_err(refused)?;
        let id = wire::id_in(&Field::named("id"), message.id.as_ref()).map_err(refused)?;
        let key = BoundKey {
            public_key: message.public_key,
            algorithm: message.signing_algorithm,
        };
        let minted = self.svids.mint_wit(id, &key, lifetime).await;
        let svid = Some(wit(minted.map_err(refused)?));
        Ok(Response::new(MintWitsvidResponse { svid }))
    }

    async fn new_jwtsvid(
        &self,
        request: Request<NewJwtsvidRequest>,
    ) -> Result<Response<NewJwtsvidResponse>, Status> {
        let agent = caller_of(&request)?;
        let NewJwtsvidRequest { entry_id, audience } = request.into_inner();
        let issued = self.svids.issue_jwt(&agent, &entry_id, audience).await;
        let svid = Some(jwt(issued.map_err(refused)?));
        Ok(Response::new(NewJwtsvidResponse { svid }))
    }

    async fn batch_new_witsvid(
        &self,
        request: Request<BatchNewWitsvidRequest>,
    ) -> Result<Response<BatchNewWitsvidResponse>, Status> {
        let (agent, meter) = (caller_of(&request)?, meter_of(&request)?);
        let params = request.into_inner().params;
        let beyond = params.len().saturating_sub(1);
        meter.pay(beyond).await.map_err(refused)?;
        let mut results = Vec::with_capacity(params.len());
        for params in params {
            let NewWitsvidParams {
                entry_id,
                public_key,
                signing_algorithm: algorithm,
            } = params;
            let key = BoundKey {
                public_key,
                algorithm,
            };
            let (status, svid) = match self.svids.issue_wit(&agent, &entry_id, &key).await {
                Ok(issued) => (wire::ok(), Some(wit(issued))),
                Err(fault) => (wire::item(&fault), None),
            };
            let status = Some(status);
            results.push(batch_new_witsvid_response::Result { status, svid });
        }
        Ok(Response::new(BatchNewWitsvidResponse { results }))
    }

    async fn new_downstream_x509ca(
        &self,
        request: Request<NewDownstreamX509caRequest>,
    ) -> Result<Response<NewDownstreamX509caResponse>, Status> {
        let message = request.into_inner();
        let lifetime = Field::named("preferred_ttl").ttl(message.preferred_ttl);
        let lifetime = lifetime.map_err(refused)?;
        let chain = self.svids.issue_downstream(&message.csr, lifetime).await;
        let chain = chain.map_err(refused)?;
        let roots = self.bundles.own().await.map_err(refused)?.x509_authorities;
        Ok(Response::new(NewDownstreamX509caResponse {
            ca_cert_chain: chain.iter().map(|c| c.der().to_vec()).collect(),
            x509_authorities: roots
                .iter()
                .map(|root| root.certificate.der().to_vec())
                .collect(),
        }))
    }
}

fn jwt(issued: IssuedToken) -> types::Jwtsvid {
    types::Jwtsvid {
        id: Some(wire::id_to_message(&issued.id)),
        expires_at: wire::seconds(issued.signed.expires_at),
        issued_at: wire::seconds(issued.signed.issued_at),
        token: issued.signed.token,
        hint: issued.hint,
    }
}

fn wit(issued: IssuedToken) -> types::Witsvid {
    types::Witsvid {
        id: Some(wire::id_to_message(&issued.id)),
        expires_at: wire::seconds(issued.signed.expires_at),
        issued_at: wire::seconds(issued.signed.issued_at),
        token: issued.signed.token,
        hint: issued.hint,
    }
}
