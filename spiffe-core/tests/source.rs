//! An `X509Source` against a Workload API that follows a script, on paused time.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::{SourceError, X509Source};
use spiffe_core::testing::{FakeWorkloadApi, TestAuthority, TestClock, message};
use spiffe_core::workload_api::{Endpoint, WorkloadApiClient, WorkloadApiError};
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

// conformance: WA-4+ WA-4-
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

// conformance: ID-20- WA-13+ WA-13-
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
    for bundle in [Vec::new(), vec![0x30, 3, 1]] {
        let mut flawed = message(&renewed);
        flawed.svids[0].bundle = bundle;
        world.api.publish_message(flawed);
        changed.changed().await.unwrap();
        let snapshot = source.snapshot();
        assert_eq!(leaf(&snapshot), leaf(&renewed));
        assert_eq!(
            snapshot.bundles().get(world.authority.trust_domain()),
            Some(&world.authority.x509_bundle())
        );
    }
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
    too_large.crl = vec![vec![0; WorkloadApiClient::MAX_MESSAGE]];
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
