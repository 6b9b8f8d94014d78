//! reqwest with our configuration, against our server, on loopback.
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use reqwest::ClientBuilder;
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{ServerTls, SourceExt};
use spiffe_core::{BundleSet, IdentitySnapshot, IdentitySource, spiffe_id};
use spiffe_hyper::{HTTP, Listener, serve};

/// A server that tells the serial number of whoever calls.
async fn start(tls: ServerTls) -> SocketAddr {
    let listener = Listener::bind("127.0.0.1:0", tls).await.unwrap();
    let address = listener.local_addr().unwrap();
    let tell = tower::service_fn(async |request: Request<Incoming>| {
        let caller = spiffe_tower::peer(request.extensions()).unwrap();
        let said = format!("{} {:?}", caller.id(), caller.certificates()[0]);
        Ok::<_, Infallible>(Response::new(said))
    });
    tokio::spawn(serve(listener, tell, std::future::pending()));
    address
}

fn client(source: &Arc<SnapshotCell>) -> ClientBuilder {
    let server = exactly(spiffe_id!("spiffe://a.test/server"));
    let tls = source.client(server).alpn(HTTP).into_rustls();
    reqwest::Client::builder().tls_backend_preconfigured(tls)
}

/// Without trust in anybody.
fn distrusting(snapshot: &IdentitySnapshot) -> IdentitySnapshot {
    IdentitySnapshot::new(snapshot.svids().to_vec(), BundleSet::default())
}

#[tokio::test]
async fn each_connection_is_made_with_the_identity_and_the_trust_of_its_moment() {
    let ca = TestAuthority::new("a.test");
    let address = start(ca.source("/server").server(anyone())).await;
    let url = format!("https://{address}/");
    let source = ca.source("/web");
    let client = client(&source).pool_max_idle_per_host(0).build().unwrap();
    for _ in 0..2 {
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2, "as ALPN chose");
        let snapshot = source.snapshot();
        let leaf = snapshot.svid().unwrap().leaf().der();
        let expected = format!("spiffe://a.test/web {leaf:?}");
        assert_eq!(answer.text().await.unwrap(), expected);
        source.publish(ca.snapshot("/web"));
    }
    source.publish(distrusting(&source.snapshot()));
    let error = client.get(&url).send().await.unwrap_err();
    assert!(told(&error).contains("UnknownIssuer"), "{}", told(&error));
    // The same client goes on as soon as it can.
    source.publish(ca.snapshot("/web"));
    client.get(&url).send().await.unwrap();
}

/// What the documentation says is lost; with a `Connector` of ours the second call is refused.
#[tokio::test]
async fn a_connection_that_reqwest_keeps_is_not_judged_again() {
    let ca = TestAuthority::new("a.test");
    let address = start(ca.source("/server").server(anyone())).await;
    let url = format!("https://{address}/");
    let source = ca.source("/web");
    let client = client(&source).build().unwrap();
    client.get(&url).send().await.unwrap();
    source.publish(distrusting(&source.snapshot()));
    client.get(&url).send().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_another_one_is_left() {
    let ca = TestAuthority::new("a.test");
    let address = start(ca.source("/other").server(anyone())).await;
    let client = client(&ca.source("/web")).build().unwrap();
    let error = client
        .get(format!("https://{address}/"))
        .send()
        .await
        .unwrap_err();
    assert!(
        told(&error).contains("ApplicationVerificationFailure"),
        "{}",
        told(&error)
    );
}

/// An error with all its causes.
fn told(mut error: &dyn Error) -> String {
    let mut told = error.to_string();
    while let Some(cause) = error.source() {
        error = cause;
        told = format!("{told}; {error}");
    }
    told
}
