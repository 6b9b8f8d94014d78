//! The layers on a connection whose peer loses its good standing, in front of services that say so.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::policy::Policy;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::{Peer, SourceExt, spiffe_id};
use spiffe_tower::{AuthorizeLayer, Connection, PeerLayer};
use tower::{Layer, Service, ServiceExt};

type Nothing = Empty<&'static [u8]>;

#[tokio::test]
async fn the_next_request_is_refused_where_the_authority_was_removed() {
    let caller = Caller::new().await;
    let service = AuthorizeLayer::new(anyone()).layer(greeter());
    for (content_type, before, after, grpc) in [
        (
            "application/grpc",
            StatusCode::OK,
            StatusCode::OK,
            Some("16"),
        ),
        ("text/plain", StatusCode::OK, StatusCode::FORBIDDEN, None),
    ] {
        let caller = Caller::new().await;
        let answer = service.clone().oneshot(caller.asks(content_type)).await;
        assert_eq!(answer.unwrap().status(), before);
        caller.is_trusted_no_more();
        let answer = service.clone().oneshot(caller.asks(content_type)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), after);
        let status = answer.headers().get("grpc-status");
        assert_eq!(status.map(|status| status.to_str().unwrap()), grpc);
    }
    let answer = PeerLayer::new()
        .layer(greeter())
        .oneshot(caller.asks("a/b"));
    assert_eq!(
        answer.await.unwrap().status(),
        StatusCode::OK,
        "the others go on"
    );
}

#[tokio::test]
async fn the_next_request_is_denied_where_the_policy_changed() {
    let caller = Caller::new().await;
    let service = PeerLayer::new().layer(greeter());
    caller
        .policy
        .replace(exactly(spiffe_id!("spiffe://a.test/ops")));
    let answer = service
        .clone()
        .oneshot(caller.asks("application/grpc"))
        .await
        .unwrap();
    assert_eq!(answer.headers()["grpc-status"], "7");
    let answer = service.oneshot(caller.asks("text/plain")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_peer_is_asked_for_before_any_service() {
    let answer = PeerLayer::new()
        .layer(greeter())
        .oneshot(Request::new(Nothing::new()));
    assert_eq!(answer.await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_stream_of_answers_ends_with_the_status() {
    let caller = Caller::new().await;
    let endless = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Endless)));
    let service = AuthorizeLayer::new(anyone()).layer(endless);
    let call = |kind| service.clone().oneshot(caller.asks(kind));
    let grpc = call("application/grpc").await.unwrap().into_body();
    let plain = call("text/plain").await.unwrap().into_body();
    let (grpc, plain, ()) = tokio::join!(grpc.collect(), plain.collect(), async {
        // Both are waiting by now.
        tokio::task::yield_now().await;
        caller.is_trusted_no_more();
    });
    assert_eq!(grpc.unwrap().trailers().unwrap()["grpc-status"], "16");
    let told = plain.unwrap_err().to_string();
    assert!(
        told.starts_with("the peer is not verified any more"),
        "{told}"
    );
}

#[tokio::test]
async fn a_stream_that_never_pauses_ends_too() {
    let caller = Caller::new().await;
    let busy = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Busy)));
    let service = AuthorizeLayer::new(anyone()).layer(busy);
    let mut body = service
        .oneshot(caller.asks("application/grpc"))
        .await
        .unwrap()
        .into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    caller.is_trusted_no_more();
    let last = body.frame().await.unwrap().unwrap();
    assert_eq!(last.trailers_ref().unwrap()["grpc-status"], "16");
    assert!(body.frame().await.is_none() && body.is_end_stream());
}

#[tokio::test]
async fn a_call_that_waits_for_its_caller_ends_too() {
    let caller = Caller::new().await;
    let waiting =
        tower::service_fn(async |_| pending::<Result<Response<Nothing>, Infallible>>().await);
    let call = AuthorizeLayer::new(anyone())
        .layer(waiting)
        .oneshot(caller.asks("application/grpc"));
    let (answer, ()) = tokio::join!(call, async {
        tokio::task::yield_now().await;
        caller
            .policy
            .replace(exactly(spiffe_id!("spiffe://a.test/ops")));
    });
    let answer = answer.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "7");
    assert_eq!(
        answer.headers()["grpc-message"],
        "spiffe://a.test/web is not authorized any more"
    );
}

/// Somebody who is connected.
struct Caller {
    peer: Peer,
    server: Arc<SnapshotCell>,
    policy: Policy,
}

impl Caller {
    async fn new() -> Self {
        let ca = TestAuthority::new("a.test");
        let (server, policy) = (ca.source("/server"), Policy::new(anyone()));
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let acceptor = server.server(policy.clone()).acceptor();
        let connector = ca.source("/web").client(anyone()).connector();
        let (stream, connected) = tokio::join!(acceptor.accept(ours), connector.connect(theirs));
        connected.unwrap();
        let peer = stream.unwrap().peer().clone();
        Self {
            peer,
            server,
            policy,
        }
    }

    fn asks(&self, content_type: &str) -> Request<Nothing> {
        let mut request = Request::new(Nothing::new());
        let headers = request.headers_mut();
        headers.insert("content-type", content_type.parse().unwrap());
        let connection = Connection::new(self.peer.clone(), None, None);
        request.extensions_mut().insert(connection);
        request
    }

    fn is_trusted_no_more(&self) {
        let others = TestAuthority::new("a.test");
        self.server.publish(others.snapshot("/server"));
    }
}

fn greeter()
-> impl Service<Request<Nothing>, Response = Response<Nothing>, Error = Infallible, Future: Send> + Clone
{
    tower::service_fn(async |_| Ok(Response::new(Nothing::new())))
}

/// An answer that never comes to its end.
struct Endless;

impl Body for Endless {
    type Data = &'static [u8];
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        Poll::Pending
    }
}

/// An answer that never stops.
struct Busy;

impl Body for Busy {
    type Data = &'static [u8];
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(b"more"))))
    }
}
