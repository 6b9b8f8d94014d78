//! gRPC whose callers show JWT-SVIDs, as behind a proxy that ends the TLS: stock tonic on both sides.
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use http::Uri;
use spiffe_core::authorizer::{exactly, member_of};
use spiffe_core::source::JwtSource;
use spiffe_core::testing::{FakeWorkloadApi, TestAuthority};
use spiffe_core::{BundleSet, SpiffeId, spiffe_id};
use spiffe_tonic::RequestExt;
use spiffe_tower::{AuthorizeLayer, InjectError, JwtBearerLayer, JwtInjectLayer, Principal};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceBuilder;

const OPS: SpiffeId = spiffe_id!("spiffe://a.test/ops");

// conformance: JWT-16+
#[tokio::test]
async fn a_call_with_a_token_is_judged_by_its_id() {
    let world = World::new().await;
    let channel = ServiceBuilder::new().layer(world.layer("ledger"));
    let mut client = HealthClient::new(channel.service(world.channel().await));
    client.check(HealthCheckRequest::default()).await.unwrap();
    let denied = client.watch(HealthCheckRequest::default()).await;
    let denied = denied.unwrap_err();
    assert_eq!(
        (denied.code(), denied.message()),
        (
            Code::PermissionDenied,
            "spiffe://a.test/web is not authorized to call /grpc.health.v1.Health/Watch"
        )
    );
    let ops = world.layer("ledger").identity(OPS);
    let channel = ServiceBuilder::new().layer(ops);
    let mut client = HealthClient::new(channel.service(world.channel().await));
    client.watch(HealthCheckRequest::default()).await.unwrap();
}

// conformance: JWT-16-
#[tokio::test]
async fn a_call_without_a_token_or_with_one_for_another_service_is_not_authenticated() {
    let world = World::new().await;
    let mut client = HealthClient::new(world.channel().await);
    let code = |answer: Result<_, Status>| answer.unwrap_err().code();
    let answer = client.check(HealthCheckRequest::default()).await;
    assert_eq!(code(answer), Code::Unauthenticated);

    let token = world.ca.jwt_svid("/web", &["ledger"]);
    let mut elsewhere = Request::new(HealthCheckRequest::default());
    let metadata = elsewhere.metadata_mut();
    metadata.insert("x-jwt-svid", token.token().parse().unwrap());
    let answer = client.check(elsewhere).await;
    assert_eq!(code(answer), Code::Unauthenticated);

    let channel = ServiceBuilder::new().layer(world.layer("queue"));
    let mut client = HealthClient::new(channel.service(world.channel().await));
    let answer = client.check(HealthCheckRequest::default()).await;
    assert_eq!(code(answer), Code::Unauthenticated);
}

#[tokio::test]
async fn what_the_agent_says_is_not_taken_for_what_the_server_says() {
    let world = World::new().await;
    world.api.refuse(Code::PermissionDenied);
    let channel = ServiceBuilder::new().layer(world.layer("ledger"));
    let mut client = HealthClient::new(channel.service(world.channel().await));
    let answer = client.check(HealthCheckRequest::default()).await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    let told = "there is no token to send: no JWT-SVID: the agent answered PermissionDenied";
    assert!(status.message().starts_with(told), "{status}");
    // As a value, for who wants to tell its causes apart.
    let source = std::error::Error::source(&status);
    let why = source.and_then(|why| why.downcast_ref::<InjectError>());
    assert!(matches!(why, Some(InjectError::NoJwt(_))), "{source:?}");
}

/// A ledger that knows its callers by tokens, and a workload with two identities.
struct World {
    ca: Arc<TestAuthority>,
    api: FakeWorkloadApi,
    source: JwtSource,
    uri: Uri,
}

impl World {
    async fn new() -> Self {
        let ca = Arc::new(TestAuthority::new("a.test"));
        let api = FakeWorkloadApi::in_memory();
        api.publish_bundles(&BundleSet::from(ca.bundle()));
        let minting = Arc::clone(&ca);
        api.mint_jwt(move |audience| {
            let svid = |path| minting.jwt_svid(path, audience);
            vec![svid("/web"), svid("/ops")]
        });
        let source = JwtSource::builder().endpoint(api.endpoint());
        let source = source.connect().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let policy = AuthorizeLayer::new(member_of("a.test".parse().unwrap()))
            .rpc("/grpc.health.v1.Health/Watch", exactly(OPS))
            .unwrap();
        let served = Server::builder()
            .layer(JwtBearerLayer::new(source.clone(), ["ledger"]))
            .layer(policy)
            .add_service(HealthServer::new(Ledger))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(served);
        Self {
            ca,
            api,
            source,
            uri: uri.parse().unwrap(),
        }
    }

    fn layer(&self, audience: &str) -> JwtInjectLayer {
        JwtInjectLayer::new(self.source.clone(), audience).to(self.uri.to_string().parse().unwrap())
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::builder(self.uri.clone());
        endpoint.connect().await.unwrap()
    }
}

struct Ledger;

#[tonic::async_trait]
impl Health for Ledger {
    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        assert!(matches!(request.principal(), Some(Principal::Jwt(_))));
        assert_eq!(request.spiffe_id().unwrap().path(), "/web");
        assert!(request.peer().is_none(), "a token makes no peer");
        Ok(Response::new(HealthCheckResponse::default()))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        assert_eq!(request.spiffe_id(), Some(&OPS));
        Ok(Response::new(tokio_stream::empty()))
    }
}
