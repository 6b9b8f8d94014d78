//! A store that several servers share, and what goes wrong there: PostgreSQL.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use spiffe_core::clock::Clock;
use spiffe_core::with_causes;
use spiffe_issuer::domain::{
    EntryFilter, Fault, Kind, Match, Matching, NewEntry, Selector, SelectorSet,
};
use spiffe_issuer::runtime::Supervisor;
use spiffe_issuer::runtime::health::Health;
use spiffe_issuer::server::entry_cache::Follower;
use spiffe_issuer::server::store::sql::{PostgresConfig, SqlStore};
use spiffe_issuer::server::store::{CloseStore, DataStore, EntryStore, FeedRevision, StoreError};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::postgres::Postgres;
use crate::{Site, at, create, entry, id, on_each, td};

async fn count(store: &dyn DataStore) -> Result<u64, StoreError> {
    store.count_entries(&EntryFilter::default()).await
}

/// A store in a new database of the shared server, and what an administrator needs to get at it.
async fn fresh() -> Option<(SqlStore, &'static Postgres, String)> {
    let site = Site::postgres()?;
    let store = site.try_open(true).await.unwrap();
    let Site::Postgres { server, database } = site else {
        panic!("it is one of PostgreSQL");
    };
    Some((store, server, database))
}

#[tokio::test]
async fn servers_that_start_together_make_the_tables_once() {
    on_each(async |site| {
        let mut servers = Vec::new();
        for _ in 0..6 {
            servers.push(site.try_open(true));
        }
        let opened = futures_util::future::join_all(servers).await;
        let stores: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
        create(&stores[0], entry("/a", "/p", &["t:a"])).await;
        for store in &stores {
            assert_eq!(count(store).await.unwrap(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn an_older_schema_is_left_alone_where_it_may_not_be_changed() {
    on_each(async |site| {
        let refused = site.try_open(false).await.unwrap_err();
        let StoreError::Older { found: 0, .. } = &refused else {
            panic!("{refused:?}");
        };
        assert!(refused.to_string().contains("`disable_migration`"));
        site.try_open(true).await.unwrap();
        site.try_open(false).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_newer_schema_and_tables_of_others_are_refused() {
    let Some((store, server, database)) = fresh().await else {
        return;
    };
    store.close().await;
    server.run(&database, "UPDATE schema_version SET version = 99");
    let again = |database: &str| {
        let at = server.connection_string(database).parse().unwrap();
        async { SqlStore::open_postgres(&PostgresConfig::new(at)).await }
    };
    let refused = again(&database).await.unwrap_err();
    let StoreError::Newer { found: 99, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert!(refused.to_string().contains(&database), "{refused}");

    let spire = server.database();
    server.run(&spire, "CREATE TABLE join_tokens (id int)");
    let refused = again(&spire).await.unwrap_err();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_named_without_the_password() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let no_database = server.connection_string("none");
    for (text, part) in [
        (&*no_database, "none: cannot open the database"),
        (
            "host=127.0.0.1 port=1 dbname=d user=u password=secret sslmode=disable",
            "127.0.0.1:1/d: cannot open the database",
        ),
        (
            "postgres://u:secret@127.0.0.1:1/d?sslmode=verify-full&sslrootcert=/none",
            "127.0.0.1:1/d: cannot open the database",
        ),
    ] {
        let config = PostgresConfig::new(text.parse().unwrap());
        let refused = SqlStore::open_postgres(&config).await.unwrap_err();
        let told = with_causes(&refused);
        assert!(told.contains(part), "{told}");
        assert!(!told.contains("secret"), "{told}");
        assert!(!format!("{refused:?}{config:?}").contains("secret"));
    }
}

#[tokio::test]
async fn a_change_is_heard_by_every_server() {
    let Some(site) = Site::postgres() else {
        return;
    };
    let (one, other) = (site.open().await, site.open().await);
    let mut bell = other.bell();
    // It rings once when it begins to listen.
    timeout(PATIENCE, bell.rung()).await.unwrap();
    for n in 1..=3 {
        create(&*one, entry(&format!("/{n}"), "/p", &["t:a"])).await;
        timeout(PATIENCE, bell.rung()).await.unwrap();
        assert_eq!(other.latest_revision().await.unwrap(), FeedRevision(n));
    }
    // What changes nothing rings for nobody.
    assert!(one.ban_node(&id("/nobody")).await.is_err());
    let silence = timeout(Duration::from_millis(200), bell.rung()).await;
    assert!(silence.is_err());
}

/// A clock that stands still, so whoever only looks now and then never looks again.
#[derive(Debug)]
struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> SystemTime {
        at(0)
    }
}

#[tokio::test]
async fn a_cache_follows_other_servers_without_waiting_for_its_next_look() {
    let Some(site) = Site::postgres() else {
        return;
    };
    let (one, other) = (site.open().await, site.open().await);
    let follower = Follower::load(other, &td("td")).await.unwrap();
    let (cache, part) = (follower.cache(), Health::new().part("entry cache"));
    let mut parts = Supervisor::new(PATIENCE);
    parts.worker("entry cache", |stop| {
        follower.run(Arc::new(Frozen), part, stop)
    });
    let followed = async {
        for n in 1..=5 {
            create(&*one, entry(&format!("/{n}"), "/p", &["t:a"])).await;
            while cache.snapshot().revision() < FeedRevision(n) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let stopped = parts.run(async {
        timeout(PATIENCE, followed).await.unwrap();
    });
    stopped.await.unwrap();
}

#[tokio::test]
async fn many_servers_write_without_gaps_and_each_sees_what_others_wrote() {
    let Some(site) = Site::postgres() else {
        return;
    };
    let mut writers = JoinSet::new();
    for server in 0..4 {
        let store = site.open().await;
        for writer in 0..4 {
            let store = store.clone();
            writers.spawn(async move {
                for n in 0..4 {
                    let path = format!("/{server}/{writer}/{n}");
                    let made = create(&*store, entry(&path, "/p", &["t:a"])).await;
                    store.replace_entry(made).await.unwrap();
                }
            });
        }
    }
    let reader = site.open().await;
    let mut seen = FeedRevision(0);
    while seen < FeedRevision(128) {
        for change in reader.changes_since(seen, 10).await.unwrap() {
            assert_eq!(change.revision.0, seen.0 + 1);
            seen = change.revision;
        }
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(count(&*reader).await.unwrap(), 64);
}

#[tokio::test]
async fn selectors_may_be_longer_than_a_key_of_an_index() {
    on_each(async |site| {
        let store = site.open().await;
        let long = Selector::new("docker", &format!("env:{}", "x".repeat(20_000))).unwrap();
        let set = SelectorSet::from([long, "t:a".parse().unwrap()]);
        let body = NewEntry::new(id("/a"), id("/p"), set.clone());
        let made = create(&*store, body).await;
        let filter = EntryFilter {
            selectors: Some(Matching {
                set,
                how: Match::Exact,
            }),
            ..EntryFilter::default()
        };
        assert_eq!(store.count_entries(&filter).await.unwrap(), 1);
        assert!(store.delete_entry(&made.id).await.unwrap().is_some());
        assert_eq!(store.count_entries(&filter).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_text_that_the_database_cannot_keep_is_refused_as_such() {
    let Some((store, ..)) = fresh().await else {
        return;
    };
    let selectors = SelectorSet::from([Selector::new("t", "a\0b").unwrap()]);
    let body = NewEntry::new(id("/a"), id("/p"), selectors);
    let refused = store.create_entries(vec![body], at(0)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid, "{refused:?}");
    assert_eq!(count(&store).await.unwrap(), 0);
}

#[tokio::test]
async fn a_database_that_was_away_is_used_again_when_it_is_back() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let database = server.database();
    let at_database = server.connection_string(&database);
    let at_database = format!("{at_database} connect_timeout=2").parse().unwrap();
    let config = PostgresConfig::new(at_database);
    let store = SqlStore::open_postgres(&config).await.unwrap();
    create(&store, entry("/before", "/p", &["t:a"])).await;

    server.stop();
    let write = store.create_entries(vec![entry("/away", "/p", &["t:a"])], at(0));
    for refused in [
        write.await.map(drop).unwrap_err(),
        count(&store).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(refused.kind(), Kind::Unavailable, "{refused:?}");
        assert!(refused.to_string().contains(&database), "{refused}");
    }

    server.go_on();
    create(&store, entry("/after", "/p", &["t:a"])).await;
    assert_eq!(count(&store).await.unwrap(), 2);
}

#[tokio::test]
async fn connections_to_what_only_reads_by_now_are_left() {
    let Some((store, server, database)) = fresh().await else {
        return;
    };
    let writable = |how: &str| {
        let set = format!("ALTER DATABASE {database} SET default_transaction_read_only = {how}");
        server.run("postgres", &set);
        // Present connections notice nothing of that, so they are ended.
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        );
        server.run("postgres", &end);
    };
    writable("on");
    let refused = loop {
        let write = store.create_entries(vec![entry("/a", "/p", &["t:a"])], at(0));
        match write.await {
            Err(StoreError::Away { .. }) => {}
            other => break other.unwrap_err(),
        }
    };
    assert!(
        matches!(refused, StoreError::ReadOnly { .. }),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), Kind::Unavailable);
    let set = format!("ALTER DATABASE {database} SET default_transaction_read_only = off");
    server.run("postgres", &set);
    // No connection was ended this time: those from before are not used.
    create(&store, entry("/a", "/p", &["t:a"])).await;
}

#[tokio::test]
async fn a_server_goes_on_while_a_newer_one_adds_columns() {
    let Some((store, server, database)) = fresh().await else {
        return;
    };
    let made = create(&store, entry("/a", "/p", &["t:a"])).await;
    for _ in 0..8 {
        store.find_entry(&made.id).await.unwrap();
    }
    server.run(&database, "ALTER TABLE entries ADD COLUMN later TEXT");
    let mut failures = 0;
    for _ in 0..8 {
        match store.find_entry(&made.id).await {
            Ok(found) => assert_eq!(found.as_ref(), Some(&made)),
            Err(failure) => {
                assert_eq!(failure.kind(), Kind::Unavailable, "{failure:?}");
                failures += 1;
            }
        }
    }
    assert!(failures <= 1, "{failures}");
}

#[tokio::test]
async fn whoever_vanishes_with_the_lock_does_not_keep_it() {
    let Some((store, server, database)) = fresh().await else {
        return;
    };
    // A transaction that takes its turn, and is then not heard of for a while.
    let holder = std::thread::spawn(move || {
        let sql = "BEGIN; SELECT revision FROM feed FOR UPDATE; SELECT pg_sleep(1); ROLLBACK";
        server.run(&database, sql);
    });
    while !holder.is_finished() {
        let path = format!("/{}", fastrand::u32(..));
        create(&store, entry(&path, "/p", &["t:a"])).await;
    }
    holder.join().unwrap();
}

/// A certificate for this host, its key, and the authority that signed it, in PEM.
fn certified(host: &str) -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    (
        pem("CERTIFICATE", certificate.der()),
        pem("PRIVATE KEY", &key.serialize_der()),
        pem("CERTIFICATE", authority.der()),
    )
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64);
    let lines: Vec<_> = lines
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[tokio::test]
async fn a_database_is_believed_by_its_certificate_and_its_name_only() {
    let port = fastrand::u16(10_000..30_000);
    let (certificate, key, authority) = certified("localhost");
    let Some(server) = Postgres::start_tls(port, &certificate, &key) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (root, other) = (dir.path().join("root.pem"), dir.path().join("other.pem"));
    std::fs::write(&root, authority).unwrap();
    std::fs::write(&other, certified("localhost").2).unwrap();
    let database = server.database();
    let open = async |host: &str, protection: &str, root: Option<&Path>| {
        let login = format!("port={port} user=spiffe password=secret dbname={database}");
        let text = format!("host={host} {login} {protection}");
        let mut config = PostgresConfig::new(text.parse().unwrap());
        config.root_ca = root.map(Path::to_owned);
        SqlStore::open_postgres(&config).await
    };
    let given = format!("sslrootcert={}", root.display());
    let full = format!("sslmode=verify-full {given}");
    for (host, protection, root_ca) in [
        ("localhost", &*full, None),
        ("localhost", "sslmode=verify-full", Some(&*root)),
        ("localhost", "", Some(&*root)),
        // It is asked to prove nothing here, and is not.
        ("127.0.0.1", "", None),
    ] {
        let opened = open(host, protection, root_ca).await;
        assert!(opened.is_ok(), "{host} {protection}: {opened:?}");
    }
    let by_ca = format!("sslmode=verify-ca {given}");
    for (host, protection, root_ca, why) in [
        ("localhost", "sslmode=verify-full", None, "UnknownIssuer"),
        // Of the same name, and with another key.
        ("localhost", "", Some(&*other), "BadSignature"),
        ("127.0.0.1", &*full, None, "not valid for name"),
        ("127.0.0.1", &*by_ca, None, "not valid for name"),
        (
            "127.0.0.1",
            "sslmode=require",
            Some(&*root),
            "not valid for name",
        ),
    ] {
        let refused = open(host, protection, root_ca).await.unwrap_err();
        let told = with_causes(&refused);
        assert!(told.contains(why), "{host} {protection}: {told}");
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
