//! Drives the rotation of authorities: makes keys and certificates when they are due, writes down each
//! step before it counts, and puts what signs into [`Authorities`].

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spiffe_core::TrustDomain;
use spiffe_core::clock::{Clock, sleep_until};
use spiffe_core::x509::{Certificate, KeyKind};
use tracing::{error, info};

use super::journal::{self, Journal, TokenKind};
use super::orders::{Desk, Orders};
use super::rotation::Step;
use super::sign::{Authorities, Known, Signed, Tokens, X509, X509Authority};
use super::template::CaSubject;
use super::token::TokenSigner;
use super::{AuthorityState, CaError, UpstreamAuthority};
use crate::domain::{AuthorityId, AuthorityKind};
use crate::keys::KeyManager;
use crate::runtime::health::Part;
use crate::runtime::{Shutdown, TaskError};
use crate::server::store::{AuthorityList, JournalId, JournalWrite, SharedStore};

/// What our authorities are like.
#[derive(Debug, Clone)]
pub struct CaConfig {
    /// The trust domain that they speak for.
    pub trust_domain: TrustDomain,
    /// The subject of their certificates.
    pub subject: CaSubject,
    /// The kind of their keys.
    pub key_kind: KeyKind,
    /// The kind of the keys of JWT-SVIDs; none where there are to be no JWT-SVIDs.
    pub jwt: Option<KeyKind>,
    /// The kind of the keys of WIT-SVIDs; none where there are to be no WIT-SVIDs.
    pub wit: Option<KeyKind>,
    /// How long each of them lives.
    pub lifetime: Duration,
}

impl CaConfig {
    /// As authorities are where nothing is said.
    #[must_use]
    pub fn of(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            subject: CaSubject::default(),
            key_kind: KeyKind::EcP256,
            jwt: Some(KeyKind::EcP256),
            wit: None,
            lifetime: Duration::from_secs(24 * 3600),
        }
    }

    /// The kinds of authorities that there are to be.
    #[must_use]
    pub fn kinds(&self) -> Vec<AuthorityKind> {
        let jwt = self.jwt.map(|_| AuthorityKind::Jwt);
        let wit = self.wit.map(|_| AuthorityKind::Wit);
        let kinds = [Some(AuthorityKind::X509), jwt, wit];
        kinds.into_iter().flatten().collect()
    }

    pub(super) fn token_key(&self, kind: TokenKind) -> Option<KeyKind> {
        match kind {
            TokenKind::Jwt => self.jwt,
            TokenKind::Wit => self.wit,
        }
    }
}

/// Makes authorities and lets one follow the other.
pub struct CaManager {
    pub(super) config: CaConfig,
    pub(super) keys: Arc<dyn KeyManager>,
    pub(super) upstream: Option<Arc<dyn UpstreamAuthority>>,
    pub(super) store: SharedStore,
    pub(super) authorities: Arc<Authorities>,
    clock: Arc<dyn Clock>,
    pub(super) journal_id: Option<JournalId>,
    pub(super) journal: Journal,
    /// What each authority has signed, as far as it is known.
    pub(super) signed: BTreeMap<AuthorityId, Arc<Signed>>,
    /// The roots above us that are in the bundle already.
    pub(super) roots: Vec<Certificate>,
    /// Those for which the next authority was made before its time.
    pub(super) followed: Vec<Certificate>,
    orders: Orders,
    desk: Desk,
    prune_at: SystemTime,
}

