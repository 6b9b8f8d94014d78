//! The source that keeps the bundles of others up to date.
#![cfg(feature = "federation")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod federated;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use federated::{Asked, MINUTE, Net, Tls, WebCa, document, id, self_serving, status, url};
use spiffe_core::authorizer::anyone;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::tls::{HandshakeError, PeerStream, SourceExt};
use spiffe_core::verify::VerifyError;
use spiffe_core::{IdentitySnapshot, IdentitySource, TrustBundle, TrustDomain, X509Svid};
use spiffe_hyper::federation::{
    BundleEndpoint, EndpointTls, FederatedSource, FederatedSourceBuilder, FederationError,
    FetchError, PartnerHealth, Relationship,
};
use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};

/// Us, a partner whose endpoint says what the test puts there, and paused time.
struct World {
    net: Net,
    ca: WebCa,
    ours: TestAuthority,
    base: Arc<SnapshotCell>,
    clock: Arc<TestClock>,
    partner: TestAuthority,
    said: Arc<Mutex<Option<TrustBundle>>>,
    asked: Asked,
}

impl World {
    fn new() -> Self {
        let now = SystemClock.now();
        let (net, ca) = (Net::default(), WebCa::new());
        let (ours, partner) = (
            TestAuthority::at("a.test", now),
            TestAuthority::at("b.test", now),
        );
        let said = Arc::new(Mutex::new(Some(partner.bundle())));
        let saying = Arc::clone(&said);
        let asked = net.script("b.test", ca.tls("b.test"), move |_| {
            saying
                .lock()
                .unwrap()
                .as_ref()
                .map_or_else(|| status(500), document)
        });
        Self {
            base: Arc::new(SnapshotCell::new(IdentitySnapshot::new(
                vec![lasting(&ours, "/web")],
                ours.bundle().into(),
            ))),
            clock: Arc::new(TestClock::at(now)),
            net,
            ca,
            ours,
            partner,
            said,
            asked,
        }
    }

    fn say(&self, bundle: impl Into<Option<TrustBundle>>) {
        *self.said.lock().unwrap() = bundle.into();
    }

    fn by_web(&self) -> Relationship {
        Relationship::https_web(self.domain(), url("https://b.test/"))
    }

    fn domain(&self) -> TrustDomain {
        self.partner.trust_domain().clone()
    }

    fn builder(&self) -> FederatedSourceBuilder {
        let client = self.net.client(&self.ca).clock(self.clock.clone());
        FederatedSource::builder(self.base.clone()).client(client)
    }

    fn start(&self) -> FederatedSource {
        self.builder().relationship(self.by_web()).start().unwrap()
    }

    fn held(&self, source: &FederatedSource) -> Option<TrustBundle> {
        source.snapshot().bundles().get(&self.domain()).cloned()
    }

    /// Whether a member of the partner's trust domain, of this authority, gets through to us.
    async fn handshake(
        &self,
        source: &FederatedSource,
        authority: &TestAuthority,
    ) -> Result<PeerStream<DuplexStream>, HandshakeError> {
        let tls = source.server(anyone()).clock(self.clock.clone());
        let bundles = [self.ours.bundle(), authority.bundle()]
            .into_iter()
            .collect();
        let theirs = IdentitySnapshot::new(vec![lasting(authority, "/db")], bundles);
        let client = Arc::new(SnapshotCell::new(theirs)).client(anyone());
        let client = client.clock(self.clock.clone());
        let (near, far) = duplex(64 * 1024);
        let (acceptor, connector) = (tls.acceptor(), client.connector());
        let (accepted, connected) = tokio::join!(acceptor.accept(near), connector.connect(far));
        drop(connected);
        accepted
    }
}

/// An SVID that outlasts any of these tests.
fn lasting(authority: &TestAuthority, path: &str) -> X509Svid {
    authority.draft(path).lifetime(24 * 60 * MINUTE).svid()
}

fn only(source: &FederatedSource) -> PartnerHealth {
    let [health] = <[_; 1]>::try_from(source.health()).unwrap();
    health
}

