//! The agent's own identity: what it shows to the server, and keeps for its next start.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use spiffe_core::source::{IdentitySource, SnapshotCell};
use spiffe_core::verify::{Role, VerifyError, x509_peer};
use spiffe_core::x509::{Certificate, KeyKind, X509Error};
use spiffe_core::{BundleSet, IdentitySnapshot, SpiffeId, TrustBundle, TrustDomain, X509Svid};

use super::lifecycle::Term;
use super::renewal::Renewal;
use super::storage::{Found, Storage};
use crate::keys::{KeyError, KeyId, KeyManager, Signer};

/// The agent's SVID and the bundle of its trust domain, in force and on disk.
pub struct OwnIdentity {
    trust_domain: TrustDomain,
    cell: Arc<SnapshotCell>,
    /// What the cell shows. SVID and bundle change apart from each other, so they are put together
    /// under this lock.
    parts: Mutex<Parts>,
    keys: Arc<dyn KeyManager>,
    storage: Storage,
    renewal: Renewal,
}

#[derive(Default)]
struct Parts {
    svid: Option<X509Svid>,
    /// Which of the two keys the SVID has.
    slot: Option<usize>,
    bundle: Option<TrustBundle>,
    /// Whether the bundle is only the one to begin with. It is not kept before a server proved good
    /// by it: a wrong one must not outlive the file it came from.
    is_on_trial: bool,
}

/// A key that is in force only when there is a certificate for it.
pub struct NextKey {
    slot: usize,
    signer: Arc<dyn Signer>,
}

impl NextKey {
    /// The key.
    #[must_use]
    pub fn signer(&self) -> &Arc<dyn Signer> {
        &self.signer
    }
}

impl OwnIdentity {
    /// The identity that was found on disk, if its key is still there, and the bundle. The times are
    /// those of that identity.
    ///
    /// # Errors
    ///
    /// Where the keys cannot be read.
    pub async fn restore(
        trust_domain: TrustDomain,
        found: Found,
        keys: Arc<dyn KeyManager>,
        storage: Storage,
        renewal: Renewal,
    ) -> Result<(Self, Option<Term>), OwnIdentityError> {
        let mut parts = Parts::default();
        if !found.authorities.is_empty() {
            parts.bundle = Some(TrustBundle::new(trust_domain.clone(), found.authorities));
        }
        if let Some((svid, slot)) = with_its_key(found.chain, &*keys).await? {
            check_id(svid.id(), &trust_domain)?;
            (parts.svid, parts.slot) = (Some(svid), Some(slot));
        }
        let own = Self {
            trust_domain,
            cell: Arc::new(SnapshotCell::new(parts.snapshot())),
            parts: Mutex::new(parts),
            keys,
            storage,
            renewal,
        };
        let svid = own.lock().svid.clone();
        let term = svid.map(|svid| Term {
            renew_at: renewal.time(svid.not_before(), svid.not_after(), fastrand::f64()),
            expires_at: svid.not_after(),
            can_reattest: found.can_reattest,
        });
        Ok((own, term))
    }

    /// What connections to the server show.
    #[must_use]
    pub fn source(&self) -> Arc<SnapshotCell> {
        self.cell.clone()
    }

