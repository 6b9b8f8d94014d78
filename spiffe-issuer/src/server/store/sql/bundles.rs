//! Trust bundles.

use std::collections::BTreeSet;
use std::time::SystemTime;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use spiffe_core::TrustDomain;
use spiffe_core::x509::{Certificate, PublicKey};

use super::row::{Columns, Row, duration_seconds, from_seconds, json, seconds, whole_second};
use super::session::{Session, Writing};
use super::statement::query;
use super::{SqlStore, changes, entries, entry_row, filter};
use crate::domain::{AuthorityId, AuthorityKind, Page, Paged, Revision, TokenAuthority};
use crate::server::store::{
    AuthorityList, BundleStore, Changed, Dissolve, Put, StoreError, StoredBundle, X509Authority,
};

#[async_trait]
impl BundleStore for SqlStore {
    async fn find_bundle(&self, of: &TrustDomain) -> Result<Option<StoredBundle>, StoreError> {
        let mut session = self.reading().await?;
        let query = query("SELECT * FROM bundles WHERE trust_domain = $1");
        let row = session.one(query.bind(of.as_str())).await?;
        row.as_ref().map(bundle).transpose()
    }

    async fn list_bundles(&self, page: &Page) -> Result<Paged<StoredBundle>, StoreError> {
        let mut sql = query("SELECT * FROM bundles WHERE 1 = 1");
        filter::page(&mut sql, page);
        let rows = self.reading().await?.all(sql).await?;
        let rows = rows.iter().map(|row| Ok((place(row)?, bundle(row)?)));
        let rows: Result<_, StoreError> = rows.collect();
        Ok(filter::paged(rows?, page))
    }

    async fn count_bundles(&self) -> Result<u64, StoreError> {
        let mut session = self.reading().await?;
        let row = session
            .the(query("SELECT COUNT(*) AS found FROM bundles"))
            .await?;
        Columns::of("bundles", &row).count("found")
    }

    async fn put_bundle(&self, bundle: StoredBundle, how: Put) -> Result<(), StoreError> {
        let mut session = self.writing().await?;
        put(&mut session, &bundle, how).await?;
        session.commit().await
    }

    async fn append_authorities(
        &self,
        to: &TrustDomain,
        authorities: &AuthorityList,
    ) -> Result<StoredBundle, StoreError> {
        let mut session = self.writing().await?;
        let bundle = append(&mut session, to, authorities).await?;
        session.commit().await?;
        Ok(bundle)
    }

    async fn taint_authority(
        &self,
        of: &TrustDomain,
        kind: AuthorityKind,
        id: &AuthorityId,
    ) -> Result<(), StoreError> {
        let mut session = self.writing().await?;
        let bundle = locate(&mut session, of).await?;
        let missing = || match kind {
            AuthorityKind::X509 => StoreError::NoRootToTaint,
            AuthorityKind::Jwt | AuthorityKind::Wit => StoreError::NoAuthority(kind),
        };
        let mut bundle = bundle.ok_or_else(missing)?;
        let marks = marks(&mut bundle, kind, id);
        if marks.is_empty() {
            return Err(missing());
        }
        for mark in marks {
            if std::mem::replace(mark, true) {
                return Err(StoreError::AlreadyTainted(kind));
            }
        }
        bundle.sequence_number += 1;
        write(&mut session, &bundle).await?;
        session.commit().await
    }

    async fn revoke_authority(
        &self,
        of: &TrustDomain,
        kind: AuthorityKind,
        id: &AuthorityId,
    ) -> Result<(), StoreError> {
        let mut session = self.writing().await?;
        let bundle = locate(&mut session, of).await?;
        let mut bundle = bundle.ok_or(StoreError::NoAuthority(kind))?;
        let marks = marks(&mut bundle, kind, id);
        if marks.is_empty() {
            return Err(StoreError::NoAuthority(kind));
        }
        if marks.iter().any(|tainted| !**tainted) {
            return Err(StoreError::Untainted(kind));
        }
        match kind {
            AuthorityKind::Jwt => bundle
                .jwt_authorities
                .retain(|key| key.key_id != id.as_str()),
            AuthorityKind::Wit => bundle
                .wit_authorities
                .retain(|key| key.key_id != id.as_str()),
            AuthorityKind::X509 => bundle.x509_authorities.retain(|root| !root.is_called(id)),
        }
        bundle.sequence_number += 1;
        write(&mut session, &bundle).await?;
        session.commit().await
    }

