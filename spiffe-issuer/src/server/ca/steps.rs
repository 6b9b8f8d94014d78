//! The steps of the rotation: the next authority is made, signs, is tainted, goes.

use std::sync::Arc;
use std::time::SystemTime;

use spiffe_core::x509::Certificate;
use tracing::info;

use super::csr::CaRequest;
use super::journal::{Slot, TokenKind, TokenRecord, X509Record};
use super::template::{Root, SerialNumber};
use super::{CaError, CaManager, UpstreamError, token};
use crate::domain::{AuthorityId, AuthorityKind, Standing, TokenAuthority};
use crate::keys::Signer;
use crate::server::store::AuthorityList;

impl CaManager {
    /// Makes the next authority. The very first signs at once.
    pub(super) async fn prepare(
        &mut self,
        kind: AuthorityKind,
        now: SystemTime,
    ) -> Result<(), CaError> {
        match kind {
            AuthorityKind::Jwt => self.prepare_tokens(TokenKind::Jwt, now).await,
            AuthorityKind::Wit => self.prepare_tokens(TokenKind::Wit, now).await,
            AuthorityKind::X509 => self.prepare_x509(now).await,
        }
    }

    /// Lets the next authority sign. Where its key is gone it is made anew instead.
    pub(super) async fn activate(
        &mut self,
        kind: AuthorityKind,
        now: SystemTime,
    ) -> Result<(), CaError> {
        match kind {
            AuthorityKind::Jwt => self.activate_tokens(TokenKind::Jwt, now).await,
            AuthorityKind::Wit => self.activate_tokens(TokenKind::Wit, now).await,
            AuthorityKind::X509 => self.activate_x509(now).await,
        }
    }

    async fn prepare_x509(&mut self, now: SystemTime) -> Result<(), CaError> {
        let active = self.journal.x509.active();
        let slot = active.map_or(Slot::A, |active| active.slot.other());
        let key = slot.key(AuthorityKind::X509);
        let signer = self.keys.generate(&key, self.config.key_kind).await?;
        let (next, roots) = match &self.upstream {
            None => self.root(slot, signer, now).await?,
            Some(_) => self.intermediate(slot, signer, now).await?,
        };
        let first = self.journal.x509.active().is_none();
        let rotation = self.journal.x509.clone().prepared(next.clone());
        self.step(self.journal.with_x509(rotation), roots.into())
            .await?;
        told(AuthorityKind::X509, "prepared", slot, &next.id());
        if first {
            told(AuthorityKind::X509, "activated", slot, &next.id());
        }
        Ok(())
    }

    /// An authority that signs itself.
    async fn root(
        &self,
        slot: Slot,
        signer: Arc<dyn Signer>,
        now: SystemTime,
    ) -> Result<(X509Record, Vec<Certificate>), CaError> {
        let root = Root {
            trust_domain: self.config.trust_domain.clone(),
            subject: self.config.subject.clone(),
            lifetime: self.config.lifetime,
        };
        let certificate = self.authorities.self_sign(root, signer, now).await?;
        let record = X509Record {
            slot,
            issued_at: now,
            certificate: certificate.clone(),
            intermediates: Vec::new(),
        };
        Ok((record, vec![certificate]))
    }

    /// An authority that the one above us makes.
    async fn intermediate(
        &self,
        slot: Slot,
        signer: Arc<dyn Signer>,
        now: SystemTime,
    ) -> Result<(X509Record, Vec<Certificate>), CaError> {
        let upstream = self.upstream.as_ref().ok_or(CaError::NotReady)?;
        let subject = self.config.subject.to_der(&SerialNumber::random()?)?;
        let request = CaRequest::write(&subject, &self.config.trust_domain, &*signer)?;
        let minted = upstream
            .mint_ca(&request, self.config.lifetime, now)
            .await?;
        minted.prove(&self.config.trust_domain, signer, now)?;
        let certificate = minted.chain.first().ok_or(CaError::NotReady)?.clone();
        let record = X509Record {
            slot,
            issued_at: now,
            certificate,
            intermediates: minted.chain,
        };
        let root = record.upstream();
        if let Some(root) = root
            && self.tainted_roots().await?.contains(&root)
        {
            return Err(UpstreamError::Tainted.into());
        }
        Ok((record, minted.roots))
    }

    async fn activate_x509(&mut self, now: SystemTime) -> Result<(), CaError> {
        let Some(next) = self.journal.x509.next().cloned() else {
            return Ok(());
        };
        if self.x509_signer(&next).await?.is_none() {
            return self.prepare_x509(now).await;
        }
        let rotation = self.journal.x509.clone().activated();
        let step = self.journal.with_x509(rotation);
        self.step(step, AuthorityList::default()).await?;
        told(AuthorityKind::X509, "activated", next.slot, &next.id());
        info!("Successfully rotated X.509 CA");
        Ok(())
    }