// conformance: FD-4+ FD-4- FD-5+ FD-5- FD-51+ FD-51- TB-24+ TB-24-
#[tokio::test(start_paused = true)]
async fn an_endpoint_is_asked_as_often_as_it_would_have_it() {
    for (hint, hours, least, most) in [
        (Some(60), 1, 54, 68),
        (None, 1, 10, 15),
        (Some(1), 1, 108, 135),
        (Some(3600), 10, 9, 12),
    ] {
        let world = World::new();
        let hint = hint.map(Duration::from_secs);
        world.say(world.partner.bundle().with_refresh_hint(hint));
        let source = world.start();
        sleep(hours * 60 * MINUTE).await;
        let asked = world.asked.count();
        assert!(
            (least..=most).contains(&asked),
            "{hint:?}: {asked} times in {hours} hours"
        );
        let health = only(&source);
        assert!(health.held && health.next_fetch > Some(world.clock.now()));
    }
}

// conformance: FD-52+ FD-52-
#[tokio::test(start_paused = true)]
async fn a_fetch_that_fails_takes_nothing_away_and_is_not_tried_harder() {
    let world = World::new();
    let source = world.start();
    source.ready(MINUTE).await.unwrap();
    for trouble in ["an error", "no answer"] {
        match trouble {
            "an error" => world.say(None),
            _ => world.net.unplug("b.test"),
        }
        let before = world.net.called().len();
        assert!(before > 0);
        sleep(60 * MINUTE).await;
        let called = world.net.called().len();
        assert!(
            (10..=15).contains(&called),
            "{trouble}: {called} times in an hour"
        );
        assert_eq!(
            world.held(&source),
            Some(world.partner.bundle()),
            "{trouble}"
        );
        world.handshake(&source, &world.partner).await.unwrap();
        assert!(only(&source).last_error.is_some(), "{trouble}");
        source.refresh(&world.domain()).await.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_wait_has_it_fetched_now_and_no_oftener_than_asked() {
    let world = World::new();
    let source = world.start();
    // Before the very first one began: that is the one.
    source.refresh(&world.domain()).await.unwrap();
    sleep(MINUTE).await;
    assert_eq!(world.asked.count(), 1);
    source.refresh(&world.domain()).await.unwrap();
    let domain = world.domain();
    let (one, other) = tokio::join!(source.refresh(&domain), source.refresh(&domain));
    one.and(other).unwrap();
    sleep(MINUTE).await;
    assert_eq!(world.asked.count(), 3, "two at once are one");
}

#[tokio::test(start_paused = true)]
async fn one_that_never_answers_holds_up_nobody() {
    let world = World::new();
    world.net.unplug("b.test");
    let source = world.start();
    assert!(
        source.snapshot().svid().is_some(),
        "our identity is there at once"
    );
    let error = source.ready(MINUTE).await.unwrap_err();
    assert!(
        matches!(&error, FederationError::NotReady { missing, .. } if missing == &[world.domain()])
    );
    assert!(error.to_string().contains("b.test"), "{error}");
    let refused = world.handshake(&source, &world.partner).await.unwrap_err();
    let unknown = VerifyError::UnknownTrustDomain(world.domain());
    assert!(matches!(refused, HandshakeError::Unverified(why) if why == unknown));
}

// conformance: FD-6+ FD-6-
#[tokio::test(start_paused = true)]
async fn what_was_held_is_held_after_the_next_start() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let stored = || {
        world
            .builder()
            .relationship(world.by_web())
            .directory(folder.path())
    };
    let source = stored().start().unwrap();
    source.ready(MINUTE).await.unwrap();
    let newer = TestAuthority::at("b.test", world.clock.now())
        .bundle()
        .with_sequence(Some(7));
    world.say(newer.clone());
    source.refresh(&world.domain()).await.unwrap();
    source.shutdown().await;

    world.net.unplug("b.test");
    let again = stored().start().unwrap();
    assert_eq!(
        world.held(&again),
        Some(newer.clone()),
        "at once, and the newest"
    );
    again.shutdown().await;
    assert_eq!(
        world.held(&world.start()),
        None,
        "without a folder there is nothing"
    );

    // The number that was stored still keeps an older one out.
    let older = world.partner.bundle().with_sequence(Some(6));
    world
        .net
        .script("b.test", world.ca.tls("b.test"), move |_| document(&older));
    let again = stored().start().unwrap();
    let refused = again.refresh(&world.domain()).await.unwrap_err();
    assert!(
        matches!(&refused, FederationError::Fetch(why) if matches!(**why, FetchError::Rollback { .. }))
    );
    assert_eq!(world.held(&again), Some(newer));
    // Where a relationship ends, nothing of it stays.
    again.end(&world.domain()).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_cannot_be_stored_is_told_and_tried_again() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("bundles");
    let builder = world.builder().relationship(world.by_web());
    let source = builder.directory(&path).start().unwrap();
    std::fs::remove_dir(&path).unwrap();
    source.refresh(&world.domain()).await.unwrap();
    let health = only(&source);
    assert!(health.held && health.last_error.is_none());
    let why = health.store_error.unwrap();
    assert_eq!(why.kind(), std::io::ErrorKind::NotFound);

    std::fs::create_dir(&path).unwrap();
    source.refresh(&world.domain()).await.unwrap();
    assert!(only(&source).store_error.is_none());
    assert!(
        path.join("b.test.json").exists(),
        "though nothing has changed"
    );
}

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

// conformance: FD-7- FD-8+
#[tokio::test(start_paused = true)]
async fn an_older_bundle_comes_back_by_an_administrators_hand_only() {
    let world = World::new();
    let numbered = |number| world.partner.bundle().with_sequence(Some(number));
    let new = TestAuthority::at("b.test", world.clock.now())
        .bundle()
        .with_sequence(Some(9));
    world.say(new.clone());
    let source = world.start();
    source.ready(MINUTE).await.unwrap();
    world.say(numbered(8));
    sleep(30 * MINUTE).await;
    assert_eq!(world.held(&source), Some(new));
    let trouble = only(&source).last_error.unwrap();
    assert!(
        matches!(
            *trouble,
            FetchError::Rollback {
                held: 9,
                offered: 8,
                ..
            }
        ),
        "{trouble}"
    );

    source.set(numbered(8)).await.unwrap();
    assert_eq!(world.held(&source), Some(numbered(8)));
    source.refresh(&world.domain()).await.unwrap();
    assert_eq!(only(&source).sequence, Some(8));
    let foreign = source.set(world.ours.bundle()).await;
    assert!(matches!(foreign, Err(FederationError::NotFederated(_))));
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

#[tokio::test(start_paused = true)]
async fn a_trust_domain_is_federated_with_once_and_after_the_end_not_at_all() {
    let world = World::new();
    let twice = world
        .builder()
        .relationship(world.by_web())
        .relationship(world.by_web())
        .start();
    assert!(matches!(twice, Err(FederationError::AlreadyFederated(_))));
    let source = world.start();
    source.ready(MINUTE).await.unwrap();
    let unknown = source.refresh(world.ours.trust_domain()).await;
    assert!(matches!(unknown, Err(FederationError::NotFederated(_))));
    let other = source.clone();
    source.shutdown().await;
    let asked = world.asked.count();
    sleep(60 * MINUTE).await;
    assert_eq!(world.asked.count(), asked);
    assert_eq!(
        world.held(&other),
        Some(world.partner.bundle()),
        "what was there stays"
    );
    let third = Relationship::https_web("c.test".parse().unwrap(), url("https://c.test/"));
    assert!(matches!(
        other.federate(third),
        Err(FederationError::Shutdown)
    ));
    assert!(matches!(
        other.refresh(&world.domain()).await,
        Err(FederationError::Shutdown)
    ));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_bundles_that_cannot_come_any_more() {
    let world = World::new();
    world.say(None);
    let (source, other) = (world.start(), world.start());
    let waits = source.clone();
    let begun = Instant::now();
    let (waited, ()) = tokio::join!(waits.ready(60 * MINUTE), source.shutdown());
    assert!(matches!(waited, Err(FederationError::Shutdown)));
    let late = waits.ready(60 * MINUTE).await;
    assert!(matches!(late, Err(FederationError::Shutdown)));
    assert!(begun.elapsed() < MINUTE, "{:?}", begun.elapsed());
    let limited = other.ready(MINUTE).await;
    assert!(matches!(limited, Err(FederationError::NotReady { .. })));
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
