use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use spiffe_core::clock::Clock;
use spiffe_core::x509::KeyKind;
use spiffe_issuer::domain::{AuthorityKind, Standing};
use spiffe_issuer::keys::{DiskKeys, KeyError, KeyId, KeyManager, Signer};
use spiffe_issuer::server::ca::Order;

use crate::{HOUR, Machine, Server, TD};

/// Keys on a disk; after so many more of them are made, the machine dies.
struct Mortal {
    keys: DiskKeys,
    left: Arc<AtomicUsize>,
}

#[async_trait]
impl KeyManager for Mortal {
    async fn generate(&self, id: &KeyId, kind: KeyKind) -> Result<Arc<dyn Signer>, KeyError> {
        let made = self.keys.generate(id, kind).await?;
        let alive = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        alive.map(|_| made).map_err(|_| KeyError::Stopped)
    }

    async fn find(&self, id: &KeyId) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        self.keys.find(id).await
    }
}

/// Whatever signs is in the bundle, and what is in the journal can be used.
async fn whole(server: &Server, machine: &Machine) {
    let bundle = server.store.find_bundle(&TD).await.unwrap().unwrap();
    for kind in [AuthorityKind::X509, AuthorityKind::Jwt] {
        for state in server.authorities.states(kind) {
            if state.standing != Standing::Old {
                assert_eq!(bundle.taint_of(kind, &state.id), Some(false), "{kind}");
            }
        }
    }
    server.leaf(machine.clock.now()).await;
}

#[tokio::test]
async fn a_machine_that_dies_after_any_key_is_made_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let keys = || Mortal {
        keys: DiskKeys::new(path.clone()),
        left: Arc::clone(&left),
    };
    let mut machine = Machine::new(keys());
    // Each round dies one key later than the one before; two keys are made in every twelve hours.
    for keys_made in 0..12 {
        left.store(keys_made % 3, Ordering::Relaxed);
        machine.clock.turn(HOUR * 13);
        if let Ok(mut server) = machine.start().await {
            // What cannot go on says so, and what signs goes on signing.
            let _ = server.manager.tick().await;
        }
        left.store(usize::MAX, Ordering::Relaxed);
        machine.keys = Arc::new(keys());
        let mut server = machine.start().await.unwrap();
        server.manager.tick().await.unwrap();
        whole(&server, &machine).await;
    }
}

#[tokio::test]
async fn a_store_that_fails_at_any_step_leaves_it_undone_and_to_be_done() {
    let machine = Machine::new(spiffe_issuer::keys::MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    let kind = AuthorityKind::X509;
    let first = server.active();
    let steps = async |server: &mut Server, count: usize| {
        // Prepared, activated, tainted, revoked: as many of these steps as are asked for.
        let mut done = 0;
        while done < count {
            let states = server.authorities.states(kind);
            let prepared = states
                .iter()
                .find(|state| state.standing == Standing::Prepared);
            let order = match done {
                0 => Order::Prepare(kind),
                1 => Order::Activate(kind, prepared.unwrap().id.clone()),
                2 => Order::Taint(kind, first.clone()),
                _ => Order::Revoke(kind, first.clone()),
            };
            server.manager.obey(order).await?;
            done += 1;
        }
        Ok::<_, spiffe_issuer::server::ca::OrderError>(())
    };
    let before = server.states();
    machine.sql("ALTER TABLE bundles RENAME TO away").await;
    assert!(steps(&mut server, 1).await.is_err());
    assert_eq!(server.states(), before);
    machine.sql("ALTER TABLE away RENAME TO bundles").await;
    steps(&mut server, 2).await.unwrap();

    let before = server.states();
    machine.sql("ALTER TABLE bundles RENAME TO away").await;
    for order in [
        Order::Taint(kind, first.clone()),
        Order::Revoke(kind, first.clone()),
    ] {
        assert!(server.manager.obey(order).await.is_err());
    }
    assert_eq!(server.states(), before);
    machine.sql("ALTER TABLE away RENAME TO bundles").await;
    server
        .manager
        .obey(Order::Taint(kind, first.clone()))
        .await
        .unwrap();

    // Out of the bundle, and then the journal cannot be written: the next start finishes it.
    machine.sql("ALTER TABLE journals RENAME TO away").await;
    assert!(
        server
            .manager
            .obey(Order::Revoke(kind, first.clone()))
            .await
            .is_err()
    );
    machine.sql("ALTER TABLE away RENAME TO journals").await;
    let server = machine.start().await.unwrap();
    assert_eq!(server.states().len(), 1);
    assert!(server.states().iter().all(|state| state.id != first));
    whole(&server, &machine).await;
}

#[tokio::test]
async fn a_database_from_a_backup_believes_no_key_that_it_does_not_know() {
    let machine = Machine::new(spiffe_issuer::keys::MemoryKeys::default());
    let server = machine.start().await.unwrap();
    let first = server.active();
    spiffe_issuer::server::store::CloseStore::close(&*server.store).await;
    drop(server);
    let backup = machine.dir.path().join("backup");
    std::fs::copy(machine.database(), &backup).unwrap();

    // Two rotations later both slots hold keys that the backup has never heard of.
    let mut server = machine.start().await.unwrap();
    for _ in 0..4 {
        machine.clock.turn(HOUR * 8);
        server.manager.tick().await.unwrap();
    }
    assert_ne!(server.active(), first);
    spiffe_issuer::server::store::CloseStore::close(&*server.store).await;
    drop(server);
    for suffix in ["-wal", "-shm"] {
        let mut path = machine.database().into_os_string();
        path.push(suffix);
        let _ = std::fs::remove_file(path);
    }
    std::fs::copy(&backup, machine.database()).unwrap();

    let server = machine.start().await.unwrap();
    assert_ne!(server.active(), first, "its key is gone");
    whole(&server, &machine).await;
}
