//! Who is let in, with a handler behind the stack that only says that it was reached.

use std::convert::Infallible;

use tower::service_fn;

use super::*;
use crate::domain::Denial;
use crate::server::api::rules::{Access, RULES, Rule};
use crate::wire;

/// What came of calling this method.
async fn call(world: &World, method: &str, caller: &Caller) -> Result<(), Status> {
    let handler = service_fn(|_: http::Request<Body>| async {
        Ok::<_, Infallible>(http::Response::new(Body::empty()))
    });
    let mut service = world.api.stack().layer(handler);
    let mut request = http::Request::new(Body::empty());
    *request.uri_mut() = method.parse().unwrap();
    request.extensions_mut().insert(caller.clone());
    let response = service.call(request).await.unwrap();
    match Status::from_header_map(response.headers()) {
        Some(status) => Err(status),
        None => Ok(()),
    }
}

/// Every sort of caller there is, and what it is to the rules.
async fn callers(world: &World) -> Vec<(&'static str, Caller, Vec<Access>)> {
    let banned = world.attested().await;
    let banned_id = banned.svid().unwrap().id().clone();
    world.nodes.ban(&banned_id).await.unwrap();
    vec![
        ("local", local(), vec![Access::Local]),
        ("anonymous", anonymous(), vec![]),
        ("agent", world.attested().await, vec![Access::Agent]),
        ("banned agent", banned, vec![]),
        (
            "admin by name",
            world.workload(OPS).await,
            vec![Access::Admin],
        ),
        (
            "agent that is an admin by name",
            world.attested_with(JoinToken::from_text("ops")).await,
            vec![Access::Admin, Access::Agent],
        ),
        (
            "admin by entry",
            world.privileged(true, false).await,
            vec![Access::Admin],
        ),
        (
            "downstream",
            world.privileged(false, true).await,
            vec![Access::Downstream],
        ),
        (
            "workload",
            world.workload(spiffe_id!("spiffe://td/nobody")).await,
            vec![],
        ),
    ]
}

fn is_open_to(rule: &Rule, is: &[Access]) -> bool {
    rule.admits(Access::Anyone) || is.iter().any(|access| rule.admits(*access))
}

#[tokio::test]
async fn every_rpc_is_open_to_those_whom_its_row_names_and_to_no_others() {
    let world = World::new().await;
    for (name, caller, is) in callers(&world).await {
        for rule in RULES {
            let called = call(&world, rule.method, &caller).await;
            if is_open_to(rule, &is) {
                assert!(called.is_ok(), "{name}: {}: {called:?}", rule.method);
                continue;
            }
            let refused = called.unwrap_err();
            let remote = !caller.is_local();
            if remote && rule.is_local_only() {
                assert_eq!(
                    refused.code(),
                    Code::Unimplemented,
                    "{name}: {}",
                    rule.method
                );
                continue;
            }
            let told = format!("authorization denied for method {}", rule.method);
            assert_eq!(
                (refused.code(), refused.message()),
                (Code::PermissionDenied, &*told),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn expired_client_cert_rejected_everywhere() {
    let world = World::new().await;
    let callers = callers(&world).await;
    world.clock.advance(2 * HOUR);
    for (name, caller, _) in callers
        .iter()
        .filter(|(_, caller, _)| caller.svid().is_some())
    {
        for rule in RULES.iter().filter(|rule| !is_open_to(rule, &[])) {
            let refused = call(&world, rule.method, caller).await.unwrap_err();
            let codes = [Code::PermissionDenied, Code::Unimplemented];
            assert!(codes.contains(&refused.code()), "{name}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn an_agent_learns_why_it_was_turned_away() {
    let world = World::new().await;
    let method = "/spire.api.server.agent.v1.Agent/PostStatus";
    let why = async |caller: &Caller| {
        let refused = call(&world, method, caller).await.unwrap_err();
        wire::denial(&refused)
    };

    let agent = world.attested().await;
    let id = agent.svid().unwrap().id().clone();
    assert!(call(&world, method, &agent).await.is_ok());
    world.nodes.ban(&id).await.unwrap();
    assert_eq!(why(&agent).await, Some(Denial::AgentBanned));
    world.nodes.delete(&id).await.unwrap();
    assert_eq!(why(&agent).await, Some(Denial::AgentNotAttested));
    let workload = world.workload(spiffe_id!("spiffe://td/nobody")).await;
    assert_eq!(why(&workload).await, Some(Denial::AgentNotAttested));
    assert_eq!(why(&anonymous()).await, None);

    let agent = world.attested().await;
    world.clock.advance(2 * HOUR);
    assert_eq!(why(&agent).await, Some(Denial::AgentExpired));
}

#[tokio::test]
async fn trust_that_was_taken_away_ends_a_callers_rights_at_once() {
    let world = World::new().await;
    let (agent, ops) = (world.attested().await, world.workload(OPS).await);
    let renew = "/spire.api.server.agent.v1.Agent/PostStatus";
    let list = "/spire.api.server.entry.v1.Entry/ListEntries";
    assert!(call(&world, renew, &agent).await.is_ok());
    assert!(call(&world, list, &ops).await.is_ok());
    world.trust.publish(IdentitySnapshot::default());
    for (method, caller) in [(renew, &agent), (list, &ops)] {
        let refused = call(&world, method, caller).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn what_has_no_row_is_not_served() {
    let world = World::new().await;
    for method in [
        "/",
        "/spire.api.server.entry.v1.Entry/NoSuchMethod",
        "/spire.api.server.debug.v1.Debug/GetInfo",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        for caller in [local(), anonymous()] {
            let refused = call(&world, method, &caller).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unimplemented, "{method}");
        }
    }
}

#[tokio::test]
async fn a_request_that_comes_from_nowhere_is_not_served() {
    let world = World::new().await;
    let handler = service_fn(|_: http::Request<Body>| async {
        Ok::<_, Infallible>(http::Response::new(Body::empty()))
    });
    let mut request = http::Request::new(Body::empty());
    *request.uri_mut() = RULES[0].method.parse().unwrap();
    let response = world
        .api
        .stack()
        .layer(handler)
        .call(request)
        .await
        .unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn who_calls_too_often_waits_and_is_then_told_when_to_come_again() {
    let world = World::new().await;
    tokio::time::pause();
    let method = "/spire.api.server.agent.v1.Agent/AttestAgent";
    let from = anonymous();
    let begun = tokio::time::Instant::now();
    for _ in 0..2 {
        assert!(call(&world, method, &from).await.is_ok());
    }
    assert_eq!(begun.elapsed().as_secs(), 1);
    let calls = (0..4).map(|_| call(&world, method, &from));
    let outcomes = futures_util::future::join_all(calls).await;
    let refused: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
    assert_eq!(refused.len(), 2, "{outcomes:?}");
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(wire::retry_after(status).is_some(), "{status:?}");
    }

    let begun = tokio::time::Instant::now();
    for _ in 0..10 {
        assert!(call(&world, method, &local()).await.is_ok());
    }
    assert!(begun.elapsed().is_zero(), "the operator never waits");
}
