//! Which tokens prove something, and what is answered where none does.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use spiffe_core::IdentitySnapshot;
use spiffe_core::authorizer::anyone;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::verify::JwtRules;
use spiffe_tower::{AuthorizeLayer, JwtBearerLayer};
use tower::{Layer, ServiceExt};

use crate::{Nothing, WEB, World, asks, bears};

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
