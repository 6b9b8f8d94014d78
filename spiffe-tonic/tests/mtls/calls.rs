//! Calls, and who may make them.

use std::time::Duration;

use spiffe_core::BundleSet;
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::SourceExt;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::{Running, check, id};

#[tokio::test]
async fn a_call_that_is_allowed_tells_the_service_who_calls() {
    let authority = TestAuthority::new("a.test");
    let server = Running::start(authority.source("/server").server(exactly(id("/web")))).await;
    let tls = authority.source("/web").client(exactly(id("/server")));
    let channel = spiffe_tonic::channel(&server.uri(), tls).await.unwrap();
    assert_eq!(check(channel).await.unwrap(), id("/web").as_str());
}

#[tokio::test]
async fn what_may_be_called_is_decided_by_path() {
    let authority = TestAuthority::new("a.test");
    let server = Running::start(authority.source("/server").server(anyone())).await;
    let tls = authority.source("/web").client(anyone());
    let mut client = HealthClient::new(spiffe_tonic::channel_lazy(&server.uri(), tls).unwrap());
    client.check(HealthCheckRequest::default()).await.unwrap();
    let denied = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert_eq!(
        denied.message(),
        "spiffe://a.test/web is not authorized to call /grpc.health.v1.Health/Watch"
    );
    // The same connection goes on.
    client.check(HealthCheckRequest::default()).await.unwrap();

    let tls = authority.source("/ops").client(anyone());
    let mut client = HealthClient::new(spiffe_tonic::channel(&server.uri(), tls).await.unwrap());
    client.watch(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_call_takes_no_longer_than_it_says() {
    let authority = TestAuthority::new("a.test");
    let server = Running::start(authority.source("/server").server(anyone())).await;
    let tls = authority.source("/ops").client(anyone());
    // Nobody answers there: the listener's queue takes the connection, and that is all.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}", silent.local_addr().unwrap());
    let channel = spiffe_tonic::channel_lazy(&uri, tls).unwrap();
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(Duration::from_millis(20));
    let late = HealthClient::new(channel).check(request).await.unwrap_err();
    assert_eq!(
        late.code(),
        Code::Cancelled,
        "as tonic's own channel has it"
    );
    server.answers(&authority).await;
}

#[tokio::test]
async fn denials_become_a_status_that_does_not_tell_what_was_expected() {
    let authority = TestAuthority::new("a.test");
    let leaf = [authority.svid("/web").leaf().der().clone()];
    let bundles = BundleSet::from(authority.bundle());
    let now = SystemClock.now();
    let role = spiffe_core::verify::Role::Client;
    let peer = spiffe_core::verify::x509_peer(&leaf, &bundles, role, now).unwrap();
    let denied = spiffe_core::authorizer::Denied::new(&peer, "a secret");
    let status = spiffe_tonic::status(&denied);
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.message(), "spiffe://a.test/web is not authorized");
}
