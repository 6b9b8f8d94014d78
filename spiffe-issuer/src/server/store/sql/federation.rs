//! Federation relationships.

use async_trait::async_trait;
use spiffe_core::{SpiffeId, TrustDomain};

use super::row::{Columns, Row, seconds};
use super::session::{Session, Writing};
use super::statement::query;
use super::{SqlStore, bundles, changes, filter};
use crate::domain::{EndpointProfile, Page, Paged, Relationship};
use crate::server::store::{
    Changed, FederationStore, FetchStatus, Put, StoreError, StoredBundle, StoredRelationship,
};

#[async_trait]
impl FederationStore for SqlStore {
    async fn create_relationship(
        &self,
        relationship: &Relationship,
        bundle: Option<StoredBundle>,
    ) -> Result<(), StoreError> {
        let mut session = self.writing().await?;
        let known = locate(&mut session, &relationship.trust_domain).await?;
        if known.is_some() {
            return Err(StoreError::Exists);
        }
        write(&mut session, relationship, &FetchStatus::default()).await?;
        bring(&mut session, bundle, Put::Set).await?;
        session.commit().await
    }

    async fn find_relationship(
        &self,
        with: &TrustDomain,
    ) -> Result<Option<StoredRelationship>, StoreError> {
        let mut session = self.reading().await?;
        let query = query("SELECT * FROM relationships WHERE trust_domain = $1");
        let row = session.one(query.bind(with.as_str())).await?;
        row.as_ref().map(relationship).transpose()
    }

    async fn list_relationships(
        &self,
        page: &Page,
    ) -> Result<Paged<StoredRelationship>, StoreError> {
        let mut sql = query("SELECT * FROM relationships WHERE 1 = 1");
        filter::page(&mut sql, page);
        let rows = self.reading().await?.all(sql).await?;
        let rows = rows.iter().map(|row| Ok((place(row)?, relationship(row)?)));
        let rows: Result<_, StoreError> = rows.collect();
        Ok(filter::paged(rows?, page))
    }

    async fn replace_relationship(
        &self,
        relationship: &Relationship,
        bundle: Option<StoredBundle>,
    ) -> Result<(), StoreError> {
        let mut session = self.writing().await?;
        let known = locate(&mut session, &relationship.trust_domain).await?;
        known.ok_or(StoreError::NotFound)?;
        write(&mut session, relationship, &FetchStatus::default()).await?;
        bring(&mut session, bundle, Put::Set).await?;
        session.commit().await
    }

    async fn delete_relationship(&self, with: &TrustDomain) -> Result<bool, StoreError> {
        let mut session = self.writing().await?;
        let delete = query("DELETE FROM relationships WHERE trust_domain = $1");
        let there = session.run(delete.bind(with.as_str())).await? > 0;
        if there {
            changes::note(&mut session, &Changed::Relationship(with.clone())).await?;
        }
        session.commit().await?;
        Ok(there)
    }

    async fn record_fetch(
        &self,
        by: &Relationship,
        bundle: Option<StoredBundle>,
        status: FetchStatus,
    ) -> Result<(), StoreError> {
        let mut session = self.writing().await?;
        let known = locate(&mut session, &by.trust_domain).await?;
        if known.ok_or(StoreError::NotFound)?.relationship != *by {
            return Err(StoreError::Conflict);
        }
        write(&mut session, by, &status).await?;
        bring(&mut session, bundle, Put::Newer).await?;
        session.commit().await
    }
}

async fn bring(
    session: &mut Session<Writing>,
    bundle: Option<StoredBundle>,
    how: Put,
) -> Result<(), StoreError> {
    match bundle {
        Some(bundle) => bundles::put(session, &bundle, how).await,
        None => Ok(()),
    }
}

async fn locate(
    session: &mut Session<Writing>,
    with: &TrustDomain,
) -> Result<Option<StoredRelationship>, StoreError> {
    let query = query("SELECT * FROM relationships WHERE trust_domain = $1");
    let row = session.one(query.bind(with.as_str())).await?;
    row.as_ref().map(relationship).transpose()
}

async fn write(
    session: &mut Session<Writing>,
    relationship: &Relationship,
    status: &FetchStatus,
) -> Result<(), StoreError> {
    let upsert = query(
        "INSERT INTO relationships (
            trust_domain, bundle_endpoint_url, endpoint_id, tried_at, succeeded_at, failure, next_at
         ) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (trust_domain) DO UPDATE SET
            bundle_endpoint_url = excluded.bundle_endpoint_url,
            endpoint_id = excluded.endpoint_id,
            tried_at = excluded.tried_at,
            succeeded_at = excluded.succeeded_at,
            failure = excluded.failure,
            next_at = excluded.next_at",
    );
    let endpoint_id = match &relationship.profile {
        EndpointProfile::HttpsSpiffe(id) => Some(id.as_str()),
        EndpointProfile::HttpsWeb => None,
    };
    let upsert = upsert
        .bind(relationship.trust_domain.as_str())
        .bind(&*relationship.bundle_endpoint_url)
        .bind(endpoint_id)
        .bind(status.tried_at.map(seconds))
        .bind(status.succeeded_at.map(seconds))
        .bind(status.failure.as_deref())
        .bind(status.next_at.map(seconds));
    session.run(upsert).await?;
    let changed = Changed::Relationship(relationship.trust_domain.clone());
    changes::note(session, &changed).await
}

fn relationship(row: &Row) -> Result<StoredRelationship, StoreError> {
    let row = Columns::of("relationships", row);
    let endpoint_id: Option<SpiffeId> = row.parsed_opt("endpoint_id")?;
    Ok(StoredRelationship {
        relationship: Relationship {
            trust_domain: row.parsed("trust_domain")?,
            bundle_endpoint_url: row.value("bundle_endpoint_url")?,
            profile: match endpoint_id {
                Some(id) => EndpointProfile::HttpsSpiffe(id),
                None => EndpointProfile::HttpsWeb,
            },
        },
        status: FetchStatus {
            tried_at: row.time_opt("tried_at")?,
            succeeded_at: row.time_opt("succeeded_at")?,
            failure: row.value("failure")?,
            next_at: row.time_opt("next_at")?,
        },
    })
}

fn place(row: &Row) -> Result<i64, StoreError> {
    Columns::of("relationships", row).value("seq")
}
