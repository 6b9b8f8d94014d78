//! Whom connections and endpoints are believed by.

use spiffe_core::clock::Clock;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::HandshakeError;
use spiffe_core::verify::VerifyError;
use spiffe_core::{IdentitySnapshot, TrustBundle};
use spiffe_hyper::federation::{BundleEndpoint, EndpointTls, FederationError, Relationship};
use tokio::time::{Instant, sleep, timeout};

use crate::World;
use crate::federated::{MINUTE, Tls, document, id, self_serving, url};

// conformance: FD-54+ FD-54-
#[tokio::test(start_paused = true)]
async fn connections_end_with_the_relationship_and_with_the_authority() {
    let world = World::new();
    let source = world.start();
    source.ready(MINUTE).await.unwrap();
    let next = TestAuthority::at("b.test", world.clock.now());
    let stream = world.handshake(&source, &world.partner).await.unwrap();
    world.say(next.bundle());
    source.refresh(&world.domain()).await.unwrap();
    timeout(MINUTE, stream.proof_ended()).await.unwrap();
    assert!(stream.peer().revalidate().is_err());

    let stream = world.handshake(&source, &next).await.unwrap();
    stream.peer().revalidate().unwrap();
    source.end(&world.domain()).await.unwrap();
    assert!(
        stream.peer().revalidate().is_err(),
        "at the very next request"
    );
    let refused = world.handshake(&source, &next).await.unwrap_err();
    let unknown = VerifyError::UnknownTrustDomain(world.domain());
    assert!(matches!(refused, HandshakeError::Unverified(why) if why == unknown));
    let asked = world.asked.count();
    sleep(60 * MINUTE).await;
    assert_eq!(world.asked.count(), asked, "nobody is asked any more");
    let ended = source.end(&world.domain()).await;
    assert!(matches!(ended, Err(FederationError::NotFederated(_))));

    source.federate(world.by_web()).unwrap();
    source.ready(MINUTE).await.unwrap();
    world.handshake(&source, &next).await.unwrap();
}

// conformance: FD-35- FD-36+ FD-46+
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_serves_itself_is_believed_by_bundle_after_bundle() {
    let world = World::new();
    let untold = Relationship::https_spiffe(
        world.domain(),
        url("https://b.test/"),
        id("spiffe://b.test/bundles"),
    );
    let refused = world.builder().relationship(untold).start().unwrap_err();
    assert!(
        matches!(refused, FederationError::NoBootstrap(_)),
        "{refused}"
    );

    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let relationship = self_serving(&world.partner);
        world
            .builder()
            .relationship(relationship)
            .directory(folder.path())
            .start()
            .unwrap()
    };
    let [second, third] = [(); 2].map(|()| TestAuthority::at("b.test", world.clock.now()));
    let keys = |of: &TestAuthority| of.bundle().x509_authorities().to_vec();
    let both = |old, new, number| {
        let all = [keys(old), keys(new)].concat();
        TrustBundle::new(world.domain(), all).with_sequence(Some(number))
    };
    let mut source = start();
    assert_eq!(
        world.held(&source),
        Some(world.partner.bundle()),
        "the first one counts at once"
    );
    for (signer, bundle) in [
        (&world.partner, both(&world.partner, &second, 1)),
        (&second, both(&second, &third, 2)),
        (&third, both(&third, &third, 3)),
    ] {
        let tls = Tls::spiffe(signer.source("/bundles"));
        let said = bundle.clone();
        world.net.script("b.test", tls, move |_| document(&said));
        source.refresh(&world.domain()).await.unwrap();
        assert_eq!(world.held(&source).unwrap().sequence(), bundle.sequence());
        // Also when it is begun anew with the old first bundle.
        source.shutdown().await;
        source = start();
    }
}

// conformance: FD-37+
#[tokio::test(start_paused = true)]
async fn an_endpoint_of_a_third_trust_domain_is_believed_once_that_is_known() {
    let world = World::new();
    let third = TestAuthority::at("c.test", world.clock.now());
    let bundle = third.bundle();
    world
        .net
        .script("c.test", world.ca.tls("c.test"), move |_| document(&bundle));
    let bundle = world.partner.bundle();
    let tls = Tls::spiffe(third.source("/bundles"));
    world.net.script("b.test", tls, move |_| document(&bundle));
    let (here, there) = (url("https://b.test/"), url("https://c.test/"));
    let begun = Instant::now();
    let source = world
        .builder()
        .relationship(Relationship::https_spiffe(
            world.domain(),
            here,
            id("spiffe://c.test/bundles"),
        ))
        .relationship(Relationship::https_web(third.trust_domain().clone(), there))
        .start()
        .unwrap();
    source.ready(60 * MINUTE).await.unwrap();
    assert!(
        begun.elapsed() < MINUTE,
        "not only after an interval: {:?}",
        begun.elapsed()
    );
    world.handshake(&source, &world.partner).await.unwrap();
}

// conformance: FD-2+ FD-2-
#[tokio::test(start_paused = true)]
async fn what_a_partner_published_before_it_signed_is_believed_at_the_first_handshake() {
    let world = World::new();
    let next = TestAuthority::at("b.test", world.clock.now());
    let partner = world.partner.source("/bundles");
    let at = url("https://b.test/");
    let endpoint = BundleEndpoint::new(&at, partner.clone(), world.domain());
    world.net.serve(
        "b.test",
        EndpointTls::https_spiffe(partner.clone()),
        endpoint,
    );
    let source = world
        .builder()
        .relationship(self_serving(&world.partner))
        .start()
        .unwrap();
    source.refresh(&world.domain()).await.unwrap();
    // Signed by an authority that nobody was told of: nobody believes it.
    let refused = world.handshake(&source, &next).await.unwrap_err();
    assert!(matches!(
        refused,
        HandshakeError::Unverified(VerifyError::UnknownAuthority(_))
    ));
    // Published first, and used an interval later.
    let keys = |of: &TestAuthority| of.bundle().x509_authorities().to_vec();
    let both = TrustBundle::new(world.domain(), [keys(&world.partner), keys(&next)].concat());
    let old_svid = vec![world.partner.svid("/bundles")];
    partner.publish(IdentitySnapshot::new(old_svid, both.clone().into()));
    sleep(6 * MINUTE).await;
    world.handshake(&source, &next).await.unwrap();
    partner.publish(IdentitySnapshot::new(
        vec![next.svid("/bundles")],
        both.into(),
    ));
    source.refresh(&world.domain()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_not_published_any_more_is_not_believed_and_not_before() {
    let world = World::new();
    let next = TestAuthority::at("b.test", world.clock.now());
    let keys = |of: &TestAuthority| of.bundle().x509_authorities().to_vec();
    let both = TrustBundle::new(world.domain(), [keys(&world.partner), keys(&next)].concat());
    world.say(both.with_sequence(Some(1)));
    let source = world.start();
    source.ready(MINUTE).await.unwrap();
    // While the old one is published, what it signed is good.
    world.handshake(&source, &world.partner).await.unwrap();
    world.handshake(&source, &next).await.unwrap();
    world.say(next.bundle().with_sequence(Some(2)));
    sleep(6 * MINUTE).await;
    let refused = world.handshake(&source, &world.partner).await.unwrap_err();
    assert!(matches!(
        refused,
        HandshakeError::Unverified(VerifyError::UnknownAuthority(_))
    ));
    world.handshake(&source, &next).await.unwrap();
}