    async fn prune_authorities(
        &self,
        of: &TrustDomain,
        expired_before: SystemTime,
    ) -> Result<AuthorityList, StoreError> {
        let mut session = self.writing().await?;
        let Some(mut bundle) = locate(&mut session, of).await? else {
            return Ok(AuthorityList::default());
        };
        let expired = |key: &TokenAuthority| key.expires_at.is_some_and(|end| end < expired_before);
        let x509 = take(&mut bundle.x509_authorities, |root| {
            root.certificate.not_after() < expired_before
        });
        let gone = AuthorityList {
            x509: x509.into_iter().map(|root| root.certificate).collect(),
            jwt: take(&mut bundle.jwt_authorities, expired),
            wit: take(&mut bundle.wit_authorities, expired),
        };
        if !gone.is_empty() {
            bundle.sequence_number += 1;
            write(&mut session, &bundle).await?;
            session.commit().await?;
        }
        Ok(gone)
    }

    async fn delete_bundle(&self, of: &TrustDomain, how: Dissolve) -> Result<bool, StoreError> {
        let mut session = self.writing().await?;
        dissolve(&mut session, of, how).await?;
        let delete = query("DELETE FROM bundles WHERE trust_domain = $1");
        let there = session.run(delete.bind(of.as_str())).await? > 0;
        if there {
            changes::note(&mut session, &Changed::Bundle(of.clone())).await?;
        }
        session.commit().await?;
        Ok(there)
    }
}

/// Stores a bundle as it is meant, as part of a transaction.
pub(super) async fn put(
    session: &mut Session<Writing>,
    bundle: &StoredBundle,
    how: Put,
) -> Result<(), StoreError> {
    let known = locate(session, &bundle.trust_domain).await?;
    match (how, known) {
        (Put::Create, Some(_)) => Err(StoreError::Exists),
        (Put::Replace, None) => Err(StoreError::NotFound),
        (Put::Newer, Some(held)) if is_behind(bundle, &held) => says_the_same(bundle, &held),
        (Put::Newer, Some(held)) if *bundle == held => Ok(()),
        _ => write(session, bundle).await,
    }
}

fn is_behind(offered: &StoredBundle, held: &StoredBundle) -> bool {
    (1..held.sequence_number).contains(&offered.sequence_number)
}

/// Servers side by side may count differently, and say the same.
fn says_the_same(offered: &StoredBundle, held: &StoredBundle) -> Result<(), StoreError> {
    let same = StoredBundle {
        sequence_number: held.sequence_number,
        refresh_hint: held.refresh_hint,
        ..offered.clone()
    };
    match same == *held {
        true => Ok(()),
        false => Err(StoreError::Rollback {
            held: held.sequence_number,
            offered: offered.sequence_number,
        }),
    }
}

/// Adds what the bundle does not have yet, as part of a transaction.
pub(super) async fn append(
    session: &mut Session<Writing>,
    to: &TrustDomain,
    authorities: &AuthorityList,
) -> Result<StoredBundle, StoreError> {
    let known = locate(session, to).await?;
    let mut bundle = known
        .clone()
        .unwrap_or_else(|| StoredBundle::empty(to.clone()));
    for certificate in &authorities.x509 {
        let has = |known: &X509Authority| known.certificate == *certificate;
        if !bundle.x509_authorities.iter().any(has) {
            bundle.x509_authorities.push(X509Authority {
                certificate: certificate.clone(),
                tainted: false,
            });
        }
    }
    append_keys(&mut bundle.jwt_authorities, &authorities.jwt)?;
    append_keys(&mut bundle.wit_authorities, &authorities.wit)?;
    if known.as_ref() != Some(&bundle) {
        bundle.sequence_number += 1;
        write(session, &bundle).await?;
    }
    Ok(bundle)
}

