//! Why the store did not do what was asked.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use spiffe_core::TrustDomain;

use crate::domain::{AuthorityKind, Denial, Fault, Kind};

/// Why the store did not do what was asked; nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The authority was tainted before.
    #[error("{}", match .0 {
        AuthorityKind::X509 => "root CA is already tainted",
        AuthorityKind::Jwt | AuthorityKind::Wit => "key is already tainted",
    })]
    AlreadyTainted(AuthorityKind),
    /// The database did not answer in time, or is closed.
    #[error("{at}: the database did not answer")]
    Away {
        /// The database.
        at: Location,
        /// What went wrong.
        source: sqlx::Error,
    },
    /// It is not at the revision that it was read at.
    #[error("it was changed by someone else meanwhile")]
    Conflict,
    /// Others were in the way for too long, or again and again.
    #[error("{at}: the database is busy with other writes")]
    Contended {
        /// The database.
        at: Location,
        /// What it said.
        source: sqlx::Error,
    },
    /// The database is damaged.
    #[error("{at}: the database is damaged; stop the server and restore a backup")]
    Corrupt {
        /// The database.
        at: Location,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The database failed in a way that has no name here.
    #[error("{at}: the database failed")]
    Database {
        /// The database.
        at: Location,
        /// What it said.
        source: sqlx::Error,
    },
    /// A row holds something that we never write.
    #[error("the database holds something unreadable in {table}.{column}")]
    Decode {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What is wrong with the value.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system would not write or read: a quota or a limit is reached, or the disk is ill.
    #[error(
        "{at}: the disk does not do what it is asked to; check its quota, its space and its health"
    )]
    Disk {
        /// The database.
        at: Location,
        /// What the database said.
        source: sqlx::Error,
    },
    /// What was to be made is there already.
    #[error("it exists already")]
    Exists,
    /// Changes that were asked for are no longer kept.
    #[error("the changes asked for are no longer kept")]
    FeedPruned,
    /// It is the database of another program.
    #[error(
        "{at}: holds the tables of another program, such as SPIRE; give us a database of our own"
    )]
    Foreign {
        /// The database.
        at: Location,
    },
    /// There is no space left.
    #[error("{at}: the disk is full; free some space, nothing was lost")]
    Full {
        /// The database.
        at: Location,
        /// What the database said.
        source: sqlx::Error,
    },
    /// Entries still federate with it.
    #[error("{0} entries federate with it")]
    InUse(u64),
    /// The bundle has another key of this ID.
    #[error("the bundle has another key with the ID \"{0}\"")]
    KeyIdTaken(String),
    /// Another process holds the database.
    #[error("{at}: locked by another process; only one server may use this file")]
    Locked {
        /// The database.
        at: Location,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The schema was brought up to date by a newer server while this one runs.
    #[error("{at}: the schema has changed meanwhile")]
    Migrated {
        /// The database.
        at: Location,
        /// What it said.
        source: sqlx::Error,
    },
    /// The database was written by a newer version of this program.
    #[error(
        "{at}: has schema version {found}, this program knows versions up to {known}; run the newer \
         program"
    )]
    Newer {
        /// The database.
        at: Location,
        /// The version that it has.
        found: i64,
        /// The newest version that we know.
        known: i64,
    },
    /// The bundle has no such authority.
    #[error("{}", match .0 {
        AuthorityKind::X509 => "no root CA found with provided subject key ID",
        AuthorityKind::Jwt => "no JWT Key found with provided key ID",
        AuthorityKind::Wit => "no WIT Key found with provided key ID",
    })]
    NoAuthority(AuthorityKind),
    /// The bundle has no such root that could be tainted. Clients know it by another text than the
    /// one for a root that is to be revoked.
    #[error("no ca found with provided subject key ID")]
    NoRootToTaint,
    /// A text that the database cannot keep.
    #[error("{at}: a text must not contain the byte 0")]
    NulByte {
        /// The database.
        at: Location,
        /// What it said.
        source: sqlx::Error,
    },
    /// An entry would federate with a trust domain whose bundle is not here.
    #[error("unable to find federated bundle \"{0}\"")]
    NoBundle(TrustDomain),
    /// The node was banned.
    #[error("agent is banned")]
    NodeBanned,
    /// There is no such thing.
    #[error("there is no such thing")]
    NotFound,
    /// Its schema is older than ours, and we may not change it.
    #[error(
        "{at}: has schema version {found}, this program needs {known}; start one server without \
         `disable_migration`, after a backup"
    )]
    Older {
        /// The database.
        at: Location,
        /// The version that it has.
        found: i64,
        /// The version that we need.
        known: i64,
    },
    /// The database cannot be opened.
    #[error("{at}: cannot open the database")]
    Open {
        /// The database.
        at: Location,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It cannot be written: a file with the wrong mode, or a standby of PostgreSQL.
    #[error(
        "{at}: the database is read-only; check a file's owner, mode and mount, and that a PostgreSQL \
         server is the primary"
    )]
    ReadOnly {
        /// The database.
        at: Location,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The bundle is older than the one there is.
    #[error("the bundle has sequence number {offered}, and the one there is has {held}")]
    Rollback {
        /// The sequence number of the bundle there is.
        held: u64,
        /// The sequence number of the one that was refused.
        offered: u64,
    },
    /// The token ended before it was used.
    #[error("join token expired")]
    TokenExpired,
    /// No such token, or no longer.
    #[error("join token does not exist or has already been used")]
    TokenUnknown,
    /// The authority is not tainted, so what it signed may still be in use.
    #[error("{}", match .0 {
        AuthorityKind::X509 => "it is not possible to revoke an untainted root CA",
        AuthorityKind::Jwt | AuthorityKind::Wit => "it is not possible to revoke an untainted key",
    })]
    Untainted(AuthorityKind),
}

impl Fault for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Conflict => Kind::Conflict,
            Self::Exists | Self::KeyIdTaken(_) => Kind::AlreadyExists,
            Self::AlreadyTainted(_)
            | Self::InUse(_)
            | Self::Rollback { .. }
            | Self::Untainted(_) => Kind::NotReady,
            Self::NodeBanned => Kind::Denied,
            Self::NoAuthority(_) | Self::NoRootToTaint | Self::NotFound => Kind::NotFound,
            Self::NoBundle(_) | Self::NulByte { .. } | Self::TokenExpired | Self::TokenUnknown => {
                Kind::Invalid
            }
            Self::Away { .. }
            | Self::Contended { .. }
            | Self::Disk { .. }
            | Self::Full { .. }
            | Self::Locked { .. }
            | Self::Migrated { .. }
            | Self::ReadOnly { .. } => Kind::Unavailable,
            Self::Corrupt { .. }
            | Self::Database { .. }
            | Self::Decode { .. }
            | Self::FeedPruned
            | Self::Foreign { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Open { .. } => Kind::Internal,
        }
    }

    fn denial(&self) -> Option<Denial> {
        matches!(self, Self::NodeBanned).then_some(Denial::AgentBanned)
    }
}

/// Which database it is, as errors name it: a file, or a host and what it calls the database. It never
/// holds a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(Arc<str>);

impl Location {
    pub(super) fn file(path: &Path) -> Self {
        Self(path.display().to_string().into())
    }

    pub(super) fn named(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
