//! What is no good is left out, and takes nothing good with it.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use spiffe_core::proto::workload::X509svidResponse;
use spiffe_core::source::X509Source;
use spiffe_core::testing::{TestAuthority, message};
use spiffe_core::workload_api::Limits;
use spiffe_core::{IdentitySnapshot, IdentitySource};
use tokio::time::sleep;

use crate::{World, der, leaf, with_bundles};

/// Sends a message with a flaw and waits until the source has it, which may show nothing new.
async fn flaw_heard(world: &World, source: &X509Source, message: X509svidResponse) {
    let before = source.health().updated_at;
    sleep(Duration::from_secs(1)).await;
    world.api.publish_message(message);
    sleep(Duration::from_secs(1)).await;
    let after = source.health();
    assert!(after.updated_at > before && after.last_error.is_some());
}

// conformance: WA-13+ WA-13- ID-20-
#[tokio::test(start_paused = true)]
async fn renewal_failure_keeps_valid_svid() {
    let (world, source) = World::connected().await;
    let before = source.snapshot();
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
        flaw_heard(&world, &source, message).await;
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
    let mut flawed = message(&world.authority.snapshot("/web"));
    flawed.svids[0].hint = "x".repeat(1025);
    flawed.svids[0].x509_svid_key.clear();
    flaw_heard(&world, &source, flawed).await;
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
    let renewed = world.authority.snapshot("/web");
    let before = source.snapshot();
    // Without the field the SVID is left out as well: it is mandatory.
    for (bundle, shown) in [(Vec::new(), &*before), (vec![0x30, 3, 1], &renewed)] {
        let mut flawed = message(&renewed);
        flawed.svids[0].bundle = bundle;
        flaw_heard(&world, &source, flawed).await;
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
    let mut flawed = message(&world.authority.snapshot("/another"));
    flawed.svids[0].x509_svid_key.clear();
    flaw_heard(&world, &source, flawed).await;
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
        X509svidResponse::default(),
        too_many_svids,
        too_many_bundles,
        too_large,
    ] {
        world.api.publish_message(message);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(source.snapshot().generation(), before.generation());
    }
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

/// An empty list of an authority that was made for this.
const REVOCATION_LIST: &str = "MIHHMG8CAQEwCgYIKoZIzj0EAwIwDzENMAsGA1UECgwEdGVzdBcNMjYxMTIyMjAzNDA0WhcNMzYxMTE5MjAzNDA0WqAvMC0wHwYDVR0jBBgwFoAUZvTkjMI17MJr2Ym3f+q/LppgLRMwCgYDVR0UBAMCAQEwCgYIKoZIzj0EAwIDSAAwRQIgdWlgclbm16RVwHmevXcUL4v8rjTA0cuUFcxwBu1XFJoCIQDEgbtceiZBpS3qEoomZZjZw1ZesnmDC6ixCdcWdnoGiw==";
