//! The Broker API of the fake: what the Workload API says, of whatever workload.

use tokio_stream::StreamExt;
use tonic::{Request, Response, Status};

use super::script::Rpc;
use super::service::{Messages, Service};
use crate::proto::broker::api_server::{Api, ApiServer, SERVICE_NAME};
use crate::proto::broker::{
    FetchJwtsvidRequest, FetchJwtsvidResponse, Jwtsvid, SubscribeToJwtBundlesRequest,
    SubscribeToJwtBundlesResponse, SubscribeToX509BundlesRequest, SubscribeToX509BundlesResponse,
    SubscribeToX509svidRequest, SubscribeToX509svidResponse, WorkloadReference, X509svid,
};
use crate::proto::workload::{self, JwtsvidRequest};

pub(super) const NAME: &str = SERVICE_NAME;

pub(super) fn serving(service: Service) -> ApiServer<Service> {
    ApiServer::new(service)
}

const HEADER: Option<&str> = Some("broker.spiffe.io");

#[tonic::async_trait]
impl Api for Service {
    type SubscribeToX509SVIDStream = Messages<SubscribeToX509svidResponse>;
    type SubscribeToX509BundlesStream = Messages<SubscribeToX509BundlesResponse>;
    type SubscribeToJWTBundlesStream = Messages<SubscribeToJwtBundlesResponse>;

    async fn subscribe_to_x509svid(
        &self,
        request: Request<SubscribeToX509svidRequest>,
    ) -> Result<Response<Self::SubscribeToX509SVIDStream>, Status> {
        self.admit(Rpc::X509Svid, &request, HEADER).await?;
        self.refer(request.into_inner().reference)?;
        let answers = self.answers(Rpc::X509Svid, &self.0.x509)?.into_inner();
        Ok(Response::new(Box::pin(
            answers.map(|message| message.map(svids)),
        )))
    }

    async fn subscribe_to_x509_bundles(
        &self,
        request: Request<SubscribeToX509BundlesRequest>,
    ) -> Result<Response<Self::SubscribeToX509BundlesStream>, Status> {
        self.admit(Rpc::X509Bundles, &request, HEADER).await?;
        self.refer(request.into_inner().reference)?;
        let answers = self.answers(Rpc::X509Bundles, &self.0.x509_bundles)?;
        let answers = answers.into_inner().map(|message| {
            let workload::X509BundlesResponse { crl, bundles } = message?;
            Ok(SubscribeToX509BundlesResponse { crl, bundles })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<FetchJwtsvidRequest>,
    ) -> Result<Response<FetchJwtsvidResponse>, Status> {
        self.admit(Rpc::JwtSvid, &request, HEADER).await?;
        let asked = request.into_inner();
        self.refer(asked.reference)?;
        let asked = JwtsvidRequest {
            audience: asked.audience,
            spiffe_id: asked.spiffe_id,
        };
        let tokens = self.mint(&asked).await?.svids.into_iter();
        let tokens = tokens.map(|token| Jwtsvid {
            spiffe_id: token.spiffe_id,
            svid: token.svid,
            hint: token.hint,
        });
        Ok(Response::new(FetchJwtsvidResponse {
            svids: tokens.collect(),
        }))
    }

    async fn subscribe_to_jwt_bundles(
        &self,
        request: Request<SubscribeToJwtBundlesRequest>,
    ) -> Result<Response<Self::SubscribeToJWTBundlesStream>, Status> {
        self.admit(Rpc::JwtBundles, &request, HEADER).await?;
        self.refer(request.into_inner().reference)?;
        let answers = self.answers(Rpc::JwtBundles, &self.0.jwt_bundles)?;
        let answers = answers.into_inner().map(|message| {
            let bundles = message?.bundles;
            Ok(SubscribeToJwtBundlesResponse { bundles })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

impl Service {
    /// Notes whom a call is about.
    fn refer(&self, reference: Option<WorkloadReference>) -> Result<(), Status> {
        let reference = reference.and_then(|reference| reference.reference);
        let reference =
            reference.ok_or_else(|| Status::invalid_argument("the reference is missing"))?;
        let name = reference.type_url.rsplit('/').next().unwrap_or_default();
        self.0.asked_about().push(name.to_owned());
        Ok(())
    }
}

fn svids(message: workload::X509svidResponse) -> SubscribeToX509svidResponse {
    let svid = |svid: workload::X509svid| X509svid {
        spiffe_id: svid.spiffe_id,
        x509_svid: svid.x509_svid,
        x509_svid_key: svid.x509_svid_key,
        bundle: svid.bundle,
        hint: svid.hint,
    };
    SubscribeToX509svidResponse {
        svids: message.svids.into_iter().map(svid).collect(),
        crl: message.crl,
        federated_bundles: message.federated_bundles,
    }
}
