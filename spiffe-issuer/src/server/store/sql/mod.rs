//! The store in an SQL database: SQLite, embedded, or PostgreSQL, which several servers share.
//!
//! All writes take turns, each as one transaction that has the write lock before it reads anything. So
//! what it read is still so when it writes, none fails half-way for want of a lock, and changes have
//! the order of their commits. On SQLite the lock is that of the file, behind one connection; on
//! PostgreSQL it is the one row of `feed`, over all servers. Readers have connections of their own and
//! never wait for a writer.
//!
//! The statements are such that both understand them. What differs is in `sqlite`, `postgres`,
//! `session` and `schema`.

mod bundles;
mod changes;
mod entries;
mod entry_row;
mod federation;
mod filter;
mod journal;
mod node_row;
mod nodes;
mod postgres;
mod row;
mod schema;
mod session;
mod settings;
mod sqlite;
mod statement;
mod tokens;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::SqlitePool;

pub use postgres::{PostgresConfig, PostgresString, PostgresStringError};
use session::{Reading, Session, Writing};
pub use settings::SQL;
pub use sqlite::{ConnectionString, ConnectionStringError};

use super::{CloseStore, Location, StoreError};

/// A store in an SQL database.
#[derive(Debug, Clone)]
pub struct SqlStore {
    pools: Pools,
    at: Location,
}

/// The connections to the database.
#[derive(Debug, Clone)]
enum Pools {
    Postgres(Arc<postgres::Postgres>),
    Sqlite {
        readers: SqlitePool,
        writer: SqlitePool,
    },
}

impl SqlStore {
    /// Opens an SQLite database, making it where there is none, and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened or was written by a newer version.
    pub async fn open(at: &ConnectionString) -> Result<Self, StoreError> {
        Self::open_sqlite(at, true).await
    }

    /// The same, but leaves the schema alone where `migrate` is false.
    ///
    /// # Errors
    ///
    /// Also where the schema would have to be brought up to date.
    pub async fn open_sqlite(at: &ConnectionString, migrate: bool) -> Result<Self, StoreError> {
        let (pools, at) = sqlite::open(at).await?;
        Self { pools, at }.checked(migrate).await
    }

    /// Opens a PostgreSQL database, and brings its schema up to date if it may.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached, was written by a newer version, or would have to be brought up to
    /// date and may not.
    pub async fn open_postgres(config: &PostgresConfig) -> Result<Self, StoreError> {
        let (database, at) = postgres::Postgres::open(config).await?;
        let pools = Pools::Postgres(Arc::new(database));
        Self { pools, at }.checked(config.migrate).await
    }

    async fn checked(self, migrate: bool) -> Result<Self, StoreError> {
        schema::check(&self.pools, &self.at, migrate).await?;
        Ok(self)
    }

    async fn reading(&self) -> Result<Session<Reading>, StoreError> {
        Session::reading(&self.pools, &self.at).await
    }

    async fn writing(&self) -> Result<Session<Writing>, StoreError> {
        Session::writing(&self.pools, &self.at).await
    }
}

impl Pools {
    fn postgres(&self) -> Option<Arc<postgres::Postgres>> {
        match self {
            Self::Postgres(database) => Some(Arc::clone(database)),
            Self::Sqlite { .. } => None,
        }
    }
}

