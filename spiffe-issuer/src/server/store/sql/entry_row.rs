//! A registration entry as a row, with what it is searched by.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use spiffe_core::TrustDomain;

use super::row::{Columns, Row, duration_seconds, flag, json, seconds, selectors_json};
use super::session::{Session, Writing};
use super::statement::{Insert, query};
use crate::domain::{Entry, Hint, NewEntry, Revision};
use crate::server::store::StoreError;

/// The entry that a row of `entries` is.
pub(super) fn entry(row: &Row) -> Result<Entry, StoreError> {
    let row = Columns::of("entries", row);
    let hint: &str = row.value("hint")?;
    let hint = Hint::new(hint).ok_or_else(|| row.unreadable("hint", "it is too long"))?;
    Ok(Entry {
        id: row.parsed("id")?,
        revision: Revision(row.value("revision")?),
        created_at: row.time("created_at")?,
        body: NewEntry {
            id: None,
            spiffe_id: row.parsed("spiffe_id")?,
            parent_id: row.parsed("parent_id")?,
            selectors: row.selectors("selectors")?,
            x509_svid_ttl: row.duration_opt("x509_svid_ttl")?,
            jwt_svid_ttl: row.duration_opt("jwt_svid_ttl")?,
            federates_with: federates_with(&row)?,
            admin: row.flag("admin")?,
            downstream: row.flag("downstream")?,
            expires_at: row.time_opt("expires_at")?,
            dns_names: row.json("dns_names")?,
            store_svid: row.flag("store_svid")?,
            hint,
            disable_x509_svid_prefetch: row.flag("disable_x509_svid_prefetch")?,
            jwt_svid_include_jti: row.flag("jwt_svid_include_jti")?,
        },
    })
}

/// The place of a row in a list.
pub(super) fn place(row: &Row) -> Result<i64, StoreError> {
    Columns::of("entries", row).value("seq")
}

fn federates_with(row: &Columns<'_>) -> Result<BTreeSet<TrustDomain>, StoreError> {
    let names: Vec<String> = row.json("federates_with")?;
    let parsed: Result<_, _> = names.iter().map(|name| name.parse()).collect();
    parsed.map_err(|error: spiffe_core::IdError| row.unreadable("federates_with", error))
}

/// Writes the row, at this place or at the end, and what it is searched by.
pub(super) async fn insert(
    session: &mut Session<Writing>,
    seq: Option<i64>,
    entry: &Entry,
) -> Result<(), StoreError> {
    let body = &entry.body;
    let federates_with: Vec<_> = body
        .federates_with
        .iter()
        .map(TrustDomain::as_str)
        .collect();
    let mut insert = Insert::into("entries");
    if let Some(seq) = seq {
        insert.set("seq", seq);
    }
    insert
        .set("id", entry.id.as_str())
        .set("likeness", likeness(body))
        .set("spiffe_id", body.spiffe_id.as_str())
        .set("parent_id", body.parent_id.as_str())
        .set("selectors", selectors_json(&body.selectors))
        .set("selector_count", len(body.selectors.len()))
        .set("federates_with", json(&federates_with))
        .set("federates_with_count", len(federates_with.len()))
        .set("dns_names", json(&body.dns_names))
        .set("x509_svid_ttl", body.x509_svid_ttl.map(duration_seconds))
        .set("jwt_svid_ttl", body.jwt_svid_ttl.map(duration_seconds))
        .set("admin", flag(body.admin))
        .set("downstream", flag(body.downstream))
        .set("store_svid", flag(body.store_svid))
        .set(
            "disable_x509_svid_prefetch",
            flag(body.disable_x509_svid_prefetch),
        )
        .set("jwt_svid_include_jti", flag(body.jwt_svid_include_jti))
        .set("hint", body.hint.as_str())
        .set("expires_at", body.expires_at.map(seconds))
        .set("revision", entry.revision.0)
        .set("created_at", seconds(entry.created_at));
    let row = session.the(insert.returning("seq")).await?;
    index(session, place(&row)?, body).await
}

async fn index(
    session: &mut Session<Writing>,
    seq: i64,
    body: &NewEntry,
) -> Result<(), StoreError> {
    for selector in &body.selectors {
        let insert = query("INSERT INTO entry_selectors (owner, kind, value) VALUES ($1, $2, $3)");
        let insert = insert
            .bind(seq)
            .bind(selector.kind())
            .bind(selector.value());
        session.run(insert).await?;
    }
    for trust_domain in &body.federates_with {
        let insert = query("INSERT INTO entry_federation (owner, trust_domain) VALUES ($1, $2)");
        session
            .run(insert.bind(seq).bind(trust_domain.as_str()))
            .await?;
    }
    Ok(())
}

/// Deletes the row, and with it what it is searched by.
pub(super) async fn delete(session: &mut Session<Writing>, seq: i64) -> Result<(), StoreError> {
    let delete = query("DELETE FROM entries WHERE seq = $1");
    session.run(delete.bind(seq)).await.map(drop)
}

/// A hash over what makes two entries the same: SPIFFE ID, parent and selectors.
pub(super) fn likeness(body: &NewEntry) -> Vec<u8> {
    // As JSON, so that no text can run over into the next.
    let selectors = selectors_json(&body.selectors);
    let parts = [body.spiffe_id.as_str(), body.parent_id.as_str(), &selectors];
    let hash = digest::digest(&digest::SHA256, json(&parts).as_bytes());
    hash.as_ref().to_vec()
}

fn len(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}
