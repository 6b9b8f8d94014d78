//! Attested nodes.

use std::time::SystemTime;

use async_trait::async_trait;
use spiffe_core::SpiffeId;

use super::node_row::{self, node, place};
use super::row::{Columns, whole_second};
use super::session::{Session, Writing};
use super::statement::query;
use super::{SqlStore, changes, entries, filter, tokens};
use crate::domain::{
    AttestedNode, NewEntry, NodeFilter, NodeSvid, Page, Paged, Selector, SelectorSet, Serial,
    TokenHash,
};
use crate::server::store::{Changed, NodeStore, StoreError};

#[async_trait]
impl NodeStore for SqlStore {
    async fn admit(
        &self,
        node: AttestedNode,
        spends: Option<TokenHash>,
        now: SystemTime,
    ) -> Result<AttestedNode, StoreError> {
        let mut session = self.writing().await?;
        let alias = match spends {
            Some(token) => tokens::redeem(&mut session, &token, now).await?.agent_id,
            None => None,
        };
        let node = record(&mut session, node).await?;
        if let Some(alias) = alias {
            entries::create(&mut session, alias_entry(&node.id, alias)?, now).await?;
        }
        session.commit().await?;
        Ok(node)
    }

    async fn renew_node(&self, id: &SpiffeId, svid: NodeSvid) -> Result<(), StoreError> {
        let renewed = NodeSvid {
            expires_at: whole_second(svid.expires_at),
            ..svid
        };
        let change = |node: &mut AttestedNode| match node.is_banned() {
            true => Err(StoreError::NodeBanned),
            false => {
                node.renewed = Some(renewed);
                Ok(())
            }
        };
        self.change_node(id, change).await.map(drop)
    }

    async fn activate_renewed(
        &self,
        id: &SpiffeId,
        serial: &Serial,
    ) -> Result<AttestedNode, StoreError> {
        self.change_node(id, |node| {
            if let Some(svid) = node.renewed.take_if(|svid| svid.serial == *serial) {
                node.serial = Some(svid.serial);
                node.expires_at = svid.expires_at;
                node.authority = svid.authority;
            }
            Ok(())
        })
        .await
    }

    async fn set_agent_version(&self, id: &SpiffeId, version: &str) -> Result<(), StoreError> {
        let change = |node: &mut AttestedNode| {
            version.clone_into(&mut node.agent_version);
            Ok(())
        };
        self.change_node(id, change).await.map(drop)
    }

    async fn ban_node(&self, id: &SpiffeId) -> Result<(), StoreError> {
        let change = |node: &mut AttestedNode| {
            node.serial = None;
            node.renewed = None;
            Ok(())
        };
        self.change_node(id, change).await.map(drop)
    }

    async fn delete_node(&self, id: &SpiffeId) -> Result<Option<AttestedNode>, StoreError> {
        let mut session = self.writing().await?;
        let Some((seq, node)) = locate(&mut session, id).await? else {
            return Ok(None);
        };
        entries::delete_where(&mut session, id, &alias_selectors(id)?).await?;
        node_row::delete(&mut session, seq).await?;
        changes::note(&mut session, &Changed::Node(id.clone())).await?;
        session.commit().await?;
        Ok(Some(node))
    }

    async fn find_node(&self, id: &SpiffeId) -> Result<Option<AttestedNode>, StoreError> {
        let mut session = self.reading().await?;
        let query = query("SELECT * FROM nodes WHERE id = $1");
        let row = session.one(query.bind(id.as_str())).await?;
        row.as_ref().map(node).transpose()
    }

    async fn list_nodes(
        &self,
        filter: &NodeFilter,
        page: &Page,
    ) -> Result<Paged<AttestedNode>, StoreError> {
        let mut sql = query("SELECT * FROM nodes");
        filter::nodes(&mut sql, filter);
        filter::page(&mut sql, page);
        let rows = self.reading().await?.all(sql).await?;
        let rows = rows.iter().map(|row| Ok((place(row)?, node(row)?)));
        let rows: Result<_, StoreError> = rows.collect();
        Ok(filter::paged(rows?, page))
    }

    async fn count_nodes(&self, filter: &NodeFilter) -> Result<u64, StoreError> {
        let mut sql = query("SELECT COUNT(*) AS found FROM nodes");
        filter::nodes(&mut sql, filter);
        let row = self.reading().await?.the(sql).await?;
        Columns::of("nodes", &row).count("found")
    }
}

impl SqlStore {
    /// Reads a node, changes it and writes it back, in one transaction.
    async fn change_node(
        &self,
        id: &SpiffeId,
        change: impl FnOnce(&mut AttestedNode) -> Result<(), StoreError> + Send,
    ) -> Result<AttestedNode, StoreError> {
        let mut session = self.writing().await?;
        let found = locate(&mut session, id).await?;
        let (seq, mut node) = found.ok_or(StoreError::NotFound)?;
        change(&mut node)?;
        write(&mut session, Some(seq), &node).await?;
        session.commit().await?;
        Ok(node)
    }
}

/// Records a node that attested: as it is, or over what is known of it.
async fn record(
    session: &mut Session<Writing>,
    attested: AttestedNode,
) -> Result<AttestedNode, StoreError> {
    let Some((seq, known)) = locate(session, &attested.id).await? else {
        write(session, None, &attested).await?;
        return Ok(attested);
    };
    if known.is_banned() {
        return Err(StoreError::NodeBanned);
    }
    let node = AttestedNode {
        attestation_type: attested.attestation_type,
        renewed: attested.serial.map(|serial| NodeSvid {
            serial,
            expires_at: attested.expires_at,
            authority: attested.authority,
        }),
        can_reattest: attested.can_reattest,
        selectors: attested.selectors,
        ..known
    };
    write(session, Some(seq), &node).await?;
    Ok(node)
}

async fn write(
    session: &mut Session<Writing>,
    seq: Option<i64>,
    node: &AttestedNode,
) -> Result<(), StoreError> {
    if let Some(seq) = seq {
        node_row::delete(session, seq).await?;
    }
    node_row::insert(session, seq, node).await?;
    changes::note(session, &Changed::Node(node.id.clone())).await
}

/// The node of this ID, and its place.
async fn locate(
    session: &mut Session<Writing>,
    id: &SpiffeId,
) -> Result<Option<(i64, AttestedNode)>, StoreError> {
    let query = query("SELECT * FROM nodes WHERE id = $1");
    let row = session.one(query.bind(id.as_str())).await?;
    row.map(|row| Ok((place(&row)?, node(&row)?))).transpose()
}

/// The entry that gives a node the ID that its join token carries.
fn alias_entry(node: &SpiffeId, alias: SpiffeId) -> Result<NewEntry, StoreError> {
    let selectors = alias_selectors(node)?;
    Ok(NewEntry::new(alias, node.clone(), selectors))
}

/// An alias is known by its parent and this selector; no other entry has both.
fn alias_selectors(node: &SpiffeId) -> Result<SelectorSet, StoreError> {
    let selector = Selector::new("spiffe_id", node.as_str());
    let selector = selector.map_err(|error| StoreError::Decode {
        table: "nodes",
        column: "id",
        source: error.into(),
    })?;
    Ok(SelectorSet::from([selector]))
}