impl CaManager {
    /// Takes up the authorities where they were left, and makes the first ones where there are none.
    /// Once this returns, `authorities` can sign.
    ///
    /// # Errors
    ///
    /// Where keys, store or the authority above us fail. Those are read before any key is made, so
    /// that a server that cannot start leaves no trail of keys.
    pub async fn start(
        config: CaConfig,
        keys: Arc<dyn KeyManager>,
        upstream: Option<Arc<dyn UpstreamAuthority>>,
        store: SharedStore,
        authorities: Arc<Authorities>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CaError> {
        let now = clock.now();
        let (orders, desk) = Orders::new();
        let mut manager = Self {
            config,
            keys,
            upstream,
            store,
            authorities,
            clock,
            journal_id: None,
            journal: Journal::EMPTY,
            signed: BTreeMap::new(),
            roots: Vec::new(),
            followed: Vec::new(),
            orders,
            desk,
            prune_at: now,
        };
        manager.restore().await?;
        manager.follow_upstream(now).await?;
        manager.advance(now).await?;
        manager.publish().await?;
        manager.warn_of_upstream();
        Ok(manager)
    }

    /// Where operators' orders go while this runs.
    #[must_use]
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Looks every few seconds what is due, and carries out orders as they come. A step that fails is
    /// tried again; what signs meanwhile goes on signing.
    ///
    /// # Errors
    ///
    /// None: it ends when it is told to.
    pub async fn run(mut self, mut part: Part, stop: Shutdown) -> Result<(), TaskError> {
        loop {
            match self.tick().await {
                Ok(()) => part.succeeded(),
                Err(failure) => {
                    part.failed(&failure);
                    let failure: &dyn Error = &failure;
                    error!(error = failure, "Unable to rotate authorities");
                }
            }
            let next = self.clock.now() + LOOK_EVERY;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = sleep_until(&*self.clock, next) => break,
                    // There is always somebody who could give one: we hold the other end.
                    Some(order) = self.desk.next() => self.serve(order).await,
                }
            }
        }
    }

    /// Does what is due now, for those who bring their own clock.
    ///
    /// # Errors
    ///
    /// Where keys, store or the authority above us fail; then it is still due. One that fails keeps no
    /// other from being done.
    pub async fn tick(&mut self) -> Result<(), CaError> {
        let now = self.now();
        let followed = self.follow_upstream(now).await;
        let advanced = self.advance(now).await;
        let mut pruned = Ok(());
        if now >= self.prune_at {
            pruned = self.prune_bundle(now).await;
            if pruned.is_ok() {
                self.prune_at = now + PRUNE_EVERY;
            }
        }
        followed.and(advanced).and(pruned)
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Whether there are authorities of this kind.
    pub(super) fn has(&self, kind: AuthorityKind) -> bool {
        self.config.kinds().contains(&kind)
    }

    pub(super) fn has_upstream(&self) -> bool {
        self.upstream.is_some()
    }

    /// How the authorities of this kind stand: the one that signs first.
    pub(super) fn states(&self, kind: AuthorityKind) -> Vec<AuthorityState> {
        self.journal.states(kind)
    }

    /// Takes the steps that are due, of each kind of authority. X.509 comes first: the journal is found
    /// by the one that signs.
    async fn advance(&mut self, now: SystemTime) -> Result<(), CaError> {
        let mut outcome = Ok(());
        for kind in self.config.kinds() {
            outcome = outcome.and(self.advance_one(kind, now).await);
        }
        outcome
    }

    /// One step, or as many as the clock has passed. There are three at most: what was prepared signs;
    /// where that has expired meanwhile, the next one is made, and signs.
    async fn advance_one(&mut self, kind: AuthorityKind, now: SystemTime) -> Result<(), CaError> {
        for _ in 0..3 {
            let due = match kind {
                AuthorityKind::Jwt => self.journal.jwt.due(now),
                AuthorityKind::Wit => self.journal.wit.due(now),
                AuthorityKind::X509 => self.journal.x509.due(now),
            };
            match due {
                Some(Step::Prepare) => self.prepare(kind, now).await?,
                Some(Step::Activate) => self.activate(kind, now).await?,
                None => break,
            }
        }
        Ok(())
    }

    /// Writes a step down; only then has it happened.
    pub(super) async fn step(
        &mut self,
        journal: Journal,
        publishes: AuthorityList,
    ) -> Result<(), CaError> {
        let active = journal.x509.active().ok_or(CaError::NotReady)?;
        let write = JournalWrite {
            id: self.journal_id,
            found_by: &active.id(),
            body: &journal::write(&journal),
            trust_domain: &self.config.trust_domain,
            publishes: &publishes,
        };
        self.journal_id = Some(self.store.write_journal(write).await?);
        self.journal = journal;
        self.publish().await
    }

    /// Lets everyone sign with what is active now.
    async fn publish(&mut self) -> Result<(), CaError> {
        let active = self.journal.x509.active().ok_or(CaError::NotReady)?.clone();
        let signer = self.x509_signer(&active).await?.ok_or(CaError::NotReady)?;
        let known = self.known(AuthorityKind::X509);
        let active = X509Authority {
            signed: self.signed_by(&active.id()),
            certificate: active.certificate,
            signer,
            intermediates: active.intermediates,
        };
        let active = Arc::new(active);
        self.authorities.replace_x509(X509 { active, known });
        for kind in [TokenKind::Jwt, TokenKind::Wit] {
            // The first one is made a step later.
            let Some(active) = self.journal.tokens(kind).active().cloned() else {
                continue;
            };
            let signer = self.token_signer(kind, &active).await?;
            let known = self.known(kind.into());
            let active = TokenSigner {
                signed: self.signed_by(&active.id),
                signer: signer.ok_or(CaError::NotReady)?,
                not_after: active.not_after,
                id: active.id,
            };
            let active = Arc::new(active);
            self.authorities
                .replace_tokens(kind, Tokens { active, known });
        }
        Ok(())
    }

    fn known(&mut self, kind: AuthorityKind) -> Vec<Known> {
        let states = self.states(kind).into_iter();
        let known = states.map(|state| Known {
            signed: self.signed_by(&state.id),
            state,
        });
        known.collect()
    }

    fn signed_by(&mut self, id: &AuthorityId) -> Arc<Signed> {
        Arc::clone(self.signed.entry(id.clone()).or_default())
    }

    async fn prune_bundle(&self, now: SystemTime) -> Result<(), CaError> {
        let trust_domain = &self.config.trust_domain;
        let expired_before = now - KEEP_EXPIRED;
        let pruned = self
            .store
            .prune_authorities(trust_domain, expired_before)
            .await?;
        for certificate in pruned.x509 {
            let key_id = certificate.subject_key_id().unwrap_or_default();
            info!(subject_key_id = %AuthorityId::from_key_id(key_id), "X.509 authority pruned");
        }
        for key in pruned.jwt.into_iter().chain(pruned.wit) {
            info!(
                local_authority_id = key.key_id,
                "Authority of tokens pruned"
            );
        }
        Ok(())
    }
}

/// How often to look what is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often to look for authorities that can go from the bundle.
const PRUNE_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// How long an authority stays in the bundle after its end, for clocks that are behind.
const KEEP_EXPIRED: Duration = Duration::from_secs(24 * 60 * 60);
