//! Taking up the authorities where they were left: by the keys that are there, the journal that names
//! one of them, and the bundle, which says which of them are still believed.

use std::time::SystemTime;

use tracing::warn;

use super::journal::{self, Journal, Slot, TokenKind, TokenRecord, X509Record};
use super::rotation::{Authority, Rotation};
use super::sign::Signed;
use super::template::key_id;
use super::{CaError, CaManager};
use crate::domain::{AuthorityId, AuthorityKind, Standing, TokenAuthority};
use crate::server::store::StoredBundle;

impl CaManager {
    /// Finds the journal by the keys that are there, and takes from it what can still be used.
    pub(super) async fn restore(&mut self) -> Result<(), CaError> {
        let mut ids = Vec::new();
        for slot in Slot::BOTH {
            let key = slot.key(AuthorityKind::X509);
            if let Some(signer) = self.keys.find(&key).await? {
                ids.push(AuthorityId::from_key_id(&key_id(signer.public_key())));
            }
        }
        let bundle = self.store.find_bundle(&self.config.trust_domain).await?;
        let Some(stored) = self.store.find_journal(&ids).await? else {
            if bundle.is_some() {
                warn!(
                    "No key of the authorities in the bundle is here, so new authorities are made; \
                     what the old ones signed is good until it ends"
                );
            }
            return Ok(());
        };
        let known = journal::read(&stored.body)?;
        self.journal_id = Some(stored.id);
        self.journal = Journal {
            x509: self.usable_x509(known.x509, bundle.as_ref()).await?,
            jwt: self
                .usable_tokens(TokenKind::Jwt, known.jwt, bundle.as_ref())
                .await?,
            wit: self
                .usable_tokens(TokenKind::Wit, known.wit, bundle.as_ref())
                .await?,
        };
        self.assume_signed();
        Ok(())
    }

    /// An authority that is no longer in the bundle was revoked, or belongs to another store; one whose
    /// key is gone cannot sign.
    async fn usable_x509(
        &self,
        known: Rotation<X509Record>,
        bundle: Option<&StoredBundle>,
    ) -> Result<Rotation<X509Record>, CaError> {
        let listed = |record: &&X509Record| bundle.is_some_and(|bundle| is_listed(record, bundle));
        let [active, next, old] =
            [known.active(), known.next(), known.old()].map(|record| record.filter(listed));
        let mut usable = [None, None];
        for (usable, record) in usable.iter_mut().zip([active, next]) {
            if let Some(record) = record
                && self.x509_signer(record).await?.is_some()
            {
                *usable = Some(record.clone());
            }
        }
        let [active, next] = usable;
        Ok(Rotation::of(active, next, old.cloned()))
    }

    /// The same of those that sign tokens.
    async fn usable_tokens(
        &self,
        kind: TokenKind,
        known: Rotation<TokenRecord>,
        bundle: Option<&StoredBundle>,
    ) -> Result<Rotation<TokenRecord>, CaError> {
        let keys: &[TokenAuthority] = match (kind, bundle) {
            (_, None) => &[],
            (TokenKind::Jwt, Some(bundle)) => &bundle.jwt_authorities,
            (TokenKind::Wit, Some(bundle)) => &bundle.wit_authorities,
        };
        let listed = |record: &&TokenRecord| {
            let is = |key: &TokenAuthority| {
                key.key_id == record.id.as_str() && key.public_key == record.public_key
            };
            keys.iter().any(is)
        };
        let [active, next, old] =
            [known.active(), known.next(), known.old()].map(|record| record.filter(listed));
        let mut usable = [None, None];
        for (usable, record) in usable.iter_mut().zip([active, next]) {
            if let Some(record) = record
                && self.token_signer(kind, record).await?.is_some()
            {
                *usable = Some(record.clone());
            }
        }
        let [active, next] = usable;
        Ok(Rotation::of(active, next, old.cloned()))
    }

    /// What was signed before the start nobody has counted. All of it ends with the authority.
    fn assume_signed(&mut self) {
        let Journal { x509, jwt, wit } = &self.journal;
        let x509 = x509
            .all()
            .map(|(s, record)| (s, record.id(), record.not_after()));
        let tokens = jwt.all().chain(wit.all());
        let tokens = tokens.map(|(s, record)| (s, record.id.clone(), record.not_after()));
        let all: Vec<(Standing, AuthorityId, SystemTime)> = x509.chain(tokens).collect();
        for (standing, id, end) in all {
            let signed = Signed::default();
            if standing != Standing::Prepared {
                signed.note(end);
            }
            self.signed.insert(id, signed.into());
        }
    }
}

/// Whether those who verify believe an authority: it is in the bundle, or the root above it is.
fn is_listed(record: &X509Record, bundle: &StoredBundle) -> bool {
    let mut roots = bundle.x509_authorities.iter();
    match record.upstream() {
        Some(upstream) => roots.any(|root| {
            let key_id = root.certificate.subject_key_id();
            key_id.map(AuthorityId::from_key_id) == Some(upstream.clone())
        }),
        // Whoever signed the uppermost one does not say which key it has.
        None if !record.intermediates.is_empty() => true,
        None => roots.any(|root| root.certificate == record.certificate),
    }
}
