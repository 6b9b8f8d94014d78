//! The calls of the fake, as a client makes them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use prost_types::value::Kind;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::script::{Answer, Rpc, Script, status};
use crate::bundle::{BundleSet, TrustBundle};
use crate::proto::workload::spiffe_workload_api_server::SpiffeWorkloadApi;
use crate::proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest,
    WitsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use crate::verify::{JwtRules, jwt};
use crate::{SpiffeId, TrustDomain};

#[derive(Clone)]
pub(super) struct Service(pub(super) Arc<Script>);

pub(super) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// Counts the call, waits as long as it is to take, and lets nobody in without the header that all
    /// clients send, where there is one.
    pub(super) async fn admit<T>(
        &self,
        rpc: Rpc,
        request: &Request<T>,
        header: Option<&str>,
    ) -> Result<(), Status> {
        self.0.count_call(rpc);
        let delay = *self.0.delay.borrow();
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if let Some(name) = header {
            let mut header = request.metadata().get_all(name).iter();
            if header.next().is_none_or(|value| value != "true") || header.next().is_some() {
                return Err(Status::invalid_argument(
                    "security header missing from request",
                ));
            }
        }
        self.0.next_refusal(rpc).map_or(Ok(()), Err)
    }

    async fn stream<T, U>(
        &self,
        rpc: Rpc,
        request: Request<T>,
        script: &watch::Sender<Answer<U>>,
    ) -> Result<Response<Messages<U>>, Status>
    where
        U: Clone + Send + Sync + 'static,
    {
        self.admit(rpc, &request, HEADER).await?;
        self.answers(rpc, script)
    }

    /// What a stream of this call says from now on.
    pub(super) fn answers<U>(
        &self,
        rpc: Rpc,
        script: &watch::Sender<Answer<U>>,
    ) -> Result<Response<Messages<U>>, Status>
    where
        U: Clone + Send + Sync + 'static,
    {
        if let Answer::Refusal(code) = *script.borrow() {
            return Err(status(code));
        }
        let counting = Arc::clone(&self.0);
        let answers = WatchStream::new(script.subscribe()).filter_map(move |answer| {
            let item = answer.into_item();
            if let Some(Ok(_)) = item {
                counting.count_message(rpc);
            }
            item
        });
        let end = WatchStream::from_changes(self.0.ends.subscribe());
        let items = answers.map(Some).merge(end.map(|()| None));
        Ok(Response::new(Box::pin(items.map_while(|item| item))))
    }
}

impl Service {
    /// The tokens that are asked for.
    pub(super) async fn mint(&self, asked: &JwtsvidRequest) -> Result<JwtsvidResponse, Status> {
        let answer = self.0.jwt.borrow().clone();
        match answer {
            Answer::Message(mint) => mint(asked),
            Answer::Nothing => std::future::pending().await,
            Answer::Refusal(code) => Err(status(code)),
        }
    }
}

const HEADER: Option<&str> = Some("workload.spiffe.io");

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = Messages<X509svidResponse>;
    type FetchX509BundlesStream = Messages<X509BundlesResponse>;
    type FetchJWTBundlesStream = Messages<JwtBundlesResponse>;
    type FetchWITSVIDStream = Messages<WitsvidResponse>;
    type FetchWITBundlesStream = Messages<WitBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        self.stream(Rpc::X509Svid, request, &self.0.x509).await
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        self.stream(Rpc::X509Bundles, request, &self.0.x509_bundles)
            .await
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        self.admit(Rpc::JwtSvid, &request, HEADER).await?;
        self.mint(request.get_ref()).await.map(Response::new)
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        self.stream(Rpc::JwtBundles, request, &self.0.jwt_bundles)
            .await
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        self.admit(Rpc::ValidateJwt, &request, HEADER).await?;
        let answer = self.0.jwt_bundles.borrow().clone();
        let bundles = match answer {
            Answer::Message(message) => read(&message.bundles),
            Answer::Nothing => BundleSet::default(),
            Answer::Refusal(code) => return Err(status(code)),
        };
        let now = self.0.clock.borrow().now();
        judge(request.get_ref(), &bundles, now).map(Response::new)
    }

    async fn fetch_witsvid(
        &self,
        request: Request<WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        self.stream(Rpc::WitSvid, request, &self.0.wit).await
    }

    async fn fetch_wit_bundles(
        &self,
        request: Request<WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        self.stream(Rpc::WitBundles, request, &self.0.wit_bundles)
            .await
    }
}

fn read(bundles: &HashMap<String, Vec<u8>>) -> BundleSet {
    let read = bundles.iter().filter_map(|(name, jwks)| {
        let trust_domain = TrustDomain::from_id_or_name(name).ok()?;
        Some(TrustBundle::from_jwt_jwks(trust_domain, jwks).ok()?.value)
    });
    read.collect()
}

fn judge(
    asked: &ValidateJwtsvidRequest,
    bundles: &BundleSet,
    now: SystemTime,
) -> Result<ValidateJwtsvidResponse, Status> {
    let rules = JwtRules::default();
    let verified = jwt(&asked.svid, bundles, &[&asked.audience], now, &rules)
        .map_err(|why| Status::invalid_argument(why.to_string()))?;
    let fields = verified.claims().iter();
    let fields = fields.map(|(name, value)| (name.clone(), wire(value)));
    Ok(ValidateJwtsvidResponse {
        spiffe_id: verified.id().to_string(),
        claims: Some(prost_types::Struct {
            fields: fields.collect(),
        }),
    })
}

fn wire(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Value::String(value) => Kind::StringValue(value.clone()),
        Value::Array(values) => Kind::ListValue(prost_types::ListValue {
            values: values.iter().map(wire).collect(),
        }),
        Value::Object(members) => {
            let fields = members.iter();
            let fields = fields.map(|(name, value)| (name.clone(), wire(value)));
            Kind::StructValue(prost_types::Struct {
                fields: fields.collect(),
            })
        }
    };
    prost_types::Value { kind: Some(kind) }
}

/// Whether a token of this identity is what was asked for.
pub(super) fn meant(asked: &JwtsvidRequest, id: &SpiffeId) -> bool {
    asked.spiffe_id.is_empty() || asked.spiffe_id == id.as_str()
}
