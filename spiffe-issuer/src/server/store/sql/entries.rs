//! Registration entries.

use std::time::SystemTime;

use async_trait::async_trait;
use spiffe_core::SpiffeId;

use super::entry_row::{self, entry, place};
use super::row::{Columns, seconds, selectors_json, whole_second};
use super::session::{Session, Writing};
use super::statement::query;
use super::{SqlStore, bundles, changes, filter};
use crate::domain::{Entry, EntryFilter, EntryId, NewEntry, Page, Paged, Revision, SelectorSet};
use crate::server::store::{Changed, Created, EntryStore, StoreError};

#[async_trait]
impl EntryStore for SqlStore {
    async fn create_entries(
        &self,
        entries: Vec<NewEntry>,
        now: SystemTime,
    ) -> Result<Vec<Created<Entry>>, StoreError> {
        let mut session = self.writing().await?;
        let mut created = Vec::new();
        for entry in entries {
            created.push(create(&mut session, entry, now).await?);
        }
        session.commit().await?;
        Ok(created)
    }

    async fn find_entry(&self, id: &EntryId) -> Result<Option<Entry>, StoreError> {
        let mut session = self.reading().await?;
        let query = query("SELECT * FROM entries WHERE id = $1");
        let row = session.one(query.bind(id.as_str())).await?;
        row.as_ref().map(entry).transpose()
    }

    async fn list_entries(
        &self,
        filter: &EntryFilter,
        page: &Page,
    ) -> Result<Paged<Entry>, StoreError> {
        let mut sql = query("SELECT * FROM entries");
        filter::entries(&mut sql, filter);
        filter::page(&mut sql, page);
        let rows = self.reading().await?.all(sql).await?;
        let rows = rows.iter().map(|row| Ok((place(row)?, entry(row)?)));
        let rows: Result<_, StoreError> = rows.collect();
        Ok(filter::paged(rows?, page))
    }

    async fn count_entries(&self, filter: &EntryFilter) -> Result<u64, StoreError> {
        let mut sql = query("SELECT COUNT(*) AS found FROM entries");
        filter::entries(&mut sql, filter);
        let row = self.reading().await?.the(sql).await?;
        Columns::of("entries", &row).count("found")
    }

    async fn replace_entry(&self, entry: Entry) -> Result<Entry, StoreError> {
        let mut session = self.writing().await?;
        let federates_with = &entry.body.federates_with;
        if let Some(missing) = bundles::first_missing(&mut session, federates_with).await? {
            return Err(StoreError::NoBundle(missing));
        }
        let Some((seq, stored)) = locate(&mut session, &entry.id).await? else {
            return Err(StoreError::NotFound);
        };
        if stored.revision != entry.revision {
            return Err(StoreError::Conflict);
        }
        let replaced = Entry {
            revision: Revision(entry.revision.0 + 1),
            created_at: stored.created_at,
            ..entry
        };
        // The new row has the old one's place, so that lists keep their order.
        entry_row::delete(&mut session, seq).await?;
        insert(&mut session, Some(seq), &replaced).await?;
        session.commit().await?;
        Ok(replaced)
    }

    async fn delete_entry(&self, id: &EntryId) -> Result<Option<Entry>, StoreError> {
        let mut session = self.writing().await?;
        let Some((seq, entry)) = locate(&mut session, id).await? else {
            return Ok(None);
        };
        delete(&mut session, seq, &entry.id).await?;
        session.commit().await?;
        Ok(Some(entry))
    }

    async fn prune_entries(&self, now: SystemTime, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut session = self.writing().await?;
        let query =
            query("SELECT * FROM entries WHERE expires_at < $1 ORDER BY expires_at LIMIT $2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = session.all(query.bind(seconds(now)).bind(limit)).await?;
        let mut pruned = Vec::new();
        for row in &rows {
            let entry = entry(row)?;
            delete(&mut session, place(row)?, &entry.id).await?;
            pruned.push(entry);
        }
        session.commit().await?;
        Ok(pruned)
    }
}

/// Makes one entry, as part of a transaction.
pub(super) async fn create(
    session: &mut Session<Writing>,
    mut body: NewEntry,
    now: SystemTime,
) -> Result<Created<Entry>, StoreError> {
    if let Some(existing) = alike(session, &body).await? {
        return Ok(Created::Existing(existing));
    }
    if let Some(missing) = bundles::first_missing(session, &body.federates_with).await? {
        return Ok(Created::NoBundle(missing));
    }
    let id = body.id.take().unwrap_or_else(EntryId::random);
    if locate(session, &id).await?.is_some() {
        return Ok(Created::IdTaken);
    }
    let entry = Entry {
        id,
        revision: Revision(0),
        created_at: whole_second(now),
        body,
    };
    insert(session, None, &entry).await?;
    Ok(Created::New(entry))
}

/// Deletes the entries with this parent and these selectors, as part of a transaction.
pub(super) async fn delete_where(
    session: &mut Session<Writing>,
    parent_id: &SpiffeId,
    selectors: &SelectorSet,
) -> Result<(), StoreError> {
    let query = query("SELECT * FROM entries WHERE parent_id = $1 AND selectors = $2");
    let query = query
        .bind(parent_id.as_str())
        .bind(selectors_json(selectors));
    for row in session.all(query).await? {
        delete(session, place(&row)?, &entry(&row)?.id).await?;
    }
    Ok(())
}

/// Deletes one entry, as part of a transaction.
pub(super) async fn delete(
    session: &mut Session<Writing>,
    seq: i64,
    id: &EntryId,
) -> Result<(), StoreError> {
    entry_row::delete(session, seq).await?;
    changes::note(session, &Changed::Entry(id.clone())).await
}

/// Writes one entry, as part of a transaction.
pub(super) async fn insert(
    session: &mut Session<Writing>,
    seq: Option<i64>,
    entry: &Entry,
) -> Result<(), StoreError> {
    entry_row::insert(session, seq, entry).await?;
    changes::note(session, &Changed::Entry(entry.id.clone())).await
}

/// The entry of this ID, and its place.
async fn locate(
    session: &mut Session<Writing>,
    id: &EntryId,
) -> Result<Option<(i64, Entry)>, StoreError> {
    let query = query("SELECT * FROM entries WHERE id = $1");
    let row = session.one(query.bind(id.as_str())).await?;
    row.map(|row| Ok((place(&row)?, entry(&row)?))).transpose()
}

/// The first entry with the same SPIFFE ID, parent and selectors.
async fn alike(
    session: &mut Session<Writing>,
    body: &NewEntry,
) -> Result<Option<Entry>, StoreError> {
    let query = query("SELECT * FROM entries WHERE likeness = $1 ORDER BY seq LIMIT 1");
    let row = session.one(query.bind(entry_row::likeness(body))).await?;
    row.as_ref().map(entry).transpose()
}
