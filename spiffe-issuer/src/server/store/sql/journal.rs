//! The journals of the servers that share this store.

use async_trait::async_trait;

use super::row::Columns;
use super::statement::query;
use super::{SqlStore, bundles};
use crate::domain::AuthorityId;
use crate::server::store::{JournalId, JournalStore, JournalWrite, StoreError, StoredJournal};

#[async_trait]
impl JournalStore for SqlStore {
    async fn find_journal(
        &self,
        authorities: &[AuthorityId],
    ) -> Result<Option<StoredJournal>, StoreError> {
        let mut sql = query("SELECT id, body FROM journals WHERE 1 = 0");
        for authority in authorities {
            sql.push(" OR found_by = ")
                .push_bind(authority.as_str().to_owned());
        }
        // Of two that match, the one that was begun later was written by the server that runs now.
        sql.push(" ORDER BY id DESC LIMIT 1");
        let row = self.reading().await?.one(sql).await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let row = Columns::of("journals", &row);
        Ok(Some(StoredJournal {
            id: JournalId(row.value("id")?),
            body: row.value("body")?,
        }))
    }

    async fn write_journal(&self, journal: JournalWrite<'_>) -> Result<JournalId, StoreError> {
        let mut session = self.writing().await?;
        let statement = match journal.id {
            Some(JournalId(id)) => {
                query("UPDATE journals SET found_by = $1, body = $2 WHERE id = $3 RETURNING id")
                    .bind(journal.found_by.as_str())
                    .bind(journal.body)
                    .bind(id)
            }
            None => query("INSERT INTO journals (found_by, body) VALUES ($1, $2) RETURNING id")
                .bind(journal.found_by.as_str())
                .bind(journal.body),
        };
        let row = session.one(statement).await?.ok_or(StoreError::NotFound)?;
        let id = Columns::of("journals", &row).value("id")?;
        if !journal.publishes.is_empty() {
            let (to, published) = (journal.trust_domain, journal.publishes);
            bundles::append(&mut session, to, published).await?;
        }
        session.commit().await?;
        Ok(JournalId(id))
    }
}
