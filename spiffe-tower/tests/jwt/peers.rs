//! Holders of tokens, and the peers that their requests come from.

use std::future::ready;
use std::sync::Arc;

use http::{Request, StatusCode};
use spiffe_core::authorizer::{Authorizer, anyone, exactly, member_of};
use spiffe_core::testing::TestAuthority;
use spiffe_core::{Peer, SourceExt, TrustDomain, VerifiedJwt};
use spiffe_tower::{AuthorizeLayer, AuthorizeRequestLayer, PeerLayer, Principal, peer};
use tower::{Layer, ServiceExt};

use crate::{Nothing, PROXY, WEB, World, answered, asks, bears, boxed, over, verified};

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