/// Adds the keys that are not there yet. Tokens name their key by its ID alone, so there is but one key
/// of each ID.
fn append_keys(known: &mut Vec<TokenAuthority>, new: &[TokenAuthority]) -> Result<(), StoreError> {
    for key in new {
        match known.iter().find(|known| known.key_id == key.key_id) {
            None => known.push(TokenAuthority {
                tainted: false,
                expires_at: key.expires_at.map(whole_second),
                ..key.clone()
            }),
            Some(same) if same.public_key == key.public_key => {}
            Some(_) => return Err(StoreError::KeyIdTaken(key.key_id.clone())),
        }
    }
    Ok(())
}

/// Takes out what matches, but never everything: an empty list would tell all who verify to trust
/// nobody, and an expired authority says no more than that.
fn take<T>(list: &mut Vec<T>, matches: impl Fn(&T) -> bool) -> Vec<T> {
    if list.iter().all(&matches) {
        return Vec::new();
    }
    let (gone, kept) = std::mem::take(list).into_iter().partition(matches);
    *list = kept;
    gone
}

/// The marks of the authorities of this name. Certificates of one key share it.
fn marks<'b>(
    bundle: &'b mut StoredBundle,
    kind: AuthorityKind,
    id: &AuthorityId,
) -> Vec<&'b mut bool> {
    let keys = match kind {
        AuthorityKind::X509 => {
            let roots = bundle.x509_authorities.iter_mut();
            let named = roots.filter(|root| root.is_called(id));
            return named.map(|root| &mut root.tainted).collect();
        }
        AuthorityKind::Jwt => &mut bundle.jwt_authorities,
        AuthorityKind::Wit => &mut bundle.wit_authorities,
    };
    let named = keys.iter_mut().filter(|key| key.key_id == id.as_str());
    named.map(|key| &mut key.tainted).collect()
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
    let query = query(
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
    let query = query("SELECT * FROM bundles WHERE trust_domain = $1");
    let row = session.one(query.bind(of.as_str())).await?;
    row.as_ref().map(bundle).transpose()
}

async fn write(session: &mut Session<Writing>, bundle: &StoredBundle) -> Result<(), StoreError> {
    let upsert = query(
        "INSERT INTO bundles (
            trust_domain, x509_authorities, refresh_hint, sequence_number, jwt_authorities,
            wit_authorities
         ) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (trust_domain) DO UPDATE SET
            x509_authorities = excluded.x509_authorities,
            jwt_authorities = excluded.jwt_authorities,
            wit_authorities = excluded.wit_authorities,
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
        .bind(bundle.sequence_number.cast_signed())
        .bind(json(&key_rows(&bundle.jwt_authorities)))
        .bind(json(&key_rows(&bundle.wit_authorities)));
    session.run(upsert).await?;
    changes::note(session, &Changed::Bundle(bundle.trust_domain.clone())).await
}

/// A key as it is kept: its ID, itself as base64 of DER, its end, and whether it is tainted.
type KeyRow = (String, String, Option<i64>, bool);

fn key_rows(keys: &[TokenAuthority]) -> Vec<KeyRow> {
    let row = |key: &TokenAuthority| {
        let public_key = STANDARD.encode(key.public_key.spki_der());
        let end = key.expires_at.map(seconds);
        (key.key_id.clone(), public_key, end, key.tainted)
    };
    keys.iter().map(row).collect()
}

fn keys(row: &Columns<'_>, column: &'static str) -> Result<Vec<TokenAuthority>, StoreError> {
    let rows: Vec<KeyRow> = row.json(column)?;
    let keys = rows.into_iter().map(|(key_id, der, end, tainted)| {
        let der = STANDARD.decode(der);
        let der = der.map_err(|error| row.unreadable(column, error))?;
        let public_key = PublicKey::from_spki_der(&der);
        Ok(TokenAuthority {
            key_id,
            public_key: public_key.map_err(|error| row.unreadable(column, error))?,
            expires_at: end.map(from_seconds),
            tainted,
        })
    });
    keys.collect()
}

fn bundle(row: &Row) -> Result<StoredBundle, StoreError> {
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
        jwt_authorities: keys(&row, "jwt_authorities")?,
        wit_authorities: keys(&row, "wit_authorities")?,
        refresh_hint: row.duration_opt("refresh_hint")?.unwrap_or_default(),
        sequence_number: row.value::<i64>("sequence_number")?.cast_unsigned(),
    })
}

fn place(row: &Row) -> Result<i64, StoreError> {
    Columns::of("bundles", row).value("seq")
}
