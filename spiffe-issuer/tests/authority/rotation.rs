use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use spiffe_core::clock::Clock;
use spiffe_core::x509::{Certificate, KeyKind, PrivateKey};
use spiffe_issuer::domain::{AuthorityId, AuthorityKind, Standing};
use spiffe_issuer::keys::{DiskKeys, KeyError, KeyId, KeyManager, MemoryKeys, Signer};
use spiffe_issuer::server::ca::{CaError, Leaf};
use spiffe_issuer::server::store::sql::SqlStore;
use spiffe_issuer::server::store::{CloseStore, Put, StoredBundle};

use crate::{DAY, HOUR, Machine, Server, TD};

fn issuer(leaf: &Certificate) -> AuthorityId {
    AuthorityId::from_key_id(leaf.authority_key_id().unwrap())
}

fn name(certificate: &Certificate) -> AuthorityId {
    AuthorityId::from_key_id(certificate.subject_key_id().unwrap())
}

fn standings(server: &Server) -> Vec<Standing> {
    server.states().iter().map(|state| state.standing).collect()
}

#[tokio::test]
async fn the_first_authority_signs_at_once_and_is_in_the_bundle() {
    let machine = Machine::new(MemoryKeys::default());
    let server = machine.start().await.unwrap();
    assert_eq!(standings(&server), [Standing::Active]);
    let now = machine.clock.now();
    assert_eq!(server.states()[0].expires_at, now + DAY);
    let bundle = server.bundle().await;
    assert_eq!(
        bundle.iter().map(name).collect::<Vec<_>>(),
        [server.active()]
    );
    assert_eq!(issuer(&server.leaf(now).await), server.active());
}

// conformance: FD-1+ FD-1-
#[tokio::test]
async fn one_follows_the_other_in_the_hours_that_spire_keeps() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    let first = server.active();
    let mut seen = Vec::new();
    for hour in 1..=25 {
        machine.clock.turn(HOUR);
        server.manager.tick().await.unwrap();
        let now = (standings(&server), server.active() == first);
        if seen.last().is_none_or(|(_, last)| *last != now) {
            seen.push((hour, now));
        }
    }
    use Standing::{Active, Old, Prepared};
    assert_eq!(
        seen,
        [
            (1, (vec![Active], true)),
            (12, (vec![Active, Prepared], true)),
            (20, (vec![Active, Old], false)),
            // The second was made at 12 o'clock, so its half-life is at 24.
            (24, (vec![Active, Prepared, Old], false)),
        ]
    );
}

// conformance: FD-1+ FD-2+ FD-2-
#[tokio::test]
async fn for_weeks_every_leaf_is_good_for_its_whole_life() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    let mut known_since = vec![(server.active(), machine.clock.now())];
    let mut signers = BTreeSet::new();
    for _ in 0..4 * 7 * 24 * 2 {
        machine.clock.turn(HOUR / 2);
        let now = machine.clock.now();
        server.manager.tick().await.unwrap();
        let bundle = server.bundle().await;
        for root in &bundle {
            if known_since.iter().all(|(known, _)| *known != name(root)) {
                known_since.push((name(root), now));
            }
        }
        // Three overlap, and one stays for a day after its end.
        assert!(bundle.len() <= 5, "{}", bundle.len());

        let leaf = server.leaf(now).await;
        let root = bundle.iter().find(|root| name(root) == issuer(&leaf));
        let root = root.expect("who signs is in the bundle");
        assert_eq!(leaf.not_after(), now + HOUR, "no life is cut short");
        assert!(leaf.not_after() <= root.not_after());
        // Those who verify had hours to learn of it, but for the very first.
        if signers.insert(issuer(&leaf)) && signers.len() > 1 {
            let (_, since) = known_since
                .iter()
                .find(|(id, _)| *id == issuer(&leaf))
                .unwrap();
            assert!(now.duration_since(*since).unwrap() >= HOUR * 7);
        }
    }
    // A new one is made every twelve hours: at the half-life of the one before.
    assert!((54..=57).contains(&signers.len()), "{}", signers.len());
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let mut machine = Machine::new(DiskKeys::new(path.clone()));
    let mut server = machine.start().await.unwrap();
    for _ in 0..60 {
        machine.clock.turn(HOUR);
        server.manager.tick().await.unwrap();
        let before = (server.states(), server.bundle().await);
        // As after a crash: nothing is put away.
        machine.keys = Arc::new(DiskKeys::new(path.clone()));
        server = machine.start().await.unwrap();
        assert_eq!((server.states(), server.bundle().await), before);
        let leaf = server.leaf(machine.clock.now()).await;
        assert_eq!(issuer(&leaf), server.active());
    }
}

