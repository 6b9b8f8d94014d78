//! Which identity a source shows, of many or of none.

use std::sync::Arc;
use std::time::Duration;

use spiffe_core::source::{BundleSource, X509Source, by_hint, by_id};
use spiffe_core::testing::{TestAuthority, message};
use spiffe_core::{BundleSet, IdentitySnapshot, IdentitySource};
use tokio::time::sleep;
use tonic::Code;

use crate::World;

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
