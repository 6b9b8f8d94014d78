//! The tables, and how an older database becomes the present one. Forward only.
//!
//! A row of `entries`, `nodes` or `bundles` is the whole thing, its sets as JSON; the narrow tables
//! beside them exist to be searched and hold nothing that is not also there.

use super::SqlStore;
use super::row::Columns;
use super::session::{Session, Writing};
use crate::server::store::StoreError;

/// What makes each version out of the one before; the first makes version 1 out of nothing.
const MIGRATIONS: &[&[&str]] = &[VERSION_1, VERSION_2, VERSION_3];

/// Brings the schema up to date, in one transaction.
pub(super) async fn migrate(store: &SqlStore) -> Result<(), StoreError> {
    let mut session = store.writing().await?;
    let found = version(&mut session).await?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer {
            path: session.path().to_owned(),
            found,
            known,
        });
    }
    if found == known {
        return Ok(());
    }
    let done = usize::try_from(found).unwrap_or(0);
    for migration in &MIGRATIONS[done..] {
        for statement in *migration {
            session.run(sqlx::query(*statement)).await?;
        }
    }
    let record = sqlx::query("UPDATE schema_version SET version = $1").bind(known);
    session.run(record).await?;
    session.commit().await
}

/// The version of the schema: 0 for an empty database.
async fn version(session: &mut Session<Writing>) -> Result<i64, StoreError> {
    match tables(session).await? {
        (0, _) => Ok(0),
        (_, 0) => Err(StoreError::Foreign {
            path: session.path().to_owned(),
        }),
        _ => {
            let query = sqlx::query("SELECT version FROM schema_version");
            let row = session.the(query).await?;
            Columns::of("schema_version", &row).value("version")
        }
    }
}

/// How many tables there are, and how many of them say what version this is.
async fn tables(session: &mut Session<Writing>) -> Result<(i64, i64), StoreError> {
    let query = sqlx::query(
        "SELECT COUNT(*) AS tables, COUNT(CASE WHEN name = 'schema_version' THEN 1 END) AS ours
         FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    );
    let row = session.the(query).await?;
    let counted = Columns::of("sqlite_master", &row);
    Ok((counted.value("tables")?, counted.value("ours")?))
}

/// `seq` is the place in a list: it only ever grows, so a page begins after the last one's end
/// whatever was deleted meanwhile. `likeness` is a hash of what makes two entries the same.
const VERSION_1: &[&str] = &[
    "CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT",
    "INSERT INTO schema_version (version) VALUES (0)",
    "CREATE TABLE entries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        likeness BLOB NOT NULL,
        spiffe_id TEXT NOT NULL,
        parent_id TEXT NOT NULL,
        selectors TEXT NOT NULL,
        selector_count INTEGER NOT NULL,
        federates_with TEXT NOT NULL,
        federates_with_count INTEGER NOT NULL,
        dns_names TEXT NOT NULL,
        x509_svid_ttl INTEGER,
        jwt_svid_ttl INTEGER,
        admin INTEGER NOT NULL,
        downstream INTEGER NOT NULL,
        store_svid INTEGER NOT NULL,
        disable_x509_svid_prefetch INTEGER NOT NULL,
        jwt_svid_include_jti INTEGER NOT NULL,
        hint TEXT NOT NULL,
        expires_at INTEGER,
        revision INTEGER NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT",
    "CREATE INDEX entries_by_likeness ON entries (likeness)",
    "CREATE INDEX entries_by_spiffe_id ON entries (spiffe_id)",
    "CREATE INDEX entries_by_parent_id ON entries (parent_id)",
    "CREATE INDEX entries_by_end ON entries (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE TABLE entry_selectors (
        owner INTEGER NOT NULL REFERENCES entries (seq) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (owner, kind, value)
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX entry_selectors_by_value ON entry_selectors (kind, value)",
    "CREATE TABLE entry_federation (
        owner INTEGER NOT NULL REFERENCES entries (seq) ON DELETE CASCADE,
        trust_domain TEXT NOT NULL,
        PRIMARY KEY (owner, trust_domain)
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX entry_federation_by_domain ON entry_federation (trust_domain)",
    "CREATE TABLE nodes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        attestation_type TEXT NOT NULL,
        serial TEXT,
        expires_at INTEGER NOT NULL,
        renewed_serial TEXT,
        renewed_expires_at INTEGER,
        can_reattest INTEGER NOT NULL,
        selectors TEXT NOT NULL,
        selector_count INTEGER NOT NULL,
        agent_version TEXT NOT NULL
    ) STRICT",
    "CREATE TABLE node_selectors (
        owner INTEGER NOT NULL REFERENCES nodes (seq) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (owner, kind, value)
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX node_selectors_by_value ON node_selectors (kind, value)",
    "CREATE TABLE join_tokens (
        hash BLOB PRIMARY KEY NOT NULL,
        expires_at INTEGER NOT NULL,
        agent_id TEXT
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE bundles (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        trust_domain TEXT NOT NULL UNIQUE,
        x509_authorities TEXT NOT NULL,
        refresh_hint INTEGER NOT NULL,
        sequence_number INTEGER NOT NULL
    ) STRICT",
    "CREATE TABLE journals (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        found_by TEXT NOT NULL UNIQUE,
        body BLOB NOT NULL
    ) STRICT",
    "CREATE TABLE feed (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        revision INTEGER NOT NULL
    ) STRICT",
    "INSERT INTO feed (only_row, revision) VALUES (1, 0)",
    "CREATE TABLE changes (
        revision INTEGER PRIMARY KEY NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL
    ) STRICT",
];

/// Keys of tokens in bundles, and which authority signed the SVID of a node.
const VERSION_2: &[&str] = &[
    "ALTER TABLE bundles ADD COLUMN jwt_authorities TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE bundles ADD COLUMN wit_authorities TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE nodes ADD COLUMN authority TEXT",
    "ALTER TABLE nodes ADD COLUMN renewed_authority TEXT",
];

/// Federation relationships, with how their bundles were fetched.
const VERSION_3: &[&str] = &["CREATE TABLE relationships (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        trust_domain TEXT NOT NULL UNIQUE,
        bundle_endpoint_url TEXT NOT NULL,
        endpoint_id TEXT,
        tried_at INTEGER,
        succeeded_at INTEGER,
        failure TEXT,
        next_at INTEGER
    ) STRICT"];
