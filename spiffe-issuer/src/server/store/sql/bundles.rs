//! Trust bundles.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use spiffe_core::TrustDomain;
use spiffe_core::x509::Certificate;
use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteRow;

use super::row::{Columns, duration_seconds, json};
use super::session::{Session, Writing};
use super::{SqlStore, changes, entries, entry_row, filter};
use crate::domain::{Page, Paged, Revision};
use crate::server::store::{
    BundleStore, Changed, Dissolve, Put, StoreError, StoredBundle, X509Authority,
};

#[async_trait]
impl BundleStore for SqlStore {
    async fn find_bundle(&self, of: &TrustDomain) -> Result<Option<StoredBundle>, StoreError> {
        let mut session = self.reading().await?;
        let query = sqlx::query("SELECT * FROM bundles WHERE trust_domain = $1");
        let row = session.one(query.bind(of.as_str())).await?;
        row.as_ref().map(bundle).transpose()
    }

    async fn list_bundles(&self, page: &Page) -> Result<Paged<StoredBundle>, StoreError> {
        let mut sql = QueryBuilder::new("SELECT * FROM bundles WHERE 1 = 1");
        filter::page(&mut sql, page);
        let rows = self.reading().await?.all(sql.build()).await?;
        let rows = rows.iter().map(|row| Ok((place(row)?, bundle(row)?)));
        let rows: Result<_, StoreError> = rows.collect();
        Ok(filter::paged(rows?, page))
    }

    async fn count_bundles(&self) -> Result<u64, StoreError> {
        let mut session = self.reading().await?;
        let row = session
            .the(sqlx::query("SELECT COUNT(*) AS found FROM bundles"))
            .await?;
        Columns::of("bundles", &row).count("found")
    }

    async fn put_bundle(&self, bundle: StoredBundle, how: Put) -> Result<(), StoreError> {
        let mut session = self.writing().await?;
        let known = locate(&mut session, &bundle.trust_domain).await?;
        match (how, known) {
            (Put::Create, Some(_)) => return Err(StoreError::Exists),
            (Put::Replace, None) => return Err(StoreError::NotFound),
            _ => write(&mut session, &bundle).await?,
        }
        session.commit().await
    }

    async fn append_authorities(
        &self,
        to: &TrustDomain,
        authorities: &[Certificate],
    ) -> Result<StoredBundle, StoreError> {
        let mut session = self.writing().await?;
        let bundle = append(&mut session, to, authorities).await?;
        session.commit().await?;
        Ok(bundle)
    }

    async fn prune_authorities(
        &self,
        of: &TrustDomain,
        expired_before: SystemTime,
    ) -> Result<Vec<Certificate>, StoreError> {
        let mut session = self.writing().await?;
        let Some(mut bundle) = locate(&mut session, of).await? else {
            return Ok(Vec::new());
        };
        let expired =
            |authority: &X509Authority| authority.certificate.not_after() < expired_before;
        let (gone, kept): (Vec<_>, Vec<_>) = bundle.x509_authorities.into_iter().partition(expired);
        // An empty bundle would tell all who verify to trust nobody; an expired one says no more.
        if gone.is_empty() || kept.is_empty() {
            return Ok(Vec::new());
        }
        bundle.x509_authorities = kept;
        bundle.sequence_number += 1;
        write(&mut session, &bundle).await?;
        session.commit().await?;
        Ok(gone.into_iter().map(|gone| gone.certificate).collect())
    }

    async fn delete_bundle(&self, of: &TrustDomain, how: Dissolve) -> Result<bool, StoreError> {
        let mut session = self.writing().await?;
        dissolve(&mut session, of, how).await?;
        let delete = sqlx::query("DELETE FROM bundles WHERE trust_domain = $1");
        let there = session.run(delete.bind(of.as_str())).await? > 0;
        if there {
            changes::note(&mut session, &Changed::Bundle(of.clone())).await?;
        }
        session.commit().await?;
        Ok(there)
    }
}