#[tokio::test]
async fn with_its_keys_lost_a_server_begins_anew_and_the_old_root_stays_known() {
    let mut machine = Machine::new(MemoryKeys::default());
    let first = machine.start().await.unwrap().active();
    machine.keys = Arc::new(MemoryKeys::default());
    let server = machine.start().await.unwrap();
    assert_ne!(server.active(), first);
    let bundle: Vec<_> = server.bundle().await.iter().map(name).collect();
    assert_eq!(bundle, [first, server.active()]);
}

#[tokio::test]
async fn a_prepared_key_that_is_lost_is_made_anew() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    machine.clock.turn(HOUR * 12);
    server.manager.tick().await.unwrap();
    let prepared = server.states()[1].id.clone();
    let [_, b] = KeyId::X509_CA;
    machine.keys.generate(&b, KeyKind::EcP256).await.unwrap();
    machine.clock.turn(HOUR * 8);
    server.manager.tick().await.unwrap();
    let active = server.active();
    assert_ne!(active, prepared);
    assert_eq!(issuer(&server.leaf(machine.clock.now()).await), active);
}

#[tokio::test]
async fn a_root_that_was_revoked_signs_no_more_after_a_restart() {
    let machine = Machine::new(MemoryKeys::default());
    let server = machine.start().await.unwrap();
    let revoked = server.active();
    let emptied = StoredBundle {
        sequence_number: 2,
        ..StoredBundle::empty(TD)
    };
    server
        .store
        .put_bundle(emptied, Put::Replace)
        .await
        .unwrap();
    let server = machine.start().await.unwrap();
    assert_ne!(server.active(), revoked);
    let bundle: Vec<_> = server.bundle().await.iter().map(name).collect();
    assert_eq!(bundle, [server.active()]);
}

#[tokio::test]
async fn after_a_long_sleep_an_authority_that_lives_signs_at_once() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    let first = server.active();
    machine.clock.turn(DAY * 30);
    let now = machine.clock.now();
    let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
    let leaf = Leaf::server(&TD, key.public_key().clone(), HOUR).unwrap();
    let refused = server.authorities.issue(leaf, now).await.unwrap_err();
    assert!(matches!(refused, CaError::Expired), "{refused:?}");

    server.manager.tick().await.unwrap();
    assert_ne!(server.active(), first);
    assert_eq!(server.leaf(now).await.not_after(), now + HOUR);
    // What had expired is gone from the bundle.
    assert_eq!(server.bundle().await.len(), 1);
}

/// Off for longer than the authority lives that was ready to follow: three steps are due at once.
#[tokio::test]
async fn after_a_long_sleep_an_expired_authority_that_was_prepared_signs_nothing() {
    for restarts in [false, true] {
        let machine = Machine::new(MemoryKeys::default());
        let mut server = machine.start().await.unwrap();
        machine.clock.turn(HOUR * 12);
        server.manager.tick().await.unwrap();
        assert_eq!(standings(&server), [Standing::Active, Standing::Prepared]);
        let before: Vec<_> = server.states().into_iter().map(|state| state.id).collect();

        machine.clock.turn(DAY * 30);
        let now = machine.clock.now();
        match restarts {
            true => server = machine.start().await.unwrap(),
            false => server.manager.tick().await.unwrap(),
        }
        assert!(!before.contains(&server.active()), "restarts: {restarts}");
        assert_eq!(server.leaf(now).await.not_after(), now + HOUR);
        for kind in [AuthorityKind::Jwt, AuthorityKind::X509] {
            let active = server.authorities.states(kind).swap_remove(0);
            assert_eq!(active.expires_at, now + DAY, "{kind}");
        }
    }
}

