//! PostgreSQL: how connections are made, kept and mistrusted, and what its errors mean.
//!
//! Several servers share one database. They take turns at writing (see `session`), and each has a few
//! connections: two that write, of which one waits at the lock while the other commits, and the rest
//! that read.

mod bell;
mod connection_string;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::time::{Instant, timeout};

pub(super) use bell::PgBell;
pub use connection_string::{PostgresString, PostgresStringError};

use crate::server::store::{Location, StoreError};

/// Which PostgreSQL database, and how many connections to it.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// Where it is, and who we are there.
    pub at: PostgresString,
    /// Certificates in PEM that the database's certificate has to chain to.
    pub root_ca: Option<PathBuf>,
    /// Our certificate and its key, in PEM, where the database asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// How many connections there may be.
    pub max_connections: u32,
    /// How long one of them may be used.
    pub max_lifetime: Option<Duration>,
    /// Whether an older schema may be brought up to date.
    pub migrate: bool,
}

impl PostgresConfig {
    /// How many connections there may be where nothing is said. Writes take turns over all servers, so
    /// more would only wait.
    pub const MAX_CONNECTIONS: u32 = 20;

    /// This database, with the usual connections.
    #[must_use]
    pub fn new(at: PostgresString) -> Self {
        Self {
            at,
            root_ca: None,
            client: None,
            max_connections: Self::MAX_CONNECTIONS,
            max_lifetime: None,
            migrate: true,
        }
    }
}

/// The connections to a database.
pub(super) struct Postgres {
    pub(super) writers: PgPool,
    pub(super) readers: PgPool,
    /// For a connection that only listens.
    alone: PgPoolOptions,
    options: PgConnectOptions,
    believed_since: Arc<Mutex<Instant>>,
}

impl Postgres {
    /// Connects once, to hear at once what is wrong, and makes the pools.
    pub(super) async fn open(config: &PostgresConfig) -> Result<(Self, Location), StoreError> {
        let at = config.at.location();
        let options = config
            .at
            .options(config.root_ca.as_deref(), config.client.as_ref());
        let wait = config.at.connect_timeout();
        match timeout(wait, try_out(&options)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(opening(error, &at)),
            Err(_) => {
                let source = Box::new(NoAnswer(wait));
                return Err(StoreError::Open { at, source });
            }
        }
        let believed_since = Arc::new(Mutex::new(Instant::now()));
        let pool = |connections: u32| {
            let believed_since = believed_since.clone();
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(wait.min(MAX_WAIT))
                .idle_timeout(Some(IDLE))
                .max_lifetime(config.max_lifetime)
                .after_connect(|connection, _| Box::pin(set_up(connection)))
                .before_acquire(move |_, meta| {
                    let since = *believed_since
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    let made = Instant::now().checked_sub(meta.age);
                    Box::pin(async move { Ok(made.is_none_or(|made| made >= since)) })
                })
                // A connection that is given back while an answer is due may never get it.
                .after_release(|connection, _| {
                    Box::pin(async {
                        match timeout(PROBE, connection.ping()).await {
                            Ok(answer) => answer.map(|()| true),
                            Err(_) => Err(sqlx::Error::PoolTimedOut),
                        }
                    })
                })
        };
        let readers = config.max_connections.saturating_sub(WRITERS + 1).max(1);
        let this = Self {
            writers: pool(WRITERS).connect_lazy_with(options.clone()),
            readers: pool(readers).connect_lazy_with(options.clone()),
            alone: pool(1).max_lifetime(None).idle_timeout(None),
            options,
            believed_since,
        };
        Ok((this, at))
    }

    /// Takes none of the present connections again.
    pub(super) fn begin_anew(&self) {
        let mut since = self
            .believed_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *since = Instant::now();
    }

    /// Hears of changes by a connection of its own.
    pub(super) fn bell(&self) -> PgBell {
        PgBell::new(self.alone.clone(), self.options.clone())
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options hold the password.
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

async fn try_out(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    set_up(&mut connection).await?;
    connection.close().await
}

/// What each connection is told first. A server that vanished while it held the lock must not keep it:
/// its transaction is ended for it.
async fn set_up(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(SET_UP).await.map(drop)
}

const SET_UP: &str = "
    SET default_transaction_isolation = 'read committed';
    SET idle_in_transaction_session_timeout = '10s';
    SET lock_timeout = '10s';
    SET statement_timeout = '15s';
";

/// The error by its cause, as far as PostgreSQL's code tells it.
pub(super) fn named(error: sqlx::Error, at: &Location) -> StoreError {
    let at = at.clone();
    let source = error;
    let Some(code) = code(&source) else {
        return match source {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => StoreError::Away { at, source },
            _ => StoreError::Database { at, source },
        };
    };
    match &*code {
        READ_ONLY => StoreError::ReadOnly { at, source },
        NOT_IN_ENCODING => StoreError::NulByte { at, source },
        DISK_FULL => StoreError::Full { at, source },
        DATA_CORRUPTED | INDEX_CORRUPTED => StoreError::Corrupt { at, source },
        LOCK_NOT_AVAILABLE => StoreError::Contended { at, source },
        FEATURE_NOT_SUPPORTED if is_stale_plan(&source) => StoreError::Migrated { at, source },
        QUERY_CANCELED | IDLE_IN_TRANSACTION => StoreError::Away { at, source },
        NO_SUCH_DATABASE => StoreError::Open {
            at,
            source: source.into(),
        },
        code => match &code[..2.min(code.len())] {
            // Rollbacks that are no fault of the statement: serialization, deadlocks.
            "40" => StoreError::Contended { at, source },
            // Connections, resources, and operators who stop the database.
            "08" | "53" | "57" => StoreError::Away { at, source },
            // Who we are there.
            "28" => StoreError::Open {
                at,
                source: source.into(),
            },
            _ => StoreError::Database { at, source },
        },
    }
}

/// The same for what is wrong at the start, where nothing was there to go away.
fn opening(error: sqlx::Error, at: &Location) -> StoreError {
    match named(error, at) {
        StoreError::Away { at, source } | StoreError::Database { at, source } => StoreError::Open {
            at,
            source: source.into(),
        },
        named => named,
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// A statement that was prepared before columns were added gives other columns now.
fn is_stale_plan(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    let error = error.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|error| error.routine() == Some("RevalidateCachedQuery"))
}

/// The database took too long to take a connection.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);

// https://www.postgresql.org/docs/current/errcodes-appendix.html
const FEATURE_NOT_SUPPORTED: &str = "0A000";
const NOT_IN_ENCODING: &str = "22021";
const IDLE_IN_TRANSACTION: &str = "25P03";
const READ_ONLY: &str = "25006";
const NO_SUCH_DATABASE: &str = "3D000";
const DISK_FULL: &str = "53100";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const QUERY_CANCELED: &str = "57014";
const DATA_CORRUPTED: &str = "XX001";
const INDEX_CORRUPTED: &str = "XX002";

/// One writes, and the next waits behind it: more would only wait there as well.
const WRITERS: u32 = 2;

/// How long to wait for a connection of a pool. While a database refuses all, this passes as well.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);

/// How long a connection that is given back may take to answer.
const PROBE: Duration = Duration::from_secs(5);
