//! An attested node as a row, with what it is searched by.

use sqlx::sqlite::SqliteRow;

use super::row::{Columns, flag, seconds, selectors_json};
use super::session::{Session, Writing};
use crate::domain::{AttestedNode, AuthorityId, NodeSvid, Serial};
use crate::server::store::StoreError;

/// The node that a row of `nodes` is.
pub(super) fn node(row: &SqliteRow) -> Result<AttestedNode, StoreError> {
    let row = Columns::of("nodes", row);
    let serial = |column| {
        let text: Option<&str> = row.value(column)?;
        Ok::<_, StoreError>(text.map(Serial::from_decimal))
    };
    let authority = |column| {
        let text: Option<&str> = row.value(column)?;
        Ok::<_, StoreError>(text.map(AuthorityId::from_text))
    };
    let renewed = serial("renewed_serial")?.zip(row.time_opt("renewed_expires_at")?);
    let renewed_authority = authority("renewed_authority")?;
    Ok(AttestedNode {
        id: row.parsed("id")?,
        attestation_type: row.value("attestation_type")?,
        serial: serial("serial")?,
        expires_at: row.time("expires_at")?,
        authority: authority("authority")?,
        renewed: renewed.map(|(serial, expires_at)| NodeSvid {
            serial,
            expires_at,
            authority: renewed_authority,
        }),
        can_reattest: row.flag("can_reattest")?,
        selectors: row.selectors("selectors")?,
        agent_version: row.value("agent_version")?,
    })
}

/// The place of a row in a list.
pub(super) fn place(row: &SqliteRow) -> Result<i64, StoreError> {
    Columns::of("nodes", row).value("seq")
}

/// Writes the row, at this place or at the end, and what it is searched by.
pub(super) async fn insert(
    session: &mut Session<Writing>,
    seq: Option<i64>,
    node: &AttestedNode,
) -> Result<(), StoreError> {
    let insert = sqlx::query(
        "INSERT INTO nodes (
            seq, id, attestation_type, serial, expires_at, renewed_serial, renewed_expires_at,
            can_reattest, selectors, selector_count, agent_version, authority, renewed_authority
         ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING seq",
    );
    let renewed = node.renewed.as_ref();
    let insert = insert
        .bind(seq)
        .bind(node.id.as_str())
        .bind(&*node.attestation_type)
        .bind(node.serial.as_ref().map(Serial::as_str))
        .bind(seconds(node.expires_at))
        .bind(renewed.map(|svid| svid.serial.as_str()))
        .bind(renewed.map(|svid| seconds(svid.expires_at)))
        .bind(flag(node.can_reattest))
        .bind(selectors_json(&node.selectors))
        .bind(i64::try_from(node.selectors.len()).unwrap_or(i64::MAX))
        .bind(&*node.agent_version)
        .bind(node.authority.as_ref().map(AuthorityId::as_str))
        .bind(renewed.and_then(|svid| svid.authority.as_ref().map(AuthorityId::as_str)));
    let row = session.the(insert).await?;
    let seq = place(&row)?;
    for selector in &node.selectors {
        let insert =
            sqlx::query("INSERT INTO node_selectors (owner, kind, value) VALUES ($1, $2, $3)");
        let insert = insert
            .bind(seq)
            .bind(selector.kind())
            .bind(selector.value());
        session.run(insert).await?;
    }
    Ok(())
}

/// Deletes the row, and with it what it is searched by.
pub(super) async fn delete(session: &mut Session<Writing>, seq: i64) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM nodes WHERE seq = $1");
    session.run(delete.bind(seq)).await.map(drop)
}
