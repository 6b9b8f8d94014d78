//! An `X509Source` against a Workload API that follows a script, on paused time.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::{BundleSource, SourceError, X509Source, by_hint, by_id};
use spiffe_core::testing::{FakeWorkloadApi, TestAuthority, TestClock, message};
use spiffe_core::verify::{Role, x509_peer};
use spiffe_core::workload_api::{
    Endpoint, Limits, WhenDenied, WorkloadApiClient, WorkloadApiError,
};
use spiffe_core::{BundleSet, IdentitySnapshot, IdentitySource};
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Code;

/// A workload with its agent and the authority behind it.
struct World {
    authority: TestAuthority,
    api: FakeWorkloadApi,
    now: SystemTime,
    clock: TestClock,
}

impl World {
    fn new() -> Self {
        let now = SystemClock.now();
        Self {
            authority: TestAuthority::at("a.test", now),
            api: FakeWorkloadApi::in_memory(),
            now,
            clock: TestClock::at(now),
        }
    }

    async fn connect(&self) -> Result<X509Source, SourceError> {
        X509Source::builder()
            .endpoint(self.api.endpoint())
            .clock(Arc::new(self.clock))
            .connect()
            .await
    }

    /// A source that has its first identity.
    async fn connected() -> (Self, X509Source) {
        let world = Self::new();
        world.api.publish(&world.authority.snapshot("/web"));
        let source = world.connect().await.unwrap();
        (world, source)
    }
}

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
    let why = world.connect().await.unwrap_err();
    assert!(
        why.to_string().ends_with(
            "the last error was: the Workload API answered PermissionDenied: as the test wants it"
        ),
        "{why}"
    );
    assert!(why.source().is_some());
}

