//! Drives the rotation of authorities: makes keys and roots when they are due, writes down each step
//! before it counts, and puts what signs into [`Authorities`].

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spiffe_core::TrustDomain;
use spiffe_core::clock::{Clock, sleep_until};
use spiffe_core::x509::KeyKind;
use tracing::{error, info, warn};

use super::journal::{self, Slot, X509Record};
use super::rotation::{Rotation, Step};
use super::sign::{Authorities, X509, X509Authority};
use super::template::{CaSubject, Root, key_id};
use super::{AuthorityState, CaError};
use crate::domain::{AuthorityId, Standing};
use crate::keys::{KeyManager, Signer};
use crate::runtime::health::Part;
use crate::runtime::{Shutdown, TaskError};
use crate::server::store::{JournalId, JournalWrite, SharedStore, StoredBundle};

/// What our authorities are like.
#[derive(Debug, Clone)]
pub struct CaConfig {
    /// The trust domain that they speak for.
    pub trust_domain: TrustDomain,
    /// The subject of their certificates.
    pub subject: CaSubject,
    /// The kind of their keys.
    pub key_kind: KeyKind,
    /// How long each of them lives.
    pub lifetime: Duration,
}

/// Makes authorities and lets one follow the other.
pub struct CaManager {
    config: CaConfig,
    keys: Arc<dyn KeyManager>,
    store: SharedStore,
    authorities: Arc<Authorities>,
    clock: Arc<dyn Clock>,
    journal: Option<JournalId>,
    x509: Rotation<X509Record>,
    prune_at: SystemTime,
}

