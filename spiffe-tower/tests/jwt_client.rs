//! Clients that show JWT-SVIDs: what goes where, and what does not go at all.
#![cfg(feature = "jwt-client")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body_util::Empty;
use spiffe_core::source::{JwtSource, JwtSourceError};
use spiffe_core::testing::{FakeWorkloadApi, Rpc, TestAuthority};
use spiffe_core::{BundleSet, JwtSvid, SpiffeId, spiffe_id};
use spiffe_tower::{InjectError, JwtInjectLayer};
use tower::{Layer, Service, ServiceExt};

type Nothing = Empty<&'static [u8]>;
const OPS: SpiffeId = spiffe_id!("spiffe://a.test/ops");

// conformance: JWT-9+ JWT-15+ JWT-16+
#[tokio::test(start_paused = true)]
async fn each_request_carries_the_token_for_the_one_service() {
    let world = World::new().await;
    let wire = Wire::default();
    let client = world.layer().layer(wire.clone());
    for uri in ["https://ledger/a", "https://ledger/b?c", "http://[::1]:80/"] {
        client.clone().oneshot(get(uri)).await.unwrap();
    }
    let sent = wire.sent();
    assert_eq!(sent.len(), 3);
    for request in &sent {
        let value = &request.headers()["authorization"];
        assert!(value.is_sensitive(), "nobody prints it by accident");
        let token = value.to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let svid = JwtSvid::parse(token).unwrap();
        assert_eq!(svid.id().path(), "/web");
        assert_eq!(svid.audience(), ["ledger"], "for nobody else");
    }
    assert_eq!(world.api.calls_of(Rpc::JwtSvid), 1, "kept for the next");

    let other = world.layer().identity(OPS).layer(wire.clone());
    other.oneshot(get("https://ledger/")).await.unwrap();
    let sent = wire.sent();
    let value = sent[3].headers()["authorization"].to_str().unwrap();
    assert_eq!(*JwtSvid::parse(&value[7..]).unwrap().id(), OPS);
}

#[tokio::test(start_paused = true)]
async fn who_calls_at_once_fetches_once() {
    let world = World::new().await;
    let wire = Wire::default();
    let client = world.layer().layer(wire.clone());
    let call = || client.clone().oneshot(get("https://ledger/"));
    let (a, b, c) = tokio::join!(call(), call(), call());
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(world.api.calls_of(Rpc::JwtSvid), 1);
}

// conformance: JWT-9- JWT-15- JWT-16-
#[tokio::test(start_paused = true)]
async fn a_call_fails_rather_than_go_without_a_token_or_to_the_wrong_place() {
    let world = World::new().await;
    let ledger = || world.layer().to("https://ledger".parse().unwrap());
    let mut own = get("https://ledger/");
    let headers = own.headers_mut();
    headers.insert("authorization", "Bearer mine".parse().unwrap());
    for (layer, request, why) in [
        (
            world.layer(),
            own,
            "the request has a header `authorization` already",
        ),
        (
            world.layer(),
            get("http://ledger/"),
            "a token would go to http://ledger in plain text",
        ),
        (
            world.layer(),
            get("/pkg.Ledger/Close"),
            "it is not known where the token would go: neither the request nor the layer names scheme \
             and host",
        ),
        (
            ledger(),
            get("https://evil.example/"),
            "a token for https://ledger would go to https://evil.example",
        ),
        (
            world.layer().identity(spiffe_id!("spiffe://a.test/nobody")),
            get("https://ledger/"),
            "there is no token to send: no JWT-SVID: the agent answered PermissionDenied: as \
             the test wants it",
        ),
    ] {
        let wire = Wire::default();
        let failed = layer.layer(wire.clone()).oneshot(request).await;
        assert_eq!(failed.unwrap_err().to_string(), why);
        assert!(wire.sent().is_empty(), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_token_can_be_had_the_call_says_so_in_types() {
    let world = World::new().await;
    world.api.go_away();
    let wire = Wire::default();
    let failed = world
        .layer()
        .layer(wire.clone())
        .oneshot(get("https://ledger/"))
        .await;
    let why = failed.unwrap_err();
    assert!(
        matches!(why, InjectError::NoJwt(JwtSourceError::Fetch(_))),
        "{why}"
    );
    // A status of the agent is none of the server.
    assert!(std::error::Error::source(&why).is_none());
    assert!(wire.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_redirection_does_not_take_the_token_elsewhere() {
    let world = World::new().await;
    let elsewhere = Wire::redirecting("https://evil.example/");
    let mut client = world
        .layer()
        .to("https://ledger".parse().unwrap())
        .layer(elsewhere.clone());
    let answer = client.ready().await.unwrap();
    let answer = answer.call(get("https://ledger/")).await.unwrap();
    let next = answer.headers()["location"].to_str().unwrap().to_owned();
    // As something further out would that follows.
    let failed = client.ready().await.unwrap().call(get(&next)).await;
    assert!(matches!(failed, Err(InjectError::Elsewhere { .. })));
    assert_eq!(elsewhere.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_service_that_was_asked_is_the_one_that_is_called() {
    let world = World::new().await;
    let mut client = world.layer().layer(Wire::default());
    for uri in ["https://ledger/", "http://refused/", "https://ledger/"] {
        // It panics where another one is called.
        let answer = client.ready().await.unwrap().call(get(uri)).await;
        assert_eq!(answer.is_ok(), uri.starts_with("https"));
    }
}

/// A workload with two identities, and its agent.
struct World {
    api: FakeWorkloadApi,
    source: JwtSource,
}

impl World {
    async fn new() -> Self {
        let ca = Arc::new(TestAuthority::new("a.test"));
        let api = FakeWorkloadApi::in_memory();
        api.publish_bundles(&BundleSet::from(ca.bundle()));
        api.mint_jwt(move |audience| {
            vec![ca.jwt_svid("/web", audience), ca.jwt_svid("/ops", audience)]
        });
        let source = JwtSource::builder().endpoint(api.endpoint());
        let source = source.connect().await.unwrap();
        Self { api, source }
    }

    fn layer(&self) -> JwtInjectLayer {
        JwtInjectLayer::new(self.source.clone(), "ledger")
    }
}

/// Keeps what is sent. Panics, as services may, when called without having said that it is ready; a
/// copy has not said so.
#[derive(Default)]
struct Wire {
    sent: Arc<Mutex<Vec<Request<Nothing>>>>,
    location: Option<&'static str>,
    ready: bool,
}

impl Wire {
    fn redirecting(location: &'static str) -> Self {
        Self {
            location: Some(location),
            ..Self::default()
        }
    }

    fn sent(&self) -> Vec<Request<Nothing>> {
        self.sent.lock().unwrap().clone()
    }
}

impl Clone for Wire {
    fn clone(&self) -> Self {
        Self {
            sent: self.sent.clone(),
            location: self.location,
            ready: false,
        }
    }
}

impl Service<Request<Nothing>> for Wire {
    type Response = Response<Nothing>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Nothing>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Nothing>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called before it was ready"
        );
        self.sent.lock().unwrap().push(request);
        let mut response = Response::new(Nothing::new());
        if let Some(location) = self.location {
            let headers = response.headers_mut();
            headers.insert("location", location.parse().unwrap());
        }
        ready(Ok(response))
    }
}

fn get(uri: &str) -> Request<Nothing> {
    Request::get(uri).body(Nothing::new()).unwrap()
}
