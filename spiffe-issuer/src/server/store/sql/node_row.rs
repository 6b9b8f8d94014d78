//! An attested node as a row, with what it is searched by.

use super::row::{Columns, Row, flag, seconds, selectors_json};
use super::session::{Session, Writing};
use super::statement::{Insert, query};
use crate::domain::{AttestedNode, AuthorityId, NodeSvid, Serial};
use crate::server::store::StoreError;

/// The node that a row of `nodes` is.
pub(super) fn node(row: &Row) -> Result<AttestedNode, StoreError> {
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
pub(super) fn place(row: &Row) -> Result<i64, StoreError> {
    Columns::of("nodes", row).value("seq")
}

/// Writes the row, at this place or at the end, and what it is searched by.
pub(super) async fn insert(
    session: &mut Session<Writing>,
    seq: Option<i64>,
    node: &AttestedNode,
) -> Result<(), StoreError> {
    let renewed = node.renewed.as_ref();
    let mut insert = Insert::into("nodes");
    if let Some(seq) = seq {
        insert.set("seq", seq);
    }
    let named = |authority: &Option<AuthorityId>| Some(authority.as_ref()?.as_str().to_owned());
    insert
        .set("id", node.id.as_str())
        .set("attestation_type", &*node.attestation_type)
        .set("serial", node.serial.as_ref().map(Serial::as_str))
        .set("expires_at", seconds(node.expires_at))
        .set("authority", named(&node.authority))
        .set("renewed_serial", renewed.map(|svid| svid.serial.as_str()))
        .set(
            "renewed_expires_at",
            renewed.map(|svid| seconds(svid.expires_at)),
        )
        .set(
            "renewed_authority",
            renewed.and_then(|svid| named(&svid.authority)),
        )
        .set("can_reattest", flag(node.can_reattest))
        .set("selectors", selectors_json(&node.selectors))
        .set(
            "selector_count",
            i64::try_from(node.selectors.len()).unwrap_or(i64::MAX),
        )
        .set("agent_version", &*node.agent_version);
    let row = session.the(insert.returning("seq")).await?;
    let seq = place(&row)?;
    for selector in &node.selectors {
        let insert = query("INSERT INTO node_selectors (owner, kind, value) VALUES ($1, $2, $3)");
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
    let delete = query("DELETE FROM nodes WHERE seq = $1");
    session.run(delete.bind(seq)).await.map(drop)
}
