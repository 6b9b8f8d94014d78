//! The Delegated Identity API of the fake: what the Workload API says, of whatever workload.

use std::collections::HashMap;

use tokio_stream::StreamExt;
use tonic::{Request, Response, Status};

use super::script::Rpc;
use super::service::{Messages, Service};
use crate::SpiffeId;
use crate::proto::delegated::delegated_identity_server::{
    DelegatedIdentity, DelegatedIdentityServer, SERVICE_NAME,
};
use crate::proto::delegated::types::{Jwtsvid, Selector, Spiffeid, X509svid};
use crate::proto::delegated::{
    FetchJwtsviDsRequest, FetchJwtsviDsResponse, SubscribeToJwtBundlesRequest,
    SubscribeToJwtBundlesResponse, SubscribeToX509BundlesRequest, SubscribeToX509BundlesResponse,
    SubscribeToX509sviDsRequest, SubscribeToX509sviDsResponse, X509svidWithKey,
};
use crate::proto::workload::{self, JwtsvidRequest};
use crate::x509::Certificate;

pub(super) const NAME: &str = SERVICE_NAME;

pub(super) fn serving(service: Service) -> DelegatedIdentityServer<Service> {
    DelegatedIdentityServer::new(service)
}

#[tonic::async_trait]
impl DelegatedIdentity for Service {
    type SubscribeToX509SVIDsStream = Messages<SubscribeToX509sviDsResponse>;
    type SubscribeToX509BundlesStream = Messages<SubscribeToX509BundlesResponse>;
    type SubscribeToJWTBundlesStream = Messages<SubscribeToJwtBundlesResponse>;

    async fn subscribe_to_x509svi_ds(
        &self,
        request: Request<SubscribeToX509sviDsRequest>,
    ) -> Result<Response<Self::SubscribeToX509SVIDsStream>, Status> {
        self.admit(Rpc::X509Svid, &request, None).await?;
        self.note(&request.get_ref().selectors, request.get_ref().pid)?;
        let answers = self.answers(Rpc::X509Svid, &self.0.x509)?.into_inner();
        Ok(Response::new(Box::pin(
            answers.map(|message| message.map(svids)),
        )))
    }

    async fn subscribe_to_x509_bundles(
        &self,
        request: Request<SubscribeToX509BundlesRequest>,
    ) -> Result<Response<Self::SubscribeToX509BundlesStream>, Status> {
        self.admit(Rpc::X509Bundles, &request, None).await?;
        let answers = self.answers(Rpc::X509Bundles, &self.0.x509_bundles)?;
        let answers = answers.into_inner().map(|message| {
            let ca_certificates = message?.bundles;
            Ok(SubscribeToX509BundlesResponse { ca_certificates })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_jwtsvi_ds(
        &self,
        request: Request<FetchJwtsviDsRequest>,
    ) -> Result<Response<FetchJwtsviDsResponse>, Status> {
        self.admit(Rpc::JwtSvid, &request, None).await?;
        let asked = request.into_inner();
        self.note(&asked.selectors, asked.pid)?;
        let asked = JwtsvidRequest {
            audience: asked.audience,
            spiffe_id: String::new(),
        };
        let tokens = self.mint(&asked).await?.svids.into_iter();
        let tokens = tokens.map(|token| Jwtsvid {
            id: Some(parts(&token.spiffe_id)),
            token: token.svid,
            hint: token.hint,
            ..Jwtsvid::default()
        });
        Ok(Response::new(FetchJwtsviDsResponse {
            svids: tokens.collect(),
        }))
    }

    async fn subscribe_to_jwt_bundles(
        &self,
        request: Request<SubscribeToJwtBundlesRequest>,
    ) -> Result<Response<Self::SubscribeToJWTBundlesStream>, Status> {
        self.admit(Rpc::JwtBundles, &request, None).await?;
        let answers = self.answers(Rpc::JwtBundles, &self.0.jwt_bundles)?;
        let answers = answers.into_inner().map(|message| {
            let bundles: HashMap<_, _> = message?.bundles;
            Ok(SubscribeToJwtBundlesResponse { bundles })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

impl Service {
    /// Notes whom a call is about, which must be said in one way.
    fn note(&self, selectors: &[Selector], pid: i32) -> Result<(), Status> {
        let about = match (selectors, pid) {
            ([], 1..) => format!("pid {pid}"),
            ([_, ..], 0) => {
                let selectors = selectors.iter();
                let texts =
                    selectors.map(|selector| format!("{}:{}", selector.r#type, selector.value));
                texts.collect::<Vec<_>>().join(" ")
            }
            _ => {
                return Err(Status::invalid_argument(
                    "selectors or a process, and one of them",
                ));
            }
        };
        self.0.asked_about().push(about);
        Ok(())
    }
}

fn svids(message: workload::X509svidResponse) -> SubscribeToX509sviDsResponse {
    let svid = |svid: workload::X509svid| X509svidWithKey {
        x509_svid: Some(X509svid {
            // What is no chain goes as it is.
            cert_chain: Certificate::many_from_der(&svid.x509_svid).map_or_else(
                |_| vec![svid.x509_svid.clone()],
                |chain| chain.iter().map(|one| one.der().to_vec()).collect(),
            ),
            id: Some(parts(&svid.spiffe_id)),
            hint: svid.hint,
            ..X509svid::default()
        }),
        x509_svid_key: svid.x509_svid_key,
    };
    SubscribeToX509sviDsResponse {
        x509_svids: message.svids.into_iter().map(svid).collect(),
        federates_with: message.federated_bundles.into_keys().collect(),
    }
}

/// An ID in two parts; what is none goes as a name.
fn parts(id: &str) -> Spiffeid {
    match id.parse::<SpiffeId>() {
        Ok(id) => Spiffeid {
            trust_domain: id.trust_domain().to_string(),
            path: id.path().to_owned(),
        },
        Err(_) => Spiffeid {
            trust_domain: id.to_owned(),
            path: String::new(),
        },
    }
}
