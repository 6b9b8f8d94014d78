//! The SPIFFE Workload API.

mod messages;
mod watch;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use spiffe_core::proto::workload::spiffe_workload_api_server::{
    SpiffeWorkloadApi, SpiffeWorkloadApiServer,
};
use spiffe_core::proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest,
    WitsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

use super::peer::Caller;
use crate::wire;

pub use watch::{Refused, Workloads};
use watch::{Watch, Wish};

/// The Workload API as a service, behind the rule that each of its calls carries the security
/// header: a browser, or a server that can be made to fetch an address, cannot set it.
pub fn service(workloads: Arc<Workloads>) -> Service {
    let api = SpiffeWorkloadApiServer::new(WorkloadApi { workloads })
        .max_decoding_message_size(LARGEST_REQUEST);
    InterceptedService::new(api, security_header)
}

/// The Workload API behind its rule.
pub type Service = InterceptedService<SpiffeWorkloadApiServer<WorkloadApi>, Rule>;

/// Lets a call pass, or does not.
pub type Rule = fn(Request<()>) -> Result<Request<()>, Status>;

/// The handlers: decode, call, encode.
#[derive(Debug)]
pub struct WorkloadApi {
    workloads: Arc<Workloads>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl WorkloadApi {
    /// The stream of all that `caller` is told from now on; its first message is there already, or
    /// the reason why there is none.
    async fn watch<W: Wish>(&self, caller: Option<&Caller>) -> Result<Answers<W::Message>, Status> {
        let caller = caller.cloned().ok_or(Refused::Unknown);
        let begun = async { Watch::<W>::begin(self.workloads.clone(), caller?).await };
        let (first, watch) = begun.await.map_err(|refused| wire::status(&refused))?;
        let rest = stream::unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            Some(match watch.next().await {
                Ok(message) => (Ok(message), Some(watch)),
                Err(refused) => (Err(wire::status(&refused)), None),
            })
        });
        Ok(Box::pin(futures_util::StreamExt::chain(
            stream::iter([Ok(first)]),
            rest,
        )))
    }
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = Answers<X509svidResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let answers = self.watch::<watch::Svids>(caller(&request)).await?;
        Ok(Response::new(answers))
    }

    type FetchX509BundlesStream = Answers<X509BundlesResponse>;

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let answers = self.watch::<watch::Bundles>(caller(&request)).await?;
        Ok(Response::new(answers))
    }

    async fn fetch_jwtsvid(
        &self,
        _: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        Err(wire::status(&Refused::Unimplemented("JWT-SVIDs")))
    }

    type FetchJWTBundlesStream = Answers<JwtBundlesResponse>;

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Err(wire::status(&Refused::Unimplemented("JWT bundles")))
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        Err(wire::status(&Refused::Unimplemented("JWT-SVIDs")))
    }

    type FetchWITSVIDStream = Answers<WitsvidResponse>;

    async fn fetch_witsvid(
        &self,
        _: Request<WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        Err(wire::status(&Refused::Unimplemented("WIT-SVIDs")))
    }

    type FetchWITBundlesStream = Answers<WitBundlesResponse>;

    async fn fetch_wit_bundles(
        &self,
        _: Request<WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        Err(wire::status(&Refused::Unimplemented("WIT bundles")))
    }
}

/// Who called, as the kernel told when the connection was made.
fn caller<T>(request: &Request<T>) -> Option<&Caller> {
    request.extensions().get()
}

/// SPIFFE Workload Endpoint section 3: exactly this header, exactly once.
fn security_header(request: Request<()>) -> Result<Request<()>, Status> {
    let mut values = request.metadata().get_all("workload.spiffe.io").iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value == "true" => Ok(request),
        _ => Err(wire::status(&Refused::NoHeader)),
    }
}

/// A token to validate is the largest thing that anybody sends.
const LARGEST_REQUEST: usize = 64 * 1024;

#[cfg(test)]
mod tests;
