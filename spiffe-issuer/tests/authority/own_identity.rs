use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::IdentitySource;
use spiffe_core::clock::Clock;
use spiffe_core::verify::{Role, x509_peer};
use spiffe_issuer::keys::MemoryKeys;
use spiffe_issuer::server::own_identity::{OwnIdentity, OwnIdentityConfig, OwnIdentityError};
use spiffe_issuer::server::store::{Put, StoredBundle};

use crate::{DAY, HOUR, Hand, Machine, Server, TD};

pub(crate) async fn own_identity(machine: &Machine, server: &Server) -> OwnIdentity {
    let config = OwnIdentityConfig {
        trust_domain: TD,
        lifetime: HOUR,
        foreign: BTreeSet::from(["foreign.test".parse().unwrap()]),
    };
    let (authorities, store) = (Arc::clone(&server.authorities), Arc::clone(&server.store));
    let clock = Arc::<Hand>::clone(&machine.clock);
    let started = OwnIdentity::start(config, authorities, store, clock);
    started.await.unwrap()
}

/// Verifies what the server shows with the bundle that it has.
pub(crate) fn verify(source: &dyn IdentitySource, machine: &Machine) {
    let snapshot = source.snapshot();
    let chain = snapshot.svid().unwrap().chain().iter();
    let chain: Vec<_> = chain.map(|certificate| certificate.der().clone()).collect();
    for role in [Role::Client, Role::Server] {
        let now = machine.clock.now();
        let peer = x509_peer(&chain, snapshot.bundles(), role, now).unwrap();
        assert_eq!(peer.id().as_str(), "spiffe://td/spire/server");
    }
}

#[tokio::test]
async fn the_server_renews_its_svid_at_half_life_with_a_new_key() {
    let machine = Machine::new(MemoryKeys::default());
    let server = machine.start().await.unwrap();
    let mut own = own_identity(&machine, &server).await;
    let source = own.source();
    verify(&*source, &machine);
    let first = source.snapshot();

    machine.clock.turn(HOUR / 2 - Duration::from_secs(1));
    own.tick().await.unwrap();
    assert_eq!(source.snapshot().generation(), first.generation());
    machine.clock.turn(Duration::from_secs(1));
    own.tick().await.unwrap();
    let second = source.snapshot();
    assert_eq!(second.generation(), first.generation() + 1);
    let key = |snapshot: &spiffe_core::IdentitySnapshot| {
        snapshot.svid().unwrap().leaf().public_key().clone()
    };
    assert_ne!(key(&first), key(&second));
    verify(&*source, &machine);
}

#[tokio::test]
async fn renewal_failure_keeps_valid_svid() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    // Near the end of an authority that nobody rotates, an SVID lives as long as it does.
    machine.clock.turn(DAY - HOUR / 2);
    let mut own = own_identity(&machine, &server).await;
    let source = own.source();
    machine.clock.turn(HOUR / 2);
    let before = source.snapshot();
    let failed = own.tick().await.unwrap_err();
    assert!(matches!(failed, OwnIdentityError::Ca(_)), "{failed:?}");
    assert_eq!(source.snapshot().generation(), before.generation());
    assert!(source.snapshot().svid().is_some());

    server.manager.tick().await.unwrap();
    own.tick().await.unwrap();
    assert!(source.snapshot().generation() > before.generation());
    verify(&*source, &machine);
}

#[tokio::test]
async fn a_changed_bundle_is_what_the_next_caller_is_verified_with() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    let mut own = own_identity(&machine, &server).await;
    let source = own.source();
    let roots = |name: &str| {
        let snapshot = source.snapshot();
        let bundle = snapshot.bundles().get(&name.parse().unwrap());
        bundle.map_or(0, |bundle| bundle.x509_authorities().len())
    };
    assert_eq!((roots("td"), roots("foreign.test")), (1, 0));
    machine.clock.turn(HOUR * 12);
    server.manager.tick().await.unwrap();
    let foreign = StoredBundle {
        x509_authorities: server
            .store
            .find_bundle(&TD)
            .await
            .unwrap()
            .unwrap()
            .x509_authorities,
        sequence_number: 1,
        ..StoredBundle::empty("foreign.test".parse().unwrap())
    };
    server.store.put_bundle(foreign, Put::Create).await.unwrap();
    own.tick().await.unwrap();
    assert_eq!((roots("td"), roots("foreign.test")), (2, 2));

    // Bundles are followed also while nothing can be signed.
    machine.clock.turn(DAY);
    let generation = source.snapshot().generation();
    let foreign = StoredBundle {
        x509_authorities: Vec::new(),
        sequence_number: 2,
        ..StoredBundle::empty("foreign.test".parse().unwrap())
    };
    server
        .store
        .put_bundle(foreign, Put::Replace)
        .await
        .unwrap();
    assert!(own.tick().await.is_err());
    assert_eq!(source.snapshot().generation(), generation + 1);
    assert_eq!(roots("foreign.test"), 0);
}
