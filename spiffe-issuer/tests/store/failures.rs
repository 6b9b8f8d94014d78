//! What goes wrong below the store: SQLite's files, and the machine going down half-way.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use spiffe_issuer::domain::{EntryFilter, Fault, Kind};
use spiffe_issuer::server::store::sql::{ConnectionString, SqlStore};
use spiffe_issuer::server::store::{CloseStore, EntryStore, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use crate::{at, create, entry};

fn string(path: &Path) -> ConnectionString {
    path.to_str().unwrap().parse().unwrap()
}

/// A directory for a file of the store.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("store.sqlite3")
    }

    async fn open(&self) -> SqlStore {
        SqlStore::open(&string(&self.path())).await.unwrap()
    }
}

#[tokio::test]
async fn the_file_and_those_beside_it_are_private() {
    let place = Place::new();
    let store = place.open().await;
    create(&store, entry("/a", "/p", &["t:a"])).await;
    let mut files = 0;
    for file in fs::read_dir(place.0.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert!(files >= 2, "the write-ahead log is looked at too");
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions() {
    let place = Place::new();
    let path = place.path();
    SqlStore::open(&string(&path)).await.unwrap().close().await;
    let options = SqliteConnectOptions::new().filename(&path);
    let mut connection = options.connect().await.unwrap();
    sqlx::query("UPDATE schema_version SET version = 99")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let refused = SqlStore::open(&string(&path)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 99, .. }));
    let told = refused.to_string();
    assert!(
        told.contains("99") && told.contains("store.sqlite3"),
        "{told}"
    );
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let place = Place::new();
    let path = place.path();
    let options = SqliteConnectOptions::new().filename(&path);
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    sqlx::query("CREATE TABLE migrations (id integer)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let refused = SqlStore::open(&string(&path)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named() {
    let place = Place::new();
    let missing = place.0.path().join("missing").join("store.sqlite3");
    let text = place.0.path().join("text");
    fs::write(
        &text,
        "no database at all, and long enough to be sure of it",
    )
    .unwrap();
    fs::set_permissions(&text, Permissions::from_mode(0o600)).unwrap();
    let none = format!("{}?mode=rw", place.0.path().join("none").display());
    for (at, path) in [
        (string(&missing), "missing/store.sqlite3"),
        (string(&text), "text"),
        (none.parse().unwrap(), "none"),
    ] {
        let refused = SqlStore::open(&at).await.unwrap_err();
        assert!(refused.to_string().contains(path), "{refused}");
        assert_eq!(refused.kind(), Kind::Internal, "{refused:?}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_named() {
    let place = Place::new();
    let path = place.path();
    let store = SqlStore::open(&string(&path)).await.unwrap();
    for n in 0..50 {
        create(&store, entry(&format!("/{n}"), "/p", &["t:a"])).await;
    }
    store.close().await;
    let mut bytes = fs::read(&path).unwrap();
    let header = 100;
    for byte in &mut bytes[4096 + header..] {
        *byte = 0xa5;
    }
    fs::write(&path, bytes).unwrap();
    let all = EntryFilter::default();
    let refused = match SqlStore::open(&string(&path)).await {
        Ok(store) => store.count_entries(&all).await.map(drop).unwrap_err(),
        Err(refused) => refused,
    };
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused:?}");
    assert!(refused.to_string().contains("store.sqlite3"));
}

#[tokio::test]
async fn a_write_that_is_given_up_leaves_nothing_half_done() {
    let place = Place::new();
    let store = place.open().await;
    create(&store, entry("/a", "/p", &["t:a"])).await;
    // Dropped at each of the places where it waits, until it gets through.
    for polls in 1.. {
        let batch = (0..3).map(|n| entry(&format!("/{polls}/{n}"), "/p", &["t:a"]));
        let write = store.create_entries(batch.collect(), at(0));
        let done = poll_at_most(polls, write).await;
        let all = EntryFilter::default();
        let count = store.count_entries(&all).await.unwrap();
        assert_eq!((count - 1) % 3, 0, "given up after {polls} polls");
        if done.is_some() {
            break;
        }
    }
}

/// What the future comes to, if it takes no more polls than that; otherwise it is dropped.
async fn poll_at_most<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
            polled => polled.map(Some),
        }
    })
    .await
}
