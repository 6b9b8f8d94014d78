//! What comes is shown to everybody, and what was there stays while nothing comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::{self, SourceError, X509Source};
use spiffe_core::testing::{FakeWorkloadApi, TestAuthority, message};
use spiffe_core::verify::{Role, x509_peer};
use spiffe_core::workload_api::WhenDenied;
use spiffe_core::{IdentitySource, with_causes};
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::{World, leaf};

// conformance: WA-3+ WA-3-
#[tokio::test(start_paused = true)]
async fn a_rotation_is_seen_by_every_clone() {
    let (world, source) = World::connected().await;
    let clone = source.clone();
    let mut changed = clone.subscribe();
    let renewed = world.authority.snapshot("/web");
    world.api.publish(&renewed);
    changed.changed().await.unwrap();
    for source in [source, clone] {
        assert_eq!(leaf(&source.snapshot()), leaf(&renewed));
    }
}

// Each generation has every connection judged again, and ends what could be resumed.
#[tokio::test(start_paused = true)]
async fn a_message_that_changes_nothing_is_no_new_generation() {
    let (world, source) = World::connected().await;
    let held = world.authority.snapshot("/web");
    world.api.publish(&held);
    sleep(Duration::from_secs(1)).await;
    let before = source.health();
    for _ in 0..5 {
        sleep(Duration::from_secs(1)).await;
        world.api.publish(&held);
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(source.generation(), before.generation);
    assert!(source.health().ready);
    world.api.publish(&world.authority.snapshot("/web"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(source.generation(), before.generation + 1);
}

// One channel that all read from would give each of them a part of the news.
#[tokio::test(start_paused = true)]
async fn watchers_do_not_steal_updates_from_each_other() {
    let (world, source) = World::connected().await;
    let mut watchers: Vec<_> = (0..5).map(|_| source.subscribe()).collect();
    for _ in 0..3 {
        world.api.publish(&world.authority.snapshot("/web"));
        for watcher in &mut watchers {
            watcher.changed().await.unwrap();
            let generation = *watcher.borrow_and_update();
            assert_eq!(generation, source.snapshot().generation());
        }
    }
}

// sdk B2b: two getters, or a bundle read beside the lock, mix two moments; and B6: what is published
// before it can be used leaves a moment without an identity.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn svid_and_bundle_are_always_of_one_moment_and_there_is_always_one() {
    let authorities = [(); 2].map(|()| TestAuthority::new("a.test"));
    let snapshots = authorities.each_ref().map(|a| a.snapshot("/web"));
    let api = FakeWorkloadApi::in_memory();
    api.publish(&snapshots[0]);
    let source = X509Source::builder()
        .endpoint(api.endpoint())
        .connect()
        .await
        .unwrap();
    let reader = source.clone();
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let reading = std::thread::spawn(move || {
        let mut reads = 0;
        while !stop.load(Ordering::Relaxed) || reads == 0 {
            let snapshot = reader.snapshot();
            let chain: Vec<_> = snapshot.svid().unwrap().chain().iter().collect();
            let chain: Vec<_> = chain.into_iter().map(|c| c.der().clone()).collect();
            let now = SystemClock.now();
            x509_peer(&chain, snapshot.bundles(), Role::Client, now).unwrap();
            reads += 1;
        }
    });
    let mut changed = source.subscribe();
    for turn in 1..200 {
        api.publish(&snapshots[turn % 2]);
        changed.changed().await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    reading.join().unwrap();
}

// conformance: WA-4+ WA-4- WE-21+
#[tokio::test(start_paused = true)]
async fn a_server_that_went_away_changes_nothing_and_is_found_again() {
    let (world, source) = World::connected().await;
    let before = source.snapshot();
    world.api.go_away();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(source.snapshot().generation(), before.generation());

    let renewed = world.authority.snapshot("/web");
    let mut changed = source.subscribe();
    world.api.publish(&renewed);
    world.api.come_back();
    changed.changed().await.unwrap();
    assert_eq!(leaf(&source.snapshot()), leaf(&renewed));
}

// conformance: WE-21+ WE-21-
#[tokio::test(start_paused = true)]
async fn a_failing_server_is_asked_less_and_less_often() {
    let world = World::new();
    world.api.refuse(Code::Unavailable);
    assert!(world.connect().await.is_err());
    let calls = world.api.calls();
    assert!((3..25).contains(&calls), "{calls} calls in 30 s");
}

/// rust-spiffe asked again at once where it was told that there is no identity.
#[tokio::test(start_paused = true)]
async fn who_is_denied_does_not_ask_in_a_tight_loop() {
    for when_denied in [WhenDenied::Withdraw, WhenDenied::KeepUntilExpiry] {
        let world = World::new();
        world.api.refuse(Code::PermissionDenied);
        let source = X509Source::builder()
            .endpoint(world.api.endpoint())
            .clock(Arc::new(world.clock))
            .when_denied(when_denied)
            .connect_lazy()
            .unwrap();
        sleep(Duration::from_secs(600)).await;
        let calls = world.api.calls();
        assert!((20..80).contains(&calls), "{calls} calls in ten minutes");
        assert!(!source.health().stopped);
    }
}

/// A watcher of rust-spiffe took its snapshot first and followed the changes then.
#[tokio::test(start_paused = true)]
async fn a_watcher_misses_no_rotation_while_it_begins() {
    let (world, source) = World::connected().await;
    let mut own = source.subscribe();
    let rotate = async |source: &X509Source| {
        let mut changed = source.subscribe();
        let renewed = world.authority.snapshot("/web");
        world.api.publish(&renewed);
        changed.changed().await.unwrap();
        renewed
    };
    let mut stream = spiffe_core::source::updates(source.clone());
    // Between the beginning and the first look.
    let renewed = rotate(&source).await;
    assert_eq!(leaf(&stream.next().await.unwrap()), leaf(&renewed));
    own.changed().await.unwrap();
    assert_eq!(leaf(&source.snapshot()), leaf(&renewed));
    // Between one look and the next.
    for _ in 0..3 {
        let renewed = rotate(&source).await;
        assert_eq!(leaf(&stream.next().await.unwrap()), leaf(&renewed));
        own.changed().await.unwrap();
        assert_eq!(*own.borrow(), source.generation());
    }
}

// conformance: WE-19+ WE-19- WE-23+ WE-23-
#[tokio::test(start_paused = true)]
async fn what_cannot_get_better_is_not_tried_again() {
    for code in [Code::InvalidArgument, Code::Unimplemented] {
        let world = World::new();
        world.api.refuse(code);
        let started = tokio::time::Instant::now();
        let why = world.connect().await.unwrap_err();
        assert_eq!(started.elapsed(), Duration::ZERO, "{code:?}");
        assert_eq!(
            with_causes(&why),
            format!(
                "memory is not asked again: check that an agent listens there, and whom it is asked \
                 about: the agent answered {code:?}: as the test wants it"
            )
        );
        assert_eq!(world.api.calls(), 1, "{code:?}");

        let (world, source) = World::connected().await;
        world.api.refuse(code);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.api.calls(), 1, "{code:?}");
        assert!(source.snapshot().svid().is_some(), "{code:?}");
    }
}

// conformance: WA-22+ WA-22- WE-22+ WE-22-
#[tokio::test(start_paused = true)]
async fn a_removed_registration_withdraws_the_identity_at_once() {
    let (world, source) = World::connected().await;
    let mut changed = source.subscribe();
    let (before, calls) = (tokio::time::Instant::now(), world.api.calls());
    world.api.refuse(Code::PermissionDenied);
    changed.changed().await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    let snapshot = source.snapshot();
    assert!(snapshot.svid().is_none());
    assert!(
        snapshot
            .bundles()
            .get(world.authority.trust_domain())
            .is_some()
    );

    // Later it may have one again.
    sleep(Duration::from_secs(300)).await;
    assert!(world.api.calls() > calls);
    assert_eq!(source.snapshot().generation(), snapshot.generation());
    world.api.publish(&world.authority.snapshot("/web"));
    changed.changed().await.unwrap();
    assert!(source.snapshot().svid().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_denied_identity_can_be_kept_until_it_expires() {
    let world = World::new();
    world.api.publish(&world.authority.snapshot("/web"));
    let source = X509Source::builder()
        .endpoint(world.api.endpoint())
        .clock(Arc::new(world.clock))
        .when_denied(WhenDenied::KeepUntilExpiry)
        .connect()
        .await
        .unwrap();
    let calls = world.api.calls();
    world.api.refuse(Code::PermissionDenied);
    sleep(Duration::from_secs(300)).await;
    assert!(source.snapshot().svid().is_some());
    assert!(world.api.calls() > calls, "it goes on asking");
}

#[tokio::test(start_paused = true)]
async fn health_tells_age_end_error_and_generation() {
    let (world, source) = World::connected().await;
    let first = source.health();
    let snapshot = source.snapshot();
    assert!(first.ready && !first.stopped && first.last_error.is_none());
    assert_eq!(first.generation, snapshot.generation());
    assert_eq!(first.updated_at, Some(world.clock.now()));
    assert_eq!(
        first.next_expiry,
        Some(snapshot.svid().unwrap().not_after())
    );

    world.api.go_away();
    sleep(Duration::from_secs(60)).await;
    let away = source.health();
    assert!(away.ready, "the identity is valid still");
    assert!(away.last_error.is_some());
    assert_eq!(away.updated_at, first.updated_at);

    world.api.come_back();
    sleep(Duration::from_secs(60)).await;
    let back = source.health();
    assert!(back.last_error.is_none());
    assert!(back.updated_at > first.updated_at);
    assert_eq!(back.generation, first.generation, "it brought nothing new");

    let mut flawed = message(&world.authority.snapshot("/web"));
    flawed.svids[0].x509_svid_key.clear();
    world.api.publish_message(flawed);
    sleep(Duration::from_secs(1)).await;
    let degraded = source.health();
    assert!(degraded.ready);
    let error = with_causes(&degraded.last_error.unwrap());
    assert!(
        error.contains("the SVID spiffe://a.test/web is malformed"),
        "{error}"
    );

    world.api.refuse(Code::PermissionDenied);
    sleep(Duration::from_secs(1)).await;
    let denied = source.health();
    assert!(!denied.ready && denied.next_expiry.is_none());

    let clone = source.clone();
    source.shutdown().await;
    assert!(clone.health().stopped);
    let why = clone.ready().await.unwrap_err();
    assert!(matches!(why, SourceError::Shutdown), "{why}");
}

#[tokio::test(start_paused = true)]
async fn updates_are_a_stream_too_and_whoever_is_slow_gets_the_newest() {
    let authority = TestAuthority::new("a.test");
    let source = authority.source("/web");
    let mut updates = source::updates(Arc::clone(&source));
    let first = updates.next().await.unwrap();
    assert_eq!(first.generation(), source.snapshot().generation());
    source.publish(authority.snapshot("/web"));
    source.publish(authority.snapshot("/db"));
    let newest = updates.next().await.unwrap();
    assert_eq!(newest.svid().unwrap().id().path(), "/db");
    let more = timeout(Duration::from_secs(60), updates.next()).await;
    assert!(more.is_err(), "nothing has changed");
}
