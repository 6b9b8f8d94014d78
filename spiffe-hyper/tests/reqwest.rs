//! reqwest with our configuration, against our server, on loopback.
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use reqwest::ClientBuilder;
use reqwest::redirect::Policy;
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::jwt::WitSvid;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{ServerTls, SourceExt};
use spiffe_core::{BundleSet, IdentitySnapshot, IdentitySource, spiffe_id};
use spiffe_hyper::{HTTP, Listener, serve};
use spiffe_tower::{InjectError, WitInjectLayer};
use tower::{Layer, ServiceExt};

/// A server that tells the serial number of whoever calls.
async fn start(tls: ServerTls) -> SocketAddr {
    answering(tls, |request| {
        let caller = spiffe_tower::peer(request.extensions()).unwrap();
        let said = format!("{} {:?}", caller.id(), caller.certificates()[0]);
        Response::new(said)
    })
    .await
}

async fn answering<A>(tls: ServerTls, answer: A) -> SocketAddr
where
    A: Fn(Request<Incoming>) -> Response<String> + Clone + Send + Sync + 'static,
{
    let listener = Listener::bind("127.0.0.1:0", tls).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = tower::service_fn(move |request| ready(Ok::<_, Infallible>(answer(request))));
    tokio::spawn(serve(listener, answer, std::future::pending()));
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

/// What the documentation of the layers says: reqwest follows redirections where no layer above it
/// sees them, and takes all headers along but those that it knows to be secret. With `Policy::none()`
/// the redirection comes back, and who follows it asks the layer again.
#[tokio::test]
async fn a_wit_svid_goes_nowhere_else_where_reqwest_follows_no_redirection() {
    let ca = TestAuthority::new("a.test");
    let elsewhere = answering(ca.source("/server").server(anyone()), |request| {
        let names = request.headers().keys().map(|name| name.as_str());
        Response::new(names.collect::<Vec<_>>().join(" "))
    });
    let elsewhere = format!("https://{}/", elsewhere.await);
    let there = elsewhere.clone();
    let home = answering(ca.source("/server").server(anyone()), move |_| {
        let moved = Response::builder().status(StatusCode::TEMPORARY_REDIRECT);
        let moved = moved.header("location", &there);
        moved.body(String::new()).unwrap()
    });
    let home = format!("https://{}", home.await);
    let svid = ca.wit_svid("/web");
    let layer = WitInjectLayer::new(move || Some(svid.clone())).to(home.parse().unwrap());
    let source = ca.source("/web");
    let call = async |policy, uri: &str| {
        let http = client(&source).redirect(policy).build().unwrap();
        let http = tower::service_fn(move |request: Request<()>| {
            let uri = request.uri().to_string();
            let call = http.request(request.method().clone(), uri);
            call.headers(request.headers().clone()).send()
        });
        let mut request = Request::get(uri).body(()).unwrap();
        // Which reqwest knows to be secret, with or without a layer of ours.
        let credentials = "Basic dTpw".parse().unwrap();
        request.headers_mut().insert("authorization", credentials);
        layer.layer(http).oneshot(request).await
    };

    let answer = call(Policy::default(), &home).await.unwrap();
    let carried = answer.text().await.unwrap();
    let is_carried = |header: &str| carried.split(' ').any(|name| name == header);
    assert!(is_carried(WitSvid::TOKEN_HEADER), "{carried}");
    assert!(is_carried(WitSvid::PROOF_HEADER), "{carried}");
    assert!(!is_carried("authorization"), "{carried}");

    let answer = call(Policy::none(), &home).await.unwrap();
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.headers()["location"], *elsewhere);
    let followed = call(Policy::none(), &elsewhere).await;
    assert!(matches!(followed, Err(InjectError::Elsewhere { .. })));
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
