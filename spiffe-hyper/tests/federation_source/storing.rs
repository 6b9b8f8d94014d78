//! What is kept on disk.

use spiffe_core::clock::Clock;
use spiffe_core::testing::TestAuthority;
use spiffe_hyper::federation::{FederationError, FetchError};
use tokio::time::sleep;

use crate::federated::{MINUTE, document};
use crate::{World, only};

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
