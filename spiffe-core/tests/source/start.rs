//! How a source begins and ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::source::{SourceError, X509Source};
use spiffe_core::testing::{FakeWorkloadApi, TestAuthority};
use spiffe_core::workload_api::{Endpoint, WorkloadApiClient, WorkloadApiError};
use spiffe_core::{BundleSet, IdentitySnapshot, IdentitySource, with_causes};
use tokio::time::sleep;
use tonic::Code;

use crate::{World, gone, leaf};

// conformance: WA-3+
#[tokio::test(start_paused = true)]
async fn the_first_update_is_awaited() {
    let world = World::new();
    let publish_late = async {
        sleep(Duration::from_secs(20)).await;
        world.api.publish(&world.authority.snapshot("/web"));
    };
    let (source, ()) = tokio::join!(world.connect(), publish_late);
    let snapshot = source.unwrap().snapshot();
    assert_eq!(
        snapshot.svid().unwrap().id().as_str(),
        "spiffe://a.test/web"
    );
    assert!(
        snapshot
            .bundles()
            .get(world.authority.trust_domain())
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_first_update_is_bounded_and_says_what_to_check() {
    let world = World::new();
    let why = world.connect().await.unwrap_err();
    assert_eq!(
        why.to_string(),
        "no identity from memory within 30s: check that the agent runs and listens there, and that \
         a registration entry matches this workload; it has not answered"
    );

    world.api.refuse(Code::PermissionDenied);
    let why = with_causes(&world.connect().await.unwrap_err());
    assert!(
        why.ends_with(
            "matches this workload: the agent answered PermissionDenied: as the test wants it"
        ),
        "{why}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_waits_can_be_set() {
    let world = World::new();
    world.api.refuse(Code::Unavailable);
    let source = X509Source::builder()
        .endpoint(world.api.endpoint())
        .clock(Arc::new(world.clock))
        .backoff(Duration::from_secs(1), Duration::from_secs(1))
        .connect_lazy()
        .unwrap();
    sleep(Duration::from_secs(600)).await;
    assert!(
        (800..2000).contains(&world.api.calls()),
        "{}",
        world.api.calls()
    );
    drop(source);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_with_silence_is_left_and_one_that_falls_silent_is_not() {
    let world = World::new();
    let source = X509Source::builder()
        .endpoint(world.api.endpoint())
        .clock(Arc::new(world.clock))
        .connect_lazy()
        .unwrap();
    sleep(Duration::from_secs(31)).await;
    let why = source.health().last_error.unwrap();
    assert_eq!(why.to_string(), "memory has not answered within 30s");
    sleep(Duration::from_secs(600)).await;
    let calls = world.api.calls();
    assert!((5..=21).contains(&calls), "{calls}");

    world.api.publish(&world.authority.snapshot("/web"));
    source.ready().await.unwrap();
    let calls = world.api.calls();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(
        world.api.calls(),
        calls,
        "nothing changes, so nothing is said"
    );
    assert!(source.health().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn waits_without_end_are_no_reason_to_panic() {
    let (world, first) = World::connected().await;
    drop(first);
    let source = X509Source::builder()
        .endpoint(world.api.endpoint())
        .clock(Arc::new(world.clock))
        .backoff(Duration::MAX, Duration::MAX)
        .connect()
        .await
        .unwrap();
    let calls = world.api.calls();
    world.api.end_streams();
    sleep(Duration::from_secs(24 * 60 * 60 + 1)).await;
    assert!(world.api.calls() > calls, "it waits a day at the most");
    assert!(!source.health().stopped);
}

// conformance: WA-13-
#[tokio::test(start_paused = true)]
async fn an_identity_that_peers_would_not_believe_is_none() {
    let world = World::new();
    world.api.publish(&IdentitySnapshot::new(
        vec![TestAuthority::at("a.test", world.now).svid("/web")],
        BundleSet::from(world.authority.bundle()),
    ));
    let why = with_causes(&world.connect().await.unwrap_err());
    assert!(
        why.contains(
            "the agent sent nothing that can be used: \
             the SVID spiffe://a.test/web would not be believed"
        ),
        "{why}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_the_signer_may_be_a_little_ahead() {
    for (ahead, taken) in [(240, true), (360, false)] {
        let world = World::new();
        let from = world.now + Duration::from_secs(ahead);
        let draft = world.authority.draft("/web");
        let svid = draft.valid(from, from + Duration::from_secs(3600)).svid();
        world.api.publish(&IdentitySnapshot::new(
            vec![svid],
            BundleSet::from(world.authority.bundle()),
        ));
        assert_eq!(world.connect().await.is_ok(), taken, "{ahead} s ahead");
    }
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_named() {
    let builder = X509Source::builder()
        .endpoint("unix:///nowhere/agent.sock".parse().unwrap())
        .initial_timeout(Duration::from_millis(50));
    let why = with_causes(&builder.connect().await.unwrap_err());
    assert!(
        why.contains("cannot connect to unix:///nowhere/agent.sock: No such file"),
        "{why}"
    );
}

// conformance: WE-3+
#[tokio::test]
async fn a_unix_socket_carries_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let api = FakeWorkloadApi::on_socket(&path).unwrap();
    let authority = TestAuthority::new("a.test");
    api.publish(&authority.snapshot("/web"));
    let endpoint: Endpoint = format!("unix://{}", path.display()).parse().unwrap();
    assert_eq!(endpoint.path(), Some(Path::new(&path)));

    let client = WorkloadApiClient::new(endpoint.clone());
    let fetched = client.fetch_x509().await.unwrap();
    let source = X509Source::builder()
        .endpoint(endpoint)
        .connect()
        .await
        .unwrap();
    assert_eq!(leaf(&source.snapshot()), leaf(&fetched));

    api.refuse(Code::PermissionDenied);
    let why = client.fetch_x509().await.unwrap_err();
    let WorkloadApiError::Refused(status) = why else {
        panic!("{why}");
    };
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn a_lazy_source_is_there_before_its_identity() {
    let world = World::new();
    let builder = X509Source::builder()
        .endpoint(world.api.endpoint())
        .clock(Arc::new(world.clock));
    let source = builder.connect_lazy().unwrap();
    assert!(source.snapshot().svid().is_none());
    let health = source.health();
    assert!(!health.ready && !health.stopped && health.updated_at.is_none());
    let why = source.ready().await.unwrap_err();
    assert!(matches!(why, SourceError::NoIdentity { .. }), "{why}");

    world.api.publish(&world.authority.snapshot("/web"));
    source.ready().await.unwrap();
    source.ready().await.unwrap();
    assert!(source.snapshot().svid().is_some());
}

// Its pings are answered, so that the connection looks well.
#[tokio::test(start_paused = true)]
async fn an_api_that_never_begins_its_stream_is_asked_again() {
    let world = World::new();
    world.api.publish(&world.authority.snapshot("/web"));
    world.api.answer_after(Duration::from_secs(24 * 3600));
    let builder = X509Source::builder().endpoint(world.api.endpoint());
    let builder = builder.clock(Arc::new(world.clock));
    let source = builder.connect_lazy().unwrap();
    sleep(Duration::from_secs(29)).await;
    world.api.answer_after(Duration::ZERO);
    assert_eq!(world.api.calls(), 1);
    source.ready().await.unwrap();
    assert_eq!(world.api.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_watch_ends_with_the_last_clone_or_when_told() {
    let (world, source) = World::connected().await;
    let mut changed = source.subscribe();
    let clone = source.clone();
    drop(source);
    world.api.publish(&world.authority.snapshot("/web"));
    changed.changed().await.unwrap();
    drop(clone);
    assert!(gone(&mut changed).await);

    let (world, source) = World::connected().await;
    let clone = source.clone();
    source.shutdown().await;
    let before = clone.snapshot();
    world.api.publish(&world.authority.snapshot("/web"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(leaf(&clone.snapshot()), leaf(&before));
}