/// Counts the keys that are made.
#[derive(Default)]
struct Counting {
    keys: MemoryKeys,
    made: Arc<AtomicUsize>,
}

#[async_trait]
impl KeyManager for Counting {
    async fn generate(&self, id: &KeyId, kind: KeyKind) -> Result<Arc<dyn Signer>, KeyError> {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.keys.generate(id, kind).await
    }

    async fn find(&self, id: &KeyId) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        self.keys.find(id).await
    }
}

#[tokio::test]
async fn crash_loop_creates_one_key() {
    // Start-up that fails before the first key is due makes none, however often it is tried.
    let keys = Counting::default();
    let made = Arc::clone(&keys.made);
    let machine = Machine::new(keys);
    let at = machine.database().to_str().unwrap().parse().unwrap();
    SqlStore::open(&at).await.unwrap().close().await;
    machine.sql("ALTER TABLE bundles RENAME TO away").await;
    for _ in 0..5 {
        assert!(machine.start().await.is_err());
    }
    assert_eq!(made.load(Ordering::Relaxed), 0);
    machine.sql("ALTER TABLE away RENAME TO bundles").await;

    // One that fails right after it uses the same slot again, and publishes nothing.
    machine.sql("ALTER TABLE journals RENAME TO away").await;
    machine
        .sql("CREATE VIEW journals AS SELECT * FROM away")
        .await;
    for _ in 0..5 {
        assert!(machine.start().await.is_err());
    }
    let [a, b] = KeyId::X509_CA;
    assert!(machine.keys.find(&a).await.unwrap().is_some());
    assert!(machine.keys.find(&b).await.unwrap().is_none());
    machine.sql("DROP VIEW journals").await;
    machine.sql("ALTER TABLE away RENAME TO journals").await;
    let server = machine.start().await.unwrap();
    assert_eq!(server.bundle().await.len(), 1);
}

#[tokio::test]
async fn a_step_that_cannot_be_written_has_not_happened_and_is_tried_again() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    let before = server.states();
    machine.clock.turn(HOUR * 12);
    machine.sql("ALTER TABLE journals RENAME TO away").await;
    for _ in 0..3 {
        assert!(server.manager.tick().await.is_err());
    }
    assert_eq!(server.states(), before);
    assert_eq!(server.bundle().await.len(), 1);
    server.leaf(machine.clock.now()).await;

    machine.sql("ALTER TABLE away RENAME TO journals").await;
    server.manager.tick().await.unwrap();
    assert_eq!(standings(&server), [Standing::Active, Standing::Prepared]);
    assert_eq!(server.bundle().await.len(), 2);
}

#[tokio::test]
async fn two_servers_on_one_store_keep_a_journal_each() {
    let machine = Machine::new(MemoryKeys::default());
    let other = Machine {
        keys: Arc::new(MemoryKeys::default()),
        upstream: None,
        wit: false,
        clock: Arc::clone(&machine.clock),
        dir: Arc::clone(&machine.dir),
    };
    let one = machine.start().await.unwrap();
    let two = other.start().await.unwrap();
    assert_ne!(one.active(), two.active());
    let bundle: Vec<_> = two.bundle().await.iter().map(name).collect();
    assert_eq!(bundle, [one.active(), two.active()]);
    assert_eq!(machine.start().await.unwrap().active(), one.active());
    assert_eq!(other.start().await.unwrap().active(), two.active());
}