// conformance: WA-13-
#[tokio::test(start_paused = true)]
async fn an_identity_that_peers_would_not_believe_is_none() {
    let world = World::new();
    world.api.publish(&IdentitySnapshot::new(
        vec![TestAuthority::at("a.test", world.now).svid("/web")],
        BundleSet::from(world.authority.bundle()),
    ));
    let why = world.connect().await.unwrap_err().to_string();
    assert!(
        why.contains(
            "the last error was: the Workload API sent nothing that can be used: \
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
    let why = X509Source::builder()
        .endpoint("unix:///nowhere/agent.sock".parse().unwrap())
        .initial_timeout(Duration::from_millis(50))
        .connect()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        why.contains("cannot connect to unix:///nowhere/agent.sock: No such file"),
        "{why}"
    );
}

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
            why.to_string(),
            format!(
                "memory serves no identities: check that an agent listens there; the Workload API \
                 answered {code:?}: as the test wants it"
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

// conformance: WE-21+ WE-21-
#[tokio::test(start_paused = true)]
async fn a_failing_server_is_asked_less_and_less_often() {
    let world = World::new();
    world.api.refuse(Code::Unavailable);
    assert!(world.connect().await.is_err());
    let calls = world.api.calls();
    assert!((3..25).contains(&calls), "{calls} calls in 30 s");
}

// conformance: WA-13+ WA-13- ID-20-
#[tokio::test(start_paused = true)]
async fn renewal_failure_keeps_valid_svid() {
    let (world, source) = World::connected().await;
    let before = source.snapshot();
    let mut changed = source.subscribe();
    let stranger = TestAuthority::at("a.test", world.now);
    let other = world.authority.draft("/web").expired().svid();
    let good = world.authority.snapshot("/web");
    let flawed = |flaw: &dyn Fn(&mut spiffe_core::proto::workload::X509svid)| {
        let mut flawed = message(&good);
        flaw(&mut flawed.svids[0]);
        flawed
    };
    for (name, message) in [
        ("no ID", flawed(&|svid| svid.spiffe_id.clear())),
        (
            "other ID",
            flawed(&|svid| svid.x509_svid = der(&world.authority, "/other")),
        ),
        ("no chain", flawed(&|svid| svid.x509_svid.clear())),
        ("cut chain", flawed(&|svid| svid.x509_svid.truncate(40))),
        ("no key", flawed(&|svid| svid.x509_svid_key.clear())),
        (
            "key of another",
            flawed(&|svid| svid.x509_svid_key = other.key().pkcs8_der().to_vec()),
        ),
        (
            "expired",
            message(&IdentitySnapshot::new(
                vec![other.clone()],
                good.bundles().clone(),
            )),
        ),
        (
            "not valid yet",
            message(&IdentitySnapshot::new(
                vec![world.authority.draft("/web").not_yet_valid().svid()],
                good.bundles().clone(),
            )),
        ),
        (
            "of a stranger",
            message(&IdentitySnapshot::new(
                vec![stranger.svid("/web")],
                good.bundles().clone(),
            )),
        ),
    ] {
        world.api.publish_message(message);
        changed.changed().await.unwrap();
        let snapshot = source.snapshot();
        assert_eq!(leaf(&snapshot), leaf(&before), "{name}");
        assert_eq!(
            snapshot.bundles().get(world.authority.trust_domain()),
            Some(&world.authority.x509_bundle()),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_ignored_hint_does_not_cost_an_svid_its_place() {
    let (world, source) = World::connected().await;
    let before = source.snapshot();
    let mut changed = source.subscribe();
    let mut flawed = message(&world.authority.snapshot("/web"));
    flawed.svids[0].hint = "x".repeat(1025);
    flawed.svids[0].x509_svid_key.clear();
    world.api.publish_message(flawed);
    changed.changed().await.unwrap();
    assert_eq!(leaf(&source.snapshot()), leaf(&before));
}

#[tokio::test(start_paused = true)]
async fn an_old_svid_is_kept_no_longer_than_it_is_valid() {
    let (world, source) = World::connected().await;
    let mut changed = source.subscribe();
    sleep(Duration::from_secs(3600)).await;
    let mut broken = message(&world.authority.snapshot("/web"));
    broken.svids[0].x509_svid_key.clear();
    world.api.publish_message(broken);
    changed.changed().await.unwrap();
    assert!(source.snapshot().svid().is_none());
    assert!(
        source
            .snapshot()
            .bundles()
            .get(world.authority.trust_domain())
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_flawed_identity_does_not_hold_up_the_bundles() {
    let (world, source) = World::connected().await;
    let before = source.snapshot();
    let mut changed = source.subscribe();
    let friend = TestAuthority::at("b.test", world.now);
    let mut flawed = message(&with_bundles(&before, &[&world.authority, &friend]));
    flawed.svids[0].x509_svid_key.clear();
    world.api.publish_message(flawed);
    changed.changed().await.unwrap();
    let snapshot = source.snapshot();
    assert_eq!(leaf(&snapshot), leaf(&before));
    assert_eq!(
        snapshot.bundles().get(friend.trust_domain()),
        Some(&friend.x509_bundle())
    );
}

// conformance: WA-8+ WA-8- WA-9+ WA-9- WA-11+ WA-11- WA-26+
#[tokio::test(start_paused = true)]
async fn a_malformed_federated_bundle_unloads_its_trust_domain_only() {
    let (world, source) = World::connected().await;
    let mut changed = source.subscribe();
    let friends = ["b.test", "c.test"].map(|name| TestAuthority::at(name, world.now));
    let all = with_bundles(
        &world.authority.snapshot("/web"),
        &[&world.authority, &friends[0], &friends[1]],
    );
    world.api.publish(&all);
    changed.changed().await.unwrap();
    assert_eq!(source.snapshot().bundles().iter().count(), 3);

    let mut flawed = message(&all);
    flawed
        .federated_bundles
        .insert("spiffe://b.test".to_owned(), vec![0x30, 3, 1]);
    flawed
        .federated_bundles
        .insert("no trust domain".to_owned(), Vec::new());
    world.api.publish_message(flawed);
    changed.changed().await.unwrap();
    let snapshot = source.snapshot();
    let names = snapshot.bundles().iter().map(|b| b.trust_domain().as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["a.test", "c.test"]);

    // What is left out of a message is gone.
    world.api.publish(&world.authority.snapshot("/web"));
    changed.changed().await.unwrap();
    assert_eq!(source.snapshot().bundles().iter().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_federated_bundle_cannot_replace_our_own() {
    let (world, source) = World::connected().await;
    let mut changed = source.subscribe();
    let stranger = TestAuthority::at("a.test", world.now).bundle();
    let mut hostile = message(&world.authority.snapshot("/web"));
    hostile.federated_bundles.insert(
        "spiffe://a.test".to_owned(),
        stranger.x509_authorities()[0].der().to_vec(),
    );
    world.api.publish_message(hostile);
    changed.changed().await.unwrap();
    assert_eq!(
        source
            .snapshot()
            .bundles()
            .get(world.authority.trust_domain()),
        Some(&world.authority.x509_bundle())
    );
}

// conformance: WA-13-
#[tokio::test(start_paused = true)]
async fn a_malformed_own_bundle_leaves_the_old_one() {
    let (world, source) = World::connected().await;
    let mut changed = source.subscribe();
    let renewed = world.authority.snapshot("/web");
    let before = source.snapshot();
    // Without the field the SVID is left out as well: it is mandatory.
    for (bundle, shown) in [(Vec::new(), &*before), (vec![0x30, 3, 1], &renewed)] {
        let mut flawed = message(&renewed);
        flawed.svids[0].bundle = bundle;
        world.api.publish_message(flawed);
        changed.changed().await.unwrap();
        let snapshot = source.snapshot();
        assert_eq!(leaf(&snapshot), leaf(shown));
        assert_eq!(
            snapshot.bundles().get(world.authority.trust_domain()),
            Some(&world.authority.x509_bundle())
        );
    }
}

// conformance: WA-13-
#[tokio::test(start_paused = true)]
async fn a_message_of_flaws_alone_takes_nothing_away_whatever_its_svids_are_said_to_be() {
    let (world, source) = World::connected().await;
    let before = source.snapshot();
    let mut changed = source.subscribe();
    let mut flawed = message(&world.authority.snapshot("/another"));
    flawed.svids[0].x509_svid_key.clear();
    world.api.publish_message(flawed);
    changed.changed().await.unwrap();
    assert_eq!(leaf(&source.snapshot()), leaf(&before));
}

// conformance: WA-13+ WA-13-
#[tokio::test(start_paused = true)]
async fn a_message_without_svids_or_with_too_many_is_discarded() {
    let (world, source) = World::connected().await;
    let before = source.snapshot();
    let good = message(&world.authority.snapshot("/web"));
    let mut too_many_svids = good.clone();
    too_many_svids.svids = vec![good.svids[0].clone(); 101];
    let mut too_many_bundles = good.clone();
    too_many_bundles.federated_bundles = (0..201)
        .map(|i| (format!("d{i}.test"), Vec::new()))
        .collect();
    let mut too_large = good.clone();
    too_large.crl = vec![vec![0; Limits::MESSAGE]];
    for message in [
        spiffe_core::proto::workload::X509svidResponse::default(),
        too_many_svids,
        too_many_bundles,
        too_large,
    ] {
        world.api.publish_message(message);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(source.snapshot().generation(), before.generation());
    }
}

// conformance: WA-20+ WA-20- WA-56+ WA-56-
#[tokio::test(start_paused = true)]
async fn the_first_svid_is_the_default_and_the_first_of_a_hint_counts() {
    let (world, source) = World::connected().await;
    let mut changed = source.subscribe();
    let svid = |path, hint: &str| world.authority.svid(path).with_hint(hint);
    world.api.publish(&IdentitySnapshot::new(
        vec![
            svid("/b", "out"),
            svid("/a", "in"),
            svid("/c", "out"),
            svid("/d", &"x".repeat(1025)),
        ],
        BundleSet::from(world.authority.bundle()),
    ));
    changed.changed().await.unwrap();
    let snapshot = source.snapshot();
    let shown = snapshot.svids().iter().map(|s| (s.id().path(), s.hint()));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [("/b", "out"), ("/a", "in"), ("/d", "")]
    );
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
    assert!(back.generation > first.generation && back.updated_at > first.updated_at);

    let mut flawed = message(&world.authority.snapshot("/web"));
    flawed.svids[0].x509_svid_key.clear();
    world.api.publish_message(flawed);
    sleep(Duration::from_secs(1)).await;
    let degraded = source.health();
    assert!(degraded.ready);
    let error = degraded.last_error.unwrap().to_string();
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
async fn one_source_serves_many_identities_and_none_in_place_of_another() {
    let (world, source) = World::connected().await;
    let out = source.with_identity(by_hint("out"));
    let db = source.with_identity(by_id("spiffe://a.test/db".parse().unwrap()));
    let any = source.with_identity(|svid| svid.id().path().starts_with("/d"));
    for view in [&out, &db, &any] {
        let snapshot = view.snapshot();
        assert!(snapshot.svid().is_none());
        assert!(snapshot.bundles().iter().next().is_some());
    }
    let mut changed = out.subscribe();
    let svid = |path, hint: &str| world.authority.svid(path).with_hint(hint);
    world.api.publish(&IdentitySnapshot::new(
        vec![svid("/web", "in"), svid("/api", "out"), svid("/db", "")],
        BundleSet::from(world.authority.bundle()),
    ));
    changed.changed().await.unwrap();
    for (view, path) in [(&out, "/api"), (&db, "/db"), (&any, "/db")] {
        let snapshot = view.snapshot();
        assert_eq!(snapshot.svid().unwrap().id().path(), path);
        assert_eq!(snapshot.svids().len(), 1);
        assert_eq!(snapshot.generation(), source.snapshot().generation());
        assert!(Arc::ptr_eq(&snapshot, &view.snapshot()), "made once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_for_one_identity_waits_for_that_one() {
    let world = World::new();
    let builder = X509Source::builder()
        .endpoint(world.api.endpoint())
        .clock(Arc::new(world.clock))
        .identity(by_hint("out"));
    world.api.publish(&world.authority.snapshot("/web"));
    let why = builder.clone().connect().await.unwrap_err();
    assert!(
        why.to_string()
            .starts_with("memory serves 1 identities within 30s, and none that"),
        "{why}"
    );
    let mut hinted = message(&world.authority.snapshot("/api"));
    hinted.svids[0].hint = "out".to_owned();
    world.api.publish_message(hinted);
    let source = builder.connect().await.unwrap();
    assert_eq!(source.snapshot().svid().unwrap().id().path(), "/api");
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

#[tokio::test(start_paused = true)]
async fn revocation_lists_are_shown_and_malformed_ones_left_out() {
    let (world, source) = World::connected().await;
    let mut changed = source.subscribe();
    let list = BASE64_STANDARD.decode(REVOCATION_LIST).unwrap();
    let mut message = message(&world.authority.snapshot("/web"));
    message.crl = vec![list.clone(), vec![0x30, 0], Vec::new()];
    world.api.publish_message(message);
    changed.changed().await.unwrap();
    let snapshot = source.snapshot();
    let [crl] = snapshot.crls() else {
        panic!("{:?}", snapshot.crls());
    };
    assert_eq!(crl.der().as_ref(), list);
}

// conformance: WA-23+ WA-26+ WA-26-
#[tokio::test(start_paused = true)]
async fn bundles_come_without_an_identity() {
    let world = World::new();
    let own = world.authority.trust_domain();
    world
        .api
        .publish_bundles(&BundleSet::from(world.authority.bundle()));
    let builder = BundleSource::builder()
        .endpoint(world.api.endpoint())
        .clock(Arc::new(world.clock));
    let source = builder.connect().await.unwrap();
    assert!(source.snapshot().svid().is_none());
    assert_eq!(
        source.bundles().get(own),
        Some(&world.authority.x509_bundle())
    );
    assert_eq!(world.api.calls(), 0, "no identity was asked for");

    let friend = TestAuthority::at("b.test", world.now);
    let mut changed = source.subscribe();
    let both = [world.authority.bundle(), friend.bundle()];
    world.api.publish_bundles(&both.into_iter().collect());
    changed.changed().await.unwrap();
    assert!(source.bundles().get(friend.trust_domain()).is_some());

    world.api.go_away();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(
        source.bundles().iter().count(),
        2,
        "an agent that is away takes nothing"
    );
    assert!(source.health().last_error.is_some());

    world.api.refuse(Code::PermissionDenied);
    world.api.come_back();
    changed.changed().await.unwrap();
    assert_eq!(source.bundles().iter().count(), 0);
    assert!(!source.health().ready);
    source.shutdown().await;
}

fn leaf(snapshot: &IdentitySnapshot) -> &spiffe_core::x509::Certificate {
    snapshot.svid().unwrap().leaf()
}

fn der(authority: &TestAuthority, path: &str) -> Vec<u8> {
    authority.svid(path).leaf().der().to_vec()
}

fn with_bundles(snapshot: &IdentitySnapshot, of: &[&TestAuthority]) -> IdentitySnapshot {
    let bundles = of.iter().map(|authority| authority.bundle());
    IdentitySnapshot::new(snapshot.svids().to_vec(), bundles.collect())
}

/// Whether the source is gone: nobody is left to tell of changes.
async fn gone(changed: &mut watch::Receiver<u64>) -> bool {
    changed.changed().await.is_err()
}

/// An empty list of an authority that was made for this.
const REVOCATION_LIST: &str = "MIHHMG8CAQEwCgYIKoZIzj0EAwIwDzENMAsGA1UECgwEdGVzdBcNMjYxMTIyMjAzNDA0WhcNMzYxMTE5MjAzNDA0WqAvMC0wHwYDVR0jBBgwFoAUZvTkjMI17MJr2Ym3f+q/LppgLRMwCgYDVR0UBAMCAQEwCgYIKoZIzj0EAwIDSAAwRQIgdWlgclbm16RVwHmevXcUL4v8rjTA0cuUFcxwBu1XFJoCIQDEgbtceiZBpS3qEoomZZjZw1ZesnmDC6ixCdcWdnoGiw==";
