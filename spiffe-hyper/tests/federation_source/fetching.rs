//! When endpoints are asked, and what becomes of a fetch that fails.

use std::time::Duration;

use spiffe_core::IdentitySource;
use spiffe_core::clock::Clock;
use spiffe_core::tls::HandshakeError;
use spiffe_core::verify::VerifyError;
use spiffe_hyper::federation::FederationError;
use tokio::time::sleep;

use crate::federated::MINUTE;
use crate::{World, only};

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
