//! Why the store did not do what was asked.

use std::path::PathBuf;

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
    #[error("the database did not answer")]
    Away(#[source] sqlx::Error),
    /// It is not at the revision that it was read at.
    #[error("it was changed by someone else meanwhile")]
    Conflict,
    /// The database file is damaged.
    #[error("{}: the database file is damaged; stop the server and restore a backup", path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The database failed in a way that has no name here.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
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
    #[error("{}: the disk does not do what it is asked to; check its quota, its space and its health", path.display())]
    Disk {
        /// The database file.
        path: PathBuf,
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
    #[error("{}: holds the tables of another program, such as SPIRE; give us a file of our own", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// There is no space left.
    #[error("{}: the disk is full; free some space, nothing was lost", path.display())]
    Full {
        /// The database file.
        path: PathBuf,
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
    #[error("{}: locked by another process; only one server may use this file", path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The database was written by a newer version of this program.
    #[error(
        "{}: has schema version {found}, this program knows versions up to {known}; run the newer program",
        path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
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
    /// An entry would federate with a trust domain whose bundle is not here.
    #[error("unable to find federated bundle \"{0}\"")]
    NoBundle(TrustDomain),
    /// The node was banned.
    #[error("agent is banned")]
    NodeBanned,
    /// There is no such thing.
    #[error("there is no such thing")]
    NotFound,
    /// The database cannot be opened.
    #[error("{}: cannot open the database", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file, or the file system it is on, cannot be written.
    #[error("{}: the database file is read-only; check its owner and mode, and the mount", path.display())]
    ReadOnly {
        /// The database file.
        path: PathBuf,
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
            Self::NoAuthority(_) | Self::NotFound => Kind::NotFound,
            Self::NoBundle(_) | Self::TokenExpired | Self::TokenUnknown => Kind::Invalid,
            Self::Away(_)
            | Self::Disk { .. }
            | Self::Full { .. }
            | Self::Locked { .. }
            | Self::ReadOnly { .. } => Kind::Unavailable,
            Self::Corrupt { .. }
            | Self::Database(_)
            | Self::Decode { .. }
            | Self::FeedPruned
            | Self::Foreign { .. }
            | Self::Newer { .. }
            | Self::Open { .. } => Kind::Internal,
        }
    }

    fn denial(&self) -> Option<Denial> {
        matches!(self, Self::NodeBanned).then_some(Denial::AgentBanned)
    }
}
