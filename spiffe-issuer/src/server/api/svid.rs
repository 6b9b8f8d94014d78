//! The SVID service: decode, call, encode.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::{caller_of, meter_of, refused, unimplemented};
use crate::proto::server::svid::svid_server::Svid;
use crate::proto::server::svid::{
    BatchNewWitsvidRequest, BatchNewWitsvidResponse, BatchNewX509svidRequest,
    BatchNewX509svidResponse, MintJwtsvidRequest, MintJwtsvidResponse, MintWitsvidRequest,
    MintWitsvidResponse, MintX509svidRequest, MintX509svidResponse, NewDownstreamX509caRequest,
    NewDownstreamX509caResponse, NewJwtsvidRequest, NewJwtsvidResponse,
    batch_new_x509svid_response,
};
use crate::server::svids::{Asked, Svids};
use crate::wire::{self, Field, bundle};

/// `spire.api.server.svid.v1.SVID`.
#[derive(Clone)]
pub(super) struct SvidApi {
    pub(super) svids: Arc<Svids>,
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
        _: Request<MintJwtsvidRequest>,
    ) -> Result<Response<MintJwtsvidResponse>, Status> {
        Err(unimplemented(JWT))
    }

    async fn mint_witsvid(
        &self,
        _: Request<MintWitsvidRequest>,
    ) -> Result<Response<MintWitsvidResponse>, Status> {
        Err(unimplemented(WIT))
    }

    async fn new_jwtsvid(
        &self,
        _: Request<NewJwtsvidRequest>,
    ) -> Result<Response<NewJwtsvidResponse>, Status> {
        Err(unimplemented(JWT))
    }

    async fn batch_new_witsvid(
        &self,
        _: Request<BatchNewWitsvidRequest>,
    ) -> Result<Response<BatchNewWitsvidResponse>, Status> {
        Err(unimplemented(WIT))
    }

    async fn new_downstream_x509ca(
        &self,
        _: Request<NewDownstreamX509caRequest>,
    ) -> Result<Response<NewDownstreamX509caResponse>, Status> {
        Err(unimplemented("servers below this one are not supported"))
    }
}

/// As SPIRE says it where JWT-SVIDs are switched off.
const JWT: &str = "JWT functionality is disabled";
const WIT: &str = "WIT functionality is disabled";
