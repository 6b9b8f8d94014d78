//! Relationships begin and end.

use spiffe_hyper::federation::{FederationError, Relationship};
use tokio::time::{Instant, sleep};

use crate::World;
use crate::federated::{MINUTE, url};

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