    async fn prepare_tokens(&mut self, kind: TokenKind, now: SystemTime) -> Result<(), CaError> {
        let key_kind = self.config.token_key(kind).ok_or(CaError::NotReady)?;
        let rotation = self.journal.tokens(kind);
        let slot = rotation
            .active()
            .map_or(Slot::A, |active| active.slot.other());
        let key = slot.key(kind.into());
        let signer = self.keys.generate(&key, key_kind).await?;
        let next = TokenRecord {
            slot,
            id: token::new_key_id()?,
            public_key: signer.public_key().clone(),
            issued_at: now,
            not_after: now + self.config.lifetime,
        };
        let authority = TokenAuthority {
            key_id: next.id.as_str().to_owned(),
            public_key: next.public_key.clone(),
            expires_at: Some(next.not_after),
            tainted: false,
        };
        let mut publishes = AuthorityList::default();
        match kind {
            TokenKind::Jwt => publishes.jwt.push(authority),
            TokenKind::Wit => publishes.wit.push(authority),
        }
        let first = rotation.active().is_none();
        let step = rotation.clone().prepared(next.clone());
        let step = self.journal.with_tokens(kind, step);
        self.step(step, publishes).await?;
        told(kind.into(), "prepared", slot, &next.id);
        if first {
            told(kind.into(), "activated", slot, &next.id);
        }
        Ok(())
    }

    async fn activate_tokens(&mut self, kind: TokenKind, now: SystemTime) -> Result<(), CaError> {
        let Some(next) = self.journal.tokens(kind).next().cloned() else {
            return Ok(());
        };
        if self.token_signer(kind, &next).await?.is_none() {
            return self.prepare_tokens(kind, now).await;
        }
        let rotation = self.journal.tokens(kind).clone().activated();
        let step = self.journal.with_tokens(kind, rotation);
        self.step(step, AuthorityList::default()).await?;
        told(kind.into(), "activated", next.slot, &next.id);
        Ok(())
    }

    /// Marks an authority in the bundle: agents, and we ourselves, replace what it signed.
    pub(super) async fn taint(&self, kind: AuthorityKind, id: &AuthorityId) -> Result<(), CaError> {
        let of = &self.config.trust_domain;
        Ok(self.store.taint_authority(of, kind, id).await?)
    }

    /// Takes a tainted authority out of the bundle, and returns when it would have ended. An old one of
    /// ours is forgotten with it; were we to end in between, it would be at the next start, for it is in
    /// the bundle no more.
    pub(super) async fn revoke(
        &mut self,
        kind: AuthorityKind,
        id: &AuthorityId,
    ) -> Result<Option<SystemTime>, CaError> {
        let of = self.config.trust_domain.clone();
        let bundle = self.store.find_bundle(&of).await?;
        let end = bundle.and_then(|bundle| bundle.end_of(kind, id));
        self.store.revoke_authority(&of, kind, id).await?;
        let mut states = self.states(kind).into_iter();
        if states.any(|state| state.standing == Standing::Old && state.id == *id) {
            let known = self.journal.clone();
            let journal = match kind {
                AuthorityKind::Jwt => {
                    known.with_tokens(TokenKind::Jwt, known.jwt.clone().retired())
                }
                AuthorityKind::Wit => {
                    known.with_tokens(TokenKind::Wit, known.wit.clone().retired())
                }
                AuthorityKind::X509 => known.with_x509(known.x509.clone().retired()),
            };
            self.step(journal, AuthorityList::default()).await?;
            self.signed.remove(id);
        }
        Ok(end)
    }

    /// The key of an X.509 authority, if it is the one in its slot.
    pub(super) async fn x509_signer(
        &self,
        record: &X509Record,
    ) -> Result<Option<Arc<dyn Signer>>, CaError> {
        let signer = self
            .keys
            .find(&record.slot.key(AuthorityKind::X509))
            .await?;
        Ok(signer.filter(|signer| signer.public_key() == record.certificate.public_key()))
    }

    /// The same of one that signs tokens.
    pub(super) async fn token_signer(
        &self,
        kind: TokenKind,
        record: &TokenRecord,
    ) -> Result<Option<Arc<dyn Signer>>, CaError> {
        let signer = self.keys.find(&record.slot.key(kind.into())).await?;
        Ok(signer.filter(|signer| *signer.public_key() == record.public_key))
    }
}

/// Writes the lines that operators look for.
fn told(kind: AuthorityKind, what: &'static str, slot: Slot, id: &AuthorityId) {
    let called = match kind {
        AuthorityKind::Jwt => "JWT key",
        AuthorityKind::Wit => "WIT key",
        AuthorityKind::X509 => "X509 CA",
    };
    info!(?slot, local_authority_id = %id, "{called} {what}");
}