impl CaManager {
    /// Takes up the authorities where they were left, and makes the first one where there is none.
    /// Once this returns, `authorities` can sign.
    ///
    /// # Errors
    ///
    /// Where keys or store fail. Both are read before any key is made, so that a server that cannot
    /// start leaves no trail of keys.
    pub async fn start(
        config: CaConfig,
        keys: Arc<dyn KeyManager>,
        store: SharedStore,
        authorities: Arc<Authorities>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CaError> {
        let now = clock.now();
        let mut manager = Self {
            config,
            keys,
            store,
            authorities,
            clock,
            journal: None,
            x509: Rotation::Empty,
            prune_at: now,
        };
        manager.restore().await?;
        manager.advance(now).await?;
        manager.publish().await?;
        Ok(manager)
    }

    /// Looks every few seconds what is due. A step that fails is tried again; what signs meanwhile
    /// goes on signing.
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
                    error!(error = failure, "Unable to rotate X.509 CA");
                }
            }
            let next = self.clock.now() + LOOK_EVERY;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep_until(&*self.clock, next) => {}
            }
        }
    }

    /// Does what is due now, for those who bring their own clock.
    ///
    /// # Errors
    ///
    /// Where keys or store fail; then it is still due.
    pub async fn tick(&mut self) -> Result<(), CaError> {
        let now = self.clock.now();
        self.advance(now).await?;
        if now >= self.prune_at {
            self.prune_bundle(now).await?;
            self.prune_at = now + PRUNE_EVERY;
        }
        Ok(())
    }

    /// Takes the steps that are due: one, or two where the clock has passed both.
    async fn advance(&mut self, now: SystemTime) -> Result<(), CaError> {
        for _ in 0..2 {
            match self.x509.due(now) {
                Some(Step::Prepare) => self.prepare(now).await?,
                Some(Step::Activate) => self.activate(now).await?,
                None => break,
            }
        }
        Ok(())
    }

    /// Makes the next authority. The very first signs at once.
    async fn prepare(&mut self, now: SystemTime) -> Result<(), CaError> {
        let slot = self
            .x509
            .active()
            .map_or(Slot::A, |active| active.slot.other());
        let signer = self
            .keys
            .generate(&slot.x509_key(), self.config.key_kind)
            .await?;
        let root = Root {
            trust_domain: self.config.trust_domain.clone(),
            subject: self.config.subject.clone(),
            lifetime: self.config.lifetime,
        };
        let next = X509Record {
            slot,
            issued_at: now,
            certificate: self.authorities.self_sign(root, signer, now).await?,
            intermediates: Vec::new(),
        };
        let first = self.x509.active().is_none();
        self.step(self.x509.clone().prepared(next.clone()), Some(&next))
            .await?;
        told("X509 CA prepared", &next);
        if first {
            told("X509 CA activated", &next);
        }
        self.publish().await
    }

    /// Lets the next authority sign. Where its key is gone it is made anew instead.
    async fn activate(&mut self, now: SystemTime) -> Result<(), CaError> {
        let Some(next) = self.x509.next().cloned() else {
            return Ok(());
        };
        if self.signer(&next).await?.is_none() {
            return self.prepare(now).await;
        }
        self.step(self.x509.clone().activated(), None).await?;
        told("X509 CA activated", &next);
        self.publish().await
    }

    /// Writes a step down; only then has it happened.
    async fn step(
        &mut self,
        x509: Rotation<X509Record>,
        publishes: Option<&X509Record>,
    ) -> Result<(), CaError> {
        let active = x509.active().ok_or(CaError::NotReady)?;
        let publishes = publishes.map(|record| record.certificate.clone());
        let publishes = publishes.into_iter().collect::<Vec<_>>().into();
        let journal = JournalWrite {
            id: self.journal,
            found_by: &active.id(),
            body: &journal::write(&x509),
            trust_domain: &self.config.trust_domain,
            publishes: &publishes,
        };
        self.journal = Some(self.store.write_journal(journal).await?);
        self.x509 = x509;
        Ok(())
    }

    /// Finds the journal by the keys that are there, and takes from it what can still be used.
    async fn restore(&mut self) -> Result<(), CaError> {
        let mut ids = Vec::new();
        for slot in Slot::BOTH {
            if let Some(signer) = self.keys.find(&slot.x509_key()).await? {
                ids.push(AuthorityId::from_key_id(&key_id(signer.public_key())));
            }
        }
        let bundle = self.store.find_bundle(&self.config.trust_domain).await?;
        let Some(stored) = self.store.find_journal(&ids).await? else {
            if bundle.is_some() {
                warn!(
                    "No key of the authorities in the bundle is here, so a new authority is made; \
                     what the old ones signed is good until it ends"
                );
            }
            return Ok(());
        };
        let known = journal::read(&stored.body)?;
        let listed = |record: &&X509Record| is_listed(record, bundle.as_ref());
        // An authority that is no longer in the bundle was revoked, or belongs to another store.
        let [active, next, old] =
            [known.active(), known.next(), known.old()].map(|record| record.filter(listed));
        let active = self.usable(active).await?;
        let next = self.usable(next).await?;
        self.journal = Some(stored.id);
        self.x509 = Rotation::of(active, next, old.cloned());
        Ok(())
    }

    /// The authority, if its key is still where it was.
    async fn usable(&self, record: Option<&X509Record>) -> Result<Option<X509Record>, CaError> {
        let Some(record) = record else {
            return Ok(None);
        };
        Ok(self.signer(record).await?.map(|_| record.clone()))
    }

    /// The key of an authority, if it is the one in its slot.
    async fn signer(&self, record: &X509Record) -> Result<Option<Arc<dyn Signer>>, CaError> {
        let signer = self.keys.find(&record.slot.x509_key()).await?;
        Ok(signer.filter(|signer| signer.public_key() == record.certificate.public_key()))
    }

    /// Lets everyone sign with what is active now.
    async fn publish(&self) -> Result<(), CaError> {
        let active = self.x509.active().ok_or(CaError::NotReady)?;
        let signer = self.signer(active).await?.ok_or(CaError::NotReady)?;
        let state = |standing, record: &X509Record| AuthorityState {
            id: record.id(),
            standing,
            expires_at: record.certificate.not_after(),
        };
        let states = [
            Some(state(Standing::Active, active)),
            self.x509.next().map(|next| state(Standing::Prepared, next)),
            self.x509.old().map(|old| state(Standing::Old, old)),
        ];
        self.authorities.replace_x509(X509 {
            active: Arc::new(X509Authority {
                certificate: active.certificate.clone(),
                signer,
                intermediates: active.intermediates.clone(),
            }),
            states: states.into_iter().flatten().collect(),
        });
        Ok(())
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
        Ok(())
    }
}

fn is_listed(record: &X509Record, bundle: Option<&StoredBundle>) -> bool {
    // An intermediate is not in the bundle itself; the root above it is its issuer's business.
    !record.intermediates.is_empty()
        || bundle.is_some_and(|bundle| {
            let mut authorities = bundle.x509_authorities.iter();
            authorities.any(|authority| authority.certificate == record.certificate)
        })
}

fn told(what: &'static str, record: &X509Record) {
    info!(
        slot = ?record.slot,
        local_authority_id = %record.id(),
        "{what}"
    );
}

/// How often to look what is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often to look for authorities that can go from the bundle.
const PRUNE_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// How long an authority stays in the bundle after its end, for clocks that are behind.
const KEEP_EXPIRED: Duration = Duration::from_secs(24 * 60 * 60);
