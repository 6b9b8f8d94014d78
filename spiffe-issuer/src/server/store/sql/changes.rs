//! The change feed: each write leaves a row, each row has the next revision.

use async_trait::async_trait;

use super::SqlStore;
use super::row::{Columns, Row};
use super::session::{Session, Writing};
use super::statement::query;
use crate::server::store::{Bell, Change, ChangeFeed, Changed, FeedRevision, StoreError};

#[async_trait]
impl ChangeFeed for SqlStore {
    async fn latest_revision(&self) -> Result<FeedRevision, StoreError> {
        let mut session = self.reading().await?;
        let row = session.the(query("SELECT revision FROM feed")).await?;
        revision(&Columns::of("feed", &row))
    }

    async fn changes_since(
        &self,
        last: FeedRevision,
        limit: usize,
    ) -> Result<Vec<Change>, StoreError> {
        let mut session = self.reading().await?;
        let query = query(
            "SELECT revision, kind, subject FROM changes WHERE revision > $1
             ORDER BY revision LIMIT $2",
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = session.all(query.bind(last.0).bind(limit)).await?;
        let changes: Result<Vec<_>, _> = rows.iter().map(change).collect();
        let changes = changes?;
        match changes.first() {
            // Revisions have no gaps, so what is missing here was pruned.
            Some(first) if first.revision.0 != last.0 + 1 => Err(StoreError::FeedPruned),
            _ => Ok(changes),
        }
    }

    fn bell(&self) -> Box<dyn Bell> {
        match self.pools.postgres() {
            Some(database) => Box::new(database.bell()),
            None => Box::new(Silent),
        }
    }

    async fn prune_changes(&self, keep: u64) -> Result<u64, StoreError> {
        let mut session = self.writing().await?;
        // The latest one always stays: it shows those who are behind that there is something new.
        let keep = i64::try_from(keep.max(1)).unwrap_or(i64::MAX);
        let delete =
            query("DELETE FROM changes WHERE revision <= (SELECT revision FROM feed) - $1");
        let deleted = session.run(delete.bind(keep)).await?;
        session.commit().await?;
        Ok(deleted)
    }
}

/// Where nobody else writes, nobody rings: whoever asks sees what there is.
struct Silent;

#[async_trait]
impl Bell for Silent {
    async fn rung(&mut self) {
        std::future::pending().await
    }
}

/// Adds a change to the transaction that makes it. The counter is one row: whoever raises it holds
/// it until the commit, so revisions are in the order of commits.
pub(super) async fn note(
    session: &mut Session<Writing>,
    changed: &Changed,
) -> Result<(), StoreError> {
    let raise = query("UPDATE feed SET revision = revision + 1 RETURNING revision");
    let row = session.the(raise).await?;
    let revision = revision(&Columns::of("feed", &row))?;
    let (kind, subject) = match changed {
        Changed::Bundle(trust_domain) => (BUNDLE, trust_domain.as_str()),
        Changed::Entry(id) => (ENTRY, id.as_str()),
        Changed::Node(id) => (NODE, id.as_str()),
        Changed::Relationship(with) => (RELATIONSHIP, with.as_str()),
    };
    let insert = query("INSERT INTO changes (revision, kind, subject) VALUES ($1, $2, $3)");
    let insert = insert.bind(revision.0).bind(kind).bind(subject);
    session.run(insert).await.map(drop)
}

fn change(row: &Row) -> Result<Change, StoreError> {
    let row = Columns::of("changes", row);
    let subject = match row.value("kind")? {
        BUNDLE => Changed::Bundle(row.parsed("subject")?),
        ENTRY => Changed::Entry(row.parsed("subject")?),
        NODE => Changed::Node(row.parsed("subject")?),
        RELATIONSHIP => Changed::Relationship(row.parsed("subject")?),
        _ => return Err(row.unreadable("kind", "it is none that we write")),
    };
    Ok(Change {
        revision: revision(&row)?,
        subject,
    })
}

fn revision(row: &Columns<'_>) -> Result<FeedRevision, StoreError> {
    row.value("revision").map(FeedRevision)
}

const BUNDLE: &str = "bundle";
const ENTRY: &str = "entry";
const NODE: &str = "node";
const RELATIONSHIP: &str = "relationship";
