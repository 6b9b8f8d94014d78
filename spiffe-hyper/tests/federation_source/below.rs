//! The source below: what it has is never replaced.

use spiffe_core::clock::Clock;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::HandshakeError;
use spiffe_core::verify::{PeerError, VerifyError};
use spiffe_core::x509::KeyId;
use spiffe_core::{IdentitySnapshot, IdentitySource, spiffe_id};
use spiffe_hyper::federation::{FederationError, FetchError, Relationship};
use tokio::time::{Instant, sleep};

use crate::federated::{MINUTE, Tls, document, url};
use crate::{World, lasting, only};

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_bundle_that_the_source_below_has() {
    let world = World::new();
    world.net.unplug("b.test");
    let source = world.start();
    let waiting = source.ready(MINUTE);
    let both = || [world.ours.bundle(), world.partner.bundle()];
    let bringing = async {
        sleep(MINUTE / 2).await;
        let svid = lasting(&world.ours, "/web");
        let brought = IdentitySnapshot::new(vec![svid], both().into_iter().collect());
        world.base.publish(brought);
    };
    let begun = Instant::now();
    let (ready, ()) = tokio::join!(waiting, bringing);
    ready.unwrap();
    assert!(begun.elapsed() < MINUTE, "as soon as it is there");
    assert!(!only(&source).held && only(&source).shadowed);

    // Nor does its end take away what the source below believes.
    source.end(&world.domain()).await.unwrap();
    assert_eq!(world.held(&source), Some(world.partner.bundle()));
}

#[tokio::test(start_paused = true)]
async fn no_endpoint_speaks_for_our_own_trust_domain() {
    let world = World::new();
    let usurper = TestAuthority::at("a.test", world.clock.now());
    let bundle = usurper.bundle();
    world
        .net
        .script("h.test", world.ca.tls("h.test"), move |_| document(&bundle));
    let own = || Relationship::https_web(world.ours.trust_domain().clone(), url("https://h.test/"));
    let refused = world.builder().relationship(own()).start().unwrap_err();
    assert!(
        matches!(refused, FederationError::OwnTrustDomain(_)),
        "{refused}"
    );

    // Where it is not known yet which one is ours, it is when our identity comes.
    world.base.publish(IdentitySnapshot::default());
    let source = world.builder().relationship(own()).start().unwrap();
    source.ready(MINUTE).await.unwrap();
    let mut changes = source.subscribe();
    for shown in [world.ours.snapshot("/web"), IdentitySnapshot::default()] {
        changes.mark_unchanged();
        world.base.publish(shown);
        changes.changed().await.unwrap();
        let bundles = source.snapshot().bundles().clone();
        let of_ours = bundles.get(world.ours.trust_domain()).cloned();
        assert!(of_ours.is_none() || of_ours == Some(world.ours.bundle()));
        assert!(only(&source).shadowed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_source_below_does_is_seen_above() {
    let world = World::new();
    let source = world.start();
    source.ready(MINUTE).await.unwrap();
    let mut changes = source.subscribe();
    changes.mark_unchanged();
    let renewed = world.ours.snapshot("/web");
    let leaf = renewed.svid().unwrap().leaf().clone();
    world.base.publish(renewed);
    changes.changed().await.unwrap();
    let shown = source.snapshot();
    assert_eq!(shown.svid().unwrap().leaf(), &leaf);
    assert_eq!(source.generation(), shown.generation());
    assert_eq!(world.held(&source), Some(world.partner.bundle()));
}

/// The source below with this authority distrusted, and nobody else.
fn distrust(world: &World, authority: &TestAuthority) {
    let root = authority.bundle().x509_authorities()[0].clone();
    let key = KeyId::new(root.subject_key_id().unwrap()).unwrap();
    let shown = IdentitySnapshot::clone(&world.base.snapshot());
    let bundles = shown.bundles().distrusting([key]);
    world.base.publish(shown.with_bundles(bundles));
}

#[tokio::test(start_paused = true)]
async fn whom_the_source_below_distrusts_is_distrusted_above() {
    let world = World::new();
    let source = world.start();
    source.ready(MINUTE).await.unwrap();
    for authority in [&world.ours, &world.partner] {
        let stream = world.handshake(&source, authority).await.unwrap();
        distrust(&world, authority);
        let why = stream.peer().ended().await;
        assert_eq!(why, PeerError::Unverified(VerifyError::Distrusted));
        let refused = world.handshake(&source, authority).await.unwrap_err();
        assert!(
            matches!(refused, HandshakeError::Unverified(VerifyError::Distrusted)),
            "{refused}"
        );
    }
    // Nor does a bundle that is fetched, or put in by hand, bring it back.
    source.refresh(&world.domain()).await.unwrap();
    source.set(world.partner.bundle()).await.unwrap();
    world.handshake(&source, &world.partner).await.unwrap_err();
    let nobody = world.base.snapshot().bundles().distrusting([]);
    let shown = IdentitySnapshot::clone(&world.base.snapshot());
    world.base.publish(shown.with_bundles(nobody));
    let mut changes = source.subscribe();
    changes.changed().await.unwrap();
    world.handshake(&source, &world.partner).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_bundle_is_taken_from_an_endpoint_of_a_distrusted_authority() {
    let world = World::new();
    let bundle = world.partner.bundle();
    let tls = Tls::spiffe(world.partner.source("/bundles"));
    world.net.script("b.test", tls, move |_| document(&bundle));
    let endpoint = spiffe_id!("spiffe://b.test/bundles");
    let by_itself = Relationship::https_spiffe(world.domain(), url("https://b.test/"), endpoint);
    let by_itself = by_itself.bootstrap(world.partner.bundle()).unwrap();
    let source = world.builder().relationship(by_itself).start().unwrap();
    source.refresh(&world.domain()).await.unwrap();

    distrust(&world, &world.partner);
    let mut changes = source.subscribe();
    changes.changed().await.unwrap();
    let refused = source.refresh(&world.domain()).await.unwrap_err();
    let FederationError::Fetch(why) = &refused else {
        panic!("{refused}");
    };
    let distrusted = HandshakeError::Unverified(VerifyError::Distrusted);
    let FetchError::Handshake(refused) = &**why else {
        panic!("{why}");
    };
    assert_eq!(refused.to_string(), distrusted.to_string());
}
