//! One conversation with the database, and what its errors mean.

use std::fmt;
use std::ops::DerefMut;
use std::path::Path;
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};

use crate::server::store::StoreError;

/// A statement with its values.
pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// A connection that only reads.
pub(super) type Reading = PoolConnection<Sqlite>;

/// A transaction that holds the write lock. Dropped without a commit, it leaves nothing behind.
pub(super) type Writing = Transaction<'static, Sqlite>;

/// A connection, and the file it leads to, which every error names.
pub(super) struct Session<C> {
    connection: C,
    path: Arc<Path>,
}

impl Session<Reading> {
    pub(super) async fn reading(pool: &SqlitePool, path: &Arc<Path>) -> Result<Self, StoreError> {
        let connection = pool.acquire().await.map_err(|error| named(error, path))?;
        Ok(Self {
            connection,
            path: Arc::clone(path),
        })
    }
}

impl Session<Writing> {
    pub(super) async fn writing(pool: &SqlitePool, path: &Arc<Path>) -> Result<Self, StoreError> {
        // A transaction that began by reading could not become a writer while another one wrote.
        let begun = pool.begin_with("BEGIN IMMEDIATE").await;
        Ok(Self {
            connection: begun.map_err(|error| named(error, path))?,
            path: Arc::clone(path),
        })
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let committed = self.connection.commit().await;
        committed.map_err(|error| named(error, &self.path))
    }
}

impl<C: DerefMut<Target = SqliteConnection> + Send> Session<C> {
    /// Runs a statement and returns how many rows it touched.
    pub(super) async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let done = statement.execute(&mut *self.connection).await;
        let done = done.map_err(|error| named(error, &self.path))?;
        Ok(done.rows_affected())
    }

    /// The row that a query finds, if it finds one.
    pub(super) async fn one(
        &mut self,
        query: Statement<'_>,
    ) -> Result<Option<SqliteRow>, StoreError> {
        let row = query.fetch_optional(&mut *self.connection).await;
        row.map_err(|error| named(error, &self.path))
    }

    /// The first row of a query that always has one.
    pub(super) async fn the(&mut self, query: Statement<'_>) -> Result<SqliteRow, StoreError> {
        let row = query.fetch_one(&mut *self.connection).await;
        row.map_err(|error| named(error, &self.path))
    }

    /// All rows that a query finds.
    pub(super) async fn all(&mut self, query: Statement<'_>) -> Result<Vec<SqliteRow>, StoreError> {
        let rows = query.fetch_all(&mut *self.connection).await;
        rows.map_err(|error| named(error, &self.path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl<C> fmt::Debug for Session<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.path).finish()
    }
}

/// The error by its cause, as far as SQLite's result code tells it.
pub(super) fn named(error: sqlx::Error, path: &Path) -> StoreError {
    if matches!(
        error,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed
    ) {
        return StoreError::Away(error);
    }
    let path = path.to_owned();
    match primary_code(&error) {
        Some(BUSY | LOCKED) => StoreError::Locked {
            path,
            source: error,
        },
        Some(CORRUPT | NOT_A_DATABASE) => StoreError::Corrupt {
            path,
            source: error,
        },
        Some(DISK) => StoreError::Disk {
            path,
            source: error,
        },
        Some(FULL) => StoreError::Full {
            path,
            source: error,
        },
        Some(READ_ONLY) => StoreError::ReadOnly {
            path,
            source: error,
        },
        Some(CANNOT_OPEN) => StoreError::Open {
            path,
            source: error.into(),
        },
        _ => StoreError::Database(error),
    }
}

/// The result code without its extension, which is in the upper bytes.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<u32>().ok()? & 0xff)
}

// https://www.sqlite.org/rescode.html
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const READ_ONLY: u32 = 8;
const DISK: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANNOT_OPEN: u32 = 14;
const NOT_A_DATABASE: u32 = 26;
