//! Callers that show a JWT-SVID: who gets through, as whom, and what a policy makes of them.
#![cfg(feature = "jwt")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use spiffe_core::authorizer::{Authorizer, anyone, exactly, member_of};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::verify::JwtRules;
use spiffe_core::{
    BundleSet, IdentitySnapshot, Peer, SourceExt, SpiffeId, TrustDomain, VerifiedJwt, spiffe_id,
};
use spiffe_tower::{
    AuthorizeLayer, AuthorizeRequestLayer, Connection, JwtBearerLayer, PeerLayer, Principal, peer,
};
use tower::{Layer, Service, ServiceExt};

type Nothing = Empty<&'static [u8]>;
const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");
const PROXY: SpiffeId = spiffe_id!("spiffe://a.test/proxy");

// conformance: JWT-15+ JWT-16+
#[tokio::test]
async fn a_handler_knows_who_shows_a_token() {
    let world = World::new();
    let token = world.token();
    for content_type in ["application/json", "application/grpc"] {
        for scheme in ["Bearer", "bearer", "BEARER ", "bEaReR"] {
            let mut request = asks(content_type);
            let value = format!("{scheme} {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
            assert_eq!(world.reaches(&world.layer(), request).await, Ok(WEB));
        }
    }
}

// conformance: JWT-15- JWT-16-
#[tokio::test]
async fn a_token_is_looked_for_in_one_place_and_must_be_there_once() {
    let world = World::new();
    let token = world.token();
    let bearer = format!("Bearer {token}");
    let long = format!("Bearer {}", "a".repeat(17 * 1024));
    let mut cases: Vec<Request<Nothing>> = Vec::new();
    for headers in [
        vec![],
        vec![("x-token", &*bearer)],
        vec![("workload-identity-token", &token)],
        vec![("proxy-authorization", &bearer)],
        vec![("cookie", &bearer)],
        vec![("authorization", &token)],
        vec![("authorization", "Bearer")],
        vec![("authorization", "Bearer ")],
        vec![("authorization", "Basic d2ViOnNlY3JldA==")],
        vec![("authorization", &long)],
        vec![("authorization", &bearer), ("authorization", &bearer)],
        vec![("authorization", &bearer), ("authorization", "Bearer x")],
        vec![("authorization", "Bearer x"), ("authorization", &bearer)],
    ] {
        let mut request = asks("a/b");
        for (name, value) in headers {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        cases.push(request);
    }
    let mut in_query = asks("a/b");
    *in_query.uri_mut() = format!("/?access_token={token}").parse().unwrap();
    cases.push(in_query);
    for (at, request) in cases.into_iter().enumerate() {
        let shown = request.headers().contains_key("authorization");
        let answer = world.answer(&world.layer(), request.clone()).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "case {at}");
        let challenge = match shown {
            true => "Bearer error=\"invalid_token\"",
            false => "Bearer",
        };
        assert_eq!(answer.headers()["www-authenticate"], challenge, "case {at}");

        let mut grpc = request;
        let content_type = "application/grpc".parse().unwrap();
        grpc.headers_mut().insert("content-type", content_type);
        let answer = world.answer(&world.layer(), grpc).await;
        assert_eq!(answer.headers()["grpc-status"], "16", "case {at}");
    }
}

#[tokio::test]
async fn a_token_that_proves_nothing_is_refused() {
    let world = World::new();
    let stranger = TestAuthority::new("a.test");
    let foreign = TestAuthority::new("b.test");
    for token in [
        world.ca.jwt_svid("/web", &["other"]).token().to_owned(),
        world.ca.jwt_draft("/web", &["api"]).expired().token(),
        world.ca.jwt_draft("/web", &["api"]).not_yet_valid().token(),
        world.ca.jwt_draft("/web", &["api"]).unsigned().token(),
        world
            .ca
            .jwt_draft("/web", &["api"])
            .header("typ", "wit+jwt")
            .token(),
        world
            .ca
            .jwt_draft("/web", &["api"])
            .without_claim("exp")
            .token(),
        stranger.jwt_svid("/web", &["api"]).token().to_owned(),
        foreign.jwt_svid("/web", &["api"]).token().to_owned(),
        "a.b.c".to_owned(),
    ] {
        let refused = world.reaches(&world.layer(), bears(&token)).await;
        assert_eq!(refused, Err(StatusCode::UNAUTHORIZED), "{token}");
    }
    // Nobody says who the service is.
    let nameless = JwtBearerLayer::new(world.source.clone(), Vec::<String>::new());
    let refused = world.reaches(&nameless, bears(&world.token())).await;
    assert_eq!(refused, Err(StatusCode::UNAUTHORIZED));
}

#[tokio::test]
async fn tokens_are_judged_with_the_bundles_the_rules_and_the_clock_of_the_moment() {
    let world = World::new();
    let token = world.token();
    let expires = world.ca.jwt_svid("/web", &["api"]).expires_at();
    let late = |seconds| Arc::new(TestClock::at(expires + Duration::from_secs(seconds)));
    let strict = || JwtRules::default().with_leeway(Duration::ZERO).unwrap();
    for (layer, passes) in [
        (world.layer().clock(late(20)), true),
        (world.layer().clock(late(40)), false),
        (world.layer().clock(late(20)).rules(strict()), false),
    ] {
        let reached = world.reaches(&layer, bears(&token)).await;
        assert_eq!(reached.is_ok(), passes, "{layer:?}");
    }
    let layer = world.layer();
    assert_eq!(world.reaches(&layer, bears(&token)).await, Ok(WEB));
    world.source.publish(IdentitySnapshot::default());
    let refused = world.reaches(&layer, bears(&token)).await;
    assert_eq!(refused, Err(StatusCode::UNAUTHORIZED));
}

#[tokio::test]
async fn one_policy_by_id_is_for_peers_and_for_holders_of_tokens() {
    let world = World::new();
    let shown = || bears(&world.token());
    let connected = || over(verified(&world.ca, "/web"), asks("a/b"));
    let by_certificate = |_: &Peer| Ok(());
    for (allow, by_token, by_peer) in [
        (boxed(exactly(WEB)), true, true),
        (
            boxed(member_of(TrustDomain::from_static("a.test"))),
            true,
            true,
        ),
        (boxed(exactly(PROXY)), false, false),
        // It would judge a certificate, and a token has none.
        (boxed(by_certificate), false, true),
    ] {
        let allow: Arc<dyn Authorizer> = Arc::from(allow);
        let policy = AuthorizeLayer::new(allow.clone());
        for (request, passes) in [(shown(), by_token), (connected(), by_peer)] {
            let service = policy.layer(world.service());
            let service = world.layer().optional().layer(service);
            let answer = service.oneshot(request).await.unwrap();
            let expected = match passes {
                true => StatusCode::OK,
                false => StatusCode::FORBIDDEN,
            };
            assert_eq!(answer.status(), expected, "{}", allow.expected());
        }
    }
}

#[tokio::test]
async fn behind_a_proxy_caller_and_peer_stay_two() {
    let world = World::new();
    let request = || over(verified(&world.ca, "/proxy"), bears(&world.token()));
    let seen = tower::service_fn(|request: Request<Nothing>| {
        let extensions = request.extensions();
        assert_eq!(Principal::of(extensions).unwrap().id(), &WEB);
        assert_eq!(spiffe_tower::spiffe_id(extensions), Some(&WEB));
        assert_eq!(extensions.get::<VerifiedJwt>().unwrap().id(), &WEB);
        assert_eq!(peer(extensions).unwrap().id(), &PROXY);
        answered()
    });
    // A policy about each.
    let layers = AuthorizeLayer::new(exactly(WEB)).layer(seen);
    let layers = AuthorizeLayer::new(exactly(PROXY))
        .about_peers()
        .layer(layers);
    let both = world.layer().layer(layers);
    let answer = both.oneshot(request()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);

    let mistaken = AuthorizeLayer::new(exactly(WEB)).about_peers();
    let mistaken = world.layer().layer(mistaken.layer(world.service()));
    let answer = mistaken.oneshot(request()).await.unwrap();
    assert_eq!(
        answer.status(),
        StatusCode::FORBIDDEN,
        "the token is not the peer's"
    );
    let mistaken = AuthorizeLayer::new(exactly(PROXY)).layer(world.service());
    let answer = world
        .layer()
        .layer(mistaken)
        .oneshot(request())
        .await
        .unwrap();
    assert_eq!(
        answer.status(),
        StatusCode::FORBIDDEN,
        "the peer is not the caller"
    );
    // No token makes a peer.
    let answer = world.layer().layer(PeerLayer::new().layer(world.service()));
    let answer = answer.oneshot(bears(&world.token())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_policy_that_a_token_would_escape_is_no_way_through() {
    let world = World::new();
    let request = || over(verified(&world.ca, "/proxy"), bears(&world.token()));
    let asked = |_: &Principal, _: &http::request::Parts| ready(Ok(()));
    let inner = || world.layer().layer(world.service());
    let outside = AuthorizeLayer::new(anyone());
    let answer = outside.layer(inner()).oneshot(request()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let answer = outside
        .about_peers()
        .layer(inner())
        .oneshot(request())
        .await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    let outside = AuthorizeRequestLayer::new(asked);
    let answer = outside.layer(inner()).oneshot(request()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let answer = outside
        .about_peers()
        .layer(inner())
        .oneshot(request())
        .await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn no_token_makes_up_for_a_connection_that_lost_its_standing() {
    let world = World::new();
    let server = world.ca.source("/server");
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let acceptor = server.server(anyone()).acceptor();
    let connector = world.ca.source("/proxy").client(anyone()).connector();
    let (stream, connected) = tokio::join!(acceptor.accept(ours), connector.connect(theirs));
    connected.unwrap();
    let proxy = stream.unwrap().peer().clone();
    let policy = AuthorizeLayer::new(exactly(WEB)).layer(world.service());
    let service = world.layer().layer(policy);
    for status in [StatusCode::OK, StatusCode::FORBIDDEN] {
        let request = over(proxy.clone(), bears(&world.token()));
        let answer = service.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status);
        server.publish(TestAuthority::new("a.test").snapshot("/server"));
    }
}

#[tokio::test]
async fn where_a_token_is_optional_the_peer_is_the_caller_without_one() {
    let world = World::new();
    let layer = world.layer().optional();
    let proxy = || verified(&world.ca, "/proxy");
    let cases = [
        (over(proxy(), asks("a/b")), Ok(PROXY)),
        (over(proxy(), bears(&world.token())), Ok(WEB)),
        (
            over(proxy(), bears("nonsense")),
            Err(StatusCode::UNAUTHORIZED),
        ),
        (asks("a/b"), Err(StatusCode::NOT_FOUND)),
    ];
    for (request, expected) in cases {
        assert_eq!(world.reaches(&layer, request).await, expected);
    }
}

// RFC 9110 section 15.5.2: a 401 names a scheme that would help.
#[tokio::test]
async fn whom_a_token_would_help_is_told_so_and_nobody_else() {
    let world = World::new();
    let layer = world.layer().optional();
    let about_callers = AuthorizeLayer::new(anyone());
    let answer = layer.layer(about_callers.layer(world.service()));
    let answer = answer.oneshot(asks("a/b")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    let refused = layer.layer(AuthorizeLayer::new(anyone()).layer(world.service()));
    let refused = refused.oneshot(asks("application/grpc")).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "16");

    let about_peers = AuthorizeLayer::new(anyone()).about_peers();
    let answer = layer.layer(about_peers.layer(world.service()));
    let answer = answer.oneshot(asks("a/b")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN, "no token is a peer");
    assert!(!answer.headers().contains_key("www-authenticate"));
    let by_nobody = AuthorizeLayer::new(anyone()).layer(world.service());
    let answer = by_nobody.oneshot(asks("a/b")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

/// A service named `api`, and the authority that it believes.
struct World {
    ca: TestAuthority,
    source: Arc<SnapshotCell>,
}

impl World {
    fn new() -> Self {
        let ca = TestAuthority::new("a.test");
        let bundles = BundleSet::from(ca.bundle());
        let snapshot = IdentitySnapshot::new(Vec::new(), bundles);
        Self {
            ca,
            source: Arc::new(SnapshotCell::new(snapshot)),
        }
    }

    fn layer(&self) -> JwtBearerLayer {
        JwtBearerLayer::new(self.source.clone(), ["other-name", "api"])
    }

    fn token(&self) -> String {
        self.ca.jwt_svid("/web", &["api"]).token().to_owned()
    }

    /// Tells who reached it, or that nobody is known.
    fn service(
        &self,
    ) -> impl Service<
        Request<Nothing>,
        Response = Response<Nothing>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + use<> {
        tower::service_fn(|request: Request<Nothing>| {
            let mut response = Response::new(Nothing::new());
            match spiffe_tower::spiffe_id(request.extensions()) {
                Some(id) => _ = response.extensions_mut().insert(id.clone()),
                None => *response.status_mut() = StatusCode::NOT_FOUND,
            }
            ready(Ok(response))
        })
    }

    async fn answer(&self, layer: &JwtBearerLayer, request: Request<Nothing>) -> Response<()> {
        let answer = layer.layer(self.service()).oneshot(request).await.unwrap();
        answer.map(drop)
    }

    async fn reaches(
        &self,
        layer: &JwtBearerLayer,
        request: Request<Nothing>,
    ) -> Result<SpiffeId, StatusCode> {
        let answer = self.answer(layer, request).await;
        let reached = answer.extensions().get::<SpiffeId>();
        reached.cloned().ok_or(answer.status())
    }
}

fn answered() -> Ready<Result<Response<Nothing>, Infallible>> {
    ready(Ok(Response::new(Nothing::new())))
}

fn asks(content_type: &str) -> Request<Nothing> {
    let mut request = Request::new(Nothing::new());
    let headers = request.headers_mut();
    headers.insert("content-type", content_type.parse().unwrap());
    request
}

fn bears(token: &str) -> Request<Nothing> {
    let mut request = asks("a/b");
    let value = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

fn over(peer: Peer, mut request: Request<Nothing>) -> Request<Nothing> {
    let connection = Connection::new(peer, None, None);
    request.extensions_mut().insert(connection);
    request
}

fn verified(ca: &TestAuthority, path: &str) -> Peer {
    use spiffe_core::clock::{Clock, SystemClock};
    use spiffe_core::verify::{Role, x509_peer};

    let leaf = [ca.svid(path).leaf().der().clone()];
    let bundles = BundleSet::from(ca.bundle());
    x509_peer(&leaf, &bundles, Role::Client, SystemClock.now()).unwrap()
}

fn boxed(allow: impl Authorizer) -> Box<dyn Authorizer> {
    Box::new(allow)
}