#[async_trait]
impl CloseStore for SqlStore {
    async fn close(&self) {
        match &self.pools {
            Pools::Postgres(database) => database.close().await,
            // The last one out folds the write-ahead log into the file, which a reader could not.
            Pools::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use spiffe_core::SpiffeId;

    use super::*;
    use crate::domain::{EntryFilter, Fault, Kind, NewEntry, SelectorSet};
    use crate::server::store::EntryStore;

    impl SqlStore {
        fn writer(&self) -> &SqlitePool {
            match &self.pools {
                Pools::Sqlite { writer, .. } => writer,
                Pools::Postgres(_) => panic!("these tests are about SQLite"),
            }
        }
    }

    const NOW: std::time::SystemTime = std::time::SystemTime::UNIX_EPOCH;

    fn entry(n: usize) -> NewEntry {
        let id = |path: String| -> SpiffeId { format!("spiffe://td{path}").parse().unwrap() };
        let selectors = SelectorSet::from(["t:a".parse().unwrap()]);
        NewEntry::new(id(format!("/{n}")), id("/p".to_owned()), selectors)
    }

    /// A store with one entry whose writer was then treated like this, and what it says to two
    /// thousand more entries. None of them may be there afterwards, and all once it has recovered.
    async fn refusal(treatment: &'static str, cure: &'static str) -> StoreError {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.sqlite3");
        let at = path.to_str().unwrap().parse().unwrap();
        let store = SqlStore::open(&at).await.unwrap();
        store.create_entries(vec![entry(0)], NOW).await.unwrap();
        sqlx::query(treatment)
            .execute(store.writer())
            .await
            .unwrap();
        let more: Vec<_> = (1..2000).map(entry).collect();
        let refused = store.create_entries(more.clone(), NOW).await.unwrap_err();
        let all = EntryFilter::default();
        assert_eq!(store.count_entries(&all).await.unwrap(), 1);
        sqlx::query(cure).execute(store.writer()).await.unwrap();
        store.create_entries(more, NOW).await.unwrap();
        assert_eq!(store.count_entries(&all).await.unwrap(), 2000);
        assert!(refused.to_string().contains("store.sqlite3"), "{refused}");
        assert_eq!(refused.kind(), Kind::Unavailable);
        refused
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_nothing_is_half_written() {
        let refused = refusal(
            "PRAGMA max_page_count = 50",
            "PRAGMA max_page_count = 1000000",
        )
        .await;
        assert!(matches!(refused, StoreError::Full { .. }), "{refused:?}");
    }

    #[tokio::test]
    async fn once_there_is_room_again_it_is_written_to_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.sqlite3");
        let at = path.to_str().unwrap().parse().unwrap();
        let store = SqlStore::open(&at).await.unwrap();
        for _ in 0..3 {
            for (pages, fits) in [(50, false), (100_000, true)] {
                let room = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
                sqlx::query(room).execute(store.writer()).await.unwrap();
                let written = store
                    .create_entries((0..2000).map(entry).collect(), NOW)
                    .await;
                assert_eq!(written.is_ok(), fits, "{pages}: {written:?}");
                let gone = sqlx::query("DELETE FROM entries");
                gone.execute(store.writer()).await.unwrap();
                sqlx::query("VACUUM").execute(store.writer()).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_read_only_file_is_told() {
        let refused = refusal("PRAGMA query_only = 1", "PRAGMA query_only = 0").await;
        assert!(
            matches!(refused, StoreError::ReadOnly { .. }),
            "{refused:?}"
        );
    }

    /// As it does where the disk is full in the middle of a write.
    #[tokio::test]
    async fn writing_goes_on_after_the_database_gave_up_a_transaction_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.sqlite3");
        let at = path.to_str().unwrap().parse().unwrap();
        let store = SqlStore::open(&at).await.unwrap();
        let mut session = store.writing().await.unwrap();
        session.run(statement::query("ROLLBACK")).await.unwrap();
        let refused = session.commit().await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Database { .. }),
            "{refused:?}"
        );
        store.create_entries(vec![entry(0)], NOW).await.unwrap();
    }

    #[tokio::test]
    async fn a_closed_store_is_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.sqlite3");
        let at = path.to_str().unwrap().parse().unwrap();
        let store = SqlStore::open(&at).await.unwrap();
        store.close().await;
        let refused = store.create_entries(vec![entry(0)], NOW).await.unwrap_err();
        assert!(matches!(refused, StoreError::Away { .. }), "{refused:?}");
        assert_eq!(refused.kind(), Kind::Unavailable);
    }

    #[tokio::test]
    async fn a_file_that_another_process_holds_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.sqlite3");
        let at = path.to_str().unwrap().parse().unwrap();
        let (one, other) = (
            SqlStore::open(&at).await.unwrap(),
            SqlStore::open(&at).await.unwrap(),
        );
        let held = one.writing().await.unwrap();
        sqlx::query("PRAGMA busy_timeout = 0")
            .execute(other.writer())
            .await
            .unwrap();
        let refused = other.create_entries(vec![entry(0)], NOW).await.unwrap_err();
        assert!(matches!(refused, StoreError::Locked { .. }), "{refused:?}");
        drop(held);
        assert!(one.create_entries(vec![entry(0)], NOW).await.is_ok());
    }
}