/// Adds what the bundle does not have yet, as part of a transaction.
pub(super) async fn append(
    session: &mut Session<Writing>,
    to: &TrustDomain,
    authorities: &[Certificate],
) -> Result<StoredBundle, StoreError> {
    let known = locate(session, to).await?;
    let mut bundle = known.clone().unwrap_or_else(|| StoredBundle {
        trust_domain: to.clone(),
        x509_authorities: Vec::new(),
        refresh_hint: Duration::ZERO,
        sequence_number: 0,
    });
    for certificate in authorities {
        let has = |known: &X509Authority| known.certificate == *certificate;
        if !bundle.x509_authorities.iter().any(has) {
            bundle.x509_authorities.push(X509Authority {
                certificate: certificate.clone(),
                tainted: false,
            });
        }
    }
    if known.as_ref() != Some(&bundle) {
        bundle.sequence_number += 1;
        write(session, &bundle).await?;
    }
    Ok(bundle)
}

/// The first of these trust domains whose bundle is not here.
pub(super) async fn first_missing(
    session: &mut Session<Writing>,
    trust_domains: &BTreeSet<TrustDomain>,
) -> Result<Option<TrustDomain>, StoreError> {
    for trust_domain in trust_domains {
        if locate(session, trust_domain).await?.is_none() {
            return Ok(Some(trust_domain.clone()));
        }
    }
    Ok(None)
}

/// Does with the entries that federate with a bundle what is to be done before it goes.
async fn dissolve(
    session: &mut Session<Writing>,
    bundle: &TrustDomain,
    how: Dissolve,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "SELECT entries.* FROM entries JOIN entry_federation ON owner = seq
         WHERE trust_domain = $1 ORDER BY seq",
    );
    let rows = session.all(query.bind(bundle.as_str())).await?;
    if how == Dissolve::Restrict && !rows.is_empty() {
        return Err(StoreError::InUse(rows.len() as u64));
    }
    for row in &rows {
        let (seq, mut entry) = (entry_row::place(row)?, entry_row::entry(row)?);
        if how == Dissolve::Delete {
            entries::delete(session, seq, &entry.id).await?;
            continue;
        }
        entry.body.federates_with.remove(bundle);
        entry.revision = Revision(entry.revision.0 + 1);
        entry_row::delete(session, seq).await?;
        entries::insert(session, Some(seq), &entry).await?;
    }
    Ok(())
}

async fn locate(
    session: &mut Session<Writing>,
    of: &TrustDomain,
) -> Result<Option<StoredBundle>, StoreError> {
    let query = sqlx::query("SELECT * FROM bundles WHERE trust_domain = $1");
    let row = session.one(query.bind(of.as_str())).await?;
    row.as_ref().map(bundle).transpose()
}

async fn write(session: &mut Session<Writing>, bundle: &StoredBundle) -> Result<(), StoreError> {
    let upsert = sqlx::query(
        "INSERT INTO bundles (trust_domain, x509_authorities, refresh_hint, sequence_number)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (trust_domain) DO UPDATE SET
            x509_authorities = excluded.x509_authorities,
            refresh_hint = excluded.refresh_hint,
            sequence_number = excluded.sequence_number",
    );
    let authorities = bundle.x509_authorities.iter();
    let authorities: Vec<_> = authorities
        .map(|known| (STANDARD.encode(known.certificate.der()), known.tainted))
        .collect();
    let upsert = upsert
        .bind(bundle.trust_domain.as_str())
        .bind(json(&authorities))
        .bind(duration_seconds(bundle.refresh_hint))
        // The API counts without a sign, the database with one; the bits are the same.
        .bind(bundle.sequence_number.cast_signed());
    session.run(upsert).await?;
    changes::note(session, &Changed::Bundle(bundle.trust_domain.clone())).await
}

fn bundle(row: &SqliteRow) -> Result<StoredBundle, StoreError> {
    let row = Columns::of("bundles", row);
    let authorities: Vec<(String, bool)> = row.json("x509_authorities")?;
    let authorities = authorities.iter().map(|(der, tainted)| {
        let der = STANDARD.decode(der);
        let der = der.map_err(|error| row.unreadable("x509_authorities", error))?;
        let certificate = Certificate::from_der(&der);
        Ok(X509Authority {
            certificate: certificate.map_err(|error| row.unreadable("x509_authorities", error))?,
            tainted: *tainted,
        })
    });
    Ok(StoredBundle {
        trust_domain: row.parsed("trust_domain")?,
        x509_authorities: authorities.collect::<Result<_, StoreError>>()?,
        refresh_hint: row.duration_opt("refresh_hint")?.unwrap_or_default(),
        sequence_number: row.value::<i64>("sequence_number")?.cast_unsigned(),
    })
}

fn place(row: &SqliteRow) -> Result<i64, StoreError> {
    Columns::of("bundles", row).value("seq")
}