    /// Whose agent it is.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Counts up with each change of SVID or bundle.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.cell.snapshot().generation()
    }

    /// The agent's ID, while it has one.
    #[must_use]
    pub fn id(&self) -> Option<SpiffeId> {
        self.lock().svid.as_ref().map(|svid| svid.id().clone())
    }

    /// The bundle of the agent's trust domain, once it is known.
    #[must_use]
    pub fn bundle(&self) -> Option<TrustBundle> {
        self.lock().bundle.clone()
    }

    /// Whether a bundle is known that a server has proved good by.
    #[must_use]
    pub fn has_proven_bundle(&self) -> bool {
        let parts = self.lock();
        parts.bundle.is_some() && !parts.is_on_trial
    }

    /// Believes a bundle for as long as it takes to be let in by it, or not.
    pub fn try_bundle(&self, bundle: TrustBundle) {
        let mut parts = self.lock();
        parts.bundle = Some(bundle);
        parts.is_on_trial = true;
        self.cell.publish(parts.snapshot());
    }

    /// Done as soon as there is an SVID.
    pub async fn in_force(&self) {
        let mut changes = self.cell.subscribe();
        while self.cell.snapshot().svid().is_none() {
            // The cell lives as long as we do.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Makes the key for the next SVID. The one in force is not touched.
    ///
    /// # Errors
    ///
    /// Where it cannot be made or kept.
    pub async fn next_key(&self) -> Result<NextKey, KeyError> {
        let slot = match self.lock().slot {
            Some(0) => 1,
            _ => 0,
        };
        let signer = self
            .keys
            .generate(&KeyId::AGENT_SVID[slot], KeyKind::EcP256)
            .await?;
        Ok(NextKey { slot, signer })
    }

    /// Keeps a new SVID, and puts it in force. That it cannot be kept is told in the log: it is in
    /// force all the same, and [`set_bundle`](Self::set_bundle) tries again to keep it.
    ///
    /// # Errors
    ///
    /// Where it is not what an agent of this trust domain may have; what was in force before stays.
    pub async fn adopt(
        &self,
        chain: Vec<Certificate>,
        key: &NextKey,
        can_reattest: bool,
        now: SystemTime,
    ) -> Result<Term, OwnIdentityError> {
        let in_memory = key.signer.in_memory().cloned();
        let in_memory = in_memory.ok_or(OwnIdentityError::KeyElsewhere)?;
        let svid = X509Svid::new(chain, in_memory)?;
        self.check(&svid, now)?;
        let term = Term {
            renew_at: self.renewal.time_of_new(
                svid.not_before(),
                svid.not_after(),
                now,
                fastrand::f64(),
            ),
            expires_at: svid.not_after(),
            can_reattest,
        };
        // Kept first: what a token was spent for must not get lost between two steps.
        let proven = self.bundle().filter(|_| !self.has_proven_bundle());
        let authorities = proven.as_ref().map(TrustBundle::x509_authorities);
        let kept = self
            .storage
            .keep_svid(svid.chain(), can_reattest, authorities);
        if let Err(error) = kept.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "Agent SVID could not be kept; until it is, the next start would lose it"
            );
        }
        let mut parts = self.lock();
        parts.svid = Some(svid);
        parts.slot = Some(key.slot);
        parts.is_on_trial = false;
        self.cell.publish(parts.snapshot());
        Ok(term)
    }

    /// Puts a new bundle in force, and keeps it. Where it is the one in force already, what could not
    /// be kept before is tried again: this is called every few seconds.
    pub async fn set_bundle(&self, bundle: TrustBundle) {
        let kept = if self.replace_bundle(&bundle) {
            self.storage.keep_bundle(bundle.x509_authorities()).await
        } else {
            self.storage.catch_up().await
        };
        if let Err(error) = kept {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "Agent data could not be kept; this is tried again"
            );
        }
    }

    /// Puts a bundle in force; tells whether it is another one than before.
    fn replace_bundle(&self, bundle: &TrustBundle) -> bool {
        let mut parts = self.lock();
        if parts.bundle.as_ref() == Some(bundle) && !parts.is_on_trial {
            return false;
        }
        parts.bundle = Some(bundle.clone());
        parts.is_on_trial = false;
        self.cell.publish(parts.snapshot());
        true
    }

    /// Takes the SVID out of force and off the disk.
    pub async fn forget(&self) {
        {
            let mut parts = self.lock();
            (parts.svid, parts.slot) = (None, None);
            self.cell.publish(parts.snapshot());
        }
        if let Err(error) = self.storage.forget_svid().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "Agent SVID could not be removed from disk"
            );
        }
    }

    /// Whether one of these authorities, by their key IDs, signed the SVID's chain.
    #[must_use]
    pub fn is_signed_by(&self, authorities: &HashSet<Vec<u8>>) -> bool {
        let parts = self.lock();
        let mut chain = parts.svid.iter().flat_map(|svid| svid.chain());
        chain.any(|certificate| {
            let signer = certificate.authority_key_id();
            signer.is_some_and(|id| authorities.contains(id))
        })
    }

    fn check(&self, svid: &X509Svid, now: SystemTime) -> Result<(), OwnIdentityError> {
        check_id(svid.id(), &self.trust_domain)?;
        let bundles = match self.bundle() {
            Some(bundle) => BundleSet::from(bundle),
            None => BundleSet::default(),
        };
        // A server whose clock is a little ahead must not keep its agents out.
        let begins = svid.not_before();
        let now = if now < begins && now + CLOCKS_MAY_DIFFER >= begins {
            begins
        } else {
            now
        };
        let chain: Vec<CertificateDer<'_>> = svid
            .chain()
            .iter()
            .map(|certificate| certificate.der().clone())
            .collect();
        x509_peer(&chain, &bundles, Role::Client, now)?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn snapshot(&self) -> IdentitySnapshot {
        let bundles = self.bundle.clone().map(BundleSet::from);
        let svids = self.svid.iter().cloned().collect();
        IdentitySnapshot::new(svids, bundles.unwrap_or_default())
    }
}

/// The SVID of a chain from disk, if one of the two keys is its own.
async fn with_its_key(
    chain: Vec<Certificate>,
    keys: &dyn KeyManager,
) -> Result<Option<(X509Svid, usize)>, OwnIdentityError> {
    let Some(leaf) = chain.first() else {
        return Ok(None);
    };
    for (slot, id) in KeyId::AGENT_SVID.iter().enumerate() {
        let key = keys.find(id).await?;
        let key = key.filter(|key| key.public_key() == leaf.public_key());
        if let Some(key) = key.as_ref().and_then(|key| key.in_memory()) {
            return Ok(Some((X509Svid::new(chain, key.clone())?, slot)));
        }
    }
    // With keys in memory that is so at each start.
    tracing::warn!("The key of the agent SVID on disk is gone, so the SVID is of no use");
    Ok(None)
}

/// An agent is told from all others by the beginning of its path.
fn check_id(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), OwnIdentityError> {
    if id.trust_domain() == *trust_domain && id.path().starts_with("/spire/agent/") {
        Ok(())
    } else {
        Err(OwnIdentityError::NotAnAgent(id.clone()))
    }
}

/// Why something cannot be the agent's identity.
#[derive(Debug, thiserror::Error)]
pub enum OwnIdentityError {
    /// The keys cannot be read.
    #[error("the agent's own key cannot be read")]
    Key(#[from] KeyError),
    /// TLS needs the key itself.
    #[error("the agent's own key cannot leave its keeper")]
    KeyElsewhere,
    /// It names no agent of this trust domain.
    #[error("{0} is no agent of this trust domain")]
    NotAnAgent(SpiffeId),
    /// It is not one that others would believe.
    #[error("the agent's SVID does not stand up to the bundle")]
    NotBelieved(#[from] VerifyError),
    /// It is no SVID, or the key's is another.
    #[error("the agent's SVID is not in order")]
    Svid(#[from] X509Error),
}

/// By so much may the server's clock be ahead.
const CLOCKS_MAY_DIFFER: Duration = Duration::from_secs(5 * 60);
