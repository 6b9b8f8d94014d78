//! The layers alone, in front of a service that counts who got through.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use spiffe_core::authorizer::{Authorizer, Denied, anyone, exactly, member_of};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::testing::TestAuthority;
use spiffe_core::verify::{Role, x509_peer};
use spiffe_core::{BundleSet, Peer, SpiffeId};
use spiffe_tower::{AuthorizeLayer, AuthorizeRequestLayer, Connection, Guarded, Principal, peer};
use tower::{Layer, Service, ServiceExt};

type Body = Empty<&'static [u8]>;

#[tokio::test]
async fn the_most_particular_rule_decides_alone() {
    let policy = AuthorizeLayer::new(member_of("a.test".parse().unwrap()))
        .rpc("/pkg.Svc/*", exactly(id("/ops")))
        .and_then(|policy| policy.rpc("/pkg.Svc/read/**", exactly(id("/reader"))))
        .and_then(|policy| policy.rpc("/pkg.Svc/read/all", exactly(id("/web"))))
        .and_then(|policy| policy.rpc("pkg.Other/Call", nobody()))
        .unwrap();
    for (caller, path, allowed) in [
        ("/web", "/", true),
        ("/web", "/pkg.Svc", true),
        ("/web", "/pkg.Svc/", false),
        ("/web", "/pkg.Svc/Close", false),
        ("/ops", "/pkg.Svc/Close", true),
        ("/web", "/pkg.Svcs/Close", true),
        ("/ops", "/pkg.Svc/read/one/more", false),
        ("/reader", "/pkg.Svc/read/one/more", true),
        ("/reader", "/pkg.Svc/read", false),
        ("/reader", "/pkg.Svc/reads", false),
        ("/reader", "/pkg.Svc/read/all", false),
        ("/web", "/pkg.Svc/read/all", true),
        ("/web", "/pkg.Svc/read/all?really", true),
        ("/web", "/pkg.Svc/read/All", false),
        ("/web", "/pkg.Other/Call", false),
        ("/web", "/pkg.Other/Calls", true),
    ] {
        let (service, reached) = counting(&policy);
        let answer = service.oneshot(grpc(path, Some(caller))).await.unwrap();
        let refused = answer.headers().contains_key("grpc-status");
        let outcome = (!refused, reached.load(Ordering::SeqCst) == 1);
        assert_eq!(outcome, (allowed, allowed), "{caller} calls {path}");
    }
}

