//! One conversation with the database: reading, or writing in one transaction.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Transaction;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use tokio::time::timeout;

use super::postgres::Postgres;
use super::row::Row;
use super::statement::{Statement, query};
use super::{Pools, postgres, sqlite};
use crate::server::store::{Location, StoreError};

/// A connection, and what it leads to, which every error names.
pub(super) struct Session<C> {
    connection: C,
    at: Location,
    database: Option<Arc<Postgres>>,
}

/// A connection that only reads.
pub(super) enum Reading {
    Postgres(PoolConnection<sqlx::Postgres>),
    Sqlite(PoolConnection<Sqlite>),
}

/// A transaction that holds the write lock. Dropped without a commit, it leaves nothing behind.
pub(super) enum Writing {
    Postgres(Transaction<'static, sqlx::Postgres>),
    Sqlite(Transaction<'static, Sqlite>),
}

impl Session<Reading> {
    pub(super) async fn reading(pools: &Pools, at: &Location) -> Result<Self, StoreError> {
        let connection = match pools {
            Pools::Postgres(database) => {
                let connection = database.readers.acquire().await;
                Reading::Postgres(connection.map_err(|error| postgres::named(error, at))?)
            }
            Pools::Sqlite { readers, .. } => {
                let connection = readers.acquire().await;
                Reading::Sqlite(connection.map_err(|error| sqlite::named(error, at))?)
            }
        };
        Ok(Self {
            connection,
            at: at.clone(),
            database: pools.postgres(),
        })
    }
}

impl Session<Writing> {
    /// Begins a transaction and waits for its turn to write.
    ///
    /// On PostgreSQL the turn is the lock on the one row of `feed`. All that a transaction reads it
    /// reads after that, so it sees what those before it have committed, of whatever server they were;
    /// and since nobody holds anything while waiting, none is ever a victim of another.
    pub(super) async fn writing(pools: &Pools, at: &Location) -> Result<Self, StoreError> {
        let mut tries = 0;
        loop {
            let mut session = Self::begin(pools, at).await?;
            let turn = match &session.connection {
                Writing::Postgres(_) => {
                    let lock = query("SELECT revision FROM feed FOR UPDATE");
                    session.run(lock).await.map(drop)
                }
                Writing::Sqlite(_) => Ok(()),
            };
            tries += 1;
            match turn {
                // Nothing was written yet, so it can be begun anew.
                Err(StoreError::Contended { .. }) if tries < TRIES => {}
                turn => return turn.map(|()| session),
            }
        }
    }

    /// Begins a transaction of which nobody else can know, or which is alone by other means.
    pub(super) async fn begin(pools: &Pools, at: &Location) -> Result<Self, StoreError> {
        let connection = match pools {
            Pools::Postgres(database) => {
                let begun = answered(database.writers.begin(), at).await;
                Writing::Postgres(begun?)
            }
            // A transaction that began by reading could not become a writer while another one wrote.
            Pools::Sqlite { writer, .. } => {
                let begun = writer.begin_with("BEGIN IMMEDIATE").await;
                Writing::Sqlite(begun.map_err(|error| sqlite::named(error, at))?)
            }
        };
        Ok(Self {
            connection,
            at: at.clone(),
            database: pools.postgres(),
        })
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let Self { connection, at, .. } = self;
        match connection {
            Writing::Postgres(transaction) => answered(transaction.commit(), &at).await,
            Writing::Sqlite(transaction) => {
                let committed = transaction.commit().await;
                committed.map_err(|error| sqlite::named(error, &at))
            }
        }
    }
}

/// What all conversations have in common.
pub(super) trait Speaks: Send {
    fn line(&mut self) -> Line<'_>;
}

/// A connection of one of the engines.
pub(super) enum Line<'a> {
    Postgres(&'a mut PgConnection),
    Sqlite(&'a mut SqliteConnection),
}

impl Speaks for Reading {
    fn line(&mut self) -> Line<'_> {
        match self {
            Self::Postgres(connection) => Line::Postgres(connection),
            Self::Sqlite(connection) => Line::Sqlite(connection),
        }
    }
}

impl Speaks for Writing {
    fn line(&mut self) -> Line<'_> {
        match self {
            Self::Postgres(transaction) => Line::Postgres(transaction),
            Self::Sqlite(transaction) => Line::Sqlite(transaction),
        }
    }
}

impl<C: Speaks> Session<C> {
    /// Runs a statement and returns how many rows it touched.
    pub(super) async fn run(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let done = match self.connection.line() {
            Line::Postgres(line) => {
                let done = statement.for_postgres().execute(line);
                answered(done, &self.at)
                    .await
                    .map(|done| done.rows_affected())
            }
            Line::Sqlite(line) => {
                let done = statement.for_sqlite().execute(line).await;
                let done = done.map(|done| done.rows_affected());
                done.map_err(|error| sqlite::named(error, &self.at))
            }
        };
        self.judged(done)
    }

    /// All rows that a query finds.
    pub(super) async fn all(&mut self, query: Statement) -> Result<Vec<Row>, StoreError> {
        let rows = match self.connection.line() {
            Line::Postgres(line) => {
                let rows = query.for_postgres().fetch_all(line);
                let rows = answered(rows, &self.at).await;
                rows.map(|rows| rows.into_iter().map(Row::Postgres).collect())
            }
            Line::Sqlite(line) => {
                let rows = query.for_sqlite().fetch_all(line).await;
                let rows = rows.map(|rows| rows.into_iter().map(Row::Sqlite).collect());
                rows.map_err(|error| sqlite::named(error, &self.at))
            }
        };
        self.judged(rows)
    }

    /// The row that a query finds, if it finds one.
    pub(super) async fn one(&mut self, query: Statement) -> Result<Option<Row>, StoreError> {
        Ok(self.all(query).await?.into_iter().next())
    }

    /// The first row of a query that always has one.
    pub(super) async fn the(&mut self, query: Statement) -> Result<Row, StoreError> {
        let row = self.one(query).await?;
        row.ok_or_else(|| StoreError::Database {
            at: self.at.clone(),
            source: sqlx::Error::RowNotFound,
        })
    }

    pub(super) fn at(&self) -> &Location {
        &self.at
    }

    /// Takes none of the present connections again where they lead to a server that can only read by
    /// now, or know statements by a schema that is gone.
    fn judged<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if let (Some(database), Err(StoreError::ReadOnly { .. } | StoreError::Migrated { .. })) =
            (&self.database, &outcome)
        {
            database.begin_anew();
        }
        outcome
    }
}

impl<C> fmt::Debug for Session<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.at).finish()
    }
}

/// What PostgreSQL answers in time. A machine that vanished answers nothing, and its network says so
/// only after a quarter of an hour.
async fn answered<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
    at: &Location,
) -> Result<T, StoreError> {
    match timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| postgres::named(error, at)),
        Err(_) => Err(StoreError::Away {
            at: at.clone(),
            source: sqlx::Error::Io(ErrorKind::TimedOut.into()),
        }),
    }
}

/// How long one statement may take. A page of ten thousand entries takes a tenth of a second; what
/// waits for its turn to write is ended by PostgreSQL before this (`lock_timeout`).
const PATIENCE: Duration = Duration::from_secs(20);

/// How often to begin a write anew that was in the way of another.
const TRIES: u32 = 5;
