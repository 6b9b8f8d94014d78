//! How the author of a gRPC service tests it; docs/testing.md shows this.
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]

use std::future::pending;

use spiffe_core::authorizer::{exactly, member_of};
use spiffe_core::testing::{FakeWorkloadApi, TestAuthority};
use spiffe_core::{IdentitySource, SourceExt, X509Source};
use spiffe_examples::proto::greeter::greeter_client::GreeterClient;
use spiffe_examples::proto::greeter::greeter_server::{Greeter, GreeterServer};
use spiffe_examples::proto::greeter::{
    ResetRequest, ResetResponse, SayHelloRequest, SayHelloResponse,
};
use spiffe_tonic::{RequestExt, RouterExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The service.
struct Greetings;

#[tonic::async_trait]
impl Greeter for Greetings {
    async fn say_hello(
        &self,
        request: Request<SayHelloRequest>,
    ) -> Result<Response<SayHelloResponse>, Status> {
        let caller = request.spiffe_id().map(ToString::to_string);
        Ok(Response::new(SayHelloResponse {
            greeting: "hello".to_owned(),
            caller: caller.unwrap_or_default(),
        }))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        Err(Status::unimplemented("nothing is counted"))
    }
}

#[tokio::test]
async fn a_caller_is_known_also_after_the_server_got_a_new_identity() {
    // The agent, played in memory: the service takes its identity from it as it would in production.
    let prod = TestAuthority::new("prod.example");
    let api = FakeWorkloadApi::in_memory();
    api.give(&prod, "/greeter");
    let source = X509Source::builder().endpoint(api.endpoint());
    let source = source.connect().await.unwrap();
    let tls = source.server(member_of("prod.example".parse().unwrap()));
    let incoming = spiffe_tonic::incoming("127.0.0.1:0".parse().unwrap(), tls)
        .await
        .unwrap();
    let uri = format!("https://{}", incoming.local_addr().unwrap());
    let server = Server::builder().add_service(GreeterServer::new(Greetings));
    tokio::spawn(server.serve_mtls_with_incoming(incoming, pending()));

    let greeter = exactly("spiffe://prod.example/greeter".parse().unwrap());
    let tls = prod.source("/web").client(greeter);
    let channel = spiffe_tonic::channel(&uri, tls).await.unwrap();
    let mut client = GreeterClient::new(channel);
    let hello = || SayHelloRequest {
        nickname: "web".to_owned(),
    };
    let answer = client.say_hello(hello()).await.unwrap().into_inner();
    assert_eq!(answer.caller, "spiffe://prod.example/web");

    // A rotation: the source has taken it in before the next call.
    let mut rotated = source.subscribe();
    rotated.borrow_and_update();
    api.give(&prod, "/greeter");
    rotated.changed().await.unwrap();
    assert!(client.say_hello(hello()).await.is_ok());
}