#[tokio::test]
async fn grpc_is_denied_in_its_own_language() {
    let (service, reached) = counting(&AuthorizeLayer::new(exactly(id("/secret-name"))));
    let request = grpc("/pkg.Svc/100%25", Some("/web"));
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    assert_eq!(answer.headers()["grpc-status"], "7");
    assert_eq!(
        answer.headers()["grpc-message"],
        "spiffe://a.test/web is not authorized to call /pkg.Svc/100%2525",
        "whom we expected stays with us"
    );
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_a_peer_nobody_is_authenticated_whatever_the_policy() {
    let (service, reached) = counting(&AuthorizeLayer::new(anyone()));
    let answer = service.clone().oneshot(grpc("/pkg.Svc/Call", None)).await;
    assert_eq!(answer.unwrap().headers()["grpc-status"], "16");
    let answer = service.oneshot(request("/", None)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn plain_http_is_denied_with_403() {
    let (service, reached) = counting(&AuthorizeLayer::new(nobody()));
    let answer = service.oneshot(request("/", Some("/web"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(!answer.headers().contains_key("grpc-status"));
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn flavours_of_grpc_are_grpc() {
    let (service, _) = counting(&AuthorizeLayer::new(nobody()));
    for (content_type, status) in [
        ("application/grpc", StatusCode::OK),
        ("application/grpc+proto", StatusCode::OK),
        ("application/grpc-web+proto", StatusCode::OK),
        ("application/json", StatusCode::FORBIDDEN),
    ] {
        let mut request = request("/", Some("/web"));
        let headers = request.headers_mut();
        headers.insert("content-type", content_type.parse().unwrap());
        let answer = service.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{content_type}");
    }
}

#[tokio::test]
async fn the_service_that_was_asked_is_the_one_that_is_called() {
    let mut service = AuthorizeLayer::new(exactly(id("/web"))).layer(Strict { ready: false });
    // A denial leaves the readiness unused; the next call may use it.
    for caller in ["/web", "/ops", "/web"] {
        service.ready().await.unwrap();
        service.call(request("/", Some(caller))).await.unwrap();
    }
}

#[tokio::test]
async fn who_decides_about_a_request_may_take_time_and_sees_it() {
    let allow = |caller: &Principal, request: &Parts| {
        let denied = caller.denied("whoever asks for this");
        let may = request.uri.path() == "/open";
        async move {
            tokio::task::yield_now().await;
            if may { Ok(()) } else { Err(denied) }
        }
    };
    let layer = AuthorizeRequestLayer::new(allow);
    let mut service = layer.layer(Copied(Strict { ready: false }));
    for (path, caller, status) in [
        ("/open", Some("/web"), StatusCode::OK),
        ("/shut", Some("/web"), StatusCode::FORBIDDEN),
        ("/open", None, StatusCode::FORBIDDEN),
        ("/open", Some("/web"), StatusCode::OK),
    ] {
        service.ready().await.unwrap();
        let answer = service.call(request(path, caller)).await.unwrap();
        assert_eq!(answer.status(), status, "{caller:?} asks for {path}");
    }
}

/// A copy of a service has not said that it is ready.
struct Copied(Strict);

impl Clone for Copied {
    fn clone(&self) -> Self {
        Self(Strict { ready: false })
    }
}

impl Service<Request<Body>> for Copied {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

#[test]
fn a_peer_is_found_by_itself_or_in_its_connection() {
    let mut extensions = http::Extensions::new();
    assert!(peer(&extensions).is_none());
    let remote = Some(([127, 0, 0, 1], 443).into());
    extensions.insert(Connection::new(verified("/web"), None, remote));
    assert_eq!(peer(&extensions).unwrap().id().path(), "/web");
    // What a layer put there, e.g. for a forwarded call, comes first.
    extensions.insert(verified("/ops"));
    assert_eq!(peer(&extensions).unwrap().id().path(), "/ops");
    let connection: &Connection = extensions.get().unwrap();
    assert_eq!(
        (connection.local_addr(), connection.remote_addr()),
        (None, remote)
    );
    assert_eq!(connection.peer().id().path(), "/web");
}

/// Panics, as services may, when called without having said that it is ready.
struct Strict {
    ready: bool,
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called before it was ready"
        );
        ready(Ok(Response::default()))
    }
}

fn counting(
    policy: &AuthorizeLayer,
) -> (
    impl Service<Request<Body>, Response = Response<Guarded<Body>>, Error = Infallible, Future: Send>
    + Clone
    + use<>,
    Arc<AtomicUsize>,
) {
    let reached = Arc::new(AtomicUsize::new(0));
    let counter = reached.clone();
    let service = tower::service_fn(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::new(Body::new())))
    });
    (policy.layer(service), reached)
}

fn grpc(path: &str, caller: Option<&str>) -> Request<Body> {
    let mut request = request(path, caller);
    let headers = request.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    request
}

fn request(path: &str, caller: Option<&str>) -> Request<Body> {
    let mut request = Request::new(Body::new());
    *request.uri_mut() = path.parse().unwrap();
    if let Some(caller) = caller {
        let connection = Connection::new(verified(caller), None, None);
        request.extensions_mut().insert(connection);
    }
    request
}

fn verified(path: &str) -> Peer {
    let authority = TestAuthority::new("a.test");
    let leaf = [authority.svid(path).leaf().der().clone()];
    let bundles = BundleSet::from(authority.bundle());
    x509_peer(&leaf, &bundles, Role::Client, SystemClock.now()).unwrap()
}

fn nobody() -> impl Authorizer {
    |peer: &Peer| Err(Denied::new(peer, "anyone"))
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::new(&"a.test".parse().unwrap(), path).unwrap()
}
