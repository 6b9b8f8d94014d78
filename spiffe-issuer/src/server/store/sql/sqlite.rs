//! SQLite: where the file is, how it is set up, and what its errors mean.

use std::fs::OpenOptions;
use std::future::ready;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::Pools;
use crate::server::store::{Location, StoreError};

/// Where the database is, written as SPIRE's `connection_string`: a path, or `file:` and a path,
/// perhaps with `?` and settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionString {
    path: PathBuf,
    create: bool,
}

impl ConnectionString {
    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl FromStr for ConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, ConnectionStringError> {
        let (place, settings) = text.split_once('?').unwrap_or((text, ""));
        let path = match place.strip_prefix("file:") {
            // An empty or local host may stand before an absolute path.
            Some(uri) => {
                let path = uri.strip_prefix("//localhost").unwrap_or(uri);
                let path = path.strip_prefix("//").unwrap_or(path);
                let path = percent_decode_str(path).decode_utf8();
                path.map_err(|_| ConnectionStringError::NotText)?
                    .into_owned()
            }
            None => place.to_owned(),
        };
        match &*path {
            "" => return Err(ConnectionStringError::NoPath),
            ":memory:" => return Err(ConnectionStringError::Memory),
            _ => {}
        }
        let mut create = true;
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            create = creates(setting)?;
        }
        Ok(Self {
            path: path.into(),
            create,
        })
    }
}

/// Whether the file may be made, as far as this setting has a say in it.
fn creates(setting: &str) -> Result<bool, ConnectionStringError> {
    match setting.split_once('=').unwrap_or((setting, "")) {
        ("mode", "rw") => Ok(false),
        ("mode", "rwc") => Ok(true),
        ("mode", "memory") => Err(ConnectionStringError::Memory),
        // Settings of SPIRE's driver (journal mode, foreign keys, time-outs): ours are fixed. One
        // process that shares nothing needs no shared cache.
        ("cache", _) => Ok(true),
        (name, _) if name.starts_with('_') => Ok(true),
        _ => Err(ConnectionStringError::Setting(setting.to_owned())),
    }
}

/// Why a text does not say where the database is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    /// It asks for a database that is gone with the process.
    #[error("a database in memory would forget every node and entry at a restart; give a file")]
    Memory,
    /// No path.
    #[error("there is no path in it")]
    NoPath,
    /// A path with an escape that makes no text.
    #[error("the path in it is not UTF-8")]
    NotText,
    /// A setting that we do not know.
    #[error("`{0}` is not a setting: `mode=rw` and `mode=rwc` are")]
    Setting(String),
}

/// Opens both pools, that of the writer and that of the readers. The schema is not looked at yet.
pub(super) async fn open(at: &ConnectionString) -> Result<(Pools, Location), StoreError> {
    let location = Location::file(&at.path);
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Open {
        at: location.clone(),
        source,
    };
    if at.create {
        create_privately(&at.path).map_err(|error| failed(error.into()))?;
    }
    let options = SqliteConnectOptions::new()
        .filename(&at.path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // What was answered must be there after a power cut: an agent holds a certificate for it.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    // SQLite ends a transaction by itself where the disk fails it, and the pool still counts one
    // then. Such a connection would begin none any more, so another one takes its place.
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .before_acquire(|connection, _| Box::pin(ready(Ok(!connection.is_in_transaction()))))
    };
    let named = |error| named(error, &location);
    // The writer first: it turns on WAL, which is kept in the file.
    let writer = pool(1).connect_with(options.clone()).await.map_err(named)?;
    let readers = pool(READERS).connect_with(options.read_only(true)).await;
    let readers = readers.map_err(named)?;
    Ok((Pools::Sqlite { readers, writer }, location))
}

/// The error by its cause, as far as SQLite's result code tells it.
pub(super) fn named(error: sqlx::Error, at: &Location) -> StoreError {
    let (at, source) = (at.clone(), error);
    if matches!(
        source,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed
    ) {
        return StoreError::Away { at, source };
    }
    match primary_code(&source) {
        Some(BUSY | LOCKED) => StoreError::Locked { at, source },
        Some(CORRUPT | NOT_A_DATABASE) => StoreError::Corrupt { at, source },
        Some(DISK) => StoreError::Disk { at, source },
        Some(FULL) => StoreError::Full { at, source },
        Some(READ_ONLY) => StoreError::ReadOnly { at, source },
        Some(CANNOT_OPEN) => StoreError::Open {
            at,
            source: source.into(),
        },
        _ => StoreError::Database { at, source },
    }
}

/// The result code without its extension, which is in the upper bytes.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<u32>().ok()? & 0xff)
}

/// Makes the file where there is none, so that nobody else may read it. SQLite gives the files
/// beside it the mode of this one.
fn create_privately(path: &Path) -> std::io::Result<()> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// How long to wait for another process, such as a backup, to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A few readers keep all cores busy; each costs a thread.
const READERS: u32 = 4;

// https://www.sqlite.org/rescode.html
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const READ_ONLY: u32 = 8;
const DISK: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANNOT_OPEN: u32 = 14;
const NOT_A_DATABASE: u32 = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_spire_reads() {
        for (text, path, create) in [
            ("/run/data.sqlite3", "/run/data.sqlite3", true),
            ("./data/datastore.sqlite3", "./data/datastore.sqlite3", true),
            ("file:data.sqlite3", "data.sqlite3", true),
            ("file:/run/a%20b.sqlite3", "/run/a b.sqlite3", true),
            ("file:///run/d.sqlite3?mode=rw", "/run/d.sqlite3", false),
            (
                "d?_journal_mode=WAL&_foreign_keys=ON&cache=shared",
                "d",
                true,
            ),
        ] {
            let expected = ConnectionString {
                path: path.into(),
                create,
            };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_says_no_file() {
        for (text, why) in [
            ("", ConnectionStringError::NoPath),
            ("file:?mode=rw", ConnectionStringError::NoPath),
            (":memory:", ConnectionStringError::Memory),
            ("file::memory:", ConnectionStringError::Memory),
            ("file:d?mode=memory", ConnectionStringError::Memory),
            ("file:%ff", ConnectionStringError::NotText),
            (
                "d?mode=ro",
                ConnectionStringError::Setting("mode=ro".to_owned()),
            ),
        ] {
            assert_eq!(text.parse::<ConnectionString>(), Err(why), "{text}");
        }
    }
}
